"""Which method to take, in sentences: accuracy beside cost, how certain it is, and what may be concluded from it.

The numbers are those of `ranking`.
"""

import math
from collections.abc import Mapping
from inspect import getdoc
from typing import Any

import numpy as np
import pandas as pd

from adlib.methods import METHODS
from adlib.study import ranking, tables
from adlib.study.filters import origins, real
from adlib.study.intervals import ENOUGH_SEEDS, holm

ENOUGH_CATEGORIES = 5  # of each kind; with fewer an advice says so
MUCH = 5  # points of image AUROC
PLACE = ["dataset", "category"]
# What of a difference between recipes may be the bundled teacher's doing (`adlib/weights/README.md`), by method.
OF_THE_TEACHER = {
    "mixed_teacher": "which may be the teacher's doing: the paper's recipe reads a stage of the EfficientNet that was "
    "matched by nothing when the bundled one was distilled"
}


def methods(rows: pd.DataFrame) -> pd.Series:
    """Say in a line what each method of the rows is."""
    return pd.Series(
        {name: str(getdoc(METHODS[name])).splitlines()[0] for name in METHODS if name in set(rows["method"])}
    )


def standing(rows: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Say which method leads, how certain that is, where defects are shown best, what it costs: a sentence or two each.

    `rows` are of one setting, real images and generated ones; nothing where fewer than two methods can be compared.
    """
    compared = ranking.comparable(real(rows))
    if compared["method"].nunique() < 2:
        return []
    means = 100 * ranking.category_means(compared, "image_auroc")
    if means.dropna().empty:  # no defects to test on
        return []
    averaged = means.mean().sort_values(ascending=False)
    best = str(averaged.index[0])
    ranks, apart = ranking.mean_ranks(compared, "image_auroc")
    worse = [str(name) for name in ranks.index[ranks > ranks.iloc[0] + apart]]
    who = "and" if ranks.index[0] == best else f"{ranks.index[0]}"
    said = [
        f"Of {len(averaged)} methods on the {len(means)} real categories that all have, {best} has the highest mean "
        f"image AUROC, {averaged.iloc[0]:.1f}, {who} the best mean rank, {ranks.iloc[0]:.1f}."
        f"{_without_one(means)} {_trained_alike(compared)}",
        f"How certain: mean ranks must differ by more than {apart:.1f} for two methods to count as different "
        f"(Nemenyi); {ranks.index[0]} differs from {', '.join(worse) or 'no other method'}. "
        f"{_certain(compared, 'image_auroc')}",
        _where(compared),
    ]
    costs = ranking.costs_and_merits(compared, timings).set_index("method")["ms"].dropna()
    if best in costs and len(costs) > 1:
        said.append(
            f"Cost: {best} takes {costs[best]:.0f} ms an image (batch 1, the fast path), "
            f"{costs[best] / costs.median():.1f} times the median of all; they take {costs.min():.0f} to "
            f"{costs.max():.0f} ms ({timed_on(timings)})."
        )
    return [*filter(None, [*said, _as_generated(compared, rows[origins(rows) == "generated"])])]


def _trained_alike(rows: pd.DataFrame) -> str:
    """Say on how many images, counted as often as seen, the methods were trained, and in what precision."""
    seen = (rows["steps"] * rows["batch"]).groupby(rows["method"]).mean().round()
    least, most = (", ".join(seen.index[seen == of]) for of in (seen.min(), seen.max()))
    said = (
        f"They were not trained alike: on average over categories they saw {seen.min():,.0f} images ({least}) to "
        f"{seen.max():,.0f} ({most}), repeats counted"
    )
    precisions = rows.groupby("precision")["method"].unique()
    if len(precisions) > 1:
        said += ", in " + ", ".join(
            f"{name} ({', '.join(sorted(of)) if len(of) <= len(seen) / 2 else 'the others'})"
            for name, of in precisions.items()
        )
    return said + "."


def _without_one(means: pd.DataFrame) -> str:
    """Say without which single category (a line of `means`) another method would have the highest mean."""
    if len(means) < 2:
        return ""
    others = ranking.leaders_without_one(means)
    if not others:
        return f" Whichever category is left out, {means.mean().idxmax()} has the highest mean."
    return "".join(
        f" Where {' or '.join(places)} is left out, {name} has the highest mean." for name, places in others.items()
    )


def _certain(rows: pd.DataFrame, metric: str) -> str:
    """Count the pairs of methods that differ, and how many would by chance."""
    pairs = tables.paired_differences(rows, metric)
    return (
        f"Of {len(pairs)} pairs of methods, {int(pairs['excludes_0'].sum())} have a 95 % interval (over categories) "
        f"that excludes 0; chance alone gives about {0.05 * len(pairs):.0f}. When all are judged at once (Holm): "
        f"{int(pairs['after_holm'].sum()) or 'none'}."
    )


def _where(rows: pd.DataFrame) -> str:
    """Say which method shows best where defects are, by AUPRO, and how certain that is; nothing without masks."""
    means = (100 * ranking.category_means(rows, "aupro")).mean().dropna().sort_values(ascending=False)
    if means.empty:
        return ""
    return (
        f"Where defects are: {means.index[0]} has the highest mean AUPRO, {means.iloc[0]:.1f}, {means.index[-1]} the "
        f"lowest, {means.iloc[-1]:.1f}. {_certain(rows, 'aupro')}"
    )


def _as_generated(compared: pd.DataFrame, generated: pd.DataFrame) -> str:
    """Say how alike real and generated images order the methods, by each metric; nothing of fewer than three."""
    if generated.empty:
        return ""
    found = {
        metric: ranking.rank_correlation(compared, generated, metric)
        for metric in ("image_auroc", "pixel_auroc", "aupro")
    }
    found = {metric: of for metric, of in found.items() if not math.isnan(of[0])}
    if not found:
        return ""
    count = next(iter(found.values()))[2]
    said = ", ".join(f"{rank:.2f} by {metric} (p {chance:.2g})" for metric, (rank, chance, _) in found.items())
    sure = holm(pd.Series({metric: chance for metric, (_, chance, _) in found.items()}))
    shows = ", ".join(str(metric) for metric in sure.index[sure]) or "none"
    return (
        f"Rank correlation of {count} methods between generated and real images: {said}. Significant when all "
        f"{len(found)} are judged at once (Holm): {shows}. Methods that are variants of each other make p too small."
    )


def recipes(rows: pd.DataFrame) -> str:
    """Say by how much the mean image AUROC of a method differs between its recipes where most; nothing without both.

    `rows` are of one teacher and scale, nothing overridden; the mean is over the real categories that both have.
    """
    means = ranking.by_recipe(rows)
    if means.empty:
        return ""
    most: Any = (means["code"] - means["paper"]).abs().idxmax()
    return (
        f"The recipe matters, too: of {len(means)} methods that were run by both, {most} differs most, with a mean "
        f"image AUROC of {means['paper'][most]:.1f} by its paper's text and {means['code'][most]:.1f} by the code"
        f"{f', {OF_THE_TEACHER[most]}' if most in OF_THE_TEACHER and set(rows['teacher']) == {'bundled'} else ''}."
    )


def longer(rows: pd.DataFrame) -> str:
    """Say how image AUROC changes when a method is trained as long as its source says; nothing without such rows.

    By each recipe with the bundled teacher, on real images.
    """
    trained = ranking.by_scale(rows)
    short, full = (ranking.mean_image_auroc(part) for part in trained.values())
    moved = (full - short).dropna()
    if moved.empty:
        return ""
    compared = {
        scale: part.set_index(moved.index.names, drop=False).loc[moved.index] for scale, part in trained.items()
    }
    most: Any = moved.abs().idxmax()
    single = int((compared["full"].groupby(level=[*range(moved.index.nlevels)])["seed"].nunique() == 1).sum())
    whole = ranking.comparable(trained["full"])
    order = ranking.mean_image_auroc(whole).groupby(["method", "recipe"]).mean().sort_values(ascending=False)
    best: Any = order.index[0]
    leads = (
        f"Their sources' whole schedules were run for few methods. On the same "
        f"{len(whole[PLACE].drop_duplicates())} categories {best[0]} ({best[1]}) has the highest mean "
        f"image AUROC, {order.iloc[0]:.1f}, of {', '.join(f'{method} ({recipe})' for method, recipe in order.index)}. "
        if len(order) > 1
        else ""
    )
    steps = {
        scale: part["steps"].groupby(level=[*range(moved.index.nlevels)]).mean() for scale, part in compared.items()
    }
    times = steps["full"] / steps["small"]
    return (
        f"{leads}Against a short training whole ones take {times.min():.1f} to {times.max():.0f} times the steps, and "
        f"raise image AUROC by more than {MUCH} points in {(moved > MUCH).sum()} of {len(moved)} cases (a method, "
        f"recipe and category each; {single} with a single long training) and lower it by more than that in "
        f"{(moved < -MUCH).sum() or 'none'}. "
        f"The largest change: {most[0]} ({most[1]}) on {most[3]}, {short[most]:.1f} to {full[most]:.1f} "
        f"({steps['small'][most]:.0f} to {steps['full'][most]:.0f} steps). So the order after short trainings need not "
        "be that of full ones (teacher bundled; "
        + "; ".join(f"{scale}: {_seeds_and_precisions(part)}" for scale, part in compared.items())
        + ")."
    )


def part_way(rows: pd.DataFrame) -> str:
    """Say what more epochs than a short training's give, beside the best of the short trainings.

    Of rows with the bundled teacher on real images at scale `small` whose `epochs` alone are overridden; nothing
    without them.
    """
    rows = real(rows[(rows["scale"] == "small") & (rows["teacher"] == "bundled")])
    epochs = rows["overrides"].map(lambda given: given["epochs"] if set(given) == {"epochs"} else math.nan)
    groups = rows.assign(epochs=epochs).groupby(["method", "recipe", "epochs"])
    return " ".join(_of_epochs(rows[~rows["overrides"].astype(bool)], group) for _, group in groups)


def _of_epochs(short: pd.DataFrame, more: pd.DataFrame) -> str:
    """Say what `more`, rows of one method, recipe and number of epochs, give beside short trainings, `short`."""
    method, recipe, epochs = more[["method", "recipe", "epochs"]].iloc[0]
    own = short[(short["method"] == method) & (short["recipe"] == recipe)]
    before, after = (100 * part.groupby(PLACE)["image_auroc"].mean() for part in (own, more))
    seeds = more.groupby(PLACE)["seed"].nunique()
    few = {place: f" ({count} seed{'s' * int(count > 1)})" for place, count in seeds.items() if count < ENOUGH_SEEDS}
    changes = ", ".join(
        f"from {before[place]:.1f} to {after[place]:.1f} on {place[1]}{few.get(place, '')}"
        for place in after.index.intersection(before.index)
    )
    if not changes:
        return ""
    said = f"With {epochs:.0f} epochs, a part of its schedule, the image AUROC of {method} ({recipe}) goes {changes}."
    sure = seeds.index[seeds >= ENOUGH_SEEDS]
    each = short.groupby(["method", "recipe", *PLACE])[["image_auroc", "seconds_train"]].mean().reset_index(PLACE)
    each = each[[place in sure for place in zip(each["dataset"], each["category"], strict=True)]]
    of_all = each.groupby(level=["method", "recipe"]).filter(lambda lines: len(lines) == len(sure))
    if of_all.empty:
        return said
    means = of_all.groupby(level=["method", "recipe"])[["image_auroc", "seconds_train"]].mean()
    shown = (100 * means["image_auroc"]).round(1)
    best = means[shown == shown.max()].sort_values("seconds_train")
    names = " and ".join(f"{name} ({recipe})" for name, recipe in best.index)
    took = " and ".join(f"{time:.0f}" for time in best["seconds_train"])
    seconds = more.groupby(PLACE)["seconds_train"].mean()[sure].mean()
    return (
        f"{said} The mean of the {len(sure)} with {ENOUGH_SEEDS} seeds is then {after[sure].mean():.1f} "
        f"({seconds:.0f} s of training); that of the best short training on them, {names}, is "
        f"{shown.max():.1f} ({took} s; processors differ)."
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


def advice(table: pd.DataFrame, teacher: str, kinds: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say which method to take, and how far that can be trusted.

    `table` is what `ranking.costs_and_merits` found, `kinds` what `ranking.by_kind` did.
    """
    if table.empty:
        return ["No advice: there is no category that all methods were run on."]
    if table["image_auroc"].isna().all():
        return ["No advice: without defects among the test images nothing says which method finds them."]
    said = []
    for kind, part in kinds.items():
        if part.empty:
            said.append(f"For {kind}s: no advice, as none was run with all methods.")
            continue
        best, *others = (line for _, line in part.sort_values(kind, ascending=False).iterrows())
        spread = "" if math.isnan(best["spread"]) else f" (seeds ± {best['spread']:.1f})"
        lead = f", {_lead(best, others[0], kind)}" if others else ""
        cost = "" if math.isnan(best["ms"]) else f" {best['ms']:.3g} ms an image;"
        of = f"{len(part)} methods and recipes on {best['categories']} {kind}{'s' * (best['categories'] > 1)}"
        said.append(f"For {kind}s: {_name(best)}, image AUROC {best[kind]:.1f}%{spread}{lead};{cost} of {of}.")
    outlined = table.dropna(subset=["aupro"]).sort_values("aupro", ascending=False)  # NaN: no masks
    if len(outlined):
        shows, *others = (line for _, line in outlined.iterrows())
        then = f"; next {_name(others[0])}, {others[0]['aupro']:.1f}%" if others else ""
        said.append(f"To see where a defect is: {_name(shows)}, AUPRO {shows['aupro']:.1f}%{then}.")
    timed = table.dropna(subset=["ms"])
    if len(timed):
        quick = timed.iloc[int(timed["ms"].to_numpy().argmin())]
        found = f"image AUROC {quick.image_auroc:.1f}%"
        found += "" if math.isnan(quick.aupro) else f", AUPRO {quick.aupro:.1f}%"
        said.append(f"Where time counts: {_name(quick)}, {quick.ms:.3g} ms an image; {found}.")
        chosen = ranking.fastest_to_most_accurate(timed)
        names = ", ".join(map(_name, chosen.itertuples()))
        said.append(f"Best trade-offs (no other is both faster and more accurate than one of these): {names}.")
    light = table.iloc[int(table["peak_mib"].to_numpy().argmin())]
    said.append(f"Least memory in training and test: {_name(light)}, {light.peak_mib:.0f} MiB.")
    machines = table["device"].nunique() > 1 or table["device"].str.contains(" and ").any()
    if not machines:
        short = table.iloc[int(table["train_s"].to_numpy().argmin())]
        said.append(f"Shortest training: {_name(short)}, {short.train_s:.0f} s.")
    doubts = []
    if teacher == "random":
        doubts.append("the teacher is untrained, so that accuracies say nothing about the methods")
    if (few := int(table["seeds"].min())) < ENOUGH_SEEDS:
        doubts.append(f"some lines have {few} seed{'s' * (few > 1)}, too few to tell a difference from chance")
    counts = {kind: int(part["categories"].iloc[0]) for kind, part in kinds.items() if len(part)}
    if min(counts.values(), default=ENOUGH_CATEGORIES) < ENOUGH_CATEGORIES:
        stand = " and ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
        verb = "stands" if sum(counts.values()) == 1 else "stand"
        doubts.append(f"{stand} {verb} for all, too few to say of others that one method leads the next")
    if below := int(table["below_chance"].sum()):
        doubts.append(f"in {below} cases a method is below chance on a category, and that is in its mean, too")
    if any(part["overrides"].any() for part in (table, *kinds.values())):
        doubts.append("methods with overrides are not quite themselves")
    if machines:
        doubts.append("training times are of different machines: only their order of magnitude can be compared")
    return [*(["Careful: " + "; ".join(doubts) + "."] if doubts else []), *said]


def _lead(best: Any, other: Any, kind: str) -> str:
    """Say how far the best line lies before the next; where that is less than seeds differ by, it is no lead."""
    points = best[kind] - other[kind]
    spread = np.nanmax([best["spread"], other["spread"], 0.0])
    apart = f"{points:.1f} points before {_name(other)}"
    return apart if points > spread else f"not told apart from {_name(other)}, which is {points:.1f} points lower"


def _name(line: Any) -> str:
    return f"{line.method} ({line.recipe}{', ' * bool(line.overrides)}{line.overrides})"
