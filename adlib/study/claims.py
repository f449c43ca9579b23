"""The papers' claims, judged by our rows. The rules, by the kind of claim:

**Relative** ("A beats B"). Rows of A and B that agree in images, category, seed, recipe, scale, teacher (and its file,
where both read one of the same network), precision, textures of pseudo-anomalies and all other overrides are pairs.

- The effect is the mean of A - B over categories, each the mean over its seeds, in percent points, with its 95 %
  interval over seeds (`intervals.over_seeds`). Above 0: supported; below 0: contradicted; else inconclusive.
- Where the effect lies on the other side of 0 without some one category, there is no verdict on all: it depends on that
  category. What is left of it without the categories in which neither side finds anything stands beside it.
- Categories with fewer than three seeds do not count, nor those of other datasets where all that a claim speaks of are
  there.
- Of several baselines ("A beats either", "A is best") the one with the highest mean counts.
- That a category gains most (the rule `gain_most`) has lines of its own: its gain less the largest of any other
  category of its dataset that was run. Supported only where all of these were run.
- MemKD's baseline is MemKD without items, which is RD with the loss of MemKD's Eq. 1 and its schedule: RD's own text
  has another loss.

**Absolute** ("A reaches x"). Only rows under the paper's conditions count (`paper.departures` names none), with every
category of the claim and no other; a line a recipe. Supported where the whole interval reaches x up to half a percent
point, contradicted where all of it falls short by more, else inconclusive.

**Speed** ("A is n times as fast"). The median of the ratios of `results/speed`'s turns, on one machine, with its 95 %
interval (`intervals.of_median`).

- Supported where all of it reaches the claimed ratio up to a tenth; contradicted where all of it falls short. Either
  has to hold also with the interval 3 % wider on both sides, by which another run may differ.
- By the rule `about` the bounds are half and one and a half times what the ratio differs from 1. Of S2-11's 6 % that is
  no further than those 3 % allow: it can be contradicted, and not supported.
- Two methods are set beside each other on one network, and each on its own (PatchCore's is a Wide ResNet-50-2).
  PatchCore's coreset is its library's, a tenth, of the 209 training images of MVTec AD's bottle: of more images its
  time is longer.
- A claim over several others holds against each of them or not at all.
- Memory, measured once, has no verdict.

**Diagnostic**. `results/diagnostics/*.csv` has a number a category and seed, made so that the claim says it is above 0
(a difference in the claimed direction). Judged as a relative claim.

Real images and generated ones are judged apart, each in lines of their own: what holds of drawings need not hold of
photographs, so that one interval over both would be of nothing that exists. Where a dataset was not run, and for a set
of categories that we lack, the words are 'not tested here', with the reason.

The rules changed after rows existed: `docs/rule_changes.md` lists how, and the claims that each change concerns.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from adlib import speed
from adlib.datasets import PUBLISHED
from adlib.environment import PROJECT
from adlib.errors import check_known
from adlib.metrics import METRICS
from adlib.study import pairs, scope, speed_claims
from adlib.study.filters import origins, places
from adlib.study.intervals import ENOUGH_SEEDS, chance_over_seeds, over_categories, over_seeds
from adlib.study.paper import FOLDER, departures, names_in
from adlib.study.verdicts import (
    COLUMNS,
    CONTRADICTED,
    DEPENDS,
    INCONCLUSIVE,
    NOT_TESTED,
    NUMBER,
    POINTS,
    SUPPORTED,
    Line,
    untested,
    verdict,
)

# One name of the list that stands for several: the best of them is the baseline.
SEVERAL = {
    "memkd(items)": ["memkd(items=0)", "memkd(items=10)", "memkd(items=100)", "memkd(items=100-50-10)"],
    "dskd(one level)": ["dskd(level 1)", "dskd(level 2)", "dskd(level 3)"],
}
FEW_CATEGORIES = 3  # from these on an interval over categories is worth reading
SHORT_OF_POINTS = 0.5  # percent points: an absolute claim is reached up to these
GAIN, GAIN_MOST = "gain", "gain_most"
RULES = (GAIN, GAIN_MOST, *speed_claims.RULES)
# A baseline that a claim is judged against in lines of its own, too: the scale `small` settles STPM's statistics, which
# is none of its source's doing.
ALSO = {"stpm": "stpm(settle=off)"}

DIAGNOSTICS = PROJECT / "results" / "diagnostics"
TOGETHER = "all/all"  # the category of a diagnostic that compares categories


def claims(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Read the list of claims, `claims.csv`: what is compared, where it is printed, and with which values.

    All columns are text. `kind` is relative, absolute or diagnostic; a relative claim has a `rule`, the others none:

    - gain: the variant is above the baseline, in the metric.
    - gain_most: as gain; and in lines of its own, the category gains more than any other of its dataset.
    - at_least: the variant has at least so many times the baseline's metric.
    - about: it has about so many times as much.
    - lower: it has less, whatever the ratio.

    `ratio` is how many times as much, as a number or fraction, where the paper's text says it in words; else it follows
    from `paper_variant` and `paper_baseline`. Raises ValueError for another rule.
    """
    listed = pd.read_csv(Path(folder) / "claims.csv", dtype=str, keep_default_na=False)
    for name, kind, rule in zip(listed["id"], listed["kind"], listed["rule"], strict=True):
        check_known(f"rule of claim {name} in {folder}/claims.csv", rule, RULES if kind == "relative" else ("",))
    return listed


