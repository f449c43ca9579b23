"""Which method to take: accuracy beside cost, from our own rows, and what may be concluded from it."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from inspect import getdoc
from typing import Any

import pandas as pd
from scipy.stats import friedmanchisquare, spearmanr

from adlib import datasets, plots, results
from adlib.methods import METHODS
from adlib.study import tables
from adlib.study.intervals import critical_difference

KINDS = ("texture", "object")
MEASURED = ["image_auroc", "aupro", "seconds_train", "peak_memory_mib"]
SEEDS, CATEGORIES = 3, 5  # below these, of each kind of category, an advice says so
CHANCE = 50  # %, image AUROC
MUCH = 5  # points of image AUROC


def methods(rows: pd.DataFrame) -> pd.Series:
    """Say in a line what each method of the rows is."""
    return pd.Series(
        {name: str(getdoc(METHODS[name])).splitlines()[0] for name in METHODS if name in set(rows["method"])}
    )


def conditions(rows: pd.DataFrame) -> pd.DataFrame:
    """Count what rows there are of each teacher, scale and origin of images ('real', 'generated'); most rows first."""
    rows = rows.assign(images=rows["dataset"].map(datasets.origin), category=rows["dataset"] + "/" + rows["category"])
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
    fitting = found
    for name, value in asked.items():
        fitting = fitting[fitting[name] == value] if value else fitting
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

    `rows` are of one teacher and scale; `timings` is what `benchmarks/turns.py` writes. Accuracy is the mean
    image AUROC, in percent, over the categories that all lines share, by kind ('texture', 'object'), NaN where there is
    none; lines are left out where the others share so many more categories that more can be compared without them.
    `spread` is its standard deviation over the seeds that have all of them, NaN for one. `below_chance` counts the
    categories in which it is below 50 %: there it is no measure of skill, and yet part of the mean. Each line is of one
    setting: the method as it is, or where it was not run so, the `overrides` of which there are most rows. `ms` is the
    latency of one image by the fast path, with the network that was scored; NaN where it was not measured, or other
    overrides than of the network change what is computed.
    """
    rows = rows.assign(
        place=rows["dataset"] + "/" + rows["category"],
        kind=[datasets.kind(d, c) for d, c in zip(rows["dataset"], rows["category"], strict=True)],
        backbone=[config["backbone"] for config in rows["config"]],
        setting=[json.dumps(overrides, sort_keys=True) for overrides in rows["overrides"]],
    )
    lines = rows.groupby(["method", "recipe"], sort=False)["setting"].transform(_usual)
    rows = comparable(rows[rows["setting"] == lines])
    shared = set(rows["place"])
    table = []
    for _, part in rows.groupby(["method", "recipe"], sort=False):
        method, recipe, overrides = part[["method", "recipe", "overrides"]].iloc[0]
        backbone = part["backbone"].iloc[0] if part["backbone"].nunique() == 1 else None
        places = part.groupby(["place", "kind"])[MEASURED].mean()
        whole = part.groupby("seed").filter(lambda seed: seed["place"].nunique() == len(shared))
        table.append(
            {
                "method": method,
                "recipe": recipe,
                "overrides": json.dumps(overrides, sort_keys=True) if overrides else "",
                "backbone": backbone,
                "image_auroc": 100 * places["image_auroc"].mean(),
                "spread": 100 * whole.groupby("seed")["image_auroc"].mean().std(),
                **{kind: 100 * places["image_auroc"][places.index.isin([kind], "kind")].mean() for kind in KINDS},
                "aupro": 100 * places["aupro"].mean(),
                "ms": _latency(timings, method, recipe, backbone if overrides.keys() <= {"backbone"} else None),
                "train_s": places["seconds_train"].mean(),
                "peak_mib": places["peak_memory_mib"].mean(),
                **{f"{kind}s": int(places.index.isin([kind], "kind").sum()) for kind in KINDS},
                "below_chance": int((100 * places["image_auroc"] < CHANCE).sum()),
                "seeds": part["seed"].nunique(),
                "device": " and ".join(sorted(part["device"].unique())),
            }
        )
    found = pd.DataFrame(table)
    return found if found.empty else found.sort_values("image_auroc", ascending=False, ignore_index=True)


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of categories that all lines (a line: a method and recipe) share, and of lines that have them all.

    Lines are left out where the others share so many more categories that more can be compared without them: lines
    times categories is the most.
    """
    places = rows["dataset"] + "/" + rows["category"]
    line = rows["method"] + " " + rows["recipe"]
    shared = _shared([set(part) for _, part in places.groupby(line, sort=False)])
    whole = [name for name, part in places.groupby(line) if shared <= set(part)]
    return rows[places.isin(shared) & line.isin(whole)]


def mean_ranks(rows: pd.DataFrame, metric: str) -> tuple[pd.Series, float]:
    """Rank the methods on each category that all compared ones have, 1 is best, and average, best first.

    Returns the mean ranks, and by how much two of them have to differ (`intervals.critical_difference`).
    """
    means = _means(comparable(rows), metric)
    ranks = means.rank(axis=1, ascending=False).mean().sort_values()
    return ranks, critical_difference(len(ranks), len(means))


def _means(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Average over seeds: a line a category, a column a method."""
    return rows.groupby([rows["dataset"] + "/" + rows["category"], "method"])[metric].mean().unstack()


