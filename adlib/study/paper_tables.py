"""The tables of the papers: as printed, and number by number beside our rows."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import pandas as pd

from adlib import results, speed
from adlib.datasets import PUBLISHED, kind
from adlib.methods import METHODS
from adlib.study.intervals import ENOUGH_SEEDS
from adlib.study.memories import memory_numbers
from adlib.study.paper import (
    ALL_OF_DTD,
    FOLDER,
    PRINTED_CATEGORIES,
    PRINTED_DATASETS,
    PRINTED_MEMORY,
    PRINTED_METRICS,
    aliases,
    departures,
    paper,
)
from adlib.study.peers import own_backbone, peers
from adlib.study.variants import VARIANTS, select

OURS = ["ours", "seeds", "difference", "conditions", "runs"]
# Printed times of one image, from ours in ms.
TIMES: dict[str, Callable[[float], float]] = {
    "fps": lambda ms: 1000 / ms,
    "latency_ms": lambda ms: ms,
    "infer_time_s": lambda ms: ms / 1000,
}
NOT_BUILT = "not one of the methods built here"
WHERE = " -r out_dir results/runs"  # where the notebooks read their rows
COUNTED = "counted: 2^20 numbers in the memories; printed as MB, of which these are four times as many in fp32"
TEACHERS = ("random", "bundled", "imagenet")  # from the least to the most like the papers'
# The kinds of category that a printed mean is over.
MEANS = {"mean": ("texture", "object"), "mean_textures": ("texture",), "mean_objects": ("object",)}


class Run(NamedTuple):
    """What would fill a number, or a part of a mean, with one seed: a run under the papers' conditions."""

    method: str
    overrides: str  # JSON
    dataset: str
    category: str


def of(source: str) -> list[str]:
    """Name the tables of a paper, in their order."""
    numbers = paper()
    return list(numbers.loc[numbers["source"] == source, "table"].unique())


def printed(source: str, table: str) -> pd.DataFrame:
    """Show a paper's table as it is printed: a line a category and metric, a column a method, the printed texts.

    Raises ValueError for a table that no file holds.
    """
    part = _of(source, table)
    whole = part.set_index(["category", "metric", "method"])["printed"].unstack("method")
    lines = pd.MultiIndex.from_frame(part[["category", "metric"]].drop_duplicates())
    return whole.loc[lines, part["method"].unique()].fillna("")


def reproduced(rows: pd.DataFrame, source: str, table: str, timings: str | Path = speed.RESULTS) -> pd.DataFrame:
    """Set a paper's whole table, number by number in its order, beside what our rows say.

    Columns: category, method (the printed name), metric, printed, ours (mean ± deviation over seeds, in the printed
    unit), seeds, difference (ours less the printed; NaN for other categories or another unit), conditions (or why there
    is no number of ours) and runs (a tuple of `Run`, which would fill it with one seed: of a mean several, () where
    there is nothing to fill).
    Rows under the papers' conditions come first; all others of a table are of one teacher and scale, with the fewest
    overrides, recipe paper before code, fp32 before bf16. A mean over fewer categories than the printed one is over
    those that all methods of the table have, says over how many, and has no difference. Of a time ours is the median of
    `turns.csv` in the folder `timings`, for the paper's network; where other libraries' methods stand in the table, of
    `peers.csv`, in which all took turns. The size of a memory is counted.

    Raises ValueError for a table that no file holds.
    """
    part = _of(source, table)
    named = aliases()
    names = named[(named["source"] == source) & (named["table"] == table)].set_index("paper_method")["method"]
    shown = part[["category", "method", "metric", "printed"]].reset_index(drop=True)
    lines = [line | {"name": names.get(line["method"])} for line in part.to_dict("records")]
    times = _timings(timings, [line["name"] for line in lines if line["metric"] in TIMES])
    beside = _Beside(rows, lines)
    ours = [_ours(beside, line, times) for line in lines]
    return pd.concat([shown, pd.DataFrame(ours, columns=OURS)], axis=1)


