"""The rows in results/runs are what every table stands on."""

from pathlib import Path

import pandas as pd

from adlib import results
from adlib.environment import PROJECT
from adlib.study import claims_page, publish, readme


def test_committed_rows_are_valid_and_lie_where_their_identity_says(committed):
    assert len(committed)
    expected = {results.row_path(results.RUNS, row) for row in committed.to_dict("records")}
    assert expected == set(results.RUNS.rglob("*.json"))


def test_committed_rows_were_made_by_committed_code_and_name_no_folder(committed):
    assert not committed["commit"].str.contains("dirty|unknown").any()
    assert not committed["teacher"].str.contains("/").any()
    assert not [path for path in results.RUNS.rglob("*.json") if str(Path.home()) + "/" in path.read_text()]


def test_the_committed_verdicts_are_those_of_the_committed_rows(committed_verdicts):
    assert publish.CLAIMS.read_text() == publish.claims_csv(committed_verdicts), "run python -m adlib.study.publish"


def test_the_page_of_claims_is_that_of_the_committed_rows(committed_verdicts):
    assert publish.PAGE.read_text() == claims_page.text(committed_verdicts), "run python -m adlib.study.publish"


def test_the_readme_has_the_tables_of_the_committed_rows(committed, committed_verdicts):
    block = publish.README.read_text().split(publish.BEGIN)[1].split(publish.END)[0]
    assert block.strip() == readme.text(committed, committed_verdicts), "run python -m adlib.study.publish"


def test_what_the_readme_says_of_the_verdicts_is_so(committed, committed_verdicts):
    """Its steps to fifty, and its seeds (0: times, which have turns)."""
    text = " ".join(publish.README.read_text().split())
    ours = results.plain(committed, scale="small", teacher="bundled")
    least, most = (50 * round(ours["steps"].agg(end) / 50) for end in ("min", "max"))
    assert f"scale `small`, some {least} to {most} training steps" in text
    assert "95 % interval over three seeds" in text
    assert set(committed_verdicts.dropna(subset="low")["seeds"]) == {0, 3}


def test_another_row_gives_another_table(committed):
    first = results.plain(committed, **readme.SETTINGS[-1]).index[0]
    changed = committed.copy()
    changed.loc[first, "image_auroc"] = 0.123
    assert readme.scores(changed) != readme.scores(committed)


def test_the_committed_kills_left_nothing_half_written_and_no_other_row():
    kills = pd.read_csv(PROJECT / "results" / "faults" / "kills.csv")
    assert len(kills) >= 20
    assert kills["whole"].all()
    assert (kills["rows"] == kills["same"]).all()
    assert kills["rows"].iloc[-1] > 0
