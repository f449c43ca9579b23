"""Judge the claims on time and memory: ratios of what `results/speed` measured on one machine, at one commit.

The methods of `turns.csv` took turns, as did those of `peers.csv`: on a machine that others use, too, two methods
measured minutes apart differ by more than their percentiles say. A ratio is the median of the ratios of the turns, with
its 95 % interval (`intervals.of_median`): of one run on one machine. Peak memory is that of `inference.csv`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adlib import speed
from adlib.methods import METHODS, resolve
from adlib.study.intervals import of_median
from adlib.study.paper import names_in
from adlib.study.verdicts import NOT_TESTED, RATIO, about, of_ratio, untested

SMALLER = "patchcore 1 % resnet18"  # with a smaller coreset than its library takes by itself
PEERS = {"patchcore": "wide_resnet50_2", "fastflow": "resnet18"}  # the network that each takes by itself
OF = {"patchcore": " of 209 images"}  # whose patches its memory is taken from: of more it is slower
APART = 0.03  # share by which a ratio may differ in another run on the same machine: what is nearer is no verdict
WAYS = {"optimised": "ours as the fast path", "plain": "ours as plain modules"}
RATIOS = {"fps": "images a second", "seconds": "median latency", "memory": "peak memory"}


def judge(claim: Mapping[str, Any], metric: str, timings: Path) -> list[dict[str, Any]]:
    """Judge a claim on time or memory of one image: ours made for speed (`adlib.optimised`), and as plain modules."""
    table = _timings(timings)
    variant, lines = table[table["name"] == claim["variant"]], []
    stated = _stated(claim, metric)
    for name, claimed in zip(names_in(str(claim["baseline"])), stated, strict=True):
        baseline = table[table["name"] == name]
        pairs = variant.merge(baseline, on=["device", "threads", "commit", "table", "way"], suffixes=("", "_other"))
        alike = pairs["backbone"] == pairs["backbone_other"]
        both_own = pairs["backbone"] == _own_backbone(str(claim["variant"]))
        pairs = pairs[alike | (both_own & (pairs["backbone_other"] == _own_backbone(name)))]
        both = pairs["recipe"].isin(["paper", "code"]) & pairs["recipe_other"].isin(["paper", "code"])
        pairs = pairs[~both | (pairs["recipe"] == pairs["recipe_other"])]
        if metric == "memory":
            pairs = pairs.dropna(subset=["peak_mib", "peak_mib_other"])
        if pairs.empty:
            why = f"no {RATIOS[metric]} of {claim['variant']} and {name} side by side"
            lines.append(untested(why) | {"against": name})
            continue
        for pair in pairs.to_dict("records"):
            turns = 0
            if metric == "memory":
                ratio, low, high = pair["peak_mib"] / pair["peak_mib_other"], math.nan, math.nan
            else:
                own, theirs = _turns(pair["each_ms"]), _turns(pair["each_ms_other"])
                ratio, low, high = of_median(own / theirs if metric == "seconds" else theirs / own)
                turns = len(own)
            roughly = "about" in claim["claim"] or (metric == "fps" and claimed < 1)
            wide = low * (1 - APART), high * (1 + APART)
            judged = about(*wide, claimed) if roughly else of_ratio(*wide, claimed, lower=metric != "fps")
            other = f"{name} ({pair['recipe_other']}{OF.get(name, '')})" if pair["recipe_other"] else name
            networks = " by ".join(dict.fromkeys((pair["backbone"], pair["backbone_other"])))
            text = f"{RATIOS[metric]}, {claim['variant']} ({pair['recipe']}) by {other}, {networks}, batch 1"
            of = "memory_" if metric == "memory" else ""  # measured apart, maybe elsewhere
            where = f"{pair['way']}, {pair[of + 'device']}, {pair[of + 'threads']:.0f} threads, "
            where += "inference.csv" if of else f"{pair['table']}.csv, {turns} turns"
            why = "" if metric != "memory" else "measured once: no spread, no verdict"
            lines.append(
                {"effect": ratio, "low": low, "high": high, "pairs": turns or 1, "categories": 0, "seeds": 0}
                | {"conditions": f"{text}, {where}", "unit": RATIO}
                | {"verdict": NOT_TESTED if why else judged, "why": why}
                | {"stated": math.nan if claimed == 1 else claimed, "against": name, "recipe": pair["recipe"]}
            )
    return lines


def _stated(claim: Mapping[str, Any], metric: str) -> list[float]:
    """Compute the claimed ratios, one a baseline; 1 where the claim only says lower."""
    names = names_in(str(claim["baseline"]))
    if metric == "fps" and claim["paper_baseline"]:
        return [float(claim["paper_variant"]) / float(b) for b in names_in(str(claim["paper_baseline"]))]
    if metric == "fps":
        return [1 / 3 for _ in names]  # "3 times slower", printed without numbers
    if claim["paper_baseline"]:
        return [_number(names_in(str(claim["paper_variant"]))[0]) / _number(names_in(str(claim["paper_baseline"]))[0])]
    return [1.0 for _ in names]


def _timings(folder: Path) -> pd.DataFrame:
    """Read the latencies of one image by our names and the peers', each table for itself."""
    ours, memory, peers = (speed.read(topic, folder) for topic in ("turns", "inference", "peers"))
    columns = ["name", "recipe", "backbone", "table", "way", "each_ms", "peak_mib"]
    columns += ["device", "threads", "commit", "memory_device", "memory_threads"]
    found = [pd.DataFrame(columns=columns)]
    if len(ours):
        ours = ours.assign(table="turns", name=ours["method"], way=WAYS["optimised"])
        found.append(_with_memory(ours, memory).reindex(columns=columns))
    if len(peers):
        found.append(_peers(peers).reindex(columns=columns))
    return pd.concat(found, ignore_index=True)


