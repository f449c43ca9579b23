"""What is derived from the committed rows and committed beside them: `results/claims.csv` and the tables of the README.

    python -m adlib.study.publish      # after rows were added; a test compares both with the rows

No number in them is typed by hand.
"""

import argparse
import math
import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from adlib import results, speed
from adlib.environment import PROJECT
from adlib.files import replace_between, whole_file
from adlib.speed import goals
from adlib.study import claims, guide, paper_tables, tables
from adlib.study.claims import tables as claim_tables
from adlib.study.claims import verdicts
from adlib.study.filters import real
from adlib.study.intervals import holm
from adlib.study.paper import PAPERS, departures

CLAIMS = PROJECT / "results" / "claims.csv"
README = PROJECT / "README.md"
BEGIN, END = "<!-- written by python -m adlib.study.publish -->", "<!-- end -->"
DIFFERENCE = "difference"  # only under the papers' conditions; without any the tables do without the column
HEADS = ["claim", "against", "metric", "paper", "ours", DIFFERENCE, "verdict", "all lines", "seeds", "under"]
NUMBERS = {"paper", "ours", DIFFERENCE, "seeds"}
NO_BREAK = "\u00a0"
RESTS = "\\*"  # beside a claim whose verdict rests on single categories; for Markdown
HOLDS = " †"  # beside a verdict that stays one when all are judged at once
READING = """<details><summary>How to read the tables</summary>

- *Rests on X*: without category X the verdict would be another. *Depends on X*: without X the effect has the opposite
  sign, so that there is no verdict. *Mixed*: some lines of the claim are supported, others contradicted; *in part*: the
  others are neither. *Chance*: neither method finds anything in that category.
- Of a claim that was tested in several settings, a table shows that of the recipe `paper`, nothing overridden, on real
  images, and where that decides nothing, those that do; *all lines* sums up every setting (how many), and the paper's
  notebook shows them. *Under* is a letter of the
  list below the table: the conditions, and the effect in each category.
- *Against*: what the effect is measured against; a name in brackets is a variant, `memkd(items=0)` MemKD without
  memories, `stpm(2,3)` STPM of layers 2 and 3.
- Brackets are 95 % intervals over seeds, of these categories and these test images alone. *Over categories like these*:
  where the mean over further ones may lie. A ratio of times is of the median over turns of one run, and another run
  moves it by more than its interval says.
- *Inconclusive*: the interval has 0 in it (a ratio's: the bound); or a category does gain the most, of a dataset of
  which not all were run.
- pp: percent points; x: times; a number without either was made so that the claim says it is above 0. All else: [how
  to read the study](docs/reading_the_study.md).

</details>"""
# What the scores are of, the most like the papers' first; a setting without rows has no table.
SETTINGS = [
    {"recipe": "paper", "scale": scale, "teacher": teacher}
    for scale, teacher in (("full", "imagenet"), ("full", "bundled"), ("small", "bundled"))
]
ELSEWHERE = "Recipe `code`, generated images, other teachers and metrics: [the summary](notebooks/summary.ipynb)."


def claims_csv(judged: pd.DataFrame) -> str:
    """Return the text of `results/claims.csv`: what `claims.judge` gives, with four digits."""
    return judged.to_csv(index=False, float_format="%.4g", lineterminator="\n")