def standing(rows: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Say which method leads, how certain that is, where defects are shown best, what it costs: a sentence or two each.

    `rows` are of one setting, real images and generated ones; nothing where fewer than two methods can be compared.
    """
    origins = rows["dataset"].map(datasets.origin)
    real = comparable(rows[origins == "real"])
    if real["method"].nunique() < 2:
        return []
    means = 100 * _means(real, "image_auroc")
    averaged = means.mean().sort_values(ascending=False)
    best = str(averaged.index[0])
    ranks, apart = mean_ranks(real, "image_auroc")
    worse = [str(name) for name in ranks.index[ranks > ranks.iloc[0] + apart]]
    who = "and" if ranks.index[0] == best else f"{ranks.index[0]}"
    said = [
        f"Of {len(averaged)} methods on the {len(means)} real categories that all have, {best} has the highest mean "
        f"image AUROC, {averaged.iloc[0]:.1f}, {who} the best mean rank, {ranks.iloc[0]:.1f}."
        f"{_without_one(means)}",
        f"How certain: mean ranks must differ by more than {apart:.1f} for two methods to count as different "
        f"(Nemenyi); {ranks.index[0]} differs from {', '.join(worse) or 'no other method'}. "
        f"{_certain(real, 'image_auroc')}",
        _where(real),
    ]
    costs = costs_and_merits(real, timings).set_index("method")["ms"].dropna()
    if best in costs and len(costs) > 1:
        said.append(
            f"Cost: {best} takes {costs[best]:.0f} ms an image (batch 1, the fast path), "
            f"{costs[best] / costs.median():.1f} times the median of all; they take {costs.min():.0f} to "
            f"{costs.max():.0f} ms ({timed_on(timings)})."
        )
    return [*said, *filter(None, [_as_generated(real, rows[origins == "generated"])])]


def _without_one(means: pd.DataFrame) -> str:
    """Say without which single category (a line of `means`) another method would have the highest mean."""
    if len(means) < 2:
        return ""
    best = means.mean().idxmax()
    others = {place: means.drop(place).mean().idxmax() for place in means.index}
    turned = {name: [place for place, other in others.items() if other == name] for name in others.values()}
    turned.pop(best, None)
    if not turned:
        return f" Whichever category is left out, {best} has the highest mean."
    return "".join(f" Without {' or '.join(places)} {name} has it." for name, places in turned.items())


def _certain(real: pd.DataFrame, metric: str) -> str:
    """Count the pairs of methods that differ, and how many would by chance."""
    pairs = tables.paired_differences(real, metric)
    return (
        f"Of {len(pairs)} pairs of methods, {int(pairs['excludes_0'].sum())} have a 95 % interval (over categories) "
        f"without 0, where about {0.05 * len(pairs):.0f} would by chance alone; "
        f"{int(pairs['after_holm'].sum()) or 'none'} when all are judged at once (Holm)."
    )


def _where(real: pd.DataFrame) -> str:
    """Say which method shows best where defects are, by AUPRO, and how certain that is."""
    means = (100 * _means(real, "aupro")).mean().sort_values(ascending=False)
    return (
        f"Where defects are: {means.index[0]} has the highest mean AUPRO, {means.iloc[0]:.1f}, {means.index[-1]} the "
        f"lowest, {means.iloc[-1]:.1f}. {_certain(real, 'aupro')}"
    )


def _as_generated(real: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """Say how alike real and generated images order the methods, by each metric."""
    found = {}
    for metric in ("image_auroc", "pixel_auroc", "aupro") if len(drawn) else ():
        both = pd.concat([mean_ranks(part, metric)[0] for part in (real, drawn)], axis=1).dropna()
        if len(both) > 2:
            rank, chance = spearmanr(both.iloc[:, 0], both.iloc[:, 1])
            found[metric] = f"{rank:.2f} by {metric} (p {chance:.2g})", chance < 0.05, len(both)
    if not found:
        return ""
    said, certain, counts = zip(*found.values(), strict=True)
    shown = [metric for metric, sure in zip(found, certain, strict=True) if sure]
    return f"Rank correlation of {counts[0]} methods between generated and real images: {', '.join(said)}. " + (
        f"Only {' and '.join(shown)} shows that both order the methods alike (p below .05)."
        if shown
        else "No metric shows that both order the methods alike (p below .05)."
    )


def recipes(rows: pd.DataFrame) -> str:
    """Say by how much the mean image AUROC of a method differs between its recipes where most; nothing without both.

    `rows` are of one teacher and scale, nothing overridden; the mean is over the real categories that both have.
    """
    rows = rows[rows["dataset"].map(datasets.origin) == "real"]
    means = 100 * rows.groupby(["method", "dataset", "category", "recipe"])["image_auroc"].mean().unstack()
    if not {"paper", "code"} <= set(means.columns):
        return ""
    means = means[["paper", "code"]].dropna().groupby("method").mean()
    gaps = means["code"] - means["paper"]
    most: Any = gaps.abs().idxmax()
    return (
        f"The recipe matters, too: of {len(means)} methods that were run by both, {most} differs most, with a mean "
        f"image AUROC of {means['paper'][most]:.1f} by its paper's text and {means['code'][most]:.1f} by the code."
    )


def friedman(rows: pd.DataFrame, metric: str) -> float:
    """Compute the probability of ranks that differ this much without any difference (Friedman's test).

    Over the categories that all compared methods have; NaN for fewer than three methods or two categories.
    """
    means = _means(comparable(rows), metric)
    if means.shape[1] < 3 or len(means) < 2:
        return math.nan
    return float(friedmanchisquare(*means.to_numpy().T).pvalue)


def longer(rows: pd.DataFrame) -> str:
    """Say how image AUROC changes when a method is trained as long as its source says; nothing without such rows.

    By each recipe with the bundled teacher, on real images.
    """
    rows = rows[rows["dataset"].map(datasets.origin) == "real"]
    places = ["method", "recipe", "dataset", "category"]
    trained = {s: results.plain(rows, scale=s, teacher="bundled") for s in ("small", "full")}
    short, full = (100 * part.groupby(places)["image_auroc"].mean() for part in trained.values())
    moved = (full - short).dropna()
    if moved.empty:
        return ""
    compared = {scale: part.set_index(places, drop=False).loc[moved.index] for scale, part in trained.items()}
    most: Any = moved.abs().idxmax()
    whole = comparable(trained["full"])
    means = 100 * whole.groupby(["method", "recipe", "dataset", "category"])["image_auroc"].mean()
    order = means.groupby(["method", "recipe"]).mean().sort_values(ascending=False)
    best: Any = order.index[0]
    leads = (
        f"Trained so, {best[0]} ({best[1]}) has the highest mean image AUROC, {order.iloc[0]:.1f}, of {len(order)} "
        f"methods and recipes on {len(whole[['dataset', 'category']].drop_duplicates())} categories that these have. "
        if len(order) > 1
        else ""
    )
    return (
        "Trainings of the small scale are short. Where a method was also trained as long as its source "
        f"says, image AUROC rises by more than {MUCH} points in {(moved > MUCH).sum()} of {len(moved)} cases and falls "
        f"by more in {(moved < -MUCH).sum() or 'none'}, each of a method by one recipe on a category; it moves most "
        f"of {most[0]} ({most[1]}) on {most[3]}, {short[most]:.1f} to {full[most]:.1f}. So an order of methods after "
        f"short trainings need not be that after full ones. {leads}(teacher bundled; "
        + "; ".join(f"{scale}: {_seeds_and_precisions(part)}" for scale, part in compared.items())
        + ")"
    )


def _seeds_and_precisions(rows: pd.DataFrame) -> str:
    counts = rows.groupby(rows.index)["seed"].nunique()
    least, most = int(counts.min()), int(counts.max())
    seeds = f"{least} to {most}" if least < most else str(most)
    by = rows.reset_index(drop=True).groupby("precision")["method"].unique()
    return f"{seeds} seed{'s' * (most > 1)}, " + ", ".join(f"{name} ({', '.join(of)})" for name, of in by.items())


def timed_on(timings: pd.DataFrame) -> str:
    """Say where the latencies were measured: device and threads."""
    where = timings[["device", "threads"]].drop_duplicates().itertuples(index=False)
    return " and ".join(f"{device}, {threads} thread{'s' * (threads > 1)}" for device, threads in where)


def _shared(places: list[set[str]]) -> set[str]:
    """Choose the categories, as one line has them, for which lines times categories is the most; among equals lines."""
    best, most = set.intersection(*places) if places else set(), (0, 0)
    for candidate in places:
        lines = sum(candidate <= other for other in places)
        if lines >= 2 and (lines * len(candidate), lines) > most:  # one line is no comparison
            best, most = candidate, (lines * len(candidate), lines)
    return best


def by_kind(rows: pd.DataFrame, timings: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Set accuracy beside cost for textures and for objects alone: what was run on one kind only is compared there."""
    kinds = [datasets.kind(d, c) for d, c in zip(rows["dataset"], rows["category"], strict=True)]
    parts = {kind: rows[pd.Series(kinds, rows.index, dtype=object) == kind] for kind in KINDS}
    return {kind: costs_and_merits(part, timings) for kind, part in parts.items() if len(part)}


def advice(table: pd.DataFrame, teacher: str, kinds: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say which method to take by what `costs_and_merits` and `by_kind` found, and how far that can be trusted."""
    if table.empty or table["image_auroc"].isna().all():
        return ["No advice: there is no category that all methods were run on."]
    said = []
    for kind in KINDS:
        if kind not in kinds or kinds[kind].empty:
            said.append(f"For {kind}s: no advice, as none was run with all methods.")
            continue
        best, *others = (line for _, line in kinds[kind].sort_values(kind, ascending=False).iterrows())
        spread = "" if math.isnan(best["spread"]) else f" (seeds ± {best['spread']:.1f})"
        lead = f", {best[kind] - others[0][kind]:.1f} points before {_name(others[0])}" if others else ""
        cost = "" if math.isnan(best["ms"]) else f" {best['ms']:.3g} ms an image;"
        of = f"{len(kinds[kind])} methods and recipes on {best[f'{kind}s']} {kind}{'s' * (best[f'{kind}s'] > 1)}"
        said.append(f"For {kind}s: {_name(best)}, image AUROC {best[kind]:.1f}%{spread}{lead};{cost} of {of}.")
    shows, *others = (line for _, line in table.sort_values("aupro", ascending=False).iterrows())
    lead = f", {shows['aupro'] - others[0]['aupro']:.1f} points before {_name(others[0])}" if others else ""
    said.append(f"To see where a defect is: {_name(shows)}, AUPRO {shows['aupro']:.1f}%{lead}.")
    timed = table.dropna(subset=["ms"])
    if len(timed):
        quick = timed.iloc[int(timed["ms"].to_numpy().argmin())]
        found = f"image AUROC {quick.image_auroc:.1f}%, AUPRO {quick.aupro:.1f}%"
        said.append(f"Where time counts: {_name(quick)}, {quick.ms:.3g} ms an image; {found}.")
        chosen = timed[plots.on_front(timed["ms"], timed["image_auroc"])].sort_values("ms")
        said.append(f"No other is both faster and more accurate than: {', '.join(map(_name, chosen.itertuples()))}.")
    light = table.iloc[int(table["peak_mib"].to_numpy().argmin())]
    said.append(f"Least memory in training and test: {_name(light)}, {light.peak_mib:.0f} MiB.")
    machines = table["device"].nunique() > 1 or table["device"].str.contains(" and ").any()
    if not machines:
        short = table.iloc[int(table["train_s"].to_numpy().argmin())]
        said.append(f"Shortest training: {_name(short)}, {short.train_s:.0f} s.")
    doubts = []
    if teacher == "random":
        doubts.append("the teacher is untrained, so that accuracies say nothing about the methods")
    if (few := int(table["seeds"].min())) < SEEDS:
        doubts.append(f"some lines have {few} seed{'s' * (few > 1)}, too few to tell a difference from chance")
    counts = {kind: int(part[f"{kind}s"].iloc[0]) for kind, part in kinds.items() if len(part)}
    if min(counts.values(), default=CATEGORIES) < CATEGORIES:
        stand = " and ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
        doubts.append(f"{stand} stand for all, too few to say of others that one method leads the next")
    if below := int(table["below_chance"].sum()):
        doubts.append(f"in {below} cases a method is below chance on a category, and that is in its mean, too")
    if table["overrides"].any():
        doubts.append("methods with overrides are not quite themselves")
    if machines:
        doubts.append("training times are of different machines: only their order of magnitude can be compared")
    return [*(["Careful: " + "; ".join(doubts) + "."] if doubts else []), *said]


def _name(line: Any) -> str:
    return f"{line.method} ({line.recipe}{', ' * bool(line.overrides)}{line.overrides})"


def _usual(settings: pd.Series) -> str:
    """Choose the method as it is, else the overrides of which there are most rows; among equals the fewest."""
    counts = Counter(settings)
    return min(counts, key=lambda setting: (setting != "{}", -counts[setting], len(setting), setting))


def _latency(timings: pd.DataFrame, method: str, recipe: str, backbone: str | None) -> float:
    if timings.empty:
        return math.nan
    wanted = {"method": method, "recipe": recipe, "backbone": backbone, "batch": 1}
    found = timings[(timings[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return float(found["p50_ms"].iloc[0]) if len(found) else math.nan
