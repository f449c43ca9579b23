"""The check of the notebooks fails where a number that they show would be another one."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


def a_row(metric, project):
    path = next((project / "results" / "runs").rglob("*.json"))
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {metric: row[metric] / 2}))


def an_average(project):
    file = project / "adlib" / "results.py"
    text = file.read_text()
    assert "pd.Series.mean" in text
    file.write_text(text.replace("pd.Series.mean", "pd.Series.median"))


def a_metric(before, after, project):
    file = project / "adlib" / "metrics.py"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("change", "notebook", "passes"),
    [
        (lambda project: None, "summary", True),
        (partial(a_row, "aupro"), "summary", False),
        (an_average, "summary", False),
        (partial(a_metric, "fpr_limit: float = 0.3", "fpr_limit: float = 0.2"), "metrics", False),
        (partial(a_metric, "lambda: _ap(images)", "lambda: 0.9 * _ap(images)"), "metrics", False),
    ],
)
def test_nbval_fails_where_a_row_an_average_or_a_metric_changed(change, notebook, passes, tmp_path):
    for name in ("adlib", "results"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png", "local"))
    shutil.copy(PROJECT / "notebooks" / f"{notebook}.ipynb", tmp_path)
    change(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += ["--nbval-sanitize-with", str(PROJECT / "tests" / "nbval.cfg"), f"{notebook}.ipynb"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == (0 if passes else 1), run.stdout[-3000:]
    assert passes or "FAILED" in run.stdout