def side_by_side(beside: pd.DataFrame) -> pd.DataFrame:
    """Lay `reproduced` out as the paper does, of the methods built here: a line a category and metric, texts.

    For each method its printed number, ours (how many seeds) and, where a method has any, the difference; '-' for none.
    With ours stands a letter, by which `why` has its conditions, or why there is none.
    """
    marks = _marks(beside)
    built = beside[beside["conditions"] != NOT_BUILT]
    ours = [
        f"{text or '-'}{f' ({seeds})' if seeds else ''} {marks[conditions]}"
        for text, seeds, conditions in zip(built["ours"], built["seeds"], built["conditions"], strict=True)
    ]
    difference = ["-" if math.isnan(gap) else f"{gap:+g}" for gap in built["difference"]]
    shown = built.assign(ours=ours, difference=difference)
    values = ["printed", "ours", "difference"]
    differs = set(shown.loc[shown["difference"] != "-", "method"])
    whole = shown.pivot(index=["category", "metric"], columns="method", values=values).fillna("")
    lines = pd.MultiIndex.from_frame(built[["category", "metric"]].drop_duplicates())
    methods = built["method"].unique()
    columns = [(name, value) for name in methods for value in values if value != "difference" or name in differs]
    return whole.swaplevel(axis=1).loc[lines, columns].rename_axis(columns=["", ""])


