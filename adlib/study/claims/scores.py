"""Judge the claims on scores by rows: relative ones ("A beats B") and absolute ones ("A reaches x").

The rules stand at the top of `adlib/study/claims/__init__.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from adlib.datasets import PUBLISHED
from adlib.errors import check_known
from adlib.study.claims import pairs, scope
from adlib.study.claims.effects import apart, judged, without_chance
from adlib.study.claims.verdicts import CONTRADICTED, INCONCLUSIVE, NO_VERDICT, SUPPORTED, Line, untested
from adlib.study.filters import origins, places
from adlib.study.intervals import ENOUGH_SEEDS, over_seeds
from adlib.study.paper import departures, names_in

# One name of the list that stands for several: the best of them is the baseline.
SEVERAL = {
    "memkd(items)": ["memkd(items=0)", "memkd(items=10)", "memkd(items=100)", "memkd(items=100-50-10)"],
    "dskd(one level)": ["dskd(level 1)", "dskd(level 2)", "dskd(level 3)"],
}
# What a variant is judged against in lines of its own, too. The scale `small` settles STPM's statistics, which is none
# of its source's doing; and MemKD differs from RD by another loss and schedule, too: without items by its memories
# alone.
UNSETTLED, WITHOUT_MEMORIES = "stpm(settle=off)", "memkd(items=0)"
MORE_THAN = ": its gain less that of "  # in what a gain is against, where it is to be the largest
SHORT_OF_POINTS = 0.5  # percent points: an absolute claim is reached up to these
GAIN, GAIN_MOST = RULES = "gain", "gain_most"  # of the rules of `claims.claims` those of a score


def judge(claim: Mapping[str, str], metric: str, i: int, rows: pd.DataFrame) -> list[Line]:
    """Judge the `i`th metric of a relative or absolute claim, `metric`, by the rows of what it speaks of.

    `claim` is a line of `claims.claims`. Raises ValueError for a rule that is none of a score.
    """
    in_scope = [
        scope.in_scope(claim["dataset"], dataset, category)
        for dataset, category in zip(rows["dataset"], rows["category"], strict=True)
    ]
    part = rows[pd.Series(in_scope, rows.index, dtype=bool)]
    if claim["kind"] == "absolute":
        return _absolute(claim, metric, i, part)
    check_known(f"rule of claim {claim['id']} for {metric}", claim["rule"], RULES)
    lines = [replace(line, stated=_stated_gain(claim, i, line.against)) for line in _relative(claim, metric, part)]
    return lines + (_the_most(claim, metric, rows) if claim["rule"] == GAIN_MOST else [])


def _relative(claim: Mapping[str, str], metric: str, rows: pd.DataFrame) -> list[Line]:
    names = _baselines(claim)
    also = [_also(name, claim) for name in names]
    # At full scale nothing is settled: the rows of both baselines would be the same.
    part = rows[rows["scale"] == "small"] if UNSETTLED in also else rows
    more = _against(also, claim, metric, part) if also != names else []
    return _against(names, claim, metric, rows) + [line for line in more if line.verdict not in NO_VERDICT]


def _also(name: str, claim: Mapping[str, str]) -> str:
    """Name what stands in a baseline's place in lines of their own; the baseline where nothing does."""
    if name == "stpm":
        return UNSETTLED
    return WITHOUT_MEMORIES if (name, claim["variant"]) == ("rd", "memkd") else name


def _baselines(claim: Mapping[str, str]) -> list[str]:
    return [n for name in names_in(claim["baseline"]) for n in SEVERAL.get(name, [name])]


def _against(names: list[str], claim: Mapping[str, str], metric: str, rows: pd.DataFrame) -> list[Line]:
    """Judge whether the variant gains on the best of the baselines `names`: a line a setting."""
    variant, speaks_of = claim["variant"], claim["dataset"]
    paired = pairs.paired(names, variant, metric, rows)
    if paired.empty:
        have = ", ".join(f"{n}: {len(pairs.chosen(rows, n, metric))}" for n in [variant, *names])
        return [untested(f"no pairs of rows on {speaks_of} (rows of {have})")]
    lines = []
    for setting, group in paired.groupby(list(pairs.SETTING), sort=True):
        group = scope.its_own(speaks_of, pairs.with_enough_seeds(group))
        best = max(names, key=lambda name: group.groupby("category")[name].mean().mean())
        against = {name: group.assign(value=100 * (group["variant"] - group[name])) for name in names}
        by_chance = _by_chance(group, metric, best)
        line = judged(against[best], scope.wanted(speaks_of), by_chance=by_chance)
        others = [f"against {name} {over_seeds(against[name])[0]:+.1f}" for name in names if name != best]
        said = [*apart(against[best], "+.1f", by_chance), *others]
        lines.append(
            replace(
                line,
                **pairs.columns(setting),
                against=best,
                by_category="; ".join(filter(None, said)),
                without_chance=without_chance(against[best], by_chance, "+.1f"),
                steps=pairs.steps(group, best),
                conditions=pairs.compared(setting, group, variant, best),
                rule=pairs.rule(group),
                why=line.why or scope.coverage(speaks_of, group),
            )
        )
    return lines


