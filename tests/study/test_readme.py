"""What the README says of the rows, from planted verdicts and rows."""

import math

import pandas as pd

from adlib import results
from adlib.study import readme
from adlib.study.claims import tables as claim_tables
from adlib.study.claims import verdicts
from adlib.study.claims_page import NO_BREAK
from tests.study.planted import OURS, line


def claims(*lines):
    return readme.claims(pd.DataFrame(lines)).replace(NO_BREAK, " ").splitlines()


def of(*lines):
    """Give the lines of the tables without their heads."""
    return [row for row in claims(*lines) if row.startswith("| S")]


def test_a_claim_has_one_line_with_what_is_printed_ours_the_difference_and_its_verdict():
    said = claims(line(**OURS), line(id="S3-1", source="003", claim="DSKD beats ST", verdict=verdicts.NOT_TESTED))
    assert said == [
        "Of 2 claims: 1 supported, 1 not tested here.",
        "",
        "### MemKD: [in full](notebooks/memkd.ipynb)",
        "",
        "| claim | metric | paper | ours | difference | categories | verdict |",
        "| --- | --- | --: | --: | --: | --: | --- |",
        "| S2-1: MemKD beats RD | aupro against rd | +0.6 pp | +1.2 pp [+0.5, +2.0] | +0.7 pp | 4 | supported |",
        "",
        "### DSKD: [in full](notebooks/dskd.ipynb)",
        "",
        "| claim | metric | paper | ours | difference | categories | verdict |",
        "| --- | --- | --: | --: | --: | --: | --- |",
        "| S3-1: DSKD beats ST | aupro |  |  |  |  | not tested here |",
    ]


def test_metrics_share_a_line_and_a_verdict_of_their_own_is_said():
    other = {"metric": "image_auroc", "effect": -3.0, "low": -4.0, "high": 2.0, "verdict": verdicts.INCONCLUSIVE}
    (found,) = of(line(**OURS), line(**OURS | other, stated=math.nan))
    metric, paper, ours, difference, categories = found.split(" | ")[1:6]
    assert metric == "aupro against rd<br>image_auroc against rd"
    # an empty line keeps its place
    assert (paper, difference, categories) == ("+0.6 pp<br>&nbsp;", "+0.7 pp<br>&nbsp;", "4<br>4")
    assert ours == "+1.2 pp [+0.5, +2.0] (supported)<br>-3.0 pp [-4.0, +2.0] (inconclusive)"
    assert found.endswith(f"| {verdicts.IN_PART[verdicts.SUPPORTED]} |")


def test_what_is_left_without_categories_at_chance_stands_beside_the_effect():
    (found,) = of(line(**OURS, without_chance="-0.2 [-1.3, +0.9]"))
    assert "| +1.2 pp [+0.5, +2.0] (without chance -0.2 [-1.3, +0.9]) |" in found


def test_sides_that_were_not_trained_alike_are_named_beside_the_effect():
    (found,) = of(line(**OURS, steps="240 steps against 120"))
    assert "| +1.2 pp [+0.5, +2.0] (240 steps against 120) |" in found
    (found,) = of(line(**OURS, steps="240 steps against 120", without_chance="-0.2 [-1.3, +0.9]"))
    assert "(without chance -0.2 [-1.3, +0.9]; 240 steps against 120) |" in found


def test_it_is_said_how_many_verdicts_on_scores_were_by_rules_stated_in_advance():
    early, late = line(**OURS, rule=verdicts.AFTER), line(**OURS, rule=verdicts.BEFORE)
    assert claims(early)[0].endswith(
        "supported. Verdicts on scores are exploratory: the rules last changed when their rows were there "
        "([how](docs/rule_changes.md))."
    )
    assert "exploratory: but for 1 of 2 lines ([which](docs/claims.md)) the rules" in claims(early, late)[0]


def test_a_claim_with_contradicting_lines_is_mixed_and_shows_both():
    """Also where the other setting's line alone contradicts: else the table would not show what the word says."""
    other = {"recipe": "code", "effect": -3.0, "low": -4.0, "high": -2.0, "verdict": verdicts.CONTRADICTED}
    said = claims(line(**OURS), line(**OURS | other))
    assert said[0] == "Of 1 claims: 1 mixed."
    (found,) = of(line(**OURS), line(**OURS | other))
    assert "| aupro against rd<br>aupro against rd, recipe code |" in found
    assert "(supported)<br>-3.0 pp [-4.0, -2.0] (contradicted) |" in found


def test_of_a_claim_with_a_verdict_a_metric_without_one_is_said_to_have_none():
    (found,) = of(line(**OURS), line(**OURS, metric="memory", printed="2", verdict=verdicts.NOT_JUDGED))
    assert "| aupro against rd<br>memory | +0.6 pp<br>2 | +1.2 pp [+0.5, +2.0]<br>(measured but not judged) |" in found
    assert found.endswith("| supported |")


