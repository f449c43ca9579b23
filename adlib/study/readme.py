"""What the README says of the rows: the claims, which method to take, how fast it is, and scores by category."""

from collections.abc import Mapping

import pandas as pd

from adlib import results, speed
from adlib.speed import accuracy, goals
from adlib.study import guide, tables
from adlib.study.claims import tables as claim_tables
from adlib.study.claims import verdicts
from adlib.study.claims_page import HOLDS, markdown_table, named, on_scores, stacked
from adlib.study.filters import real
from adlib.study.paper import PAPERS

HEADS = ["claim", "metric", "paper", "ours", "difference", "categories", "verdict"]
RESTS = "\\*"  # beside a claim whose verdict rests on single categories; for Markdown
# What the scores are of, the most like the papers' first; a setting without rows has no table.
SETTINGS = [
    {"recipe": "paper", "scale": scale, "teacher": teacher}
    for scale, teacher in (("full", "imagenet"), ("full", "bundled"), ("small", "bundled"))
]
ELSEWHERE = "Recipe `code`, generated images, other teachers and metrics: [the summary](notebooks/summary.ipynb)."


def text(rows: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Return the README's tables in Markdown: the claims beside what our rows say, then each method by category."""
    parts = {"Which method, and how fast": in_short(rows), "Image AUROC by category": scores(rows)}
    return "\n\n".join([claims(judged), *(f"### {head}\n\n{part}" for head, part in parts.items())])


def claims(judged: pd.DataFrame) -> str:
    """Return in Markdown how the claims fare: how many how, and for each paper a table with a line a claim."""
    counts = claim_tables.by_claim(judged)["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {name}" for name in verdicts.VERDICTS if name in counts)
    parts = [f"Of {judged['id'].nunique()} claims: {said}.{_exploratory(judged)}"]
    judged = judged.assign(holds=claim_tables.stays(judged))
    for source, group in judged.groupby("source", sort=False):
        name, notebook = PAPERS[f"seed{source}"]
        parts += [f"### {name}: [in full](notebooks/{notebook}.ipynb)", _claims_of(group)]
    return "\n\n".join(parts)


def _exploratory(judged: pd.DataFrame) -> str:
    """Say of how many lines on scores the rule was there before the rows; nothing without such lines."""
    lines = on_scores(judged)
    if lines.empty:
        return ""
    before = int((lines["rule"] == verdicts.BEFORE).sum())
    but = f"but for {before} of {len(lines)} lines ([which](docs/claims.md)) " if before else ""
    return (
        f" Verdicts on scores are exploratory: {but}the rules last changed when their rows were there "
        "([how](docs/rule_changes.md))."
    )


def _claims_of(judged: pd.DataFrame) -> str:
    """Return one paper's claims as a table in Markdown: of each its verdict and the effects that stand for it.

    A metric that has no verdict has that in place of an effect, where the claim has one by other metrics.
    """
    leans = claim_tables.on_single_categories(judged)
    effects: dict[str, list[tuple[str, ...]]] = {}
    for number, lines in claim_tables.main_lines(judged):
        effects.setdefault(number, []).append(_effect(lines))
    tested = judged[claim_tables.counting(judged)].groupby("id")["metric"].unique()
    rows = []
    for number, claim, verdict, _ in claim_tables.by_claim(judged).itertuples(index=False):
        others = judged[(judged["id"] == number) & ~judged["metric"].isin(tested.get(number, []))]
        each = effects.get(number, []) + [
            (line.metric, line.printed.replace("->", "→"), f"({line.verdict})" if number in effects else "", "", "")
            for line in others.drop_duplicates("metric").itertuples()
        ]
        cells = [stacked(texts) for texts in zip(*each, strict=True)]
        rows.append([named(number, claim), *cells, verdict + (RESTS if number in leans else "")])
    return markdown_table(HEADS, rows, {"paper", "ours", "difference", "categories"})


def _effect(lines: pd.DataFrame) -> tuple[str, ...]:
    """Return of one of `claim_tables.main_lines` the texts of the columns from `metric` to `categories`."""
    first = lines.iloc[0]
    categories = str(first["categories"] or "")
    if claim_tables.several_times(lines):
        printed, gaps = claim_tables.effect_texts(first)[0], lines["effect"] - first["stated"]
        difference = f"{gaps.min():+.2f}x to {gaps.max():+.2f}x" if printed else ""
        ours = claim_tables.range_of_times(lines) + claim_tables.own_verdict(lines)
        return f"{first['metric']}{claim_tables.set_beside(first)}", printed, ours, difference, categories
    printed, ours, difference = claim_tables.effect_texts(first)
    beside = "; ".join(filter(None, [claim_tables.with_skill(first), first["steps"]]))
    ours += (HOLDS if first["holds"] else "") + (f" ({beside})" if beside else "")
    ours += claim_tables.own_verdict(lines)
    return f"{first['metric']}{claim_tables.set_beside(first)}", printed, ours, difference, categories


def in_short(rows: pd.DataFrame) -> str:
    """Return in Markdown which method to take, and how fast it is: a list.

    And how much of an order of methods a short training can tell, where a method was also trained to the end.
    """
    return "\n".join(f"- {more}" for more in (_whole(rows), _best(rows), _fast(rows)) if more)


def _best(rows: pd.DataFrame) -> str:
    """Say which method leads under the README's own conditions, and how certain that is; nothing of one method."""
    setting = SETTINGS[-1]
    said = guide.standing(results.plain(rows, **setting), speed.read("turns"))
    of = ", ".join(f"{name} {value}" for name, value in setting.items())
    return f"**And after a short training?** ({of}) {' '.join(said[:2])}" if said else ""


def _whole(rows: pd.DataFrame) -> str:
    said = " ".join(filter(None, [guide.longer(rows), guide.part_way(rows)]))
    return f"**Which method?** {said} More: [which method](notebooks/which_method.ipynb)." if said else ""


def _fast(rows: pd.DataFrame) -> str:
    measured = {topic: speed.read(topic) for topic in {goal.topic for goal in goals.GOALS} - {"runs"}}
    reached = goals.in_short(goals.goals(measured | {"runs": goals.of_runs(rows)}))
    return f"**How fast?** {_trains(measured['training'])}{reached} [Which, and where](notebooks/speed.ipynb)."


def _trains(timings: pd.DataFrame) -> str:
    """Say how much faster training is than the authors' way; nothing without timings."""
    if timings.empty:
        return ""
    ours = timings[timings["variant"].isin(["ours", "ours, bf16"])]
    cost = accuracy.paired(speed.read("accuracy"), timings, speed.read("inference")).reset_index()
    cost = cost[(cost["variant"] == "bf16") & (cost["metric"] == "aupro")]
    lost = ", ".join(f"{of.case} {of.difference:+.1f} [{of.low:+.1f}, {of.high:+.1f}]" for of in cost.itertuples())
    said = [
        f"{part['speedup'].min():.1f} to {part['speedup'].max():.1f} times as fast in {precision}"
        for precision, part in ours.groupby("precision", sort=False)
    ]
    of = f"{ours['case'].nunique()} trainings; {' and '.join(ours['device'].unique())}"
    where = f"generated canvas, short schedules, {cost['seeds'].min()} seeds, 95 % interval"
    but = f" What bf16 changes, in points of AUPRO ({where}): {lost}." if lost else ""
    return f"Training, against the authors' way of it: {', '.join(said)} ({of}).{but} "


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
