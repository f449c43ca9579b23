"""The rows in results/runs are what every table stands on."""

from pathlib import Path

from adlib import results


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
