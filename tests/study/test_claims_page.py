"""The page of all lines, from planted verdicts."""

import math
import re

import pandas as pd

from adlib.study import claims_page
from adlib.study.claims import verdicts
from adlib.study.claims_page import HOLDS
from tests.study.planted import OURS, THEIRS, line


def text(*lines):
    return claims_page.text(pd.DataFrame(lines)).replace(claims_page.NO_BREAK, " ")


def table(*lines):
    """Give the lines of the tables without their heads, what is said under their letters in place."""
    said = text(*lines)
    below = dict(re.findall(r"^- \*\*(\w+)\*\* \(S\d-\d\): (.*(?:\n  - .*)*)", said, re.MULTILINE))
    found = [row.removesuffix(" |").rpartition("| ") for row in said.splitlines() if row.startswith("| S")]
    return [f"{cells}| {below.pop(letter)} |" for cells, _, letter in found]


def at_once(*lines):
    """Give the paragraph on what chance alone would give."""
    (found,) = [row for row in text(*lines).splitlines() if " judged by an interval over seeds, each" in row]
    return found


def test_what_a_verdict_would_rest_on_stands_in_its_place():
    """Named in the table; the effects without it are below."""
    without = "pill (without it +0.1 [-0.2, +0.4]), screw (without it +0.3 [-0.1, +0.7])"
    (found,) = table(line(verdict=verdicts.DEPENDS, rests_on=without, by_category="pill +9.0; screw +2.0"))
    assert "| depends on pill, screw |" in found
    assert f"| small; bottle\n  - aupro: pill +9.0; screw +2.0; depends on {without} |" in found
    (found,) = table(line(rests_on=without))
    assert "| supported (rests on pill, screw) |" in found
    assert found.endswith(f"| small; bottle\n  - aupro: rests on {without} |")
    assert "| supported (rests on pill (alone)) |" in table(line(rests_on="pill (alone)"))[0]


def test_what_chance_alone_would_give_is_said():
    """Twenty lines, one conclusive: as many as without any effect. Holm keeps none at .01, and it at .001."""
    dull = [line(verdict=verdicts.INCONCLUSIVE, p=0.5, low=-1.0) for _ in range(19)]
    said = at_once(line(p=0.01), *dull, line(p=math.nan))
    assert said.startswith(
        "20 lines that count are judged by an interval over seeds, each for itself: in 1 it lies on one side of 0, "
        "where about 1 "
    )
    assert "these stay, † in the tables: none. Some rules" in said
    assert HOLDS not in table(line(p=0.01), *dull)[0]
    sure = line(p=0.001)
    assert "tables: S2-1 (aupro). Some rules" in at_once(sure, *dull)
    assert f"| supported{HOLDS}<br>" in table(sure, *dull)[0]
    said = at_once(sure | {"verdict": verdicts.DEPENDS, "rests_on": "pill (alone)"}, *dull)
    assert "where about 1 would by chance alone; the sign of 1 of these depends on a single category." in said
    assert "tables: none. Some rules" in said


def test_a_verdict_stands_beside_what_was_claimed_and_how_far_ours_lies_from_it():
    (found,) = table(line())
    assert found == (
        "| S2-1: MemKD beats RD | rd | aupro | +0.6 pp | +1.2 pp [+0.5, +2.0] | +0.7 pp | supported |  | 3 "
        "| small; bottle |"
    )
    part = table(line(**THEIRS, conditions="theirs", why="1 of 15 categories"))[0]
    assert part.endswith("| supported |  | 3 | theirs (1 of 15 categories) |")
    assert "[+0.5, +2.0] |  | supported |" in table(line(stated=math.nan))[0]


def test_several_conditions_of_a_claim_are_a_line_each():
    lines = table(line(), line(effect=-3.0, verdict=verdicts.CONTRADICTED, conditions="small; pill"))
    assert lines[0].endswith("| supported |  | 3 | small; bottle |")
    assert "| -3.0 pp [+0.5, +2.0] | -3.6 pp | contradicted |  | 3 | small; pill |" in lines[1]
    assert [line.split(" | ")[0] for line in lines] == ["| S2-1: MemKD beats RD", "| S2-1"]


def test_of_several_settings_that_of_the_paper_is_shown_and_all_are_summed_up():
    others = [{"recipe": "code"}, {"overrides": '{"batch": 4}'}, {"images": "generated"}]
    same = {"effect": 3.0, "conditions": "other"}
    (found,) = table(*(line(**OURS | other | same) for other in others), line(**OURS, conditions="ours"))
    assert "| supported | supported (4) | 3 | ours |" in found
    both = line(**OURS | {"scale": "full"}, conditions="full")
    lines = table(line(**OURS | others[0] | same), line(**OURS), both)
    assert [row.split(" | ")[7] for row in lines] == ["supported (3)", ""]


