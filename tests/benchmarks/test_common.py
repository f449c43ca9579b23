"""Where the rows of benchmarks go, and which of them stay."""

import argparse
from pathlib import Path

import pytest

from adlib import speed
from adlib.environment import PROJECT
from benchmarks import common

DIAGNOSTICS = PROJECT / "results" / "diagnostics"


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    return parser


def test_a_trial_run_does_not_write_over_what_was_measured(parser, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "--smoke"])
    with pytest.raises(SystemExit):
        common.parse_options(parser, "growth")
    assert "--smoke needs --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "path"), [([], speed.RESULTS / "growth.csv"), (["--smoke", "--out", "a/b.csv"], Path("a/b.csv"))]
)
def test_rows_go_to_the_topics_file_unless_another_is_named(parser, monkeypatch, words, path):
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    assert common.parse_options(parser, "growth").out == path


def test_what_is_not_measured_again_stays(tmp_path):
    path = speed.write([{"method": m, "recipe": r, "ms": 1.23456} for m in "ab" for r in "xy"], tmp_path / "t.csv")
    kept = common.kept_rows(path, ["method", "recipe"], ["a/x", "b/y"])
    assert [(row["method"], row["recipe"]) for row in kept] == [("a", "y"), ("b", "x")]
    assert {row["ms"] for row in kept} == {"1.235"}
    assert common.kept_rows(path, ["method"], None) == []  # all is measured again
    assert common.kept_rows(tmp_path / "none.csv", ["method"], ["a"]) == []


@pytest.mark.parametrize(
    "path", sorted(DIAGNOSTICS.rglob("*.csv")), ids=lambda path: str(path.relative_to(DIAGNOSTICS))
)
def test_a_table_that_is_written_again_has_the_same_lines(path, tmp_path):
    again = speed.write(common.rows_as_text(path), tmp_path / "again.csv", digits=None)
    assert again.read_text() == path.read_text()  # but for the line ends that some have of Windows
