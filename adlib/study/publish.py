"""What is derived from the committed rows and committed beside them: `results/claims.csv` and the tables of the README.

    python -m adlib.study.publish      # after rows were added; a test compares both with the rows

Nothing in them is typed by hand.
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
from adlib.study import claim_tables, claims, guide, paper_tables, tables, verdicts
from adlib.study.filters import real
from adlib.study.intervals import holm
from adlib.study.paper import PAPERS, departures

CLAIMS = PROJECT / "results" / "claims.csv"
README = PROJECT / "README.md"
BEGIN, END = "<!-- written by python -m adlib.study.publish -->", "<!-- end -->"
DIFFERENCE = "difference"  # only under the papers' conditions; without any the tables do without the column
HEADS = ["claim", "metric", "paper", "ours", DIFFERENCE, "verdict", "all lines", "seeds", "under"]
NUMBERS = {"paper", "ours", DIFFERENCE, "seeds"}
NO_BREAK = "\u00a0"
HOLDS = " †"  # beside a verdict that stays one when all are judged at once
READING = """<details><summary>How to read the tables</summary>

- *Rests on X*: without category X the verdict would be another. *Depends on X*: without X the effect has the opposite
  sign, so that there is no verdict. *Mixed*: some lines of the claim are supported, others contradicted; *in part*: the
  others are neither. *Chance*: neither method finds anything in that category.
- Of a claim that was tested in several settings, a table shows that of the recipe `paper`, nothing overridden, on real
  images; *all lines* sums up every setting (how many), and the paper's notebook shows them. *Under* is a letter of the
  list below the table: the conditions, and the effect in each category.
- Brackets are 95 % intervals over seeds, of these categories and these test images alone. *Over categories like these*:
  where the mean over further ones may lie. A ratio of times is of the median over turns of one run, and another run
  moves it by more than its interval says.
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
    """Word `results/claims.csv`: what `claims.judge` gives, with four digits."""
    return judged.to_csv(index=False, float_format="%.4g", lineterminator="\n")


