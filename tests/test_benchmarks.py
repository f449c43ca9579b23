"""Every benchmark can be started; what it measures is no business of a test."""

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
