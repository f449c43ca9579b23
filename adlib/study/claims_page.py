"""The lines that stand for each of the papers' claims, with their conditions: the text of `docs/claims.md`."""

import re
import textwrap
from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from adlib.study import paper_tables
from adlib.study.claims import tables as claim_tables
from adlib.study.claims import verdicts
from adlib.study.paper import PAPERS

HEADS = ["claim", "against", "metric", "paper", "ours", "difference", "verdict", "all lines", "seeds", "under"]
NUMBERS = {"paper", "ours", "difference", "seeds"}
NO_BREAK = "\u00a0"
EMPTY = "&nbsp;"  # a line that keeps its place; of the character itself a cell is stripped
WIDTH = 40  # letters
HOLDS = " †"  # beside a verdict that stays one when all are judged at once
INTRODUCTION = """# The claims and their conditions

Written by `python -m adlib.study.publish` from the committed rows. The [README](../README.md) has one line a claim;
here are the lines that stand for it, and below each table their conditions. Every other line is in
[claims.csv](../results/claims.csv) and in the papers' notebooks. What the words mean: [how to read the
study](reading_the_study.md).

A number above 0 agrees with its claim and one below speaks against it. A ratio of times (x) is ours by theirs, to be
compared with the paper's: of `fps` more is faster, of `seconds` less (S3-5 claims less than 1). *Difference* is ours
less the paper's, whatever the conditions and categories: it says nothing about a reproduction."""
READING = """## How to read the tables

- *Rests on X*: without category X the verdict would be another. *Depends on X*: without X a conclusive effect has the
  opposite sign, so that there is no verdict. *Mixed*: some lines of the claim are supported, others contradicted; *in
  part*: the others are neither. *Chance*: neither method finds anything in that category.
- Of a claim tested in several settings, a table shows recipe `paper` without overrides on real images;
  where these do not come to the claim's verdict, also conclusive ones of other settings. *All lines* is the verdict
  over every line that counts (how many): DeSTSeg without its segmentation network does not where the whole method was
  tested. The paper's notebook shows all. *Under* is a letter of the list below the table: the conditions, and the
  effect in each category.
- *Against*: what the effect is measured against. Brackets name a variant (`memkd(items=0)`: no memories; `stpm(2,3)`:
  layers 2 and 3) or, for times, our network `by` theirs; the fast path is `adlib.optimised`.
- Brackets are 95 % intervals over seeds, of these categories and these test images alone. *Over categories like these*:
  where the mean over further ones may lie. A ratio of times is of the median over turns of one run, and another run
  moves it by more than its interval says.
- *Inconclusive*: the interval contains 0; or a category gains the most, but not all of its dataset were run. A
  ratio's, made 3 % wider, contains the bound, which is a tenth below n, or for "about n" half or one and a half times
  what n, of the larger by the smaller, differs from 1.
- pp: percent points; x: times; a number without either was made so that the claim says it is above 0. All else: [how
  to read the study](reading_the_study.md)."""


def text(judged: pd.DataFrame) -> str:
    """Return the page in Markdown: for each paper a table of the claims that were tested, then those that were not."""
    parts = [INTRODUCTION, _at_once(judged), READING]
    judged = judged.assign(holds=claim_tables.stays(judged))
    parts += [_of_paper(str(source), group) for source, group in judged.groupby("source", sort=False)]
    return "\n\n".join(parts) + "\n"


def _at_once(judged: pd.DataFrame) -> str:
    """Say how many lines chance alone would make conclusive, and which stay so when all are judged at once."""
    lines = judged[judged["p"].notna() & claim_tables.counting(judged)]
    one_sided = int(((lines["low"] > 0) | (lines["high"] < 0)).sum())
    depend = int((lines["verdict"] == verdicts.DEPENDS).sum())
    stay = lines[claim_tables.stays(lines)]
    named = ", ".join(dict.fromkeys(stay["id"] + " (" + stay["metric"] + ")"))
    return (
        f"{len(lines)} lines that count are judged by an interval over seeds, each for itself: in {one_sided} it lies "
        f"on one side of 0, where about {0.05 * len(lines):.0f} would by chance alone; the sign of {depend} of these "
        f"depends on a single category. When all are judged at once (Holm), these stay, {HOLDS.strip()} in the "
        f"tables: {named or 'none'}. Some rules, of these lines too, were changed after rows existed "
        "([how](rule_changes.md)): a † is no registered test either.\n\n" + _stated_before(judged)
    )


def _stated_before(judged: pd.DataFrame) -> str:
    """Name the lines on scores that are judged by rules which no row of theirs was there to turn."""
    lines = on_scores(judged)
    named = [
        f"{line.id} ({line.metric} against {line.against}, recipe {line.recipe}, {line.images} images): {line.verdict}"
        for line in lines[lines["rule"] == verdicts.BEFORE].itertuples()
    ]
    last = f"The rules for scores last changed on {verdicts.RULES_SINCE[:10]}."
    if not named:
        return f"{last} None of {len(lines)} lines on scores rests on later rows alone: none was stated in advance."
    return (
        f"{last} Of {len(lines)} of those lines, on scores, {len(named)} rest on later rows alone: their rule was "
        f"stated in advance: {'; '.join(named)}."
    )