def _by_chance(group: pd.DataFrame, metric: str, baseline: str) -> set[str]:
    """Name the categories in which neither side's mean exceeds what chance may give (`intervals.chance_limit`)."""
    if not metric.endswith("auroc"):
        return set()
    means = group.groupby("category")[["variant", baseline, "chance"]].mean()
    return set(means.index[means[["variant", baseline]].max(axis=1) < means["chance"]])


def _the_most(claim: Mapping[str, str], metric: str, rows: pd.DataFrame) -> list[Line]:
    """Judge whether one category gains most: its gain less that of the other with the largest mean gain, by seeds."""
    name, own = claim["baseline"], claim["dataset"]
    dataset = own.split("/")[0]
    paired = pairs.paired([name], claim["variant"], metric, rows[rows["dataset"] == dataset])
    lines = []
    for setting, group in paired.groupby(list(pairs.SETTING), sort=True):
        group = pairs.with_enough_seeds(group)
        gains = (100 * (group["variant"] - group[name])).groupby([group["seed"], group["category"]]).mean().unstack()
        if own not in gains or gains.shape[1] == 1:
            continue
        others = gains.drop(columns=own)
        most = str(others.mean().idxmax())
        value = (gains[own] - gains[most]).dropna().rename("value").reset_index().assign(category=own)
        if value.empty:  # the seeds of both are others
            continue
        others_run = f"the largest of {others.shape[1]} others" if others.shape[1] > 1 else "the only other"
        line = replace(
            judged(value, wanted=1),
            **pairs.columns(setting),
            against=name + MORE_THAN + most.split("/")[1],
            conditions=f"{pairs.compared(setting, group, claim['variant'], name)}; {others_run}",
            rule=pairs.rule(group),
        )
        every = len(PUBLISHED[dataset]) - 1
        if line.verdict == SUPPORTED and others.shape[1] < every:  # one of those that were not run may gain more
            line = replace(line, verdict=INCONCLUSIVE, why=f"{others.shape[1]} of {every} others", rests_on="")
        lines.append(line)
    return lines


def _absolute(claim: Mapping[str, str], metric: str, i: int, rows: pd.DataFrame) -> list[Line]:
    """Judge whether the variant reaches the `i`th printed value under the papers' conditions: a line a recipe."""
    part = pairs.chosen(rows, claim["variant"], metric)
    conditions = zip(
        part["teacher"], part["scale"], part["overrides"], part["precision"], part["textures"], strict=True
    )
    theirs = [  # by whichever recipe: each has a line of its own
        not departures(teacher, scale, "paper", "" if rest == "{}" else rest, precision, textures)
        for teacher, scale, rest, precision, textures in conditions
    ]
    part = part[pd.Series(theirs, part.index, dtype=bool)]
    part = part[part["dataset"] == scope.names(claim["dataset"])[0]]  # no stand-in from another dataset
    part = part.assign(images=origins(part))
    stated = float(names_in(claim["paper_variant"])[i])
    lines = []
    for setting, group in part.groupby(list(pairs.SETTING), sort=True):
        group = group.assign(category=places(group), value=100 * group["value"])
        categories, seeds = group["category"].nunique(), int(group.groupby("category")["seed"].nunique().min())
        if categories < scope.wanted(claim["dataset"]) or seeds < ENOUGH_SEEDS:
            continue
        mean, low, high = over_seeds(group)
        reached, missed = low >= stated - SHORT_OF_POINTS, high < stated - SHORT_OF_POINTS
        lines.append(
            Line(
                **pairs.columns(setting),
                effect=mean,
                low=low,
                high=high,
                pairs=len(group),
                categories=categories,
                seeds=seeds,
                conditions=pairs.conditions(setting, group),
                rule=pairs.rule(group),
                verdict=SUPPORTED if reached else CONTRADICTED if missed else INCONCLUSIVE,
            )
        )
    needed = (
        "an absolute claim: it needs the papers' conditions (teacher imagenet, full scale, fp32, all of DTD where "
        "pseudo-anomalies are made, no override, every category, 3 seeds)"
    )
    return lines or [untested(needed)]


def printed_of(claim: Mapping[str, str], against: str) -> str:
    """Return what is printed of the baseline `against`, a number a metric: that of the first where it is none of them.

    Of several baselines that all have such numbers these stand in one cell of the list, with ';' between them.
    """
    cells, names = claim["paper_baseline"].split(";"), _baselines(claim)
    return cells[names.index(against)] if len(cells) == len(names) and against in names else cells[0]


def _stated_gain(claim: Mapping[str, str], i: int, against: str) -> float:
    """Compute the printed gain over the baseline `against` in percent points; NaN where the numbers are not printed.

    A number a metric is of the first baseline (`printed_of`: or of each); a number a baseline is of the first metric.
    """
    after, before = names_in(claim["paper_variant"]), names_in(printed_of(claim, against))
    names, metrics = _baselines(claim), names_in(claim["metric"])
    if i >= len(after) or not before or not against:
        return math.nan
    which = [name if against in names else _also(name, claim) for name in names].index(against)
    if len(before) == len(metrics) and (which == 0 or ";" in claim["paper_baseline"]):
        printed = before[i]
    elif len(before) == len(names) and i == 0:
        printed = before[which]
    else:
        return math.nan
    unit = 100 if float(after[i]) <= 1 else 1  # some tables print fractions
    return unit * (float(after[i]) - float(printed))
