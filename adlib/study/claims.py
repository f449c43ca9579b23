"""The papers' claims, judged by our rows.

- **Relative** ("A beats B"): rows of A and B that agree in images, category, seed, recipe, scale, teacher (and its
  file, where both read one of the same network), precision, textures of pseudo-anomalies and all other overrides are
  pairs. The effect is the mean of A - B over categories (each the mean over its seeds), in percent points, with its
  95 % interval (`intervals.over_seeds`: of these categories, beyond what seeds give). Above 0: supported; below 0:
  contradicted; else inconclusive. Where the effect lies on the other side of 0 without some one category, there is no
  verdict on all: it depends on that category. What is left of it without the categories in which neither side finds
  anything stands beside it. Categories with fewer than three seeds do not count, nor those of other datasets where all
  that a claim speaks of are there. Of several baselines ("A beats either", "A is best") the one with the highest mean
  counts. That a category gains "the most" has lines of its own: its gain less the largest of any other category of its
  dataset that was run, and is supported only where all of these were run. MemKD's baseline is MemKD without items,
  which is RD with the loss of MemKD's Eq. 1 and its schedule: RD's own text has another loss.
- **Absolute** ("A reaches x"): only rows under the paper's conditions count (`paper.departures` names none, and they
  have every category of the claim and no other; a line a recipe): supported where the whole interval reaches x up
  to half a percent point, contradicted where all of it falls short by more, else inconclusive.
- **Speed**: the median of the ratios of `results/speed`'s turns, on one machine, with its 95 % interval
  (`intervals.of_median`). Supported where it reaches the claimed ratio up to a tenth; contradicted where all of it
  falls short; either has to hold also with the interval 3 % wider on both sides, by which another run may differ. Where
  a claim says about how much slower, half as much and half again as much are the bounds (of S2-11's 6 % no
  further than those 3 % allow: it can be contradicted, and not supported). Two methods are set beside each other on one
  network, and each on its own (PatchCore's is a Wide ResNet-50-2). Memory, measured once, has no verdict. PatchCore's
  coreset is its library's, a tenth, of the 209 training images of MVTec AD's bottle: of more images its time is longer.
  A claim over several others holds against each of them or not at all.
- **Diagnostic**: `results/diagnostics/*.csv` has a number a category and seed, made so that the claim says it is above
  0 (a difference in the claimed direction). Judged as a relative claim.

Real images and generated ones are judged apart, each in lines of their own: what holds of drawings need not hold of
photographs, so that one interval over both would be of nothing that exists.

Where a dataset was not run, and for a set of categories that we lack, the words are 'not tested here', with the reason.

The rules were written before the first verdict, when the rows of one category were there. Mended since, each time with
rows there: S1-10 and S1-11 speak of textures, and no longer count bottle; of several baselines it was the best of each
pair, which is the luckiest; the interval was a bootstrap's, too narrow for so few (`adlib/study/intervals.py`); MemKD's
baseline was RD as in its own text, so that two losses were compared, too; magnetic tiles count as textures, as they do
wherever else the study speaks of textures; generated images counted among the real ones, before any but gears were
there; S2-7 asked only whether L_NM gains anything, and then only whether it gains more than L_orth, which it would also
do where both lose; S2-2 and S2-3 left out the pixel AUROC, which MemKD loses in print on MPDD; S2-8 counted metrics
that the paper does not claim it for; S3-2 had other methods as baselines, with other losses; "about" had no upper
bound; S0-7 to S0-9 had one BatchNorm mode alone, and took for the loss before the freezing the mean of five steps
during which it still fell; S2-13 asked only whether MemKD's values lie more apart than MemAE's, and not whether they do
at all; claims on speed had the fast path alone, and brackets from the median of one to the 95th percentile of the
other; S0-3 and S0-4 asked only whether transistor gains, and not whether it gains most; what turns round without one
category was a verdict, with the category named beside it; S1-10 was judged by a ratio that still rose, and S2-13 by a
silhouette above 0 that no eye would see, by memories that training had not moved, and as failed where MemKD's values
lie apart, but not yet as far as an eye sees; S1-11 compared two late stages of EfficientNet, and then asked how far the
answer goes beyond the defect in place of the pixel AUROC, which noise lowers: a coarse grid goes beyond it whatever it
has learnt; S0-7 to S0-9 were judged in BatchNorm's own statistics while these still held their beginning, and with
those of the batch, too, with which a frozen student is the one of its last step and cannot jump; S0-8 and S0-10 by
memories with the attention; an absolute claim needed an interval that reaches x whole, which three seeds of a true one
seldom give; S1-5 was mixed where it fails against one of its two in every line; PatchCore ran on a lighter network than
its library's own, and then on that alone; DSKD was set beside others only on its own backbone, and not also with each
on its own; a verdict on times could be one that another run would turn; S3-4 had the coarsest level alone for its one;
S3-6 counted alarms beside missed defects, too, so that to find more was to flag more; a verdict could rest on several
categories without skill together, unsaid. Two claims are worded more weakly than in their paper: S0-3 and S0-4 ask
whether transistor gains, and whether it gains most in a line of its own. S0-1 to S0-4 turned when short trainings came
to settle BatchNorm's statistics.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from adlib import speed
from adlib.datasets import PUBLISHED, origin
from adlib.environment import PROJECT
from adlib.metrics import METRICS
from adlib.study import pairs, scope, speed_claims
from adlib.study.intervals import chance_over_seeds, over_seeds
from adlib.study.paper import FOLDER, departures, names_in
from adlib.study.verdicts import (
    CONTRADICTED,
    DEPENDS,
    INCONCLUSIVE,
    NOT_TESTED,
    NUMBER,
    POINTS,
    SUPPORTED,
    untested,
    verdict,
)

# One name of the list that stands for several: the best of them is the baseline.
SEVERAL = {
    "memkd(items)": ["memkd(items=0)", "memkd(items=10)", "memkd(items=100)", "memkd(items=100-50-10)"],
    "dskd(one level)": ["dskd(level 1)", "dskd(level 2)", "dskd(level 3)"],
}
NO_SKILL = 0.55  # an AUROC below this is near chance, a half, or on the wrong side of it
SHORT_OF_POINTS = 0.5  # percent points: an absolute claim is reached up to these
MOST = "the most"  # a claim that says so is judged by that, too, in lines of its own
# A baseline that a claim is judged against in lines of its own, too: the scale `small` settles STPM's statistics, which
# is none of its source's doing.
ALSO = {"stpm": "stpm(settle=off)"}

DIAGNOSTICS = PROJECT / "results" / "diagnostics"
TOGETHER = "all/all"  # the category of a diagnostic that compares categories
COLUMNS = [
    "id",
    "source",
    "claim",
    "where",
    "metric",
    "against",
    "printed",
    "unit",
    "stated",
    "effect",
    "low",
    "high",
    "pairs",
    "categories",
    "seeds",
]
COLUMNS += ["by_category", *pairs.SETTING, "conditions", "verdict", "rests_on", "p", "why"]


def claims(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Read the list of claims: what is compared, where it is printed, and with which values."""
    return pd.read_csv(Path(folder) / "claims.csv", dtype=str, keep_default_na=False)


