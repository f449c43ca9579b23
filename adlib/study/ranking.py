"""Numbers for choosing a method: which rows can be compared, accuracy beside cost, mean ranks and tests of them.

`guide` words what follows from them.
"""

import json
import math
from collections import Counter

import pandas as pd
from scipy.stats import friedmanchisquare, spearmanr

from adlib import plots, results
from adlib.study.filters import kinds, origins, places, real, with_values
from adlib.study.intervals import critical_difference

KINDS = ("texture", "object", "part")
MEASURED = ["image_auroc", "aupro", "seconds_train", "peak_memory_mib"]
CHANCE = 50  # %, image AUROC


def conditions(rows: pd.DataFrame) -> pd.DataFrame:
    """Count what rows there are of each teacher, scale and origin of images ('real', 'generated'); most rows first."""
    rows = rows.assign(images=origins(rows), category=places(rows))
    groups = rows.groupby(["teacher", "scale", "images"])
    counts = groups.agg(
        rows=("method", "size"),
        methods=("method", "nunique"),
        categories=("category", "nunique"),
        seeds=("seed", "nunique"),
    )
    return counts.sort_values("rows", ascending=False).reset_index()


def chosen(rows: pd.DataFrame, **asked: str) -> tuple[str, str, str]:
    """Return the teacher, scale and origin of images of which there are most rows, where one is asked for with it.

    Raises ValueError, listing what there is, where no row has what is asked for.
    """
    found = conditions(rows)
    fitting = with_values(found, {name: value for name, value in asked.items() if value})
    if fitting.empty:
        there = "; ".join(", ".join(line) for line in found[["teacher", "scale", "images"]].to_numpy())
        wanted = ", ".join(f"{name} {value!r}" for name, value in asked.items() if value)
        raise ValueError(
            f"no row has {wanted or 'any teacher'}; there are (teacher, scale, images): {there or 'no rows at all'}"
        )
    teacher, scale, images = fitting[["teacher", "scale", "images"]].iloc[0]
    return teacher, scale, images