def judge(
    rows: pd.DataFrame,
    timings: str | Path = speed.RESULTS,
    diagnostics: str | Path = DIAGNOSTICS,
    listed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Judge claims: one line a claim, metric and setting (recipe, scale, teacher, ...), columns those of `Line`.

    `effect` with `low` and `high` is in `unit`; `stated`, in the same unit, is what the paper prints (NaN: nothing).
    `conditions` words what the columns of `pairs.SETTING` have for a program; those of times have a recipe alone.
    `rests_on` names the categories without any one of which the verdict would be another, and the effect without each;
    `p` is the chance of such an effect where there is none (`intervals.chance_over_seeds`), of each line for itself.

    Args:
        rows: as `results.read` gives them.
        timings: the folder of the speed tables.
        diagnostics: the folder of tables with the columns id, metric, value, parts, dataset, category, seed,
            conditions, device, and `why`, where there is a line without a value.
        listed: the claims to judge, of `claims`; None: all.
    """
    listed = claims() if listed is None else listed
    lines: list[Line] = []
    for claim in ({str(k): str(v) for k, v in line.items()} for line in listed.to_dict("records")):
        for i, metric in enumerate(names_in(claim["metric"])):
            lines += [
                replace(
                    line,
                    id=claim["id"],
                    source=claim["source"],
                    claim=claim["claim"],
                    where=claim["where"],
                    metric=metric,
                    printed=_printed(claim, i),
                )
                for line in _judged(claim, metric, i, rows, Path(timings), Path(diagnostics))
            ]
    return pd.DataFrame([asdict(line) for line in lines], columns=COLUMNS)


def _judged(
    claim: Mapping[str, str], metric: str, i: int, rows: pd.DataFrame, timings: Path, diagnostics: Path
) -> list[Line]:
    """Judge the `i`th metric of a claim, by its kind."""
    if claim["kind"] == "diagnostic":
        return _measured(claim, metric, diagnostics)
    if metric in speed_claims.RATIOS:
        return speed_claims.judge(claim, metric, timings)
    if metric not in METRICS:
        return [untested(f"{metric} is no column of a row; numbers in memories are counted beside the printed sizes")]
    in_scope = [
        scope.in_scope(claim["dataset"], dataset, category)
        for dataset, category in zip(rows["dataset"], rows["category"], strict=True)
    ]
    part = rows[pd.Series(in_scope, rows.index, dtype=bool)]
    if claim["kind"] == "absolute":
        return _absolute(claim, metric, i, part)
    check_known(f"rule of claim {claim['id']} for {metric}", claim["rule"], (GAIN, GAIN_MOST))
    lines = [replace(line, stated=_stated_gain(claim, i, line.against)) for line in _relative(claim, metric, part)]
    return lines + (_the_most(claim, metric, rows) if claim["rule"] == GAIN_MOST else [])


def _relative(claim: Mapping[str, str], metric: str, rows: pd.DataFrame) -> list[Line]:
    names = _baselines(claim)
    also = [ALSO.get(name, name) for name in names]
    more = _against(also, claim, metric, rows) if also != names else []
    return _against(names, claim, metric, rows) + [line for line in more if line.verdict != NOT_TESTED]


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
        line = _line(against[best], scope.wanted(speaks_of), by_chance=by_chance)
        others = [f"against {name} {over_seeds(against[name])[0]:+.1f}" for name in names if name != best]
        apart = [*_apart(against[best], "+.1f", by_chance), *others]
        lines.append(
            replace(
                line,
                **pairs.columns(setting),
                against=best,
                by_category="; ".join(filter(None, apart)),
                conditions=pairs.compared(setting, group, variant, best),
                why=line.why or scope.coverage(speaks_of, group),
            )
        )
    return lines


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
        conditions = pairs.compared(setting, group, claim["variant"], name)
        conditions += f"; gain less that of {most.split('/')[1]}, {others_run}"
        line = replace(_line(value, wanted=1), **pairs.columns(setting), against=name, conditions=conditions)
        every = len(PUBLISHED[dataset]) - 1
        if line.verdict == SUPPORTED and others.shape[1] < every:  # one of those that were not run may gain more
            line = replace(line, verdict=INCONCLUSIVE, why=f"{others.shape[1]} of {every} others", rests_on="")
        lines.append(line)
    return lines


def _by_category(group: pd.DataFrame, digits: str, by_chance: Collection[str] = ()) -> str:
    """Word the mean effect in each category, where there are several: an interval over seeds hides how they differ."""
    each = group.groupby("category")["value"].mean()
    apart = [
        f"{str(place).split('/')[1]} {value:{digits}}{' (chance)' * (place in by_chance)}"
        for place, value in each.items()
    ]
    return ", ".join(apart) if len(apart) > 1 else ""


def _apart(group: pd.DataFrame, digits: str, by_chance: Collection[str] = ()) -> list[str]:
    """Word the effect in each category, without those by chance, and, of enough, over categories like these."""
    _, low, high = over_categories(group)
    enough = group["category"].nunique() >= FEW_CATEGORIES
    others = f"over categories like these [{low:{digits}}, {high:{digits}}]" if enough else ""
    return [_by_category(group, digits, by_chance), _without(group, by_chance, digits), others]


def _without(group: pd.DataFrame, by_chance: Collection[str], digits: str) -> str:
    """Word what is left of an effect without the categories by chance; nothing where none or all of them are."""
    rest = group[~group["category"].isin(by_chance)]
    if rest.empty or not len(by_chance):
        return ""
    mean, low, high = over_seeds(rest)
    return f"without chance {mean:{digits}} [{low:{digits}}, {high:{digits}}]"


def _by_chance(group: pd.DataFrame, metric: str, baseline: str) -> set[str]:
    """Name the categories in which neither side's mean exceeds what chance may give (`intervals.chance_limit`)."""
    if not metric.endswith("auroc"):
        return set()
    means = group.groupby("category")[["variant", baseline, "chance"]].mean()
    return set(means.index[means[["variant", baseline]].max(axis=1) < means["chance"]])


def _measured(claim: Mapping[str, str], metric: str, folder: Path) -> list[Line]:
    """Judge a diagnostic by its committed numbers: a line for each of their conditions, real images apart."""
    tables = [pd.read_csv(path, keep_default_na=False) for path in sorted(folder.glob("*.csv"))]
    found = pd.concat(tables) if tables else pd.DataFrame(columns=["id", "metric"])
    found = found[(found["id"] == claim["id"]) & (found["metric"] == metric)]
    at = zip(found["dataset"], found["category"], strict=True) if len(found) else ()
    found = found[[dataset == "all" or scope.in_scope(claim["dataset"], dataset, category) for dataset, category in at]]
    if found.empty:
        return [untested("a diagnostic: no such measurement is committed")]
    found["value"] = pd.to_numeric(found["value"])
    lines = []
    for (conditions, images), group in found.groupby(["conditions", origins(found)], sort=True):
        if group["value"].isna().all():
            lines.append(replace(untested("; ".join(group["why"].unique())), conditions=str(conditions)))
            continue
        group = group.dropna(subset="value")
        group = pairs.with_enough_seeds(group.assign(category=places(group)))
        parts = pd.DataFrame([json.loads(text) for text in group["parts"]]).mean()
        made_of = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
        named = ", ".join(sorted(set(group["category"]) - {TOGETHER}))  # what compares categories has named them
        devices = " and ".join(sorted(group["device"].unique()))
        said = [str(conditions), named, f"mean {made_of}" if made_of else "", f"on {devices}"]
        digits = "+.1f" if metric in METRICS else "+.3g"
        line = _line(group, scope.wanted(claim["dataset"]), digits)
        alone = group["dataset"].iloc[0] == "all"
        lines.append(
            replace(
                line,
                unit=POINTS if metric in METRICS else NUMBER,
                by_category="; ".join(filter(None, _apart(group, digits))),
                images="" if alone else str(images),
                conditions="; ".join(filter(None, said)),
                why=line.why or ("" if alone else scope.coverage(claim["dataset"], group)),
            )
        )
    return lines


def _line(group: pd.DataFrame, wanted: int, digits: str = "+.1f", by_chance: Collection[str] = ()) -> Line:
    """Judge values by category and seed, of a claim that speaks of `wanted` categories; no verdict without seeds."""
    seeds = int(group.groupby("category")["seed"].nunique().min())
    mean, low, high = over_seeds(group)
    line = Line(effect=mean, pairs=len(group), categories=group["category"].nunique(), seeds=seeds)
    if seeds < ENOUGH_SEEDS:
        return replace(line, why=f"{seeds} of {ENOUGH_SEEDS} seeds")
    judged, rests_on = _rests_on(group, wanted, digits, by_chance)
    return replace(line, low=low, high=high, verdict=judged, rests_on=rests_on, p=chance_over_seeds(group))


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
    left_out = [(name.split("/")[1], {name}) for name in names]
    if 1 < len(by_chance) < len(names):
        left_out.append(("those by chance", set(by_chance)))
    with_skill = [name for name in names if name not in by_chance]
    if by_chance and len(with_skill) > 1:
        left_out += [(f"{name.split('/')[1]} and those by chance", {name, *by_chance}) for name in with_skill]
    for name, without in left_out:
        rest = group[~group["category"].isin(without)]
        mean, low, high = over_seeds(rest) if len(rest) else (math.nan,) * 3
        if verdict(low, high) == found or any(name.startswith(other.split(" (")[0]) for other in changed + turned):
            continue
        which = "it" if len(without) == 1 else "them"
        left = f"without {which} {mean:{digits}} [{low:{digits}}, {high:{digits}}]" if len(rest) else "alone"
        if effect * mean < 0:
            turned.append(f"{name} ({left})")
        else:
            changed.append(f"{name} ({left})")
    return (DEPENDS, ", ".join(turned)) if turned else (found, ", ".join(changed))


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
                verdict=SUPPORTED if reached else CONTRADICTED if missed else INCONCLUSIVE,
            )
        )
    needed = (
        "an absolute claim: it needs the papers' conditions (teacher imagenet, full scale, fp32, all of DTD where "
        "pseudo-anomalies are made, no override, every category, 3 seeds)"
    )
    return lines or [untested(needed)]


def _stated_gain(claim: Mapping[str, str], i: int, against: str) -> float:
    """Compute the printed gain over the baseline `against` in percent points; NaN where the numbers are not printed.

    A number a metric is of the first baseline; a number a baseline is of the first metric.
    """
    after, before = names_in(claim["paper_variant"]), names_in(claim["paper_baseline"])
    names, metrics = _baselines(claim), names_in(claim["metric"])
    if i >= len(after) or not before or not against:
        return math.nan
    which = [name if against in names else ALSO.get(name, name) for name in names].index(against)
    if len(before) == len(metrics) and which == 0:
        printed = before[i]
    elif len(before) == len(names) and i == 0:
        printed = before[which]
    else:
        return math.nan
    unit = 100 if float(after[i]) <= 1 else 1  # some tables print fractions
    return unit * (float(after[i]) - float(printed))


def _printed(claim: Mapping[str, str], i: int) -> str:
    sides = [names_in(claim[side]) for side in ("paper_baseline", "paper_variant")]
    count = len(names_in(claim["metric"]))
    # Several baselines of one metric are printed with a comma, too: they stand beside the first metric.
    shown = [part[i] if len(part) == count else ("" if i else ", ".join(part)) for part in sides]
    return " -> ".join(text for text in shown if text)
