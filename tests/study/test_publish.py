"""The README's tables, from planted verdicts."""

import math
import re

import pandas as pd

from adlib import results
from adlib.study import publish
from adlib.study.claims import verdicts
from adlib.study.publish import HOLDS


def line(**fields):
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
        "categories": 4,
        "seeds": 3,
        "p": 0.06,
    }
    return base | {"verdict": verdicts.SUPPORTED, "why": ""} | fields


# The settings of a line under the papers' conditions, and under ours.
THEIRS = {"recipe": "paper", "scale": "full", "teacher": "imagenet", "precision": "fp32", "images": "real"}
OURS = THEIRS | {"scale": "small", "teacher": "bundled"}


def table(*lines):
    """Give the sentence, and the lines of the tables without their heads, what is said under their letters in place."""
    summed, *rest = publish.claims_table(pd.DataFrame(lines)).replace(publish.NO_BREAK, " ").splitlines()
    below = dict(re.findall(r"^- \*\*(\w+)\*\* \(S\d-\d\): (.*(?:\n  - .*)*)", "\n".join(rest), re.MULTILINE))
    found = [text.removesuffix(" |").rpartition("| ") for text in rest if text.startswith("| S")]
    return [summed, *(f"{cells}| {below.pop(letter)} |" for cells, _, letter in found)]


def test_what_a_verdict_would_rest_on_stands_in_its_place():
    """Named in the table; the effects without it are below."""
    without = "pill (without it +0.1 [-0.2, +0.4]), screw (without it +0.3 [-0.1, +0.7])"
    found = table(line(verdict=verdicts.DEPENDS, rests_on=without, by_category="pill +9.0; screw +2.0"))[1]
    assert "| depends on pill, screw |" in found
    assert f"| small; bottle\n  - aupro: pill +9.0; screw +2.0; depends on {without} |" in found
    found = table(line(rests_on=without))[1]
    assert "| supported (rests on pill, screw) |" in found
    assert found.endswith(f"| small; bottle\n  - aupro: rests on {without} |")
    assert "| supported (rests on pill (alone)) |" in table(line(rests_on="pill (alone)"))[1]


def test_what_chance_alone_would_give_is_said():
    """Twenty lines, one conclusive: as many as without any effect. Holm keeps none at .01, and it at .001."""
    dull = [line(verdict=verdicts.INCONCLUSIVE, p=0.5, low=-1.0) for _ in range(19)]
    text = publish.claims_table(pd.DataFrame([line(p=0.01), *dull, line(p=math.nan)])).splitlines()[2]
    assert text.startswith(
        "20 lines are judged by an interval over seeds, each for itself: in 1 it lies on one side of 0, where about 1 "
    )
    assert "these stay, † in the tables: none. Some rules" in text
    assert HOLDS not in table(line(p=0.01), *dull)[1]
    sure = line(p=0.001)
    assert "tables: S2-1 (aupro). Some rules" in publish.claims_table(pd.DataFrame([sure, *dull])).splitlines()[2]
    assert f"| supported{HOLDS}<br>" in table(sure, *dull)[1]
    one = pd.DataFrame([sure | {"verdict": verdicts.DEPENDS, "rests_on": "pill (alone)"}, *dull])
    assert "where about 1 would by chance alone; the sign depends on a single category in 1." in publish.claims_table(
        one
    )
    assert "tables: none. Some rules" in publish.claims_table(one).splitlines()[2]


def test_a_verdict_stands_beside_what_was_claimed_and_what_differs():
    _, text = table(line())
    assert text.startswith("| S2-1: MemKD beats RD | rd | aupro | +0.6 pp | +1.2 pp [+0.5, +2.0] | supported |")
    assert text.endswith("| supported |  | 3 | small; bottle |")
    assert "difference" not in publish.claims_table(pd.DataFrame([line()]))  # a column without a number
    some, all_of_it = ({"textures": f"DTD, {n} images"} for n in (1200, 5640))
    for other in ({"recipe": "code"}, {"precision": "bf16"}, {"overrides": '{"batch": 4}'}, {"scale": "small"}, some):
        assert "+2.0] | supported |  | 3 |" in table(line(**THEIRS | other))[1]
    for same in ({}, all_of_it):
        assert "| +0.7 | supported |  | 3 | " in table(line(**THEIRS | same))[1]
    part = table(line(**THEIRS, conditions="theirs", why="1 of 15 categories"))[1]
    assert part.endswith("+2.0] | supported |  | 3 | theirs (1 of 15 categories) |")
    _, with_one, without = table(line(**THEIRS), line(**THEIRS, conditions="pill", why="part"))
    assert "| +0.7 | supported |" in with_one
    assert "+2.0] |  | supported |" in without