def test_what_was_not_tested_shows_what_is_printed_of_each_metric():
    untested = {"verdict": verdicts.NOT_TESTED, "stated": math.nan, "effect": math.nan}
    found = of(line(**untested, printed="96.5 -> 97.6"), line(**untested, metric="iap", printed="1 -> 2"))
    assert found == ["| S2-1: MemKD beats RD | aupro<br>iap | 96.5 → 97.6<br>1 → 2 |  |  |  | not tested here |"]


def test_ratios_of_times_are_a_range_and_what_holds_or_leans_is_marked():
    times = [{"effect": value, "stated": stated, "low": 1, "high": 2} for value, stated in ((1.5, 1.3), (2.5, 1.3))]
    lines = [line(**OURS | of, unit=verdicts.RATIO, metric="fps", seeds=0, p=math.nan) for of in times]
    assert "| fps against rd | 1.3x | 1.5x to 2.5x (2 lines) | +0.20x to +1.20x | 4 | supported |" in of(*lines)[0]
    (found,) = of(*lines, lines[0] | {"against": "stpm", "stated": 9.0})
    assert "| fps against rd<br>fps against stpm | 1.3x<br>9x |" in found
    assert f"[+0.5, +2.0]{readme.HOLDS} |" in of(line(p=0.001))[0]
    assert of(line(rests_on="pill"))[0].endswith("| supported\\* |")
    assert of(line(rests_on="pill"), line(metric="iap"))[0].endswith("| supported |")
    depends = line(metric="iap", verdict=verdicts.DEPENDS, rests_on="pill (alone)")
    assert of(line(rests_on="pill"), depends)[0].endswith("| supported in part\\* |")


def test_the_marks_are_those_of_the_committed_verdicts(committed_verdicts):
    rows = of(*committed_verdicts.to_dict("records"))
    marked = {row.split(":")[0][2:] for row in rows if row.endswith(f"{readme.RESTS} |")}
    assert marked == claim_tables.on_single_categories(committed_verdicts)
    stay = {row.split(":")[0][2:] for row in rows if readme.HOLDS in row}
    assert stay == set(committed_verdicts.loc[claim_tables.stays(committed_verdicts), "id"])


def test_no_method_is_said_to_win_without_rows():
    rows = results.read(results.RUNS)
    assert "short training" not in readme.in_short(rows.head(0))
    said = readme.in_short(rows)
    assert "- **And after a short training?** (recipe paper, scale small, teacher bundled) Of " in said


def test_how_far_scores_move_with_a_full_training_is_said():
    base = results.read(results.RUNS).iloc[0].to_dict() | {"teacher": "bundled", "recipe": "paper", "overrides": {}}
    base |= {"dataset": "mvtec", "method": "rd", "precision": "fp32"}
    scores = [("small", "pill", 0.5), ("small", "pill", 0.6), ("full", "pill", 0.9), ("small", "screw", 0.5)]
    scores += [("full", "screw", 0.45), ("small", "bottle", 0.5)]
    rows = [base | {"scale": s, "category": c, "image_auroc": a, "seed": i} for i, (s, c, a) in enumerate(scores)]
    other = [row | {"precision": "bf16"} if row["scale"] == "full" else row for row in rows]
    said = readme.in_short(pd.DataFrame(rows))
    assert "by more than 5 points in 1 of 2 cases (a method, recipe and category each; 2 with a single long" in said
    assert "and lower it by more than that in none. The largest change: rd (paper) on pill, 55.0 to 90.0 (" in said
    assert "(teacher bundled; small: 1 to 2 seeds, fp32 (rd); full: 1 seed, fp32 (rd))." in said
    assert "full: 1 seed, bf16 (rd))." in readme.in_short(pd.DataFrame(other))


def test_scores_name_the_precision_and_of_several_whose_it_is():
    base = results.read(results.RUNS).iloc[0].to_dict() | {"scale": "small", "teacher": "bundled", "recipe": "paper"}
    base |= {"dataset": "mvtec", "category": "bottle", "overrides": {}, "precision": "fp32"}
    one, other = base | {"method": "rd"}, base | {"method": "destseg", "precision": "bf16"}
    one["notes"] = {}
    other["notes"] = {"teacher": "backbone resnet18 in place of wide_resnet50_2"}
    assert "teacher bundled, fp32):\n" in readme.scores(pd.DataFrame([one]))
    both = "teacher bundled; fp32: rd; bf16: destseg; destseg: backbone resnet18 in place of wide_resnet50_2):\n"
    assert both in readme.scores(pd.DataFrame([one, other]))


def test_without_timings_nothing_is_said_of_training(monkeypatch):
    assert " times as fast in fp32, " in readme.in_short(results.read(results.RUNS))
    monkeypatch.setattr(readme.speed, "read", lambda _: pd.DataFrame())
    said = readme.in_short(results.read(results.RUNS).head(0))
    assert "- **How fast?** Of 18 goals for speed: 18 not measured here." in said


def test_a_long_claim_is_broken_into_lines():
    """Cells beside it do not wrap: it would be as narrow as its longest word."""
    (found,) = of(line(claim="the first half of a claim that is long and the second half of it"))
    assert found.startswith(
        "| S2-1: the first half of a claim that is<br>long and the second half of it | aupro against rd"
    )