def test_where_the_papers_setting_does_not_come_to_the_verdict_what_does_is_shown():
    against = {"recipe": "code", "effect": -3.0, "verdict": verdicts.CONTRADICTED, "conditions": "other"}
    doubt = {"recipe": "code", "effect": -3.0, "verdict": verdicts.INCONCLUSIVE, "conditions": "doubt"}
    lines = table(line(**OURS | against), line(**OURS | doubt), line(**OURS, conditions="ours"))
    assert [row.rpartition("| ")[2] for row in (row.removesuffix(" |") for row in lines)] == ["other", "ours"]
    assert "| mixed (3) |" in lines[0]


def test_each_paper_has_a_table_that_names_its_notebook():
    said = text(line(), line(source="003", id="S3-1", claim="DSKD beats ST"))
    heads = [row for row in said.splitlines() if "[in full]" in row]
    assert [head.split(":")[0] for head in heads] == ["## MemKD", "## DSKD"]
    assert heads[0].endswith("(../notebooks/memkd.ipynb)")
    assert said.count("| claim | against | metric |") == 2


def test_metrics_under_the_same_conditions_share_a_line():
    other = {"effect": -3.0, "stated": math.nan, "verdict": verdicts.INCONCLUSIVE, "by_category": "pill -3.0"}
    (found,) = table(line(), line(metric="image_auroc", **other))
    assert "| aupro<br>image_auroc | +0.6 pp<br>&nbsp; | " in found
    assert found.endswith("| supported<br>inconclusive |  | 3 | small; bottle\n  - image_auroc: pill -3.0 |")


def test_ratios_and_numbers_have_no_points_and_what_is_not_printed_is_empty():
    ratio = line(unit=verdicts.RATIO, stated=1.3, effect=1.5, low=1.4, high=1.6, seeds=0, timed="resnet18, fast")
    (found,) = table(ratio)
    assert "| rd (resnet18, fast) | aupro |" in found
    assert "| 1.3x | 1.5x [1.4, 1.6] | +0.20x | supported |  |  |" in found
    assert "| aupro |  | 1.25 [0.5, 2] |  | supported |" in table(line(unit=verdicts.NUMBER, stated=math.nan))[0]


def test_what_has_no_verdict_stands_below_its_papers_table_with_the_reason():
    untold = [
        line(id="S2-8", claim="never run", verdict=verdicts.NOT_TESTED, why="no rows"),
        line(id="S2-9", claim="begun", verdict=verdicts.NOT_JUDGED, why="it still rises"),
        line(verdict=verdicts.NOT_JUDGED, why="1 of 3 seeds"),
    ]
    said = text(line(), *untold)
    assert len(table(line(), *untold)) == 1
    assert (
        "\n- S2-8: never run. Not tested here: no rows\n- S2-9: begun. Measured but not judged: it still rises" in said
    )
    assert "1 of 3 seeds" not in said  # the metric has a line with a verdict
    said = text(line(), line(metric="memory", verdict=verdicts.NOT_JUDGED, why="measured once"))
    assert said.endswith("\n- S2-1 (memory): MemKD beats RD. Measured but not judged: measured once\n")
    assert "| claim |" not in text(*untold)
    held = table(line(verdict=verdicts.INCONCLUSIVE, why="3 of 14 others"))[0]
    assert "| inconclusive (3 of 14 others) |" in held


def test_every_claim_that_is_said_to_stay_has_its_mark(committed_verdicts):
    said = claims_page.text(committed_verdicts).replace(claims_page.NO_BREAK, " ")
    stay = re.findall(r"(S\d-\d+) \(", said.split("these stay, † in the tables: ")[1].split(". Some rules")[0])
    assert stay
    for number in stay:
        rows = [row for row in said.splitlines() if row.startswith((f"| {number}:", f"| {number} "))]
        assert any(HOLDS.strip() in row for row in rows), number


def test_every_claim_stands_on_the_page_once(committed_verdicts):
    said = claims_page.text(committed_verdicts).replace(claims_page.NO_BREAK, " ")
    for number in committed_verdicts["id"].unique():
        assert len(re.findall(rf"^(?:\| |- ){number}: ", said, re.MULTILINE)) == 1, number


def test_lines_whose_rules_were_there_first_are_named():
    """Of three lines on scores one; a line on times has no rows, one without a verdict nothing that could turn."""
    early = line(rule=verdicts.AFTER)
    late = line(rule=verdicts.BEFORE, verdict=verdicts.INCONCLUSIVE, recipe="code", images="generated")
    silent = line(rule=verdicts.BEFORE, verdict=verdicts.NOT_JUDGED, why="2 of 3 seeds")
    said = text(early, early, late, silent, line())
    assert (
        "Of 3 of those lines, on scores, 1 rest on later rows alone: their rule was stated in advance: S2-1 (aupro "
        "against rd, recipe code, generated images): inconclusive." in said
    )
    assert "None of 1 lines on scores rests on later rows alone: none was stated in advance." in text(early, line())
