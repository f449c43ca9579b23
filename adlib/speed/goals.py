"""What this package was to reach in speed, beside what was measured of it.

The bounds are as first set; that each holds for fp32 and bf16 apart was said when rows of both were there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured here"
UNDECIDED = "undecided"  # of what took turns, the middle 80 % lie on both sides of the bound


@dataclass(frozen=True)
class Goal:
    """A bound on a column of a topic's rows, of which those count that `where` (as `DataFrame.query` reads it) takes.

    `least`: the value is to be at least this; else at most `most`. The topic `runs` are the committed runs, summed up
    by `of_runs`.
    """

    words: str
    topic: str
    where: str
    column: str
    least: float | None = None
    most: float | None = None


FULL_ON_H100 = "scale == 'full' and device.str.contains('H100')"
GOALS = (
    *(
        Goal(
            f"{name}, {precision}: times the authors' way",
            "training",
            f"case == '{case}' and precision == '{precision}'",
            "speedup",
            least=least,
        )
        for name, case, least in (
            ("DeSTSeg, stage 1", "destseg stage 1", 6),
            ("DeSTSeg, stage 2", "destseg stage 2", 6),
            ("reduced student", "reduced_student paper", 10),
            ("RD, ResNet-18", "rd resnet18", 4),
            ("RD, Wide-ResNet-50", "rd wide_resnet50_2", 4),
        )
        for precision in ("fp32", "bf16")
    ),
    Goal(
        "a category of DeSTSeg at full scale on one H100: seconds of training and test",
        "runs",
        f"method == 'destseg' and {FULL_ON_H100}",
        "slowest",
        most=180,
    ),
    Goal(
        "MVTec AD's table of one method at full scale on one H100: seconds of training and test",
        "runs",
        f"dataset == 'mvtec' and categories == 15 and {FULL_ON_H100}",
        "seconds",
        most=3600,
    ),
    *(
        Goal(
            f"reduced student ({recipe}): times anomalib's STFPM, one image, fp32",
            "peers",
            f"detector == 'reduced_student {recipe}' and batch == 1 and precision == 'fp32' and variant == 'optimised'",
            "speedup",
            least=3,
        )
        for recipe in ("paper", "code")
    ),
    Goal(
        "least share of its time that any method's fast path spends in convolutions, one image",
        "inference",
        "variant == 'optimised' and batch == 1 and size == 256",
        "conv_share",
        least=0.6,
    ),
    Goal(
        "all seven metrics of 115 maps on one core, in seconds",
        "metrics",
        "implementation == 'evaluate (all seven)' and maps == 115 and size == 256",
        "seconds",
        most=1,
    ),
    Goal(
        "peak memory of the same, in MiB",
        "metrics",
        "implementation == 'evaluate, alone' and maps == 115 and size == 256",
        "peak_mib",
        most=1024,
    ),
    Goal(
        "second run of a category: seconds from the imports to the first step",
        "decoding",
        "what == 'second run'",
        "begins",
        most=2,
    ),
)


def of_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Sum up rows of `adlib.results`, a line for the categories of one dataset that one method ran on alike.

    Besides what they have in common: `categories`, how many; `seconds` of training and test, of all together, and of
    the `slowest`.
    """
    alike = ["method", "recipe", "dataset", "scale", "teacher", "precision", "device", "seed"]
    took = rows.assign(took=rows["seconds_train"] + rows["seconds_test"])
    took = took[~took["overrides"].astype(bool)]
    columns = {"categories": ("category", "nunique"), "seconds": ("took", "sum"), "slowest": ("took", "max")}
    return took.groupby(alike, as_index=False).agg(**columns)


def goals(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Set each goal beside what was measured, a line each; `tables` as `speed.read` gives them, by topic.

    `measured` is the best of several variants of a training (`by`), and of several files or methods the worst; `low`
    and `high` are its 10 and 90 % quantiles where it is a ratio of what took turns; a goal between them is undecided.
    `at_peak` is what a training would reach if it computed at the measured peak of its machine and nothing else took
    time: a bound.
    """
    return pd.DataFrame([_line(goal, tables.get(goal.topic, pd.DataFrame())) for goal in GOALS])


def in_short(found: pd.DataFrame) -> str:
    """Return a sentence: how many of the goals, as `goals` gives them, are reached."""
    counts = found["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {name}" for name in (REACHED, MISSED, UNDECIDED, NOT_MEASURED) if name in counts)
    return f"Of {len(found)} goals for speed: {said}."


def _line(goal: Goal, rows: pd.DataFrame) -> dict[str, object]:
    wanted = f"at least {goal.least:g}" if goal.least is not None else f"at most {goal.most:g}"
    numbers = dict.fromkeys(("measured", "low", "high", "at_peak"), math.nan)
    line = {"goal": goal.words, "wanted": wanted, **numbers, "by": ""}
    found = rows.query(goal.where, engine="python") if len(rows) else rows
    found = found.dropna(subset=[goal.column]).sort_values(goal.column) if len(found) else found
    if found.empty:
        return line | {"device": "", "verdict": NOT_MEASURED}
    best, worst = (-1, 0) if goal.least is not None else (0, -1)
    chosen = found.iloc[best if goal.topic == "training" else worst]  # the best of variants, the worst of cases
    value = float(chosen[goal.column])
    bound = float(goal.most or 0) if goal.least is None else goal.least
    reached = value >= bound if goal.least is not None else value <= bound
    low, high = (float(chosen.get(f"{goal.column}_{quantile}", math.nan)) for quantile in ("p10", "p90"))
    return line | {
        "measured": value,
        "low": low,
        "high": high,
        "at_peak": chosen.get("speedup_at_peak", math.nan),
        "by": chosen.get("variant", ""),
        "device": chosen["device"],
        "verdict": UNDECIDED if low < bound < high else REACHED if reached else MISSED,
    }
