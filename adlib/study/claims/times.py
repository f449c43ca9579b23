"""Judge the claims on times and memory: ratios of what `results/speed` measured on one machine, at one commit.

The methods of `turns.csv` took turns, as did those of `peers.csv`: on a machine that others use, too, two methods
measured minutes apart differ by more than their percentiles say. A ratio is the median of the ratios of the turns, with
its 95 % interval (`intervals.of_median`): of one run on one machine. Peak memory is that of `inference.csv`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adlib import speed
from adlib.study.claims.verdicts import INCONCLUSIVE, NOT_JUDGED, RATIO, Line, about, at_least, lower, untested
from adlib.study.intervals import of_median
from adlib.study.paper import names_in
from adlib.study.peers import BANK, own_backbone, peers

APART = 0.03  # share by which a ratio may differ in another run on the same machine: what is nearer is no verdict
WAYS = {"optimised": "ours as the fast path", "plain": "ours as plain modules"}
RATIOS = {"fps": "images a second", "seconds": "median latency", "memory": "peak memory"}
RULES = ("at_least", "about", "lower")  # of those that `claims.claims` names the ones for a ratio


def judge(claim: Mapping[str, Any], metric: str, timings: Path) -> list[Line]:
    """Judge a claim on time or memory of one image: ours made for speed (`adlib.optimised`), and as plain modules.

    `claim` is a line of `claims.claims`, `metric` one of `RATIOS`, `timings` the folder of the speed tables.
    Raises ValueError for a rule that is none of a ratio, or that needs a stated ratio where there is none.
    """
    table = _timings(timings)
    variant, lines = table[table["method"] == claim["variant"]], []
    for name, stated in zip(names_in(str(claim["baseline"])), _stated(claim, metric), strict=True):
        measured = _side_by_side(variant, table[table["method"] == name])
        if metric == "memory":
            measured = measured.dropna(subset=["peak_mib", "peak_mib_other"])
        if measured.empty:
            why = f"no {RATIOS[metric]} of {claim['variant']} and {name} side by side"
            lines.append(replace(untested(why), against=name))
        for pair in measured.to_dict("records"):
            line = _memory(pair) if metric == "memory" else _time(pair, metric, str(claim["rule"]), stated)
            networks = " by ".join(dict.fromkeys((pair["backbone"], pair["backbone_other"])))
            sides = f"{_named(pair)} by {_named(pair, '_other')}, {networks}, batch 1, {pair['way']}"
            lines.append(
                replace(
                    line,
                    unit=RATIO,
                    stated=math.nan if stated is None else stated,
                    against=name,
                    recipe=pair["recipe"],
                    timed=f"{networks}, {pair['way']}",
                    conditions=f"{RATIOS[metric]}, {sides}, {line.conditions}",
                )
            )
    return lines


def _time(pair: Mapping[Any, Any], metric: str, rule: str, stated: float | None) -> Line:
    """Judge the ratio of two methods' times, turn by turn, also with an interval as wide as another run may need."""
    own, theirs = _turns(pair["each_ms"]), _turns(pair["each_ms_other"])
    ratio, low, high = of_median(own / theirs if metric == "seconds" else theirs / own)
    wide = low * (1 - APART), high * (1 + APART)
    where = f"{pair['device']}, {pair['threads']:.0f} threads, {pair['table']}.csv, {len(own)} turns"
    verdict = _verdict(rule, *wide, stated)
    within = (
        rule == "about" and stated is not None and verdict == INCONCLUSIVE and round(abs(stated - 1) / 2, 2) <= APART
    )
    why = (
        f"another run may differ by {100 * APART:.0f} %, which is as far as the bounds of what is claimed lie from it"
        if within
        else ""
    )
    return Line(effect=ratio, low=low, high=high, pairs=len(own), verdict=verdict, conditions=where, why=why)


def _verdict(rule: str, low: float, high: float, stated: float | None) -> str:
    """Judge a ratio by its interval and the claim's rule (`RULES`); the rule `lower` states no number."""
    if stated is None:
        return lower(low, high)
    return about(low, high, stated) if rule == "about" else at_least(low, high, stated)


