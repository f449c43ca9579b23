"""The words that a claim is judged with, and what an interval or a ratio needs for each."""

import math
from typing import Any

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested here"
DEPENDS = "depends on a category"  # without which the effect lies on the other side of 0
MIXED = "mixed"  # of a claim with lines that are supported and lines that are contradicted
IN_PART = {SUPPORTED: "supported in part", CONTRADICTED: "contradicted in part"}  # ... other lines are neither
VERDICTS = (
    SUPPORTED,
    IN_PART[SUPPORTED],
    CONTRADICTED,
    IN_PART[CONTRADICTED],
    MIXED,
    DEPENDS,
    INCONCLUSIVE,
    NOT_TESTED,
)
SHORT_OF = 0.1  # a ratio of times reaches the claimed one up to this share
POINTS, RATIO, NUMBER = "percent points", "ratio", "number"  # units of an effect


def over_lines(verdicts: set[str]) -> str:
    """Sum up the verdicts of the lines of one claim, of those that were tested."""
    if not verdicts:
        return NOT_TESTED
    said = verdicts - {INCONCLUSIVE, DEPENDS}
    if len(said) != 1:
        return MIXED if said else DEPENDS if DEPENDS in verdicts else INCONCLUSIVE
    return said.pop() if len(verdicts) == 1 else IN_PART[said.pop()]


def verdict(low: float, high: float) -> str:
    """Judge an effect by its interval."""
    return SUPPORTED if low > 0 else CONTRADICTED if high < 0 else INCONCLUSIVE


def of_ratio(low: float, high: float, claimed: float, lower: bool) -> str:
    """Judge a ratio that is claimed to be at least `claimed`, or, if `lower`, at most; 1 is a bound, not a number."""
    if lower:
        low, high, claimed = 1 / high, 1 / low, 1 / claimed
    needed = claimed if claimed == 1 else claimed * (1 - SHORT_OF)
    return SUPPORTED if low >= needed else CONTRADICTED if high < needed else INCONCLUSIVE


def about(low: float, high: float, claimed: float) -> str:
    """Judge a ratio that is claimed to be about `claimed`: up to half of what it differs from 1, either way."""
    if claimed < 1:
        low, high, claimed = 1 / high, 1 / low, 1 / claimed
    reach = (claimed - 1) / 2
    if claimed - reach <= low and high <= claimed + reach:
        return SUPPORTED
    return CONTRADICTED if high < claimed - reach or low > claimed + reach else INCONCLUSIVE


def untested(why: str) -> dict[str, Any]:
    """Make what a line has without a measurement, and say why there is none."""
    empty = {"effect": math.nan, "low": math.nan, "high": math.nan, "pairs": 0, "categories": 0, "seeds": 0}
    return empty | {"conditions": "", "verdict": NOT_TESTED, "why": why}