def costs_and_merits(rows: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Set accuracy beside cost, a line a method and recipe, for choosing one.

    `rows` are of one teacher and scale; `timings` is what `benchmarks/turns.py` writes. Accuracy is the mean image
    AUROC, in percent, over the categories that all lines share, and over those of each kind among them ('texture',
    'object', 'part'); lines are left out where the others share so many more categories that more can be compared
    without them. `categories` says how many these are. `spread` is its standard deviation over the seeds that have all
    of them, NaN for one. `below_chance` counts the categories in which it is below 50 %: there it is no measure of
    skill, and yet part of the mean. Each line is of one setting: the method as it is, or where it was not run so, the
    `overrides` of which there are most rows. `ms` is the latency of one image by the fast path, with the network that
    was scored; NaN where it was not measured, or other overrides than of the network change what is computed.
    """
    rows = rows.assign(
        place=places(rows),
        kind=kinds(rows),
        backbone=[config["backbone"] for config in rows["config"]],
        setting=[json.dumps(overrides, sort_keys=True) for overrides in rows["overrides"]],
    )
    lines = rows.groupby(["method", "recipe"], sort=False)["setting"].transform(_usual)
    rows = comparable(rows[rows["setting"] == lines])
    shared = set(rows["place"])
    present = [kind for kind in KINDS if (rows["kind"] == kind).any()]
    table = []
    for _, part in rows.groupby(["method", "recipe"], sort=False):
        method, recipe, overrides = part[["method", "recipe", "overrides"]].iloc[0]
        backbone = part["backbone"].iloc[0] if part["backbone"].nunique() == 1 else None
        averaged = part.groupby(["place", "kind"])[MEASURED].mean()
        whole = part.groupby("seed").filter(lambda seed: seed["place"].nunique() == len(shared))
        table.append(
            {
                "method": method,
                "recipe": recipe,
                "overrides": json.dumps(overrides, sort_keys=True) if overrides else "",
                "backbone": backbone,
                "image_auroc": 100 * averaged["image_auroc"].mean(),
                "spread": 100 * whole.groupby("seed")["image_auroc"].mean().std(),
                **{kind: 100 * averaged["image_auroc"][averaged.index.isin([kind], "kind")].mean() for kind in present},
                "aupro": 100 * averaged["aupro"].mean(),
                "ms": _latency(timings, method, recipe, backbone if overrides.keys() <= {"backbone"} else None),
                "train_s": averaged["seconds_train"].mean(),
                "peak_mib": averaged["peak_memory_mib"].mean(),
                "categories": len(shared),
                "below_chance": int((100 * averaged["image_auroc"] < CHANCE).sum()),
                "seeds": part["seed"].nunique(),
                "device": " and ".join(sorted(part["device"].unique())),
            }
        )
    found = pd.DataFrame(table)
    return found if found.empty else found.sort_values("image_auroc", ascending=False, ignore_index=True)


def _usual(settings: pd.Series) -> str:
    """Choose the method as it is, else the overrides of which there are most rows; among equals the fewest."""
    counts = Counter(settings)
    return min(counts, key=lambda setting: (setting != "{}", -counts[setting], len(setting), setting))


def _latency(timings: pd.DataFrame, method: str, recipe: str, backbone: str | None) -> float:
    if timings.empty:
        return math.nan
    wanted = {"method": method, "recipe": recipe, "backbone": backbone, "batch": 1}
    found = with_values(timings, wanted)
    return float(found["p50_ms"].iloc[0]) if len(found) else math.nan


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of categories that all lines (a line: a method and recipe) share, and of lines that have them all.

    Lines are left out where the others share so many more categories that more can be compared without them: lines
    times categories is the most.
    """
    place = places(rows)
    line = rows["method"] + " " + rows["recipe"]
    shared = _shared([set(part) for _, part in place.groupby(line, sort=False)])
    whole = [name for name, part in place.groupby(line) if shared <= set(part)]
    return rows[place.isin(shared) & line.isin(whole)]


def _shared(of_lines: list[set[str]]) -> set[str]:
    """Choose, of what some lines have in common, the categories for which lines times categories is the most.

    The lines are those that have all of them, at least two. Of equal choices that of more lines; of a single line, all
    that it has.
    """
    candidates: list[set[str]] = []
    for own in of_lines:  # with each line, its own set and what it shares with every candidate before
        candidates += [new for new in [own, *(own & other for other in candidates)] if new and new not in candidates]
    best, most = set.intersection(*of_lines) if of_lines else set(), (0, 0)
    for candidate in candidates:
        lines = sum(candidate <= other for other in of_lines)
        if lines >= 2 and (lines * len(candidate), lines) > most:  # one line is no comparison
            best, most = candidate, (lines * len(candidate), lines)
    return best


def by_kind(rows: pd.DataFrame, timings: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Set accuracy beside cost for each kind of images alone: what was run on one kind only is compared there."""
    parts = {kind: rows[kinds(rows) == kind] for kind in KINDS}
    return {kind: costs_and_merits(part, timings) for kind, part in parts.items() if len(part)}


def fastest_to_most_accurate(table: pd.DataFrame) -> pd.DataFrame:
    """Take the lines of `costs_and_merits` that none beats in time and accuracy (`plots.on_front`), fastest first."""
    return table[plots.on_front(table["ms"], table["image_auroc"])].sort_values("ms")


def mean_ranks(rows: pd.DataFrame, metric: str) -> tuple[pd.Series, float]:
    """Rank the methods on each category that all compared ones have, 1 is best, and average, best first.

    Returns the mean ranks, and by how much two of them have to differ (`intervals.critical_difference`). A category in
    which the metric of any is not known (pixel metrics without masks) ranks nothing and does not count.
    """
    means = category_means(comparable(rows), metric).dropna()
    ranks = means.rank(axis=1, ascending=False).mean().sort_values()
    return ranks, critical_difference(len(ranks), len(means))


def category_means(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Average over seeds: a line a category, a column a method, as fractions."""
    return rows.groupby([places(rows), "method"])[metric].mean().unstack()


def friedman(rows: pd.DataFrame, metric: str) -> float:
    """Compute the probability of ranks that differ this much without any difference (Friedman's test).

    Over the categories that all compared methods have, and whose metric is known of all; NaN for fewer than three
    methods or two categories.
    """
    means = category_means(comparable(rows), metric).dropna()
    if means.shape[1] < 3 or len(means) < 2:
        return math.nan
    return float(friedmanchisquare(*means.to_numpy().T).pvalue)


def leaders_without_one(means: pd.DataFrame) -> dict[str, list[str]]:
    """Name the methods that have the highest mean without a single category, each with the categories.

    `means` as of `category_means`; the method that has it with all categories is left out.
    """
    leaders: dict[str, list[str]] = {}
    for place in means.index:
        leaders.setdefault(str(means.drop(place).mean().idxmax()), []).append(str(place))
    leaders.pop(str(means.mean().idxmax()), None)
    return leaders


def rank_correlation(some: pd.DataFrame, others: pd.DataFrame, metric: str) -> tuple[float, float, int]:
    """Correlate the mean ranks of the methods that both have (Spearman): correlation, its p, how many methods.

    Ranked among these alone, each over the categories that it has of all of them. NaN for both where they are fewer
    than three.
    """
    names = set(comparable(some)["method"]) & set(comparable(others)["method"])
    if len(names) < 3:
        return math.nan, math.nan, len(names)
    ranks = [mean_ranks(rows[rows["method"].isin(names)], metric)[0] for rows in (some, others)]
    both = pd.concat(ranks, axis=1).dropna()
    correlation, chance = spearmanr(both.iloc[:, 0], both.iloc[:, 1])
    return float(correlation), float(chance), len(both)


def by_recipe(rows: pd.DataFrame) -> pd.DataFrame:
    """Average image AUROC, in percent, over the real categories that a method was run on by both recipes.

    A line a method, columns 'paper' and 'code'; no lines without methods that were run by both.
    """
    means = 100 * real(rows).groupby(["method", "dataset", "category", "recipe"])["image_auroc"].mean().unstack()
    return means.reindex(columns=["paper", "code"]).dropna().groupby("method").mean()


def by_scale(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Take the rows of real images with the bundled teacher, nothing overridden, of the scales 'small' and 'full'."""
    return {scale: results.plain(real(rows), scale=scale, teacher="bundled") for scale in ("small", "full")}


def mean_image_auroc(rows: pd.DataFrame) -> pd.Series:
    """Average image AUROC, in percent, over seeds: a line a method, recipe, dataset and category."""
    return 100 * rows.groupby(["method", "recipe", "dataset", "category"])["image_auroc"].mean()
