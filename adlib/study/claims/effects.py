"""An effect by category and seed: judged by its interval, and what it rests on and how categories differ, in words."""

import math
from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from adlib.study.claims.verdicts import DEPENDS, INCONCLUSIVE, NOT_JUDGED, Line, verdict
from adlib.study.intervals import ENOUGH_SEEDS, chance_over_seeds, over_categories, over_seeds

FEW_CATEGORIES = 3  # from these on an interval over categories is worth reading
TOGETHER = "all/all"  # the category of a diagnostic that compares categories


def judged(group: pd.DataFrame, wanted: int, digits: str = "+.1f", by_chance: Collection[str] = ()) -> Line:
    """Judge values by category and seed, of a claim that speaks of `wanted` categories; no verdict without seeds."""
    seeds = int(group.groupby("category")["seed"].nunique().min())
    mean, low, high = over_seeds(group)
    line = Line(effect=mean, pairs=len(group), categories=group["category"].nunique(), seeds=seeds)
    if seeds < ENOUGH_SEEDS:
        return replace(line, verdict=NOT_JUDGED, why=f"{seeds} of {ENOUGH_SEEDS} seeds")
    found, rests_on = _rests_on(group, wanted, digits, by_chance)
    return replace(line, low=low, high=high, verdict=found, rests_on=rests_on, p=chance_over_seeds(group))


def _rests_on(group: pd.DataFrame, wanted: int, digits: str, by_chance: Collection[str] = ()) -> tuple[str, str]:
    """Judge an effect, and name the categories without any one of which the verdict would be another.

    Each with the effect that is left then; also those by chance together, where there are several, and any other
    beside them. An inconclusive effect rests on none, nor does that of a claim on a single category; of a claim that
    speaks of several, a verdict on one of them rests on it. Where the effect turns round, the verdict is `DEPENDS`.
    """
    effect, *interval = over_seeds(group)
    found = verdict(*interval)
    names = [name for name in sorted(group["category"].unique()) if name != TOGETHER]
    if found == INCONCLUSIVE or wanted == 1 or not names:
        return found, ""
    changed: list[str] = []
    turned: list[str] = []
    decisive: list[set[str]] = []
    left_out = [(name.split("/")[1], {name}) for name in names]
    if 1 < len(by_chance) < len(names):
        left_out.append(("the categories at chance", set(by_chance)))
    with_skill = [name for name in names if name not in by_chance]
    if by_chance and len(with_skill) > 1:
        left_out += [(f"{name.split('/')[1]} and the categories at chance", {name, *by_chance}) for name in with_skill]
    for name, without in left_out:
        rest = group[~group["category"].isin(without)]
        mean, low, high = over_seeds(rest) if len(rest) else (math.nan,) * 3
        if verdict(low, high) == found or any(part < without for part in decisive):
            continue  # a part of it changes the verdict already
        decisive.append(without)
        which = "it" if len(without) == 1 else "them"
        left = f"without {which} {mean:{digits}} [{low:{digits}}, {high:{digits}}]" if len(rest) else "alone"
        if effect * mean < 0:
            turned.append(f"{name} ({left})")
        else:
            changed.append(f"{name} ({left})")
    return (DEPENDS, ", ".join(turned)) if turned else (found, ", ".join(changed))


def apart(group: pd.DataFrame, digits: str, by_chance: Collection[str] = ()) -> list[str]:
    """Return texts: the effect by category, those by chance marked, at its weakest, and over others like these."""
    _, low, high = over_categories(group)
    enough = group["category"].nunique() >= FEW_CATEGORIES
    others = f"over categories like these [{low:{digits}}, {high:{digits}}]" if enough else ""
    return [_by_category(group, digits, by_chance), _weakest(group, digits), others]


def _by_category(group: pd.DataFrame, digits: str, by_chance: Collection[str] = ()) -> str:
    """Return as text the mean effect in each of several categories: an interval over seeds hides how they differ."""
    each = group.groupby("category")["value"].mean()
    worded = [
        f"{str(place).split('/')[1]} {value:{digits}}{' (chance)' * (place in by_chance)}"
        for place, value in each.items()
    ]
    return ", ".join(worded) if len(worded) > 1 else ""


def _weakest(group: pd.DataFrame, digits: str) -> str:
    """Return as text what is left of a conclusive effect without the category whose absence leaves least of it.

    Nothing where the verdict would be another then: that the effect rests on.
    """
    found = verdict(*over_seeds(group)[1:])
    names = sorted(group["category"].unique())
    if found == INCONCLUSIVE or len(names) == 1:
        return ""
    rest = {name: over_seeds(group[group["category"] != name]) for name in names}
    name = min(names, key=lambda of: min(abs(bound) for bound in rest[of][1:]))
    if any(verdict(*rest[of][1:]) != found for of in names):
        return ""
    mean, low, high = rest[name]
    return f"without {str(name).split('/')[1]} still {mean:{digits}} [{low:{digits}}, {high:{digits}}]"


def without_chance(group: pd.DataFrame, by_chance: Collection[str], digits: str) -> str:
    """Return as text what is left of an effect without the categories by chance; nothing where none or all are."""
    rest = group[~group["category"].isin(by_chance)]
    if rest.empty or not len(by_chance):
        return ""
    mean, low, high = over_seeds(rest)
    return f"{mean:{digits}} [{low:{digits}}, {high:{digits}}]"
