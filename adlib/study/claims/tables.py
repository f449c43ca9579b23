"""Judged claims for reading: a line each with letters for its conditions, and what all lines of a claim come to."""

import pandas as pd

from adlib import speed
from adlib.study.claims.verdicts import CONTRADICTED, NOT_TESTED, POINTS, RATIO, VERDICTS, over_lines
from adlib.study.paper_tables import letters

# An override that marks a line whose score is none of the paper's: DeSTSeg without its segmentation network.
STAND_IN = '"map": "dest"'
SYMBOLS = {POINTS: " pp", RATIO: "x"}  # percent points


def shown(judged: pd.DataFrame) -> pd.DataFrame:
    """Give judged lines for reading: texts, three digits a number, the effect with its interval and unit.

    `n` is how many pairs, and of how many categories and seeds; `conditions` is a letter of `spelt_out`.
    """
    texts, under = judged.map(speed.three_digits), worded_conditions(judged)
    unit = judged["unit"].map(SYMBOLS).fillna("")
    interval = (" [" + texts["low"] + ", " + texts["high"] + "]").where(judged["low"].notna(), "")
    of = (": " + texts["categories"] + " x " + texts["seeds"]).where(judged["seeds"] > 0, "")
    lines = {
        "effect": (texts["effect"] + unit + interval).where(judged["effect"].notna(), ""),
        "n": (texts["pairs"] + of).where(judged["pairs"] > 0, ""),
        "conditions": under.map(letters(under.unique())),
    }
    columns = ["id", "metric", "printed", "effect", "n", "verdict", "rests_on", "by_category", "conditions"]
    return texts.assign(**lines)[columns]


def spelt_out(judged: pd.DataFrame) -> str:
    """Spell out the letters of `shown`, in Markdown."""
    return "\n".join(f"- **{mark}**: {text}" for text, mark in letters(worded_conditions(judged).unique()).items())


def worded_conditions(judged: pd.DataFrame) -> pd.Series:
    """Return each judged line's conditions as text, and why it has no verdict or is not of all of its claim."""
    why = ("(" + judged["why"] + ")").where(judged["why"] != "", "")
    return (judged["conditions"] + " " + why).str.strip()


def by_claim(judged: pd.DataFrame) -> pd.DataFrame:
    """Sum up: one line a claim, its verdict over the lines that count (`counting`), and how many these are."""
    lines = []
    for (number, claim), group in judged.groupby(["id", "claim"], sort=False):
        found = group[counting(group)]
        lines.append((number, claim, _over(found), len(found)))
    return pd.DataFrame(lines, columns=["id", "claim", "verdict", "lines tested"])


def counting(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that count: those tested, without stand-ins for the paper's score beside others.

    A stand-in is DeSTSeg without its segmentation network (`STAND_IN`), and counts where a metric of a claim has no
    other line.
    """
    tested = judged["verdict"] != NOT_TESTED
    stands_in = judged["overrides"].str.contains(STAND_IN, regex=False).astype(bool)
    others = (tested & ~stands_in).groupby([judged["id"], judged["metric"]]).transform("any")
    return tested & ~(stands_in & others)


def _over(lines: pd.DataFrame) -> str:
    """Sum up the lines of one claim; one on times over several others fails where it fails against one of them."""
    timed = lines[lines["unit"] == RATIO]
    each = [over_lines(set(part["verdict"])) for _, part in timed.groupby("against")]
    return CONTRADICTED if len(each) > 1 and CONTRADICTED in each else over_lines(set(lines["verdict"]))


def main_setting(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines of the main setting: the paper's recipe, nothing overridden, no generated images.

    A line on times has one recipe alone, that of the method which the claim is about.
    """
    return (judged["recipe"] == "paper") & (judged["overrides"] == "") & (judged["images"] != "generated")


def main_effects(judged: pd.DataFrame) -> pd.Series:
    """Return the effect of each claim as text, by metric: the first line of the `main_setting`, else the first tested.

    Ratios of times are of several others, networks and ways: of those the least and the greatest, and how many.
    """
    tested = judged[counting(judged)]
    if tested.empty:
        return pd.Series(dtype=object)
    tested = tested.assign(main=main_setting(tested), whole=shown(tested)["effect"])
    has_main = tested.groupby(["id", "metric"])["main"].transform("any")
    texts = {
        key: f"{key[1]} {_range(lines)}"
        for key, lines in tested[tested["main"] | ~has_main].groupby(["id", "metric"], sort=False)
    }
    joined = pd.Series(texts, dtype=object)
    return joined.groupby(level=0, sort=False).agg("; ".join)


def _range(lines: pd.DataFrame) -> str:
    """Return the effect of lines of one claim and metric as text: of ratios their range, else of the first line."""
    if len(lines) == 1 or set(lines["unit"]) != {RATIO}:
        return str(lines["whole"].iloc[0])
    least, greatest = (speed.three_digits(value) for value in (lines["effect"].min(), lines["effect"].max()))
    return f"{least}x to {greatest}x ({len(lines)} lines)"


def answer(judged: pd.DataFrame) -> str:
    """Return in Markdown how the claims fare over all their lines: a list of claims a verdict, each with its effect."""
    summed, effects = by_claim(judged), main_effects(judged).to_dict()
    said = []
    for name in VERDICTS:
        group = summed[summed["verdict"] == name]
        if len(group):
            said.append(f"- **{name}** ({len(group)})")
        for number, claim in zip(group["id"], group["claim"], strict=True):
            said.append(f"  - {number}: {claim}" + (f": {effects[number]}" if number in effects else ""))
    return "\n".join(said)
