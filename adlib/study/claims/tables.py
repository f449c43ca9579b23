"""Judged claims for reading: a line each with letters for its conditions, and what all lines of a claim come to."""

import pandas as pd

from adlib import speed
from adlib.study.claims.verdicts import (
    CONCLUSIVE,
    CONTRADICTED,
    INCONCLUSIVE,
    NO_VERDICT,
    NOT_JUDGED,
    POINTS,
    RATIO,
    VERDICTS,
    over_lines,
)
from adlib.study.paper_tables import letters

# An override that marks a line whose score is none of the paper's: DeSTSeg without its segmentation network.
STAND_IN = '"map": "dest"'
SYMBOLS = {POINTS: " pp", RATIO: "x"}  # percent points
SIGN = (
    "A number above 0 agrees with its claim, one below speaks against it, whatever the metric; a ratio of times (x) is "
    "to be read beside the printed one. In brackets its 95 % interval; then what it is against, and its own verdict "
    "where that is another than the claim's"
)


def shown(judged: pd.DataFrame) -> pd.DataFrame:
    """Give judged lines for reading: texts, three digits a number, the effect with its interval and unit.

    `n` is how many pairs, and of how many categories and seeds; `conditions` is a letter of `spelt_out`. What is
    inconclusive though its interval is on one side of 0 has the reason beside it.
    """
    texts, under = judged.map(speed.three_digits), worded_conditions(judged)
    unit = judged["unit"].map(SYMBOLS).fillna("")
    interval = (" [" + texts["low"] + ", " + texts["high"] + "]").where(judged["low"].notna(), "")
    of = (": " + texts["categories"] + " x " + texts["seeds"]).where(judged["seeds"] > 0, "")
    lines = {
        "against": beside(judged),
        "verdict": judged["verdict"] + (" (" + judged["why"] + ")").where(held_back(judged), ""),
        "effect": (texts["effect"] + unit + interval).where(judged["effect"].notna(), ""),
        "n": (texts["pairs"] + of).where(judged["pairs"] > 0, ""),
        "conditions": under.map(letters(under.unique())),
    }
    columns = ["id", "metric", "against", "printed", "effect", "n", "verdict", "rests_on", "by_category", "conditions"]
    return texts.assign(**lines)[columns]


def held_back(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines whose interval is on one side of 0 and which are inconclusive all the same."""
    one_sided = ((judged["low"] > 0) | (judged["high"] < 0)) & (judged["unit"] != RATIO)
    return one_sided & (judged["verdict"] == INCONCLUSIVE) & (judged["why"] != "")


def beside(judged: pd.DataFrame) -> pd.Series:
    """Return as text what each line is against, of times with the networks and ways of both sides."""
    return judged["against"] + (" (" + judged["timed"] + ")").where(judged["timed"] != "", "")


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
        lines.append((number, claim, _over(found if len(found) else group), len(found)))
    return pd.DataFrame(lines, columns=["id", "claim", "verdict", "lines tested"])


def counting(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that count: those with a verdict, no stand-ins for the paper's score beside others.

    A stand-in is DeSTSeg without its segmentation network (`STAND_IN`), and counts where a metric of a claim has no
    other line.
    """
    tested = ~judged["verdict"].isin(NO_VERDICT)
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


def told(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that stand for their claim where not all can be shown.

    Those of the `main_setting`, all where a claim has none of them; and where none of them is conclusive, the
    conclusive ones that count, as the claim's verdict is theirs.
    """
    main, sure = main_setting(judged), judged["verdict"].isin(CONCLUSIVE) & counting(judged)
    of = judged["id"]
    return main | ~main.groupby(of).transform("any") | (sure & ~(sure & main).groupby(of).transform("any"))


def main_effects(judged: pd.DataFrame) -> pd.Series:
    """Return the effects of each claim as text, by metric, what they are against, and recipe, of the lines `told`.

    Where a metric of a claim has none of these, of the first that was tested. Ratios of times are of several others,
    networks and ways: of those the least and the greatest, and how many. A verdict stands beside an effect where the
    claim's, over all its lines, is another.
    """
    tested = judged[counting(judged)]
    if tested.empty:
        return pd.Series(dtype=object)
    overall = by_claim(judged).set_index("id")["verdict"]
    of_claim = [tested["id"], tested["metric"]]
    tested = tested.assign(told=told(tested), whole=shown(tested)["effect"], overall=tested["id"].map(overall))
    tested = tested[tested["told"] | ~tested.groupby(of_claim)["told"].transform("any")]
    timed = tested["unit"] == RATIO
    apart = [tested[name].where(~timed, "").rename(f"{name}_") for name in ("against", "recipe")]
    groups = tested.groupby(["id", "metric", *apart], sort=False)
    texts = [(key[0], _in_short(lines)) for key, lines in groups]
    numbers, said = zip(*texts, strict=True)
    return pd.Series(said, numbers, dtype=object).groupby(level=0, sort=False).agg("; ".join)


def _in_short(lines: pd.DataFrame) -> str:
    """Return lines of one claim and metric as text: of ratios their range, else the effect of the first."""
    first = lines.iloc[0]
    if len(lines) > 1 and set(lines["unit"]) == {RATIO}:
        least, greatest = (speed.three_digits(value) for value in (lines["effect"].min(), lines["effect"].max()))
        return f"{first['metric']} {least}x to {greatest}x ({len(lines)} lines)"
    against = f" against {first['against']}" if first["against"] else ""
    against += ", recipe code" if first["recipe"] == "code" else ""
    own = f" ({first['verdict']})" if first["verdict"] != first["overall"] else ""
    return f"{first['metric']} {first['whole']}{against}{own}"


def answer(judged: pd.DataFrame) -> str:
    """Return in Markdown how the claims fare over all their lines: a list of claims a verdict, each with its effects.

    What was measured and not judged has its reason in place of them.
    """
    summed, effects = by_claim(judged), main_effects(judged).to_dict()
    said = [f"{SIGN}.", ""]
    for name in VERDICTS:
        group = summed[summed["verdict"] == name]
        if len(group):
            said.append(f"- **{name}** ({len(group)})")
        for number, claim in zip(group["id"], group["claim"], strict=True):
            more = effects.get(number, _why(judged[judged["id"] == number]) if name == NOT_JUDGED else "")
            said.append(f"  - {number}: {claim}" + (f": {more}" if more else ""))
    return "\n".join(said)


def _why(lines: pd.DataFrame) -> str:
    return "; ".join(lines.loc[lines["verdict"] == NOT_JUDGED, "why"].unique())


def not_judged(judged: pd.DataFrame) -> str:
    """Name the claims of which something was measured that is no verdict, each with the reason; '' for none."""
    summed = by_claim(judged)
    named = summed.loc[summed["verdict"] == NOT_JUDGED, "id"]
    return "; ".join(f"{number} ({_why(judged[judged['id'] == number])})" for number in named)