def _memory(pair: Mapping[Any, Any]) -> Line:
    """Compare two methods' peak memory, which was measured apart from the times, maybe on another machine."""
    where = f"{pair['memory_device']}, {pair['memory_threads']:.0f} threads, inference.csv"
    why = "measured once: no spread, no verdict"
    ratio = pair["peak_mib"] / pair["peak_mib_other"]
    return Line(effect=ratio, pairs=1, conditions=where, verdict=NOT_JUDGED, why=why)


def _side_by_side(variant: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Pair the times of two methods that took turns, in columns without and with `_other`.

    On one network, or each on its own; two of ours by the same recipe.
    """
    both = variant.merge(baseline, on=["device", "threads", "commit", "table", "way"], suffixes=("", "_other"))
    alike = both["backbone"] == both["backbone_other"]
    each_own = pd.Series(True, both.index)
    for suffix in ("", "_other"):
        each_own &= both[f"backbone{suffix}"] == both[f"method{suffix}"].map(own_backbone)
    both_ours = (both["recipe"] != "") & (both["recipe_other"] != "")
    return both[(alike | each_own) & (~both_ours | (both["recipe"] == both["recipe_other"]))]


def _named(pair: Mapping[Any, Any], suffix: str = "") -> str:
    """Name a side of a pair with what its time depends on: ours with its recipe, PatchCore with its memory."""
    method, recipe, coreset = (pair[f"{column}{suffix}"] for column in ("method", "recipe", "coreset"))
    if not math.isnan(coreset):
        return f"{method} ({100 * coreset:.0f} % of {BANK} images)"
    return f"{method} ({recipe})" if recipe else str(method)


def _stated(claim: Mapping[str, Any], metric: str) -> list[float | None]:
    """Give the stated ratio of the variant to each baseline, by the claim's rule; None where it only says lower."""
    rule, names = claim["rule"], names_in(str(claim["baseline"]))
    if rule not in RULES:
        raise ValueError(
            f"claim {claim['id']}: {metric} is judged by one of the rules {', '.join(RULES)}; got {rule!r}"
        )
    if rule == "lower":
        return [None for _ in names]
    if claim["ratio"]:
        return [float(Fraction(claim["ratio"])) for _ in names]
    after, before = (names_in(str(claim[side])) for side in ("paper_variant", "paper_baseline"))
    if not after or not before:
        raise ValueError(
            f"claim {claim['id']}: the rule {rule!r} needs a ratio, or what the paper prints of both sides"
        )
    # Of frames a second a number is printed for each baseline; of seconds one, with those of other metrics after it.
    return [_number(after[0]) / _number(number) for number in (before if metric == "fps" else before[:1])]


def _timings(folder: Path) -> pd.DataFrame:
    """Read the latencies of one image of our methods and the peers', each table for itself."""
    turns, memory = (speed.read(topic, folder) for topic in ("turns", "inference"))
    columns = ["method", "recipe", "backbone", "coreset", "table", "way", "each_ms", "peak_mib"]
    columns += ["device", "threads", "commit", "memory_device", "memory_threads"]
    found = [pd.DataFrame(columns=columns)]
    if len(turns):
        turns = turns.assign(table="turns", way=WAYS["optimised"])
        found.append(_with_memory(turns, memory).reindex(columns=columns))
    others = peers(folder)
    for variant, way in WAYS.items():  # of a peer there is one, which stands beside both of ours
        part = others[others["variant"].isin([variant, "model"])]
        found.append(part.assign(table="peers", way=way).reindex(columns=columns))
    return pd.concat([part for part in found if len(part)] or found, ignore_index=True)


def _with_memory(ours: pd.DataFrame, memory: pd.DataFrame) -> pd.DataFrame:
    """Set the peak memory of the same networks beside the latencies, with the device that it was measured on."""
    same = ["method", "recipe", "backbone"]
    if memory.empty:
        return ours
    memory = memory[(memory["variant"] == "optimised") & (memory["batch"] == 1) & (memory["size"] == 256)]
    memory = memory[[*same, "peak_mib", "device", "threads"]]
    return ours.merge(memory.rename(columns={n: f"memory_{n}" for n in ("device", "threads")}), how="left", on=same)


def _turns(each_ms: str | float) -> np.ndarray:
    """Read the cell that `Timing.each_ms` wrote; a table of single repetitions has numbers."""
    return np.array(str(each_ms).split(), dtype=float)


def _number(text: str) -> float:
    return float(text.split()[0].removesuffix("M"))
