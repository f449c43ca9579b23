"""Judged claims for reading: a line each with letters for its conditions, and what all lines of a claim come to."""

import math

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
from adlib.study.intervals import holm
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
    interval = (" [" + texts["low"] + ", " + texts["high"] + "]").where(judged["low"] < judged["high"], "")
    of = (": " + texts["categories"] + " x " + texts["seeds"]).where(judged["seeds"] > 0, "")
    lines = {
        "by_category": judged.apply(each_category, axis=1),
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


def each_category(line: pd.Series) -> str:
    """Return as text the effect in each category, and without those in which neither side finds anything."""
    return "; ".join(filter(None, [line["by_category"], with_skill(line)]))


def with_skill(line: pd.Series) -> str:
    """Return as text the effect over the categories where one side finds something; nothing where that is all."""
    return f"without chance {line['without_chance']}" if line["without_chance"] else ""


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
    for _, timed in lines[lines["unit"] == RATIO].groupby("metric"):
        each = [over_lines(set(part["verdict"])) for _, part in timed.groupby("against")]
        if len(each) > 1 and CONTRADICTED in each:
            return CONTRADICTED
    return over_lines(set(lines["verdict"]))


def main_setting(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines of the main setting: the paper's recipe, nothing overridden, no generated images.

    A line on times has one recipe alone, that of the method which the claim is about.
    """
    return (judged["recipe"] == "paper") & (judged["overrides"] == "") & (judged["images"] != "generated")


def told(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that stand for their claim where not all can be shown.

    Those of the `main_setting`, all where a claim has none of them; and where these do not come to the claim's verdict,
    the conclusive ones of other settings, too.
    """
    main, counts = main_setting(judged), counting(judged)
    stand = main | ~main.groupby(judged["id"]).transform("any")
    for _, lines in judged[counts].groupby("id"):
        if _over(lines[stand[lines.index]]) != _over(lines):
            stand[lines.index] |= lines["verdict"].isin(CONCLUSIVE)
    return stand


def main_lines(judged: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Give the lines that stand for each claim, of those that count: a claim's id, and lines that are read as one.

    By metric, what they are against, recipe, and of times the networks of both sides, of the lines `told`; where a
    metric has none of these, of those that were tested. Ratios of times of one network are of several ways, and are
    read together. The columns `overall`, the verdict of the whole claim, and `whole`, the effect as text, are added.
    """
    tested = judged[counting(judged)]
    if tested.empty:
        return []
    overall = by_claim(judged).set_index("id")["verdict"]
    tested = tested.assign(told=told(tested), whole=shown(tested)["effect"], overall=tested["id"].map(overall))
    tested = tested[tested["told"] | ~tested.groupby(["id", "metric"])["told"].transform("any")]
    read_as_one = ["id", "metric", "against", "recipe", tested["timed"].map(_networks)]
    return [(str(key[0]), lines) for key, lines in tested.groupby(read_as_one, sort=False)]


def main_effects(judged: pd.DataFrame) -> pd.Series:
    """Return the effects of each claim as text, of its `main_lines`.

    Of several ratios of times the least and the greatest, and how many. A verdict stands beside an effect where the
    claim's, over all its lines, is another.
    """
    said: dict[str, list[str]] = {}
    for number, lines in main_lines(judged):
        said.setdefault(number, []).append(_in_short(lines))
    return pd.Series({number: "; ".join(texts) for number, texts in said.items()}, dtype=object)


def _in_short(lines: pd.DataFrame) -> str:
    """Return lines of `main_lines` as text: of ratios their range, else the effect of the first."""
    first = lines.iloc[0]
    if several_times(lines):
        return f"{first['metric']} {range_of_times(lines)}{set_beside(first)}{own_verdict(lines)}"
    return f"{first['metric']} {first['whole']}{set_beside(first)}{own_verdict(lines)}"


def several_times(lines: pd.DataFrame) -> bool:
    """Say whether lines are ratios of times, of which a range is shown."""
    return len(lines) > 1 and set(lines["unit"]) == {RATIO}


def range_of_times(lines: pd.DataFrame) -> str:
    """Return the least and the greatest of several ratios as text, and how many they are."""
    least, greatest = (speed.three_digits(value) for value in (lines["effect"].min(), lines["effect"].max()))
    return f"{least}x to {greatest}x ({len(lines)} lines)"


def set_beside(line: pd.Series) -> str:
    """Return as text what a line is against, of times with the networks, and what is not of the `main_setting`."""
    against = f" against {line['against']}" if line["against"] else ""
    networks = f", {_networks(line['timed'])}" if line["timed"] else ""
    recipe = ", recipe code" if line["recipe"] == "code" else ""
    return against + networks + recipe + (", generated images" if line["images"] == "generated" else "")


def _networks(timed: str) -> str:
    return timed.split(",")[0]


def own_verdict(lines: pd.DataFrame) -> str:
    """Return the verdict of one of `main_lines` in brackets, where that of the whole claim is another."""
    own = over_lines(set(lines["verdict"]))
    return f" ({own})" if own != lines["overall"].iloc[0] else ""


def effect_texts(line: pd.Series) -> tuple[str, str, str]:
    """Return as texts the effect that the paper prints, ours with its interval, and how far ours lies from it.

    The difference is a number and no verdict: our conditions are not the paper's, where a line does not say so.
    """
    digits, sign, unit = {POINTS: ("1f", "+", " pp"), RATIO: ("3g", "", "x")}.get(line["unit"], ("3g", "", ""))
    effect, low, high, stated = (line[name] for name in ("effect", "low", "high", "stated"))
    ours = f"{effect:{sign}.{digits}}{unit}"
    if low != high:  # a count has no spread
        ours += f" [{low:{sign}.{digits}}, {high:{sign}.{digits}}]"
    if math.isnan(stated):
        return "", ours, ""
    gap = effect - stated
    fine = "2f" if abs(gap) >= 0.01 else "2g"  # of a ratio
    return f"{stated:{sign}.{digits}}{unit}", ours, f"{gap:+.{fine if unit == 'x' else digits}}{unit}"


def stays(judged: pd.DataFrame) -> pd.Series:
    """Return a mask of the lines that are conclusive also when all are judged at once (Holm)."""
    chances = judged.loc[judged["p"].notna() & counting(judged), "p"]
    return judged["verdict"].isin(CONCLUSIVE) & holm(chances).reindex(judged.index, fill_value=False)


def on_single_categories(judged: pd.DataFrame) -> set[str]:
    """Name the claims of which all that is conclusive would be another verdict without some one category."""
    sure = judged[counting(judged) & judged["verdict"].isin(CONCLUSIVE)]
    leans = (sure["rests_on"] != "").groupby(sure["id"]).all()
    return set(leans.index[leans])


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