def readme(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Word the README's tables: the claims beside what our rows say of them, then each method on each category."""
    return f"{in_short(rows, judged)}\n\n{claims_table(judged)}\n\n{scores(rows)} {ELSEWHERE}"


def in_short(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Word what a reader wants first: how the first claim of each paper fares, and which method ranks best.

    And how much of an order of methods a short training can tell, where a method was also trained to the end.
    """
    judged = judged.assign(holds=_stay(judged))
    summed = claim_tables.by_claim(judged).set_index("id")
    said = ["In short, under the conditions that are named below:", ""]
    for source, (name, _) in PAPERS.items():
        own = judged[judged["source"] == source.removeprefix("seed")]
        if len(own):
            first = own.iloc[0]
            lines = own[(own["id"] == first["id"]) & claim_tables.main_setting(own)]
            here = [
                f" Here {_effect(line)[1]} of {first['metric']}, **{_verdict(line)}**{_trained(line)}."
                for line in lines.to_dict("records")[:1]
            ]
            others = [
                f"{line['metric']} {_verdict(line)}"
                for line in lines.to_dict("records")[1:]
                if line["metric"] != first["metric"] and line["against"] == lines.iloc[0]["against"]
            ]
            more = f" Its other metrics: {'; '.join(others)}." if others else ""
            over = f"{more} Over all settings: {summed.loc[first['id'], 'verdict']}."
            said.append(f"- **{name}** claims: {first['claim']}.{''.join(here)}{over}")
    return "\n".join([*said, *(f"- {more}" for more in (_best(rows), _carries(rows)) if more)])


def _trained(line: Mapping[Hashable, Any]) -> str:
    """Word the setting of a line on scores; nothing for a line on times."""
    of = f"recipe paper, nothing overridden, {line['scale']}, teacher {line['teacher']}; against {line['against']}"
    return f" ({of}; categories: {line['categories']}, seeds: {line['seeds']})" if line["scale"] else ""


def _best(rows: pd.DataFrame) -> str:
    """Say how the methods stand to each other under the README's own conditions; nothing of one method."""
    setting = SETTINGS[-1]
    said = guide.standing(results.plain(rows, **setting), speed.read("turns"))
    of = ", ".join(f"{name} {value}" for name, value in setting.items())
    head = f"**Which method?** ({of}; [which to take](notebooks/which_method.ipynb))"
    return "\n".join([head, *(f"  - {line}" for line in said)]) if said else ""


def _carries(rows: pd.DataFrame) -> str:
    said = guide.longer(rows)
    return f"**How far does that carry?** {said}" if said else ""


def claims_table(judged: pd.DataFrame) -> str:
    """Word the judged claims in Markdown: how many fare how, and for each paper a table of those that were tested."""
    counts = claim_tables.by_claim(judged)["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {name}" for name in verdicts.VERDICTS if name in counts)
    summed = f"Of {judged['id'].nunique()} claims: {said}; `results/claims.csv` has every line, and why."
    tested = judged.assign(holds=_stay(judged))
    tested = tested[tested["verdict"] != verdicts.NOT_TESTED]
    main = claim_tables.main_setting(tested)
    tested = tested.assign(shown=main | ~main.groupby(tested["id"]).transform("any"))
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
    """Tell the lines that are conclusive also when all are judged at once."""
    chances = judged.loc[judged["p"].notna() & claim_tables.counting(judged), "p"]
    sure = judged["verdict"].isin([verdicts.SUPPORTED, verdicts.CONTRADICTED])
    return sure & holm(chances).reindex(judged.index, fill_value=False)


def _of_paper(source: str, tested: pd.DataFrame, heads: list[str]) -> str:
    """Word the claims of a paper: a line a claim and conditions; the claim is named in its first line.

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
    tested = tested.assign(under=claim_tables.worded_conditions(tested))
    groups = tested[tested["shown"]].groupby(["id", "claim", "seeds", "conditions"], sort=False)
    marks = paper_tables.letters(str(of) for of in groups.groups)
    before = ""
    below = []
    for ((number, claim, seeds, _), group), mark in zip(groups, marks.values(), strict=True):
        each = [(str(line["metric"]), *_effect(line), _verdict(line)) for line in group.to_dict("records")]
        cells = [
            str(number) if number == before else f"{number}: {claim}",
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
    """Word the effect in each category, and what the verdict would be without one that it rests or depends on."""
    leans = f"{'depends' if line['verdict'] == verdicts.DEPENDS else 'rests'} on {line['rests_on']}"
    return "; ".join(filter(None, [line["by_category"], leans if line["rests_on"] else ""]))


def _verdict(line: Mapping[Hashable, Any]) -> str:
    """Word a verdict in brief: what it rests on is named, the effect without it stands in the list below."""
    on = re.sub(r" \(without[^()]*\)", "", line["rests_on"])
    if line["verdict"] == verdicts.DEPENDS:
        return f"depends on {on}"
    return f"{line['verdict']}{HOLDS * line['holds']}" + (f" (rests on {on})" if on else "")


def scores(rows: pd.DataFrame) -> str:
    """Word the image AUROC of each method on each real category, in Markdown: percent, mean and deviation."""
    parts = [(setting, results.plain(real(rows), **setting)) for setting in SETTINGS]
    return "\n\n".join(_scores(setting, part) for setting, part in parts if len(part))


def _scores(setting: Mapping[str, str], rows: pd.DataFrame) -> str:
    grid = tables.by_category(rows, "image_auroc")
    lines = ["| image AUROC | " + " | ".join(map(str, grid.columns)) + " |", "| --- |" + " --: |" * len(grid.columns)]
    lines += [f"| {method} | " + " | ".join(map(str, values)) + " |" for method, *values in grid.itertuples()]
    of = ", ".join(f"{name} {value}" for name, value in setting.items())
    for precision, group in rows.groupby("precision", sort=False):
        of += f", {precision}" if len(group) == len(rows) else f"; {precision}: {', '.join(group['method'].unique())}"
    for note, group in rows.groupby(rows["notes"].map(lambda notes: notes.get("teacher", "")), sort=False):
        of += f"; {', '.join(sorted(group['method'].unique()))}: {note}" if note else ""
    return "\n".join(lines) + f"\n\nIn percent, mean ± standard deviation over seeds (how many); real images, {of}."


def _effect(line: Mapping[Hashable, Any]) -> list[str]:
    """Word the columns paper, ours and difference."""
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
