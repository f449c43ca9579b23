"""Every benchmark can be started; what it measures is no business of a test."""

import argparse
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in (PROJECT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_it_names_of_the_package_is_there(name, monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")  # as where a script finds its neighbours
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_one_runs_from_start_to_rows(tmp_path):
    command = [sys.executable, "benchmarks/metrics.py", "--smoke", "--out", str(tmp_path / "rows.csv")]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    assert {"commit", "device", "threads"} <= set(pd.read_csv(tmp_path / "rows.csv").columns)


def test_the_extra_names_the_peers_that_are_measured(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    measured = importlib.import_module("benchmarks.peers").ANOMALIB
    assert project["optional-dependencies"]["peers"] == [f"anomalib=={measured}"]


def test_a_search_keeps_what_wins_and_ends_when_three_in_a_row_do_not(tmp_path, monkeypatch):
    module = importlib.import_module("benchmarks.pretraining")
    won = {"twice the learning rate": 0.1, "small views": 0.02}
    asked: list[tuple[str, dict]] = []

    def made(name, change, *_):
        asked.append((name, change))
        kept = [idea for idea in won if module.IDEAS[idea].items() <= change.items()]
        chance = {"seed 1": 0.05}.get(name, 0.0 if name in {"the recipe", *kept} else 0.004)
        value = 1 - sum(won[idea] for idea in kept) - chance
        return {"trial": name} | dict.fromkeys(module.LEVELS, value)

    monkeypatch.setattr(module, "trial", made)
    options = argparse.Namespace(out=tmp_path / "search.csv")
    module.search(options, {}, {}, [])
    names = [name for name, _ in asked]
    ideas = [*module.IDEAS]
    assert names == ["the recipe", *module.SEEDS, *ideas[: ideas.index("small views") + 1 + module.PATIENCE]]
    rows = pd.read_csv(options.out).set_index("trial")
    assert rows.index[rows["adopted"]].to_list() == ["twice the learning rate", "small views"]
    assert rows.loc["seed 1", "gain"] == pytest.approx(0.05)  # by chance: not adopted
    assert rows.loc["small views", "on top of"] == "the recipe + twice the learning rate"
    assert asked[-1][1].items() >= (module.IDEAS["twice the learning rate"] | module.IDEAS["small views"]).items()
    before = len(asked)
    module.search(options, {}, {}, pd.read_csv(options.out).to_dict("records"))
    assert len(asked) == before  # what is made is not made again


def test_when_a_step_begins_is_the_median_over_processes():
    runs = [{"pixels": 1.0, "step": step, "seconds": 1.0 + late + step} for late, step in [(0, 9), (1, 1), (5, 2)]]
    found = importlib.import_module("benchmarks.decoding").started(runs)
    assert (found["begins"], found["step"], found["seconds"], found["repeats"]) == (2, 2, 8, 3)
    assert found["begins_p10"] == pytest.approx(1.2)
    assert found["begins_p90"] == pytest.approx(5.2)
