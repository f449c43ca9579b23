"""A judged claim: the line that it has, the words that it is judged with, and what an interval needs for each."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE = "inconclusive"
NOT_JUDGED = "measured but not judged"  # too few seeds, or what was measured says nothing of the claim: `why` has it
NOT_TESTED = "not tested here"
NO_VERDICT = (NOT_JUDGED, NOT_TESTED)
CONCLUSIVE = (SUPPORTED, CONTRADICTED)
DEPENDS = "depends on a category"  # without which a conclusive effect lies on the other side of 0
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
    NOT_JUDGED,
    NOT_TESTED,
)
RULES_SINCE = "2026-11-30T23:12:09+00:00"  # the rules for scores are as they stand: who changes one sets this anew
BEFORE, AFTER = "stated before its rows", "changed after its first row"
SHORT_OF = 0.1  # a ratio of times reaches the claimed one up to this share
FAR = 0.1  # "far less" is at most this share
POINTS, RATIO, NUMBER = "percent points", "ratio", "number"  # units of an effect


@dataclass(frozen=True, kw_only=True)
class Line:
    """A metric of a claim, judged under one setting: a line of `results/claims.csv`, whose columns are the fields."""

    # What is claimed, as `results/paper/claims.csv` has it; `against` is the baseline that counts, of several.
    id: str = ""
    source: str = ""
    claim: str = ""
    where: str = ""
    metric: str = ""
    against: str = ""
    printed: str = ""
    # What was measured: `stated` is what the paper prints of it (NaN: nothing), `low` to `high` the 95 % interval.
    unit: str = POINTS
    stated: float = math.nan
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    pairs: int = 0  # of rows; of times the turns
    categories: int = 0
    seeds: int = 0  # of the category that has fewest; 0: not measured by seeds
    by_category: str = ""
    without_chance: str = ""  # the effect with its interval over the categories where one side finds something
    # The setting that it holds under (`pairs.SETTING`), for a program; `conditions` words it, for a reader.
    recipe: str = ""
    scale: str = ""
    teacher: str = ""
    precision: str = ""
    overrides: str = ""
    images: str = ""
    textures: str = ""
    timed: str = ""  # of a line on times or memory: the networks of both sides, and how ours ran
    steps: str = ""  # how long each side was trained, where that differs
    conditions: str = ""
    rule: str = ""  # of a line on scores: `BEFORE` where all its rows are younger than `RULES_SINCE`, else `AFTER`
    # What follows.
    verdict: str = NOT_TESTED
    rests_on: str = ""  # the categories without which the verdict would be another, with the effect without each
    p: float = math.nan  # the chance of such an effect where there is none, of this line for itself
    why: str = ""  # it has no verdict, is not of all that the claim speaks of, or has more in it


COLUMNS = [field.name for field in fields(Line)]


def untested(why: str) -> Line:
    """Make a line without a measurement, and say why there is none."""
    return Line(why=why, unit="")


def rule_of(created: Iterable[str]) -> str:
    """Say whether the rules were as they stand before any row was made, of the times (ISO 8601, UTC) when each was."""
    since = datetime.fromisoformat(RULES_SINCE)
    return BEFORE if all(datetime.fromisoformat(time) > since for time in created) else AFTER


def over_lines(verdicts: set[str]) -> str:
    """Sum up the verdicts of the lines of one claim: of those that have one, else whether anything was measured."""
    judged = verdicts - set(NO_VERDICT)
    if not judged:
        return NOT_JUDGED if NOT_JUDGED in verdicts else NOT_TESTED
    verdicts, said = judged, judged - {INCONCLUSIVE, DEPENDS}
    if len(said) != 1:
        return MIXED if said else DEPENDS if DEPENDS in verdicts else INCONCLUSIVE
    return said.pop() if len(verdicts) == 1 else IN_PART[said.pop()]


def verdict(low: float, high: float) -> str:
    """Judge an effect by its interval."""
    return SUPPORTED if low > 0 else CONTRADICTED if high < 0 else INCONCLUSIVE


def at_least(low: float, high: float, claimed: float) -> str:
    """Judge a ratio by its interval where it is claimed to be at least `claimed`, up to a tenth (`SHORT_OF`)."""
    needed = claimed * (1 - SHORT_OF)
    return SUPPORTED if low >= needed else CONTRADICTED if high < needed else INCONCLUSIVE


def lower(low: float, high: float) -> str:
    """Judge a ratio by its interval where it is only claimed to be below 1."""
    return SUPPORTED if high <= 1 else CONTRADICTED if low > 1 else INCONCLUSIVE


def far_less(ratio: float) -> str:
    """Judge a ratio that has no spread where it is claimed to be far below 1 (`FAR`)."""
    return SUPPORTED if ratio <= FAR else CONTRADICTED


def about(low: float, high: float, claimed: float) -> str:
    """Judge a ratio that is claimed to be about `claimed`: up to half of what it differs from 1, either way."""
    if claimed < 1:
        low, high, claimed = 1 / high, 1 / low, 1 / claimed
    reach = (claimed - 1) / 2
    if claimed - reach <= low and high <= claimed + reach:
        return SUPPORTED
    return CONTRADICTED if high < claimed - reach or low > claimed + reach else INCONCLUSIVE