def test_several_conditions_of_a_claim_are_a_line_each_and_disagreement_is_said():
    summed, *lines = table(line(), line(effect=-3.0, verdict=verdicts.CONTRADICTED, conditions="small; pill"))
    assert lines[0].endswith("| supported |  | 3 | small; bottle |")
    assert "| -3.0 pp [+0.5, +2.0] | contradicted |  | 3 | small; pill |" in lines[1]
    assert [line.split(" | ")[0] for line in lines] == ["| S2-1: MemKD beats RD", "| S2-1"]
    assert summed.startswith("Of 1 claims: 1 mixed;")


def test_of_several_settings_that_of_the_paper_is_shown_and_all_are_summed_up():
    others = [{"recipe": "code"}, {"overrides": '{"batch": 4}'}, {"images": "generated"}]
    against = {"effect": -3.0, "verdict": verdicts.CONTRADICTED, "conditions": "other"}
    summed, *lines = table(*(line(**OURS | other | against) for other in others), line(**OURS, conditions="ours"))
    assert len(lines) == 1
    assert "| supported | mixed (4) | 3 | ours |" in lines[0]
    assert summed.startswith("Of 1 claims: 1 mixed;")
    both = line(**OURS | {"scale": "full"}, conditions="full")
    _, *lines = table(line(**OURS | others[0] | against), line(**OURS), both)
    assert [text.split(" | ")[6] for text in lines] == ["mixed (3)", ""]


def test_each_paper_has_a_table_that_names_its_notebook():
    text = publish.claims_table(pd.DataFrame([line(), line(source="003", id="S3-1", claim="DSKD beats ST")]))
    heads = [line for line in text.splitlines() if line.startswith("### ")]
    assert [head.split(":")[0] for head in heads] == ["### MemKD", "### DSKD"]
    assert heads[0].endswith("(notebooks/memkd.ipynb)")
    assert text.count("| claim | against | metric |") == 2


def test_metrics_under_the_same_conditions_share_a_line():
    _, *lines = table(
        line(),
        line(
            metric="image_auroc", effect=-3.0, stated=math.nan, verdict=verdicts.INCONCLUSIVE, by_category="pill -3.0"
        ),
    )
    assert len(lines) == 1
    assert "| aupro<br>image_auroc | +0.6 pp<br> | " in lines[0]
    assert lines[0].endswith("+2.0] | supported<br>inconclusive |  | 3 | small; bottle\n  - image_auroc: pill -3.0 |")


def test_ratios_and_numbers_have_no_points_and_what_is_not_printed_is_empty():
    ratio = line(unit=verdicts.RATIO, stated=1.3, effect=1.5, low=1.4, high=1.6, seeds=0, timed="resnet18, fast")
    assert "| rd (resnet18, fast) | aupro |" in table(ratio)[1]
    assert "| 1.3x | 1.5x [1.4, 1.6] | supported |  |  |" in table(ratio)[1]
    assert "| aupro |  | 1.25 [0.5, 2] | supported |" in table(line(unit=verdicts.NUMBER, stated=math.nan))[1]


def test_untested_claims_are_counted_and_not_shown():
    summed, *lines = table(line(), line(id="S9-9", claim="never run", verdict=verdicts.NOT_TESTED))
    assert not any("never run" in part for part in lines)
    assert summed.startswith("Of 2 claims: 1 supported, 1 not tested here;")


def test_what_is_held_back_or_not_judged_has_its_reason():
    found = table(line(verdict=verdicts.INCONCLUSIVE, why="3 of 14 others"))[1]
    assert "| inconclusive (3 of 14 others) |" in found
    summed, *lines = table(line(), line(id="S9-9", verdict=verdicts.NOT_JUDGED, why="it still rises"))
    assert summed.endswith("Measured, but no verdict follows: S9-9 (it still rises).")
    assert len(lines) == 1