def _with_memory(ours: pd.DataFrame, memory: pd.DataFrame) -> pd.DataFrame:
    """Set the peak memory of the same networks beside the latencies, with the device that it was measured on."""
    same = ["method", "recipe", "backbone"]
    if memory.empty:
        return ours
    memory = memory[(memory["variant"] == "optimised") & (memory["batch"] == 1) & (memory["size"] == 256)]
    memory = memory[[*same, "peak_mib", "device", "threads"]]
    return ours.merge(memory.rename(columns={n: f"memory_{n}" for n in ("device", "threads")}), how="left", on=same)


def _peers(peers: pd.DataFrame) -> pd.DataFrame:
    # Of a peer there is one way, which stands beside both of ours.
    peers = peers[(peers["batch"] == 1) & peers["variant"].isin([*WAYS, "model"])]
    beside = [peers.loc[peers["variant"].isin([variant, "model"])].assign(way=way) for variant, way in WAYS.items()]
    peers = pd.concat(beside)
    words = peers["detector"].str.split(" ", n=1, expand=True)
    backbone = peers["detector"].str.extract(r" (\w*resnet\w+)$")[0].fillna("resnet18")  # named where it is another's
    recipe = [text.removesuffix(network).strip() for text, network in zip(words[1].fillna(""), backbone, strict=True)]
    peers = peers.assign(name=words[0], recipe=recipe, table="peers", backbone=backbone)
    peers = peers[peers["detector"] != SMALLER]
    return peers[(peers["environment"] == "adlib") | peers["name"].isin(PEERS)]


def _own_backbone(name: str) -> str:
    """Return the network that a method has by default, ours or a peer's."""
    return str(resolve(name).backbone) if name in METHODS else PEERS[name]


def _turns(each_ms: str | float) -> np.ndarray:
    """Read the cell that `Timing.each_ms` wrote; a table of single repetitions has numbers."""
    return np.array(str(each_ms).split(), dtype=float)


def _number(text: str) -> float:
    return float(text.split()[0].removesuffix("M"))
