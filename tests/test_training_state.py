"""The state of an unfinished training: back as it was."""

import pytest
import torch

from adlib import training_state
from adlib.training_state import read_state, write_state


def test_training_state_round_trips(tmp_path):
    state = {"identity": "x", "weights": {"a": torch.arange(3)}, "log": [{"loss": 1.5}], "best": {}}
    write_state(tmp_path / "s", state)
    found = read_state(tmp_path / "s", "x", "cpu")
    assert torch.equal(found["weights"]["a"], torch.arange(3))
    assert found["log"] == [{"loss": 1.5}]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, PermissionError])
def test_what_is_no_fault_of_the_file_is_not_blamed_on_it(error, tmp_path, monkeypatch):
    write_state(tmp_path / "s", {"identity": "x"})

    def fail(*_, **__):
        raise error("elsewhere")

    monkeypatch.setattr(training_state.torch, "load", fail)
    with pytest.raises(error, match="elsewhere"):
        read_state(tmp_path / "s", "x", "cpu")


def test_a_state_of_another_training_says_what_differs(tmp_path):
    write_state(tmp_path / "s", {"identity": "run: a\nimages: 123"})
    with pytest.raises(ValueError, match="training: other images: expected 'images: 124', found 'images: 123'; del"):
        read_state(tmp_path / "s", "run: a\nimages: 124", "cpu")
    with pytest.raises(ValueError, match="belongs to another training"):
        read_state(tmp_path / "s", "run: a", "cpu")
