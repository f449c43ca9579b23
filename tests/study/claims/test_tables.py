"""What is read of judged claims, and what their lines come to."""

import pandas as pd

from adlib.study.claims import tables as claim_tables
from adlib.study.claims import verdicts


def test_the_answer_names_every_claim_once(committed_verdicts):
    heads = [line for line in claim_tables.answer(committed_verdicts).splitlines() if line.startswith("- **")]
    claims = [line for line in claim_tables.answer(committed_verdicts).splitlines() if line.startswith("  - ")]
    assert claim_tables.answer(committed_verdicts).startswith("A number above 0 agrees with its claim")
    numbers = [line.removeprefix("  - ").split(":")[0] for line in claims]
    assert sorted(numbers) == sorted(committed_verdicts["id"].unique())
    assert sum(int(line.rsplit("(", 1)[1][:-1]) for line in heads) == len(claims)


def test_the_main_effect_is_that_of_the_papers_recipe_where_there_is_one():
    columns = {
        "printed": "",
        "pairs": 3,
        "categories": 1,
        "seeds": 3,
        "rests_on": "",
        "by_category": "",
        "without_chance": "",
        "conditions": "",
        "timed": "",
    }
    columns |= {"why": "", "unit": verdicts.POINTS, "verdict": verdicts.SUPPORTED, "claim": "x", "against": "rd"}
    lines = [
        ("a", "aupro", "code", "", "real", 1.0),
        ("a", "aupro", "paper", "", "real", 2.0),
        ("a", "iap", "paper", "", "generated", 3.0),
        ("b", "aupro", "paper", '{"lr": 1}', "real", 4.0),
    ]
    judged = pd.DataFrame(lines, columns=["id", "metric", "recipe", "overrides", "images", "effect"]).assign(**columns)
    judged = judged.assign(low=judged["effect"] - 0.5, high=judged["effect"] + 0.5)
    found = claim_tables.main_effects(judged).to_dict()
    assert found == {
        "a": "aupro 2 pp [1.5, 2.5] against rd; iap 3 pp [2.5, 3.5] against rd, generated images",
        "b": "aupro 4 pp [3.5, 4.5] against rd",
    }
    other = judged.iloc[1:2].assign(against="stpm", verdict=verdicts.INCONCLUSIVE)
    both = pd.concat([judged, other], ignore_index=True)
    assert claim_tables.main_effects(both)["a"] == (
        "aupro 2 pp [1.5, 2.5] against rd (supported); iap 3 pp [2.5, 3.5] against rd, generated images (supported); "
        "aupro 2 pp [1.5, 2.5] against stpm (inconclusive)"
    )
    assert claim_tables.main_effects(judged.assign(verdict=verdicts.NOT_TESTED)).empty
    times = judged.assign(id="c", metric="seconds", unit=verdicts.RATIO, recipe="paper", overrides="", images="")
    assert claim_tables.main_effects(times)["c"] == "seconds 1x to 4x (4 lines) against rd"
    assert claim_tables.main_effects(times.iloc[:1])["c"] == "seconds 1x [0.5, 1.5] against rd"


def test_where_the_main_setting_decides_nothing_what_does_is_told(committed_verdicts):
    line = committed_verdicts[committed_verdicts["id"] == "S0-10"].iloc[:1].assign(why="", overrides="", rests_on="")
    paper = line.assign(recipe="paper", effect=1.0, low=-1.0, high=3.0, verdict=verdicts.INCONCLUSIVE)
    code = line.assign(recipe="code", effect=-2.0, low=-3.0, high=-1.0, verdict=verdicts.CONTRADICTED)
    both = pd.concat([paper, code], ignore_index=True)
    assert claim_tables.told(both).tolist() == [True, True]
    assert claim_tables.main_effects(both)["S0-10"] == (
        "l_cos 1 [-1, 3] (inconclusive); l_cos -2 [-3, -1], recipe code (contradicted)"
    )
    sure = both.assign(verdict=[verdicts.SUPPORTED, verdicts.CONTRADICTED])
    assert claim_tables.told(sure).tolist() == [True, True]  # else the claim would be mixed beside one line
    alike = both.assign(verdict=verdicts.CONTRADICTED)
    assert claim_tables.told(alike).tolist() == [True, False]
    assert claim_tables.told(both.assign(verdict=verdicts.INCONCLUSIVE)).tolist() == [True, False]
    assert claim_tables.told(code).tolist() == [True]


