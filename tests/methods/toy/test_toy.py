"""The five steps of CONTRIBUTING.md, walked with a toy method: they name files that exist, and they suffice."""

import re
from pathlib import Path

import pytest
import torch

from adlib.methods import METHODS, build
from tests.methods.test_methods import Suite
from tests.methods.toy.toy import Toy

PROJECT = Path(__file__).parents[3]
RECIPES = tuple(Toy.RECIPES)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Step 2, for as long as a test runs."""
    monkeypatch.setitem(METHODS, "toy", Toy)


def steps():
    section = (PROJECT / "CONTRIBUTING.md").read_text().split("## Add a method in five steps")[1].split("\n## ")[0]
    return re.findall(r"^\d\. (.*(?:\n   .*)*)", section, re.MULTILINE)


def test_there_are_five_steps_and_each_names_one_file_of_every_method():
    found = [re.findall(r"`([\w/<>]+\.(?:py|md))`", step) for step in steps()]
    assert found == [
        ["adlib/methods/<name>.py"],
        ["adlib/methods/__init__.py"],
        ["tests/methods/test_methods.py"],
        ["tests/methods/test_<name>.py"],
        ["README.md"],
    ]
    for (path,) in found:
        assert (PROJECT / path.replace("<name>", "stpm")).is_file()


def test_step_2_makes_it_known_to_everything():
    assert build("toy", "code", teacher="random").config.lr == 0.02


def test_step_3_the_parameters_are_counted():
    trained = sum(p.numel() for p in build("toy", teacher="random").parameters() if p.requires_grad)
    assert trained == (3 + 1) * 64


@pytest.mark.parametrize(("name", "recipe"), [("toy", recipe) for recipe in RECIPES], ids=RECIPES, scope="class")
class TestToy(Suite):
    """Step 3: the shared suite, which needs nothing but the name."""


def test_step_4_a_known_answer():
    method = build("toy", teacher="random").eval()
    (target,) = method.targets(torch.randn(1, 3, 64, 64))
    method.student = torch.nn.Identity()  # gives back what it is given
    assert method.distance(-3 * target, [target]).max() == pytest.approx(2)  # opposite, whatever the length
    assert method.distance(7 * target, [target]).abs().max() == pytest.approx(0, abs=1e-5)


def test_step_5_the_readme_names_every_method():
    readme = (PROJECT / "README.md").read_text()
    assert [name for name in METHODS if name != "toy" and f"`{name}`" not in readme] == []