def test_every_claim_that_is_said_to_stay_has_its_mark(committed_verdicts):
    text = publish.claims_table(committed_verdicts).replace(publish.NO_BREAK, " ")
    stay = re.findall(r"(S\d-\d+) \(", text.split("these stay, † in the tables: ")[1].split(". Some rules")[0])
    assert stay
    for number in stay:
        assert any(
            HOLDS.strip() in row for row in text.splitlines() if row.startswith((f"| {number}:", f"| {number} "))
        )


def test_the_answer_names_every_claim_by_paper_and_verdict_and_no_winner_without_rows():
    lines = [
        line(**OURS | {"recipe": "code"}, verdict=verdicts.INCONCLUSIVE),
        line(**OURS, verdict=verdicts.DEPENDS, rests_on="pill (alone)"),
        line(**OURS | {"precision": "bf16"}, rests_on="pill (alone)"),
        line(id="S2-2", verdict=verdicts.NOT_TESTED),
        line(id="S3-1", source="003", verdict=verdicts.NOT_TESTED),
    ]
    rows = results.read(results.RUNS)
    text = publish.in_short(rows.head(0), pd.DataFrame(lines))
    assert text.splitlines()[:4] == [
        "| paper | supported in part | not tested here |",
        "| --- | --- | --- |",
        "| MemKD | S2-1\\* | S2-2 |",
        "| DSKD |  | S3-1 |",
    ]
    some = [line(rests_on="pill (alone)"), line(metric="image_auroc")]
    assert "| MemKD | S2-1 |" in publish.in_short(rows.head(0), pd.DataFrame(some))
    assert "short training" not in text
    assert "- **And after a short training?** (recipe paper, scale small, teacher bundled; " in publish.in_short(
        rows, pd.DataFrame(lines)
    )


def test_how_far_scores_move_with_a_full_training_is_said():
    base = results.read(results.RUNS).iloc[0].to_dict() | {"teacher": "bundled", "recipe": "paper", "overrides": {}}
    base |= {"dataset": "mvtec", "method": "rd", "precision": "fp32"}
    scores = [("small", "pill", 0.5), ("small", "pill", 0.6), ("full", "pill", 0.9), ("small", "screw", 0.5)]
    scores += [("full", "screw", 0.45), ("small", "bottle", 0.5)]
    rows = [base | {"scale": s, "category": c, "image_auroc": a, "seed": i} for i, (s, c, a) in enumerate(scores)]
    other = [row | {"precision": "bf16"} if row["scale"] == "full" else row for row in rows]
    text = publish.in_short(pd.DataFrame(rows), pd.DataFrame([line()]))
    assert "rises by more than 5 points in 1 of 2 cases and falls by more in none, each of a method" in text
    assert "most of rd (paper) on pill, 55.0 to 90.0 (" in text
    assert "(teacher bundled; small: 1 to 2 seeds, fp32 (rd); full: 1 seed, fp32 (rd))" in text
    assert "full: 1 seed, bf16 (rd))" in publish.in_short(pd.DataFrame(other), pd.DataFrame([line()]))


def test_scores_name_the_precision_and_of_several_whose_it_is():
    base = results.read(results.RUNS).iloc[0].to_dict() | {"scale": "small", "teacher": "bundled", "recipe": "paper"}
    base |= {"dataset": "mvtec", "category": "bottle", "overrides": {}, "precision": "fp32"}
    one, other = base | {"method": "rd"}, base | {"method": "destseg", "precision": "bf16"}
    one["notes"] = {}
    other["notes"] = {"teacher": "backbone resnet18 in place of wide_resnet50_2"}
    assert "teacher bundled, fp32):\n" in publish.scores(pd.DataFrame([one]))
    both = "teacher bundled; fp32: rd; bf16: destseg; destseg: backbone resnet18 in place of wide_resnet50_2):\n"
    assert both in publish.scores(pd.DataFrame([one, other]))


def test_without_timings_nothing_is_said_of_training(monkeypatch):
    assert " times as fast in fp32, " in publish.in_short(results.read(results.RUNS), pd.DataFrame([line()]))
    monkeypatch.setattr(publish.speed, "read", lambda _: pd.DataFrame())
    text = publish.in_short(results.read(results.RUNS).head(0), pd.DataFrame([line()]))
    assert "- **How fast?** Of 18 goals that were set before anything was measured: 18 not measured here." in text