def judge(
    rows: pd.DataFrame,
    timings: str | Path = speed.RESULTS,
    diagnostics: str | Path = DIAGNOSTICS,
    listed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Judge claims: one line a claim, metric and setting (recipe, scale, teacher, ...), columns `COLUMNS`.

    `effect` with `low` and `high` is in `unit`; `stated`, in the same unit, is what the paper prints (NaN: nothing).
    `conditions` words what the columns of `pairs.SETTING` have for a program; those of times have a recipe alone.
    `rests_on` names the categories without any one of which the verdict would be another, and the effect without each;
    `p` is the chance of such an
    effect where there is none (`intervals.chance_over_seeds`), of each line for itself.

    Args:
        rows: as `results.read` gives them.
        timings: the folder of the speed tables.
        diagnostics: the folder of tables with the columns id, metric, value, parts, dataset, category, seed,
            conditions, device, and `why`, where there is a line without a value.
        listed: the claims to judge, of `claims`; None: all.
    """
    listed = claims() if listed is None else listed
    lines: list[dict[str, Any]] = []
    for claim in ({str(k): v for k, v in line.items()} for line in listed.to_dict("records")):
        for i, metric in enumerate(names_in(str(claim["metric"]))):
            head = {"id": claim["id"], "source": claim["source"], "claim": claim["claim"], "where": claim["where"]}
            head |= {"metric": metric, "printed": _printed(claim, i), "unit": POINTS, "stated": math.nan}
            head |= {"against": "", "by_category": "", "rests_on": "", "p": math.nan} | dict.fromkeys(pairs.SETTING, "")
            if claim["kind"] == "relative" and metric in METRICS:
                head["stated"] = _stated_gain(claim, i)
            lines += [head | line for line in _judged(claim, metric, i, rows, Path(timings), Path(diagnostics))]
    return pd.DataFrame(lines, columns=COLUMNS)


def _judged(
    claim: Mapping[str, Any], metric: str, i: int, rows: pd.DataFrame, timings: Path, diagnostics: Path
) -> list[dict[str, Any]]:
    if claim["kind"] == "diagnostic":
        return _measured(claim, metric, diagnostics)
    if metric in speed_claims.RATIOS:
        return speed_claims.judge(claim, metric, timings)
    if metric not in METRICS:
        return [untested(f"{metric} is no column of a row; numbers in memories are counted beside the printed sizes")]
    in_scope = [
        scope.in_scope(str(claim["dataset"]), *at) for at in zip(rows["dataset"], rows["category"], strict=True)
    ]
    part = rows[pd.Series(in_scope, rows.index, dtype=bool)]
    if claim["kind"] == "absolute":
        return _absolute(claim, metric, i, part)
    most = _the_most(claim, metric, rows) if MOST in str(claim["claim"]) else []
    return _relative(claim, metric, part) + most


def _relative(claim: Mapping[str, Any], metric: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    names = [n for name in names_in(str(claim["baseline"])) for n in SEVERAL.get(name, [name])]
    also = [ALSO.get(name, name) for name in names]
    more = _against(also, claim, metric, rows) if also != names else []
    return _against(names, claim, metric, rows) + [line for line in more if line["verdict"] != NOT_TESTED]


def _against(names: list[str], claim: Mapping[str, Any], metric: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    paired = pairs.paired(names, str(claim["variant"]), metric, rows)
    if paired.empty:
        have = ", ".join(f"{n}: {len(pairs.chosen(rows, n, metric))}" for n in [str(claim["variant"]), *names])
        return [untested(f"no pairs of rows on {claim['dataset']} (rows of {have})")]
    lines = []
    for setting, group in paired.groupby(list(pairs.SETTING), sort=True):
        group = scope.its_own(str(claim["dataset"]), pairs.with_enough_seeds(group))
        best = max(names, key=lambda name: group.groupby("category")[name].mean().mean())
        against = {name: group.assign(value=100 * (group["variant"] - group[name])) for name in names}
        conditions = pairs.compared(setting, group, str(claim["variant"]), best)
        by_chance = _by_chance(group, metric, best)
        speaks_of = str(claim["dataset"])
        line = _line(
            against[best], conditions, scope.coverage(speaks_of, group), scope.wanted(speaks_of), by_chance=by_chance
        )
        others = [f"against {name} {over_seeds(against[name])[0]:+.1f}" for name in names if name != best]
        each = [_by_category(against[best], "+.1f", by_chance), _without(against[best], by_chance, "+.1f"), *others]
        apart = "; ".join(filter(None, each))
        lines.append(line | {"by_category": apart, "against": best} | pairs.columns(setting))
    return lines


def _the_most(claim: Mapping[str, Any], metric: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Judge whether one category gains most: its gain less that of the other with the largest mean gain, by seeds."""
    name, own = str(claim["baseline"]), str(claim["dataset"])
    paired = pairs.paired([name], str(claim["variant"]), metric, rows[rows["dataset"] == own.split("/")[0]])
    lines = []
    for setting, group in paired.groupby(list(pairs.SETTING), sort=True):
        group = pairs.with_enough_seeds(group)
        gains = (100 * (group["variant"] - group[name])).groupby([group["seed"], group["category"]]).mean().unstack()
        if own not in gains or gains.shape[1] == 1:
            continue
        others = gains.drop(columns=own)
        most = str(others.mean().idxmax())
        value = (gains[own] - gains[most]).dropna().rename("value").reset_index().assign(category=own)
        conditions = pairs.compared(setting, group, str(claim["variant"]), name)
        if value.empty:  # the seeds of both are others
            continue
        others_run = f"the largest of {others.shape[1]} others" if others.shape[1] > 1 else "the only other"
        said = f"; gain less that of {most.split('/')[1]}, {others_run}"
        line = _line(value, conditions + said, "", 1) | {"stated": math.nan, "against": name}
        line |= pairs.columns(setting)
        every = len(PUBLISHED[own.split("/")[0]]) - 1
        if line["verdict"] == SUPPORTED and others.shape[1] < every:  # one of those that were not run may gain more
            line |= {
                "verdict": INCONCLUSIVE,
                "why": f"{others.shape[1]} of {every} others",
                "rests_on": "",
                "p": math.nan,
            }
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


def _without(group: pd.DataFrame, places: Collection[str], digits: str) -> str:
    """Word what is left of an effect without the categories by chance; nothing where none or all of them are."""
    rest = group[~group["category"].isin(places)]
    if rest.empty or not len(places):
        return ""
    mean, low, high = over_seeds(rest)
    return f"without chance {mean:{digits}} [{low:{digits}}, {high:{digits}}]"


def _by_chance(group: pd.DataFrame, metric: str, baseline: str) -> set[str]:
    """Name the categories in which neither side ranks defects above normal ones: a difference there is of no skill."""
    if not metric.endswith("auroc"):
        return set()
    means = group.groupby("category")[["variant", baseline]].mean().max(axis=1)
    return set(means.index[means < NO_SKILL])


def _measured(claim: Mapping[str, Any], metric: str, folder: Path) -> list[dict[str, Any]]:
    tables = [pd.read_csv(path, keep_default_na=False) for path in sorted(folder.glob("*.csv"))]
    found = pd.concat(tables) if tables else pd.DataFrame(columns=["id", "metric"])
    found = found[(found["id"] == claim["id"]) & (found["metric"] == metric)]
    places = zip(found["dataset"], found["category"], strict=True) if len(found) else ()
    found = found[[of == "all" or scope.in_scope(str(claim["dataset"]), of, category) for of, category in places]]
    if found.empty:
        return [untested("a diagnostic: no such measurement is committed")]
    found["value"] = pd.to_numeric(found["value"])
    lines = []
    for (conditions, _), group in found.groupby(["conditions", found["dataset"].map(origin)], sort=True):
        if group["value"].isna().all():
            lines.append(untested("; ".join(group["why"].unique())) | {"conditions": conditions})
            continue
        group = group.dropna(subset="value")
        group = pairs.with_enough_seeds(group.assign(category=group["dataset"] + "/" + group["category"]))
        parts = pd.DataFrame([json.loads(text) for text in group["parts"]]).mean()
        made_of = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
        named = ", ".join(sorted(set(group["category"]) - {TOGETHER}))  # what compares categories has named them
        devices = " and ".join(sorted(group["device"].unique()))
        said = [conditions, named, f"mean {made_of}" if made_of else "", f"on {devices}"]
        digits = "+.1f" if metric in METRICS else "+.3g"
        line = _line(group, "; ".join(filter(None, said)), "", scope.wanted(str(claim["dataset"])), digits)
        line["unit"] = POINTS if metric in METRICS else NUMBER
        lines.append(line | {"by_category": _by_category(group, digits)})
    return lines


def _line(
    group: pd.DataFrame,
    conditions: str,
    why: str,
    wanted: int,
    digits: str = "+.1f",
    by_chance: Collection[str] = (),
) -> dict[str, Any]:
    """Judge values by category and seed, of a claim that speaks of `wanted` categories."""
    seeds = int(group.groupby("category")["seed"].nunique().min())
    mean, low, high = over_seeds(group)
    line: dict[str, Any] = {"effect": mean, "low": low, "high": high, "verdict": verdict(low, high), "why": why}
    if seeds >= pairs.SEEDS:
        line |= {"p": chance_over_seeds(group)} | _rests_on(group, wanted, digits, by_chance)
    else:
        line |= {"low": math.nan, "high": math.nan, "verdict": NOT_TESTED, "why": f"{seeds} of {pairs.SEEDS} seeds"}
    line |= {"pairs": len(group), "categories": group["category"].nunique(), "seeds": seeds}
    return line | {"conditions": conditions}


def _rests_on(group: pd.DataFrame, wanted: int, digits: str, by_chance: Collection[str] = ()) -> dict[str, Any]:
    """Name the categories without any one of which the verdict would be another, with the effect that is left then.

    And those that are by chance together, where there are several. Without effect on an inconclusive one. Of a claim
    that speaks of several categories, a verdict on one of them rests on it. Where the effect turns round, that is the
    verdict.
    """
    effect, *interval = over_seeds(group)
    found = verdict(*interval)
    names = [name for name in sorted(group["category"].unique()) if name != TOGETHER]
    if found == INCONCLUSIVE or wanted == 1 or not names:
        return {"rests_on": ""}
    changed: list[str] = []
    turned: list[str] = []
    left_out = [(name.split("/")[1], {name}) for name in names]
    if 1 < len(by_chance) < len(names):
        left_out.append(("those by chance", set(by_chance)))
    for name, places in left_out:
        rest = group[~group["category"].isin(places)]
        mean, low, high = over_seeds(rest) if len(rest) else (math.nan,) * 3
        if verdict(low, high) != found:
            which = "it" if len(places) == 1 else "them"
            left = f"without {which} {mean:{digits}} [{low:{digits}}, {high:{digits}}]" if len(rest) else "alone"
            text = f"{name} ({left})"
            (turned if effect * mean < 0 else changed).append(text)
    return {"rests_on": ", ".join(turned), "verdict": DEPENDS} if turned else {"rests_on": ", ".join(changed)}


def _absolute(claim: Mapping[str, Any], metric: str, i: int, rows: pd.DataFrame) -> list[dict[str, Any]]:
    part = pairs.chosen(rows, str(claim["variant"]), metric)
    conditions = zip(
        part["teacher"], part["scale"], part["overrides"], part["precision"], part["textures"], strict=True
    )
    theirs = [  # by whichever recipe: each has a line of its own
        not departures(teacher, scale, "paper", "" if rest == "{}" else rest, precision, textures)
        for teacher, scale, rest, precision, textures in conditions
    ]
    part = part[pd.Series(theirs, part.index, dtype=bool)]
    part = part[part["dataset"] == scope.names(str(claim["dataset"]))[0]]  # no stand-in from another dataset
    part = part.assign(images=part["dataset"].map(origin))
    stated = float(names_in(str(claim["paper_variant"]))[i])
    lines = []
    for setting, group in part.groupby(list(pairs.SETTING), sort=True):
        group = group.assign(category=group["dataset"] + "/" + group["category"], value=100 * group["value"])
        categories, seeds = group["category"].nunique(), int(group.groupby("category")["seed"].nunique().min())
        if categories < scope.wanted(str(claim["dataset"])) or seeds < pairs.SEEDS:
            continue
        mean, low, high = over_seeds(group)
        reached, missed = low >= stated - SHORT_OF_POINTS, high < stated - SHORT_OF_POINTS
        judged = SUPPORTED if reached else CONTRADICTED if missed else INCONCLUSIVE
        line = {"effect": mean, "low": low, "high": high, "pairs": len(group), "categories": categories, "why": ""}
        line |= {"seeds": seeds, "conditions": pairs.conditions(setting, group), "verdict": judged}
        lines.append(line | pairs.columns(setting))
    needed = (
        "an absolute claim: it needs the papers' conditions (teacher imagenet, full scale, fp32, all of DTD where "
        "pseudo-anomalies are made, no override, every category, 3 seeds)"
    )
    return lines or [untested(needed)]


def _stated_gain(claim: Mapping[str, Any], i: int) -> float:
    """Compute the printed gain over the best baseline in percent points; NaN where the numbers are not printed."""
    after, before = names_in(str(claim["paper_variant"])), names_in(str(claim["paper_baseline"]))
    if len(names_in(str(claim["metric"]))) == len(before):
        before = before[i : i + 1]
    if i >= len(after) or not before or (i and len(before) > 1):
        return math.nan
    unit = 100 if float(after[i]) <= 1 else 1  # some tables print fractions
    return unit * (float(after[i]) - max(map(float, before)))


def _printed(claim: Mapping[str, Any], i: int) -> str:
    sides = [names_in(str(claim[side])) for side in ("paper_baseline", "paper_variant")]
    count = len(names_in(str(claim["metric"])))
    # Several baselines of one metric are printed with a comma, too: they stand beside the first metric.
    shown = [part[i] if len(part) == count else ("" if i else ", ".join(part)) for part in sides]
    return " -> ".join(text for text in shown if text)