def test_a_claim_over_its_lines():
    lines = [("a", "x", verdicts.SUPPORTED), ("a", "x", verdicts.INCONCLUSIVE), ("b", "y", verdicts.NOT_TESTED)]
    lines += [("c", "z", verdicts.SUPPORTED), ("c", "z", verdicts.CONTRADICTED), ("c", "z", verdicts.INCONCLUSIVE)]
    lines += [("d", "w", verdicts.CONTRADICTED), ("d", "w", verdicts.CONTRADICTED), ("d", "w", verdicts.NOT_TESTED)]
    lines += [("e", "v", verdicts.CONTRADICTED), ("e", "v", verdicts.INCONCLUSIVE)]
    lines += [("f", "u", verdicts.DEPENDS), ("f", "u", verdicts.INCONCLUSIVE)]
    lines += [("g", "t", verdicts.DEPENDS), ("g", "t", verdicts.SUPPORTED)]
    lines += [("i", "r", verdicts.NOT_TESTED), ("i", "r", verdicts.NOT_JUDGED), ("j", "q", verdicts.NOT_TESTED)]
    judged = pd.DataFrame(lines, columns=["id", "claim", "verdict"]).assign(
        overrides="", metric="aupro", unit=verdicts.POINTS, against="rd"
    )
    # A speed claim fails where it fails against one of several others, and not where another metric of it does.
    of = {"overrides": "", "unit": verdicts.RATIO}
    lines = [("seconds", "rd", verdicts.CONTRADICTED), ("seconds", "stpm", verdicts.SUPPORTED)]
    several = pd.DataFrame(lines, columns=["metric", "against", "verdict"]).assign(id="k", claim="p", **of)
    each = several.assign(id="l", claim="o", metric=["seconds", "memory_items"])
    judged = pd.concat([judged, several, each], ignore_index=True)
    ours = judged.iloc[:1].assign(verdict=verdicts.CONTRADICTED, overrides='{"map": "dest"}')
    # A stand-in counts where nothing else does, of one metric.
    judged = pd.concat([judged, ours, ours.assign(id="h", claim="s"), ours.assign(id="b", claim="y", metric="iap")])
    found = claim_tables.by_claim(judged).set_index("id")["verdict"]
    assert found.to_dict() == {
        "a": "supported in part",
        "b": verdicts.CONTRADICTED,
        "c": verdicts.MIXED,
        "d": verdicts.CONTRADICTED,
        "e": "contradicted in part",
        "f": verdicts.DEPENDS,
        "g": "supported in part",
        "h": verdicts.CONTRADICTED,
        "i": verdicts.NOT_JUDGED,
        "j": verdicts.NOT_TESTED,
        "k": verdicts.CONTRADICTED,
        "l": verdicts.MIXED,
    }
    assert set(found) <= set(verdicts.VERDICTS)


def test_a_claim_on_times_over_several_others_fails_where_it_fails_against_one():
    lines = [("fastflow", verdicts.CONTRADICTED), ("fastflow", verdicts.CONTRADICTED)]
    lines += [("patchcore", verdicts.SUPPORTED), ("patchcore", verdicts.CONTRADICTED)]
    judged = pd.DataFrame(lines, columns=["against", "verdict"])
    judged = judged.assign(id="a", claim="x", overrides="", metric="fps", unit=verdicts.RATIO)
    assert claim_tables.by_claim(judged)["verdict"].tolist() == [verdicts.CONTRADICTED]
    assert claim_tables.by_claim(judged.assign(unit=verdicts.POINTS))["verdict"].tolist() == [verdicts.MIXED]
    assert claim_tables.by_claim(judged.assign(against="fastflow"))["verdict"].tolist() == [verdicts.MIXED]
    open_still = judged.assign(verdict=[verdicts.INCONCLUSIVE, verdicts.CONTRADICTED, *judged["verdict"][2:]])
    assert claim_tables.by_claim(open_still)["verdict"].tolist() == [verdicts.MIXED]


def test_lines_for_reading_keep_small_effects_and_leave_nothing_as_nan(committed_verdicts):
    judged = committed_verdicts
    text = claim_tables.shown(judged.assign(effect=-0.000345, unit=verdicts.RATIO, low=float("nan")))
    assert set(text["effect"]) == {"-0.000345x"}
    assert list(text["verdict"]) == list(judged["verdict"])
    one = judged[judged["id"] == "S0-3"].iloc[:1].assign(effect=3.65, low=-1.15, high=6.16, pairs=9, categories=3)
    line = claim_tables.shown(one).iloc[0]
    assert (line["effect"], line["n"]) == ("3.65 pp [-1.15, 6.16]", "9: 3 x 3")
    assert not claim_tables.shown(judged).isna().any(axis=None)


def test_a_line_says_what_it_is_against_and_why_it_is_held_back(committed_verdicts):
    gain, speed = (committed_verdicts[committed_verdicts["id"] == name].iloc[:1] for name in ("S0-3", "S1-5"))
    gain = gain.assign(low=0.5, high=6.0, verdict=verdicts.INCONCLUSIVE, against="destseg", why="3 of 14 others")
    found = claim_tables.shown(pd.concat([gain, gain.assign(low=-0.5), speed.assign(timed="resnet18, fast")]))
    assert list(found["verdict"])[:2] == ["inconclusive (3 of 14 others)", "inconclusive"]
    assert list(found["against"]) == ["destseg", "destseg", f"{speed['against'].item()} (resnet18, fast)"]


def test_what_was_measured_and_not_judged_is_named_with_the_reason(committed_verdicts):
    line = committed_verdicts[committed_verdicts["id"] == "S2-12"].iloc[:1]
    measured = line.assign(verdict=verdicts.NOT_JUDGED, why="recalls nearly the same")
    assert claim_tables.answer(measured).endswith("more for anomalies: recalls nearly the same")


def test_letters_stand_for_conditions_and_why(committed_verdicts):
    lines = committed_verdicts.iloc[:3].assign(
        conditions=["small; bottle", "", "small; bottle"], why=["1 of 15", "no rows", "1 of 15"]
    )
    assert list(claim_tables.shown(lines)["conditions"]) == ["a", "b", "a"]
    assert claim_tables.spelt_out(lines) == "- **a**: small; bottle (1 of 15)\n- **b**: (no rows)"