def readme(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Return the README's tables in Markdown: the claims beside what our rows say, then each method by category."""
    return f"{in_short(rows, judged)}\n\n{claims_table(judged)}\n\n### Image AUROC by category\n\n{scores(rows)}"


def in_short(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Return in Markdown what a reader wants first: how each paper's claims fare, which method to take, how fast it is.

    And how much of an order of methods a short training can tell, where a method was also trained to the end.
    """
    said = [_whole(rows), _best(rows), _fast(rows)]
    return "\n\n".join([_by_paper(judged), "\n".join(f"- {more}" for more in said if more)])


def _by_paper(judged: pd.DataFrame) -> str:
    """Return how the claims of each paper fare: a table in Markdown, a line a paper and a column a verdict.

    Marked are those of which all that is conclusive rests on single categories.
    """
    summed = claim_tables.by_claim(judged)
    sure = claim_tables.counting(judged) & judged["verdict"].isin(verdicts.CONCLUSIVE)
    leans = (judged.loc[sure, "rests_on"] != "").groupby(judged.loc[sure, "id"]).all()
    marked = summed["id"].where(~summed["id"].map(leans).eq(True), summed["id"] + RESTS)
    of = judged.drop_duplicates("id").set_index("id")["source"]
    found = [name for name in verdicts.VERDICTS if name in set(summed["verdict"])]
    lines = [f"| paper | {' | '.join(found)} |", "| --- |" + " --- |" * len(found)]
    for source, (name, _) in PAPERS.items():
        own = summed[summed["id"].map(of) == source.removeprefix("seed")]
        if len(own):
            cells = [", ".join(marked[own.index[own["verdict"] == verdict]]) for verdict in found]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", f"{RESTS} All that is conclusive of it rests on single categories, which are named below."]
    )


def _best(rows: pd.DataFrame) -> str:
    """Say how the methods stand to each other under the README's own conditions; nothing of one method."""
    setting = SETTINGS[-1]
    said = guide.standing(results.plain(rows, **setting), speed.read("turns"))
    of = ", ".join(f"{name} {value}" for name, value in setting.items())
    head = f"**And after a short training?** ({of}; [which to take](notebooks/which_method.ipynb))"
    return "\n".join([head, *(f"  - {line}" for line in said)]) if said else ""


def _whole(rows: pd.DataFrame) -> str:
    said = guide.longer(rows)
    return f"**Which method?** {said}" if said else ""


def _fast(rows: pd.DataFrame) -> str:
    measured = {topic: speed.read(topic) for topic in {goal.topic for goal in goals.GOALS} - {"runs"}}
    reached = goals.in_short(goals.goals(measured | {"runs": goals.of_runs(rows)}))
    return f"**How fast?** {_trains(measured['training'])}{reached} [Which, and where](notebooks/speed.ipynb)."


def _trains(timings: pd.DataFrame) -> str:
    """Say how much faster training is than the authors' way; nothing without timings."""
    if timings.empty:
        return ""
    ours = timings[timings["variant"].isin(["ours", "ours, bf16"])]
    said = [
        f"{part['speedup'].min():.1f} to {part['speedup'].max():.1f} times as fast in {precision}"
        for precision, part in ours.groupby("precision", sort=False)
    ]
    of = f"{ours['case'].nunique()} trainings; {' and '.join(ours['device'].unique())}"
    return f"Training, against the authors' way of it: {', '.join(said)} ({of}). "


def claims_table(judged: pd.DataFrame) -> str:
    """Return the judged claims in Markdown: how many fare how, and for each paper a table of those that were tested."""
    counts = claim_tables.by_claim(judged)["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {name}" for name in verdicts.VERDICTS if name in counts)
    summed = (
        f"Of {judged['id'].nunique()} claims: {said}; [claims.csv](results/claims.csv) has every line, and why. In the "
        "tables a number above 0 agrees with its claim and one below speaks against it; a ratio of times (x) stands "
        "beside the ratio that the paper prints."
    )
    tested = judged.assign(holds=_stay(judged))
    tested = tested[~tested["verdict"].isin(verdicts.NO_VERDICT)]
    tested = tested.assign(shown=claim_tables.told(tested))
    silent = claim_tables.not_judged(judged)
    summed += f" Measured, but no verdict follows: {silent}." if silent else ""
    heads = [
        head for head in HEADS if head != DIFFERENCE or any(_effect(line)[2] for line in tested.to_dict("records"))
    ]
    parts = [_of_paper(str(source), group, heads) for source, group in tested.groupby("source", sort=False)]
    return "\n\n".join([summed, _at_once(judged), READING, *parts])


def _at_once(judged: pd.DataFrame) -> str:
    """Say how many lines chance alone would make conclusive, and which stay so when all are judged at once."""
    lines = judged[judged["p"].notna() & claim_tables.counting(judged)]
    one_sided = int(((lines["low"] > 0) | (lines["high"] < 0)).sum())
    depend = int((lines["verdict"] == verdicts.DEPENDS).sum())
    stay = lines[_stay(lines)]
    named = ", ".join(dict.fromkeys(stay["id"] + " (" + stay["metric"] + ")"))
    return (
        f"{len(lines)} lines are judged by an interval over seeds, each for itself: in {one_sided} it lies "
        f"on one side of 0, where about {0.05 * len(lines):.0f} would by chance alone; the sign depends on a single "
        f"category in {depend}. When all are judged at once (Holm), these stay, {HOLDS.strip()} in the "
        f"tables: {named or 'none'}. Some rules, of these lines too, were changed after rows existed "
        "([how](docs/rule_changes.md)): a † is no registered test either."
    )


def _stay(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that are conclusive also when all are judged at once."""
    chances = judged.loc[judged["p"].notna() & claim_tables.counting(judged), "p"]
    sure = judged["verdict"].isin(verdicts.CONCLUSIVE)
    return sure & holm(chances).reindex(judged.index, fill_value=False)


def _of_paper(source: str, tested: pd.DataFrame, heads: list[str]) -> str:
    """Return a paper's claims as a table in Markdown: a line a claim and conditions; the first line names the claim.

    Of `tested` the lines whose `shown` is False count only in what is said of all. Metrics of one claim under the same
    conditions stand in one line of the table, below each other: their cells do not wrap, so that they stay level. The
    table is to be read at a glance: conditions and categories follow in a list, folded up.
    """
    name, notebook = PAPERS[f"seed{source}"]
    lines = [
        f"### {name}: [in full](notebooks/{notebook}.ipynb)",
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('--:' if head in NUMBERS else '---' for head in heads)} |",
    ]
    summed = {
        line["id"]: f"{line['verdict']} ({line['lines tested']})"
        for _, line in claim_tables.by_claim(tested).iterrows()
    }
    hidden = set(tested.loc[~tested["shown"], "id"])
    tested = tested.assign(under=claim_tables.worded_conditions(tested), held_back=claim_tables.held_back(tested))
    groups = tested[tested["shown"]].groupby(["id", "claim", "seeds", "conditions"], sort=False)
    marks = paper_tables.letters(str(of) for of in groups.groups)
    before = ""
    below = []
    for ((number, claim, seeds, _), group), mark in zip(groups, marks.values(), strict=True):
        each = [(str(line["metric"]), *_effect(line), _verdict(line)) for line in group.to_dict("records")]
        cells = [
            str(number) if number == before else f"{number}: {claim}",
            ", ".join(claim_tables.beside(group).unique()),
            *("<br>".join(texts).replace(" ", NO_BREAK) for texts in zip(*each, strict=True)),
            summed[number] if number in hidden - {before} else "",
            str(seeds or ""),
            mark,
        ]
        lines.append("| " + " | ".join(cell for head, cell in zip(HEADS, cells, strict=True) if head in heads) + " |")
        below.append(f"- **{mark}** ({number}): {'; '.join(group['under'].unique())}")
        below += [f"  - {line['metric']}: {apart}" for line in group.to_dict("records") if (apart := _apart(line))]
        before = str(number)
    folded = "<details><summary>Under which conditions, and the effect in each category</summary>"
    return "\n".join([*lines, "", folded, "", *below, "", "</details>"])


def _apart(line: Mapping[Hashable, Any]) -> str:
    """Return as text the effect in each category, and what it would be without one that the verdict hangs on."""
    leans = f"{'depends' if line['verdict'] == verdicts.DEPENDS else 'rests'} on {line['rests_on']}"
    return "; ".join(filter(None, [line["by_category"], leans if line["rests_on"] else ""]))


def _verdict(line: Mapping[Hashable, Any]) -> str:
    """Return a verdict in brief: what it rests on is named, the effect without it stands in the list below."""
    on = re.sub(r" \(without[^()]*\)", "", line["rests_on"])
    if line["verdict"] == verdicts.DEPENDS:
        return f"depends on {on}"
    more = f" (rests on {on})" if on else f" ({line['why']})" if line["held_back"] else ""
    return f"{line['verdict']}{HOLDS * line['holds']}{more}"


def scores(rows: pd.DataFrame) -> str:
    """Return the image AUROC of each method on each real category, in Markdown: percent, mean and deviation."""
    parts = [(setting, results.plain(real(rows), **setting)) for setting in SETTINGS]
    head = f"In percent, mean ± standard deviation over seeds (how many), on real images. {ELSEWHERE}"
    return "\n\n".join([head, *(_scores(setting, part) for setting, part in parts if len(part))])


def _scores(setting: Mapping[str, str], rows: pd.DataFrame) -> str:
    grid = tables.by_category(rows, "image_auroc")
    lines = ["| image AUROC | " + " | ".join(map(str, grid.columns)) + " |", "| --- |" + " --: |" * len(grid.columns)]
    lines += [f"| {method} | " + " | ".join(map(str, values)) + " |" for method, *values in grid.itertuples()]
    of = ", ".join(f"{name} {value}" for name, value in setting.items())
    for precision, group in rows.groupby("precision", sort=False):
        of += f", {precision}" if len(group) == len(rows) else f"; {precision}: {', '.join(group['method'].unique())}"
    for note, group in rows.groupby(rows["notes"].map(lambda notes: notes.get("teacher", "")), sort=False):
        of += f"; {', '.join(sorted(group['method'].unique()))}: {note}" if note else ""
    return f"**Scale {setting['scale']}** ({of}):\n\n" + "\n".join(lines)


def _effect(line: Mapping[Hashable, Any]) -> list[str]:
    """Return the texts of the columns paper, ours and difference."""
    points = line["unit"] == verdicts.POINTS
    digits, sign, unit = ("1f", "+", " pp") if points else ("3g", "", "x" if line["unit"] == verdicts.RATIO else "")
    effect, low, high, stated = (line[name] for name in ("effect", "low", "high", "stated"))
    ours = f"{effect:{sign}.{digits}}{unit} [{low:{sign}.{digits}}, {high:{sign}.{digits}}]"
    if math.isnan(stated):
        return ["", ours, ""]
    differs = departures(*(line[name] for name in ("teacher", "scale", "recipe", "overrides", "precision", "textures")))
    alike = not differs and not line["why"]
    return [f"{stated:{sign}.{digits}}{unit}", ours, f"{effect - stated:+.{digits}}" if alike else ""]


def main() -> None:
    """Write both, and say so."""
    argparse.ArgumentParser(prog="python -m adlib.study.publish", description=__doc__.splitlines()[0]).parse_args()
    rows = results.read(results.RUNS)
    judged = claims.judge(rows)
    with whole_file(CLAIMS) as path:
        path.write_text(claims_csv(judged))
    replace_between(README, BEGIN, END, readme(rows, judged))
    print(f"{CLAIMS} and the tables of {README}, from {len(rows)} rows")


if __name__ == "__main__":
    main()
