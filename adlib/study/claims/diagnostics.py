"""Judge the claims on what is inside a method or its maps, by the numbers that `benchmarks/diagnostics.py` wrote."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from adlib.environment import PROJECT
from adlib.metrics import METRICS
from adlib.study.claims import pairs, scope
from adlib.study.claims.effects import TOGETHER, apart, judged
from adlib.study.claims.verdicts import CONTRADICTED, NOT_JUDGED, NUMBER, POINTS, Line, untested
from adlib.study.filters import origins, places

DIAGNOSTICS = PROJECT / "results" / "diagnostics"
# A number that falls by what its claim grants, too: it can support, and not deny.
CANNOT_DENY = {("S1-11", "pixel_auroc"): "below 0 this says nothing, as noise, which the claim grants, lowers it, too"}


def judge(claim: Mapping[str, str], metric: str, folder: Path) -> list[Line]:
    """Judge a diagnostic by the numbers in a folder: a line for each of their conditions, real images apart."""
    tables = [pd.read_csv(path, keep_default_na=False) for path in sorted(folder.glob("*.csv"))]
    found = pd.concat(tables) if tables else pd.DataFrame(columns=["id", "metric"])
    found = found[(found["id"] == claim["id"]) & (found["metric"] == metric)]
    at = zip(found["dataset"], found["category"], strict=True) if len(found) else ()
    found = found[[dataset == "all" or scope.in_scope(claim["dataset"], dataset, category) for dataset, category in at]]
    if found.empty:
        return [untested("a diagnostic: no such measurement is committed")]
    found["value"] = pd.to_numeric(found["value"])
    lines = []
    for (recipe, conditions, images), group in found.groupby(["recipe", "conditions", origins(found)], sort=True):
        under = f"recipe {recipe}, {conditions}"
        if group["value"].isna().all():
            silent = untested("; ".join(group["why"].unique()))
            lines.append(replace(silent, verdict=NOT_JUDGED, recipe=str(recipe), conditions=under))
            continue
        group = group.dropna(subset="value")
        group = pairs.with_enough_seeds(group.assign(category=places(group)))
        parts = pd.DataFrame([json.loads(text) for text in group["parts"]]).mean()
        made_of = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
        named = ", ".join(sorted(set(group["category"]) - {TOGETHER}))  # what compares categories has named them
        devices = " and ".join(sorted(group["device"].unique()))
        said = [under, named, f"mean {made_of}" if made_of else "", f"on {devices}"]
        digits = "+.1f" if metric in METRICS else "+.3g"
        line = judged(group, scope.wanted(claim["dataset"]), digits)
        granted = CANNOT_DENY.get((claim["id"], metric), "")
        denied = granted if line.verdict == CONTRADICTED else ""
        if unsaying := list(filter(None, [denied, *group["why"].unique()])):  # what is told beside a value says why
            line = replace(line, verdict=NOT_JUDGED, why="; ".join(unsaying), rests_on="", p=math.nan)
        alone = group["dataset"].iloc[0] == "all"
        coverage = "" if alone else scope.coverage(claim["dataset"], group)
        lines.append(
            replace(
                line,
                unit=POINTS if metric in METRICS else NUMBER,
                by_category="; ".join(filter(None, apart(group, digits))),
                recipe=str(recipe),
                images="" if alone else str(images),
                conditions="; ".join(filter(None, said)),
                why=line.why or coverage,
            )
        )
    return lines
