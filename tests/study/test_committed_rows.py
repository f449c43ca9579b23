"""The rows in results/runs are what every table stands on."""

from pathlib import Path

import pandas as pd
import pytest

from adlib import results
from adlib.environment import PROJECT
from adlib.study import claims, publish


def test_committed_rows_are_valid_and_lie_where_their_identity_says():
    rows = results.read(results.RUNS)  # validates each
    assert len(rows)
    expected = {results.row_path(results.RUNS, row) for row in rows.to_dict("records")}
    assert expected == set(results.RUNS.rglob("*.json"))


def test_committed_rows_were_made_by_committed_code_and_name_no_folder():
    rows = results.read(results.RUNS)
    assert not rows["commit"].str.contains("dirty|unknown").any()
    assert not rows["teacher"].str.contains("/").any()
    assert not [path for path in results.RUNS.rglob("*.json") if str(Path.home()) + "/" in path.read_text()]


@pytest.fixture(scope="module")
def judged():
    return claims.judge(results.read(results.RUNS))


def test_the_committed_verdicts_are_those_of_the_committed_rows(judged):
    assert publish.CLAIMS.read_text() == publish.claims_csv(judged), "run python -m adlib.study.publish"


def test_the_readme_has_the_tables_of_the_committed_rows(judged):
    block = publish.README.read_text().split(publish.BEGIN)[1].split(publish.END)[0]
    assert block.strip() == publish.readme(results.read(results.RUNS), judged), "run python -m adlib.study.publish"


def test_another_row_gives_another_table(judged):
    rows = results.read(results.RUNS)
    first = results.plain(rows, **publish.SETTINGS[-1]).index[0]
    changed = rows.copy()
    changed.loc[first, "image_auroc"] = 0.123
    assert publish.scores(changed) != publish.scores(rows)


def test_the_committed_kills_left_nothing_half_written_and_no_other_row():
    kills = pd.read_csv(PROJECT / "results" / "faults" / "kills.csv")
    assert len(kills) >= 20
    assert kills["whole"].all()
    assert (kills["rows"] == kills["same"]).all()
    assert kills["rows"].iloc[-1] > 0
