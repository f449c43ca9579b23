"""What is derived from the committed rows and committed beside them: `results/claims.csv` and the tables of the README.

    python -m adlib.publish            # after rows were added; a test compares both with the rows

Nothing in them is typed by hand.
"""

import pandas as pd

from adlib import claims, results, tables
from adlib.environment import PROJECT
from adlib.files import whole_file

CLAIMS = PROJECT / "results" / "claims.csv"
README = PROJECT / "README.md"
BEGIN, END = "<!-- written by python -m adlib.publish -->", "<!-- end -->"
SETTING = {"recipe": "paper", "scale": "small", "teacher": "bundled"}  # of the scores: what most rows have


def claims_csv(judged: pd.DataFrame) -> str:
    """Word `results/claims.csv`: what `claims.judge` gives, with three decimals."""
    return judged.to_csv(index=False, float_format="%.3f", lineterminator="\n")


def readme(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Word the README's tables: the claims beside what our rows say of them, then each method on each category."""
    return f"{verdicts(judged)}\n\n{scores(rows)}"


def verdicts(judged: pd.DataFrame) -> str:
    """Word the judged claims as a table in Markdown: a line a claim and metric, all settings of it together."""
    tested = judged[judged["verdict"] != claims.NOT_TESTED]
    lines = [
        "| claim | metric | paper | ours | difference | over | verdict |",
        "| --- | --- | --: | --: | --: | --- | --- |",
    ]
    for (name, metric, _), group in tested.groupby(["id", "metric", "stated"], sort=False, dropna=False):
        cells = [f"{name}: {group['claim'].iloc[0]}", str(metric), *_effects(group), _verdict(group)]
        lines.append("| " + " | ".join(cells) + " |")
    untested = sorted(set(judged["id"]) - set(tested["id"]))
    counts = tested.groupby("id", sort=False)["verdict"].agg(lambda v: v.iloc[0] if v.nunique() == 1 else "mixed")
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.value_counts(sort=False).sort_index().items())
    ending = f"Of {judged['id'].nunique()} claims: {said or 'none judged'}, {len(untested)} not tested here"
    return "\n".join(lines) + f"\n\n{ending}; `results/claims.csv` has every line, its conditions and the reasons."


def scores(rows: pd.DataFrame) -> str:
    """Word the image AUROC of each method on each category as a table in Markdown: percent, mean and deviation."""
    part = rows[[not given for given in rows["overrides"]]]
    for name, value in SETTING.items():
        part = part[part[name] == value]
    shown = tables.spread(part, ["image_auroc"])
    shown["place"] = shown["dataset"] + "/" + shown["category"]
    grid = shown.pivot(index="method", columns="place", values="image_auroc")
    grid = grid.reindex(index=shown["method"].drop_duplicates()).fillna("not run")
    lines = ["| image AUROC | " + " | ".join(map(str, grid.columns)) + " |", "| --- |" + " --: |" * len(grid.columns)]
    lines += [f"| {method} | " + " | ".join(map(str, values)) + " |" for method, *values in grid.itertuples()]
    of = ", ".join(f"{name} {value}" for name, value in SETTING.items())
    return "\n".join(lines) + f"\n\nIn percent, mean ± standard deviation over seeds (how many); {of}."


def _effects(group: pd.DataFrame) -> list[str]:
    """Word the columns paper, ours, difference and over; several settings as their range."""
    line = group.iloc[0]
    points = line["unit"] == claims.POINTS
    digits, sign, unit = ("1f", "+", " points") if points else ("3g", "", "x" if line["unit"] == claims.RATIO else "")
    paper = "" if pd.isna(line["stated"]) else f"{line['stated']:{sign}.{digits}}{unit}"
    low, high, gap = line["low"], line["high"], ""
    if len(group) > 1:
        ours = f"{group['effect'].min():{sign}.{digits}} to {group['effect'].max():{sign}.{digits}}{unit}"
    else:
        ours = f"{line['effect']:{sign}.{digits}}{unit} [{low:{sign}.{digits}}, {high:{sign}.{digits}}]"
        gap = f"{line['effect'] - line['stated']:+.{digits}}" if paper else ""
    count = f"{line['categories']} categor{'y' if line['categories'] == 1 else 'ies'}"
    over = f"{count}, {line['seeds']} seeds" if line["seeds"] else ""
    return [paper, ours, gap, over if len(group) == 1 else f"{len(group)} comparisons"]


def _verdict(group: pd.DataFrame) -> str:
    found = group["verdict"].unique()
    return str(found[0]) if len(found) == 1 else "depends: " + ", ".join(found)


def main() -> None:
    """Write both."""
    rows = results.read(results.RUNS)
    judged = claims.judge(rows)
    with whole_file(CLAIMS) as path:
        path.write_text(claims_csv(judged))
    before, rest = README.read_text().split(BEGIN)
    text = f"{before}{BEGIN}\n\n{readme(rows, judged)}\n\n{END}{rest.split(END, 1)[1]}"
    with whole_file(README) as path:
        path.write_text(text)


if __name__ == "__main__":
    main()
