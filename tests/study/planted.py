"""Rows whose scores are known, and what is judged of them."""

import pandas as pd

from adlib.study import claims
from adlib.study.claims import verdicts


def made(row: dict, method: str, category: str, values: list[float], **fields) -> pd.DataFrame:
    """Make rows like `row` of a category of MVTec AD, one a seed."""
    base = row | {"method": method, "dataset": "mvtec", "category": category, "notes": {}} | fields
    return pd.DataFrame([base | {"seed": seed, "image_auroc": value} for seed, value in enumerate(values)])


def table(row, method: str, values: dict[tuple[str, int], float], **fields) -> pd.DataFrame:
    """Make a row a (category of MVTec AD, seed)."""
    base = row | {
        "method": method,
        "dataset": "mvtec",
        "recipe": "paper",
        "overrides": {},
        "config": {},
        "steps": 80,
        "notes": {},
    }
    base |= {"teacher": "bundled", "scale": "small"} | fields
    base["config"] = {"backbone": "resnet18"} | base["config"]
    return pd.DataFrame(
        [
            base | {"category": category, "seed": seed, "image_auroc": value}
            for (category, seed), value in values.items()
        ]
    )


def without_items(row, values: dict[tuple[str, int], float], **overrides) -> pd.DataFrame:
    """Make rows of what MemKD is compared with: itself without memories."""
    none = {"items": [0, 0, 0]}
    return table(row, "memkd", values, config=none, overrides=none | overrides)


def lines_of(name: str, rows: pd.DataFrame, **folders) -> pd.DataFrame:
    """Judge one claim."""
    return claims.judge(rows, listed=claims.claims().query("id == @name"), **folders)


def judged(rows: pd.DataFrame, name: str, metric: str = "image_auroc") -> pd.Series:
    found = lines_of(name, rows).query("metric == @metric")
    assert len(found) == 1
    return found.iloc[0]


def scored_row(
    method, category, auroc, dataset="mvtec", seed=0, overrides=None, backbone="resnet18", recipe="paper", device="cpu"
):
    return {
        "method": method,
        "recipe": recipe,
        "dataset": dataset,
        "category": category,
        "seed": seed,
        "scale": "small",
        "teacher": "imagenet",
        "overrides": overrides or {},
        "config": {"backbone": backbone},
        "image_auroc": auroc,
        "pixel_auroc": 1 - auroc,
        "aupro": auroc / 2,
        "precision": "fp32",
        "steps": 10 if method == "stpm" else 20,
        "batch": 8,
        "seconds_train": 10.0 if method == "stpm" else 20.0,
        "peak_memory_mib": 500.0,
        "device": device,
    }


def scored(of, dataset="mvtec", names=("bottle", "pill", "tile"), **fields):
    """A row a method and category of {method: scores}."""
    return [
        scored_row(m, c, v, dataset, **fields) for m, values in of.items() for c, v in zip(names, values, strict=True)
    ]


ROWS = pd.DataFrame(
    [
        scored_row("stpm", "bottle", 0.8),
        scored_row("stpm", "bottle", 0.6, seed=1),
        scored_row("stpm", "tile", 0.5),
        scored_row("stpm", "wood", 0.1),  # not run with the other method
        scored_row("stpm", "bottle", 0.0, overrides={"levels": [1]}),  # an ablation
        scored_row("rd", "bottle", 0.9, backbone="wide"),
        scored_row("rd", "tile", 0.4, backbone="wide"),
    ]
)
TIMINGS = pd.DataFrame(
    [
        {"method": method, "recipe": "paper", "backbone": "resnet18", "batch": batch, "p50_ms": ms}
        for method, batch, ms in [("stpm", 16, 98), ("stpm", 1, 30), ("rd", 1, 97)]
    ]
)


def line(**fields) -> dict:
    """Make a judged line of a claim: a supported one, and what is changed of it."""
    base = dict.fromkeys(verdicts.COLUMNS, "") | {
        "source": "002",
        "id": "S2-1",
        "claim": "MemKD beats RD",
        "metric": "aupro",
        "against": "rd",
    }
    base |= {
        "unit": verdicts.POINTS,
        "stated": 0.6,
        "effect": 1.25,
        "low": 0.5,
        "high": 2.0,
        "conditions": "small; bottle",
        "pairs": 12,
        "categories": 4,
        "seeds": 3,
        "p": 0.06,
    }
    return base | {"verdict": verdicts.SUPPORTED, "why": ""} | fields


# The settings of a line under the papers' conditions, and under ours.
THEIRS = {"recipe": "paper", "scale": "full", "teacher": "imagenet", "precision": "fp32", "images": "real"}
OURS = THEIRS | {"scale": "small", "teacher": "bundled"}