def on_scores(judged: pd.DataFrame) -> pd.DataFrame:
    """Take the lines on scores that count: of these it is known whether their rule was there first."""
    return judged[claim_tables.counting(judged) & judged["rule"].ne("")]


def _of_paper(source: str, judged: pd.DataFrame) -> str:
    """Return a paper's claims in Markdown: a table with a line a claim and conditions, and what was not tested and why.

    Of what was tested the lines that are not `told` count only in what is said of all. Metrics of one claim under the
    same conditions stand in one line of the table, below each other: their cells do not wrap, so that they stay level.
    The table is to be read at a glance: conditions and categories follow in a list, folded up.
    """
    name, notebook = PAPERS[f"seed{source}"]
    without = judged["verdict"].isin(verdicts.NO_VERDICT)
    tested = judged[~without]
    summed = {
        line["id"]: f"{line['verdict']} ({line['lines tested']})"
        for _, line in claim_tables.by_claim(tested).iterrows()
    }
    tested = tested.assign(
        shown=claim_tables.told(tested),
        under=claim_tables.worded_conditions(tested),
        held_back=claim_tables.held_back(tested),
    )
    hidden = set(tested.loc[~tested["shown"], "id"])
    groups = tested[tested["shown"]].groupby(["id", "claim", "seeds", "conditions"], sort=False)
    marks = paper_tables.letters(str(of) for of in groups.groups)
    rows, below = [], []
    before = ""
    for ((number, claim, seeds, _), group), mark in zip(groups, marks.values(), strict=True):
        each = [(line["metric"], *claim_tables.effect_texts(line), _verdict(line)) for _, line in group.iterrows()]
        over_all = summed[number] if number in hidden - {before} else ""
        rows.append(
            [
                str(number) if number == before else named(str(number), str(claim)),
                ", ".join(claim_tables.beside(group).unique()),
                *(stacked(texts) for texts in zip(*each, strict=True)),
                over_all,
                str(seeds or ""),
                mark,
            ]
        )
        below.append(f"- **{mark}** ({number}): {'; '.join(group['under'].unique())}")
        below += [f"  - {line['metric']}: {apart}" for _, line in group.iterrows() if (apart := _apart(line))]
        before = str(number)
    folded = "<details><summary>Under which conditions, and the effect in each category</summary>"
    lines = [f"## {name}: [in full](../notebooks/{notebook}.ipynb)", ""]
    if rows:
        lines += [markdown_table(HEADS, rows, NUMBERS), "", folded, "", *below, "", "</details>", ""]
    return "\n".join([*lines, *_without_verdict(judged[without], tested)]).rstrip()


def _without_verdict(lines: pd.DataFrame, tested: pd.DataFrame) -> list[str]:
    """Name the claims that have no verdict, and why; of a claim that has one the metrics that have none."""
    have = set(zip(tested["id"], tested["metric"], strict=True))
    silent = [of not in have for of in zip(lines["id"], lines["metric"], strict=True)]
    lines = lines[pd.Series(silent, lines.index, dtype=bool)]
    said = []
    for (number, claim), group in lines.groupby(["id", "claim"], sort=False):
        of = f" ({', '.join(group['metric'].unique())})" if number in set(tested["id"]) else ""
        verdict, why = ("; ".join(group[column].unique()) for column in ("verdict", "why"))
        said.append(f"- {number}{of}: {claim}. {verdict.capitalize()}: {why}")
    return said


def stacked(texts: Collection[str]) -> str:
    """Put texts below each other in one cell, level with those of the cells beside it; nothing where all are empty."""
    return "<br>".join(text.replace(" ", NO_BREAK) or EMPTY for text in texts) if any(texts) else ""


def named(number: str, claim: str) -> str:
    """Return a claim for the first column, broken into lines: beside cells that do not wrap it would be a word wide."""
    return stacked(textwrap.wrap(f"{number}: {claim}", WIDTH))


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> str:
    """Return a table in Markdown; the columns named in `right` are set to the right."""
    rule = ["--:" if head in right else "---" for head in heads]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _apart(line: pd.Series) -> str:
    """Return as text the effect in each category, and what it would be without one that the verdict hangs on."""
    leans = f"{'depends' if line['verdict'] == verdicts.DEPENDS else 'rests'} on {line['rests_on']}"
    return "; ".join(filter(None, [claim_tables.each_category(line), leans if line["rests_on"] else ""]))


def _verdict(line: pd.Series) -> str:
    """Return a verdict in brief: what it rests on is named, the effect without it stands in the list below."""
    on = re.sub(r" \(without[^()]*\)", "", line["rests_on"])
    if line["verdict"] == verdicts.DEPENDS:
        return f"depends on {on}"
    more = f" (rests on {on})" if on else f" ({line['why']})" if line["held_back"] else ""
    return f"{line['verdict']}{HOLDS if line['holds'] else ''}{more}"