def laid_out(
    rows: pd.DataFrame, source: str, names: Iterable[str], timings: str | Path = speed.RESULTS
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give what a reader wants of a paper's tables: headings in Markdown, each with a table.

    Of each printed table the methods built here beside our rows; the whole as printed, where that has more; and the
    letters. Rows that are comparable in a table are of short trainings; what there is of whole ones comes after it.
    """
    for name in names:
        beside = reproduced(rows, source, name, timings=timings)
        whole, sides = printed(source, name), side_by_side(beside)
        yield f"**{name}**, the methods built here", sides
        if set(whole.columns) - set(sides.columns.get_level_values(0)):
            yield f"**{name}**, as printed", whole
        yield f"**{name}**, the letters: conditions of ours, or why there is none", why(beside)
        longest = _of_scores(reproduced(rows[rows["scale"] == "full"], source, name, timings=timings))
        if len(longest) and set(longest["conditions"]) - set(beside["conditions"]):
            yield f"**{name}**, ours trained as long as each source says", side_by_side(longest)
            yield f"**{name}**, the letters of these", why(longest)


def _of_scores(beside: pd.DataFrame) -> pd.DataFrame:
    """Take of `reproduced` the scores of ours, without times and sizes."""
    return beside[(beside["ours"] != "") & beside["metric"].isin(list(PRINTED_METRICS))]


def why(beside: pd.DataFrame) -> pd.DataFrame:
    """Count the numbers of `reproduced` by the conditions of ours, or by why there is none, with their letters."""
    marks = _marks(beside)
    named = beside["conditions"].map(lambda reason: f"{marks[reason]}: {reason}" if reason in marks else reason)
    counts = beside.groupby(named, sort=False).size().rename("numbers")
    return counts.to_frame().rename_axis("conditions of ours, or why there is none")


def to_fill(beside: pd.DataFrame) -> list[str]:
    """List the shell lines that would fill what is missing in `reproduced`, each run once.

    What is a part of another number's runs needs no line of its own. Of a table with times there are the benchmarks, on
    a GPU as the papers' are, into files beside the committed ones.
    """
    wanted = {runs for runs in beside["runs"] if runs}
    timed = set(beside.loc[beside["metric"].isin(list(TIMES)), "method"])
    lines = [command(runs) for runs in wanted if not any(set(runs) < set(other) for other in wanted)]
    measure = "python benchmarks/{0}.py --device cuda --out build/speed/{0}.csv"
    return sorted(lines) + [measure.format(name) for name in ("turns", "peers") if timed]


def command(runs: Sequence[Run]) -> str:
    """Return the shell line of runs that differ in their category at most, with three seeds: loops."""
    method, overrides, dataset, _ = runs[0]
    run = {"method": method, "recipe": "paper", "dataset": dataset, "seed": "SEED", "scale": "full"}
    run |= {"teacher": "imagenet", "overrides": json.loads(overrides), "category": "CATEGORY"}
    one = results.command(run, "OUT-CATEGORY-SEED.ipynb").replace("CATEGORY", "$c").replace("SEED", "$s")
    names, seeds = " ".join(run.category for run in runs), " ".join(map(str, range(ENOUGH_SEEDS)))
    return f"for c in {names}; do for s in {seeds}; do {one}{WHERE}; done; done"


def _marks(beside: pd.DataFrame) -> dict[str, str]:
    """Give all conditions of ours, then the reasons why there is none, a letter, of methods that are built here."""
    with_ours_first = beside.sort_values("ours", key=lambda texts: texts == "", kind="stable")["conditions"].unique()
    return letters(text for text in with_ours_first if text != NOT_BUILT)


def letters(texts: Iterable[str]) -> dict[str, str]:
    """Give each of different texts a letter, in their order: a to z, then aa to zz."""
    return {text: ascii_lowercase[i % 26] * (i // 26 + 1) for i, text in enumerate(texts)}


def _of(source: str, table: str) -> pd.DataFrame:
    numbers = paper()
    tables = numbers.loc[numbers["source"] == source, "table"].unique()
    if table not in tables:
        raise ValueError(f"no {table!r} of {source!r} in {FOLDER}; there are: {', '.join(tables) or 'none'}")
    return numbers[(numbers["source"] == source) & (numbers["table"] == table)]


class _Beside:
    """The rows that stand beside the numbers of one table: comparable with each other where they are not the papers'.

    Those under the papers' conditions count for themselves. All others are of one teacher and scale, that of which most
    numbers of the table have rows (of equals the nearest to the papers'), and means are over the categories that all
    methods of the table have: else a row of it would compare schedules, or categories, and not methods.
    """

    def __init__(self, rows: pd.DataFrame, lines: Sequence[Mapping[Any, Any]]) -> None:
        self.rows = rows
        measured = [line for line in lines if line["name"] is not None and line["metric"] in PRINTED_METRICS]
        self.of_name = {name: select(rows, name) for name in {line["name"] for line in measured}}
        numbers = {(line["name"], *_place(line), PRINTED_METRICS[line["metric"]][0]) for line in measured}
        found = {number: self._rows(*number) for number in numbers}
        counts = Counter(
            pair for part in found.values() for pair in {*zip(part["teacher"], part["scale"], strict=True)}
        )
        self.setting = max(counts, key=lambda pair: (counts[pair], *_likeness(*pair)), default=("", ""))
        self.shared: dict[tuple[str, str, str], set[str]] = {}
        for name, dataset, category, metric in sorted(numbers):
            part = self._alike(found[name, dataset, category, metric])
            if category in MEANS and len(part):
                self._share((dataset, category, metric), set(_nearest(part)[1]["category"]))

    def _share(self, mean: tuple[str, str, str], has: set[str]) -> None:
        """Keep of the categories of a mean those that one more method has."""
        before = self.shared.get(mean)
        if before is None:
            self.shared[mean] = has
        elif before & has:  # what shares none with the others is not compared
            self.shared[mean] = before & has

    def find(self, name: str, dataset: str, category: str, metric: str) -> pd.DataFrame:
        """The rows for one number: under the papers' conditions, else those that are comparable in this table."""
        found = self._rows(name, dataset, category, metric)
        papers = (found["teacher"] == "imagenet") & (found["scale"] == "full")
        if papers.any():
            return found[papers]
        found = self._alike(found)
        shared = self.shared.get((dataset, category, metric))
        return found[found["category"].isin(shared)] if shared else found

    def otherwise(self, name: str, dataset: str, category: str, metric: str) -> str:
        """Name the teachers and scales that there are rows of for a number; nothing where there is none."""
        found = self._rows(name, dataset, category, metric)
        pairs = sorted({*zip(found["teacher"], found["scale"], strict=True)})
        return " and ".join(f"teacher {teacher}, {scale} scale" for teacher, scale in pairs)

    def _rows(self, name: str, dataset: str, category: str, metric: str) -> pd.DataFrame:
        found = self.of_name[name]
        if metric not in found:  # the authors' own variant
            found = found.assign(**{metric: [legacy.get(metric, math.nan) for legacy in found["legacy"]]})
        return _belonging(found[found[metric].notna()], dataset, category)

    def _alike(self, rows: pd.DataFrame) -> pd.DataFrame:
        teacher, scale = self.setting
        return rows[(rows["teacher"] == teacher) & (rows["scale"] == scale)]


def _place(line: Mapping[Any, Any]) -> tuple[str, str]:
    """Our names of a printed number's dataset and category."""
    dataset = line["dataset"]
    return PRINTED_DATASETS[dataset], PRINTED_CATEGORIES.get((dataset, line["category"]), line["category"])


def _averaged(dataset: str, category: str) -> tuple[str, ...]:
    """Name the categories that a printed number is over: of a mean several, else the one."""
    if category not in MEANS:
        return (category,)
    return tuple(name for name in PUBLISHED[dataset] if kind(dataset, name) in MEANS[category])


def _ours(beside: _Beside, line: Mapping[Any, Any], times: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What our rows say of one printed number: `OURS`."""
    name = line["name"]
    if name is None:
        return _entry(NOT_BUILT)
    if line["metric"] in TIMES:
        entry = _timed(name, TIMES[line["metric"]], times)
        gap = float(entry["ours"]) - line["value"] if entry["ours"] else math.nan
        return entry | {"difference": float(f"{gap:.3g}")}
    if line["metric"] == PRINTED_MEMORY:
        return _entry(COUNTED, ours=f"{memory_numbers(name) / 2**20:.2f}")  # in another unit than the printed
    metric, unit = PRINTED_METRICS[line["metric"]]
    dataset, category = _place(line)
    wanted = len(_averaged(dataset, category))
    runs = _runs(name, dataset, category)
    found = beside.find(name, dataset, category, metric)
    if found.empty and (otherwise := beside.otherwise(name, dataset, category, metric)):
        return _entry(f"not comparable with the other numbers here: run with {otherwise} alone", runs=runs)
    if found.empty:
        where = f"this category of {dataset}" if wanted == 1 else f"the {wanted} categories of {dataset}"
        others = "other methods were" if len(_belonging(beside.rows, dataset, category)) else "no method was"
        return _entry(f"not run here: {others} run on {where}", runs=runs)
    setting, group = _nearest(found)
    teacher, scale, rest, recipe, precision, textures = setting
    differs = departures(teacher, scale, recipe, "" if rest == "{}" else rest, precision, textures)
    differs = ", ".join(filter(None, [differs, *_other_networks(group, rest)]))
    # A mean is one seed's, over all the categories that it is said to be over.
    of_seed = {seed: frozenset(part["category"]) for seed, part in group.groupby("seed")}
    counts = Counter(of_seed.values())
    over = max(counts, key=lambda names: (len(names), counts[names]))
    have = len(over)
    group = group[group["seed"].map(of_seed) == over]
    by_seed = unit * group.groupby("seed")[metric].mean().astype(float)
    digits = 1 if unit == 100 else 3
    deviation = f" ± {by_seed.std(ddof=1):.{digits}f}" if len(by_seed) > 1 else ""
    share, conditions = "", [differs or "as printed"]
    if have < wanted:
        share, conditions = (
            f" over {have} of {wanted}",
            [f"over {', '.join(sorted(over))} alone", *([differs] if differs else [])],
        )
    whole = have == wanted
    return {
        "ours": f"{by_seed.mean():.{digits}f}{deviation}{share}",
        "seeds": len(by_seed),
        "difference": round(float(by_seed.mean()) - float(line["value"]), digits) if whole else math.nan,
        "conditions": "; ".join(conditions),
        "runs": () if whole and not differs else runs,
    }


def _other_networks(group: pd.DataFrame, rest: str) -> list[str]:
    """Say where networks are not the method's own: of a teacher that has no such ones; `rest` is said already."""
    config, own = group["config"].iloc[0], METHODS[group["method"].iloc[0]].Config()
    return [
        f"{field} {config[field]} in place of {getattr(own, field)}"
        for field in ("backbone", "student", "deepest_target")
        if field in config and config[field] != getattr(own, field) and field not in json.loads(rest)
    ]


def _belonging(rows: pd.DataFrame, dataset: str, category: str) -> pd.DataFrame:
    """Take the rows on a category, or of a mean those that it is over."""
    return rows[(rows["dataset"] == dataset) & rows["category"].isin(_averaged(dataset, category))]


def _timings(folder: str | Path, names: Sequence[str | None]) -> dict[str, pd.DataFrame]:
    """The times of one image by topic: those that took turns with others' in `peers`, where others are wanted.

    Of ours the fast path by the recipe paper, of all their own network (`peers.own_backbone`).
    """
    beside = peers(folder)
    ours = beside["environment"] == "adlib"
    fast = beside["variant"] == ours.map({True: "optimised", False: "model"})
    own = beside["backbone"] == beside["method"].map(own_backbone)
    beside = beside[fast & own & beside["recipe"].isin(["paper", ""])]
    others_wanted = beside.loc[beside["environment"] != "adlib", "method"].isin(names).any()
    return {"turns": speed.read("turns", folder), "peers": beside if others_wanted else beside.iloc[:0]}


def _timed(name: str, convert: Callable[[float], float], times: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What we measured of one image, converted from ms to the printed unit."""
    turns, beside = times["turns"], times["peers"]
    if turns.empty:
        return _entry("not measured here: python benchmarks/turns.py")
    found = beside[beside["method"] == name]
    if len(found):
        line = found.iloc[0]
        made_of = f"{line['environment']} {line['version']}, {line['backbone']}"
        variant, topic = line["variant"], "peers"
    else:
        found = turns[(turns["method"] == name) & (turns["recipe"] == "paper") & (turns["batch"] == 1)]
        found = found[found["backbone"] == found["method"].map(own_backbone)]
        if found.empty:
            return _entry("not among the methods of turns.csv and peers.csv")
        line = found.iloc[0]
        made_of, variant, topic = line["backbone"], "optimised", "turns"
    machine = f"{line['precision']}, {line['device']}, {line['threads']} threads"
    ours = speed.three_digits(convert(float(line["p50_ms"])))
    return _entry(f"{made_of}, {machine}, {variant}, {topic}.csv", ours=ours)


def _nearest(found: pd.DataFrame) -> tuple[tuple[Any, ...], pd.DataFrame]:
    """Take the rows of the setting nearest to the papers', with fewest overrides.

    Of equals: in fp32, with all of DTD, of most categories and seeds.
    """

    def nearness(of: tuple[Any, pd.DataFrame]) -> tuple[Any, ...]:
        (teacher, scale, rest, recipe, precision, textures), group = of
        likeness = (*_likeness(teacher, scale), -len(json.loads(rest)), recipe == "paper")
        seen = (group["category"].nunique(), group["seed"].nunique())
        return (*likeness, precision == "fp32", textures in ALL_OF_DTD, *seen)

    setting = ["teacher", "scale", "rest", "recipe", "precision", "textures"]
    return max(found.groupby(setting, sort=True), key=nearness)


def _likeness(teacher: str, scale: str) -> tuple[int, bool]:
    """Order settings by how like the papers' they are."""
    return TEACHERS.index(teacher) if teacher in TEACHERS else -1, scale == "full"


def _entry(conditions: str, ours: str = "", runs: tuple[Run, ...] = ()) -> dict[str, Any]:
    """Make `OURS` of a number that is no mean over seeds, or of one that is missing, which `runs` would fill."""
    return {"ours": ours, "seeds": 0, "difference": math.nan, "conditions": conditions, "runs": runs}


def _runs(name: str, dataset: str, category: str) -> tuple[Run, ...]:
    """Name the runs that would fill a number with one seed: one, or of a mean one a category."""
    method, overrides = VARIANTS.get(name, (name, {}))
    return tuple(Run(method, json.dumps(overrides), dataset, one) for one in _averaged(dataset, category))
