"""Relative and absolute claims, from planted rows."""

import math
import re

import pandas as pd
import pytest

from adlib import datasets
from adlib.environment import PROJECT
from adlib.study import claims
from adlib.study.claims import scores, verdicts
from tests.study.planted import judged, lines_of, table, without_items

SEEDS = [("bottle", 0), ("bottle", 1), ("bottle", 2), ("pill", 0), ("pill", 1), ("pill", 2)]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05, 0.06], verdicts.SUPPORTED),
        ([-0.01, -0.02, -0.03, -0.04, -0.05, -0.06], verdicts.CONTRADICTED),
        ([0.02, 0.02, 0.02, -0.02, -0.02, -0.02], verdicts.INCONCLUSIVE),
    ],
)
def test_a_relative_claim_follows_from_the_paired_differences(row, gains, verdict):
    rd = table(row, "rd", dict.fromkeys(SEEDS, 0.9))
    memkd = table(row, "memkd", {place: 0.9 + gain for place, gain in zip(SEEDS, gains, strict=True)})
    found = judged(pd.concat([rd, memkd]), "S2-1")
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(100 * sum(gains) / 6)
    assert (found["pairs"], found["categories"], found["seeds"]) == (6, 2, 3)
    assert found["low"] <= found["effect"] <= found["high"]
    assert found["conditions"].startswith("paper, small, teacher bundled, resnet18, 80 steps, fp32; mvtec/bottle, ")
    assert found["conditions"].endswith(f"; memkd against rd; on {row['device']}")
    assert found["against"] == "rd"
    assert found["by_category"] == f"bottle {100 * sum(gains[:3]) / 3:+.1f}, pill {100 * sum(gains[3:]) / 3:+.1f}"
    assert "2 of 15 categories" in found["why"]


def test_no_verdict_without_three_seeds_or_without_pairs(row):
    rd = table(row, "rd", {("bottle", 0): 0.8, ("bottle", 1): 0.8})
    memkd = table(row, "memkd", {("bottle", 0): 0.9, ("bottle", 1): 0.9})
    found = judged(pd.concat([rd, memkd]), "S2-1")
    assert (found["verdict"], found["why"]) == (verdicts.NOT_JUDGED, "2 of 3 seeds")
    assert math.isnan(found["low"])
    other = table(row, "memkd", {("bottle", 0): 0.9}, overrides={"epochs": 3})
    found = judged(pd.concat([rd, other]), "S2-1")
    assert found["verdict"] == verdicts.NOT_TESTED
    assert "rd: 2" in found["why"]


def test_what_is_printed_is_of_the_baseline_that_counts():
    claim = {"paper_baseline": "98.7,97.9; 98.4,97.8", "paper_variant": "99.1,98.0", "metric": "image_auroc,aupro"}
    claim |= {"baseline": "memkd(nm=off),memkd(items=0)"}
    assert [scores._stated_gain(claim, i, "memkd(items=0)") for i in (0, 1)] == pytest.approx([0.7, 0.2])
    assert [scores._stated_gain(claim, i, "memkd(nm=off)") for i in (0, 1)] == pytest.approx([0.4, 0.1])
    assert scores.printed_of(claim, "memkd(items=0)").strip() == "98.4,97.8"
    assert scores.printed_of(claim, "") == "98.7,97.9"
    one = claim | {"paper_baseline": "98.7,97.9"}  # a number a metric: of the first
    assert scores._stated_gain(one, 1, "memkd(nm=off)") == pytest.approx(0.1)
    assert math.isnan(scores._stated_gain(one, 1, "memkd(items=0)"))


def test_of_several_baselines_the_best_on_average_counts_not_the_luckiest_of_each_pair(row):
    places = [("bottle", seed) for seed in range(3)]
    encoder, decoder = ({"students": name} for name in ("encoder", "decoder"))
    first = dict(zip(places, [0.7, 0.4, 0.4], strict=True))
    second = dict(zip(places, [0.4, 0.5, 0.7], strict=True))
    rows = [table(row, "dskd", first, config=encoder, overrides=encoder)]
    rows.append(table(row, "dskd", second, config=decoder, overrides=decoder))
    rows.append(table(row, "dskd", dict.fromkeys(places, 0.6)))
    found = judged(pd.concat(rows), "S3-2")
    assert found["effect"] == pytest.approx(100 * (0.6 - 1.6 / 3))
    assert found["conditions"].endswith(f"; dskd against dskd(decoder alone); on {row['device']}")
    assert found["by_category"] == "against dskd(encoder alone) +10.0"  # what the claim says of the other is not hidden


def test_a_difference_between_two_that_find_nothing_is_marked(row):
    places = [(category, seed) for category in ("bottle", "screw") for seed in range(3)]
    rows = [table(row, "dskd", {at: 0.9 if at[0] == "bottle" else 0.52 for at in places})]
    rows.append(table(row, "stpm", {at: 0.8 if at[0] == "bottle" else 0.3 for at in places}))
    found = judged(pd.concat(rows), "S3-1", "image_auroc")
    assert found["by_category"].startswith("bottle +10.0, screw +22.0 (chance)")
    assert found["without_chance"] == "+10.0 [+10.0, +10.0]"


def test_the_most_is_the_gain_less_the_largest_of_the_others(row):
    gains = {"transistor": [0.10, 0.11, 0.12], "pill": [0.05, 0.05, 0.05], "bottle": [0.01, 0.02, 0.03]}
    places = [(category, seed) for category in gains for seed in range(3)]
    rows = [table(row, "destseg", dict.fromkeys(places, 0.5))]
    rows.append(table(row, "memory_destseg", {(c, seed): 0.5 + gains[c][seed] for c, seed in places}))
    found = lines_of("S0-3", pd.concat(rows))
    assert list(found["effect"]) == pytest.approx([11, 6])  # that it gains, and that it gains most
    assert found["against"].iloc[1].endswith(": its gain less that of pill")
    assert found["conditions"].iloc[1].endswith("; the largest of 2 others")
    assert math.isnan(found["stated"].iloc[1])
    assert list(found["printed"]) == ["96.1 -> 100", ""]  # which is of the gain
    assert list(found["verdict"]) == [verdicts.SUPPORTED, verdicts.INCONCLUSIVE]  # others may gain more
    assert list(found["why"]) == ["", "2 of 14 others"]
    rest = set(datasets.PUBLISHED["mvtec"]) - set(gains)
    for name, gain in (("destseg", 0.0), ("memory_destseg", 0.01)):
        rows.append(table(row, name, {(c, seed): 0.5 + gain for c in rest for seed in range(3)}))
    found = lines_of("S0-3", pd.concat(rows))
    assert set(found["verdict"]) == {verdicts.SUPPORTED}
    one = lines_of("S0-3", pd.concat(rows)[lambda table: table["seed"] == 0])
    assert list(one["why"]) == ["1 of 3 seeds", "1 of 3 seeds"]
    alone = pd.concat(part[part["category"] == "transistor"] for part in rows)
    assert len(lines_of("S0-3", alone)) == 1


def test_stpm_is_a_baseline_as_its_source_has_it_too(row):
    places = [("bottle", seed) for seed in range(3)]
    dskd = table(row, "dskd", {place: 0.9 + 0.001 * place[1] for place in places})
    ours = table(row, "stpm", dict.fromkeys(places, 0.95), config={"settle": True})
    source = table(row, "stpm", dict.fromkeys(places, 0.85), config={"settle": False}, overrides={"settle": False})
    found = lines_of("S3-1", pd.concat([dskd, ours, source])).query("metric == 'image_auroc'")
    assert [*found["verdict"]] == [verdicts.CONTRADICTED, verdicts.SUPPORTED]
    assert found["conditions"].iloc[1].split("against ")[1].startswith("stpm(settle=off)")
    assert len(lines_of("S3-1", pd.concat([dskd, ours])).query("metric == 'image_auroc'")) == 1
    whole = [dskd, table(row, "stpm", dict.fromkeys(places, 0.85), config={"settle": False})]
    whole = pd.concat([part.assign(scale="full") for part in whole])  # as its source has it, which settles nothing
    assert len(lines_of("S3-1", whole).query("metric == 'image_auroc'")) == 1


def test_memkd_is_set_against_rd_and_against_itself_without_memories(row):
    places = [("bottle", seed) for seed in range(3)]
    memkd = table(row, "memkd", {place: 0.9 + 0.001 * place[1] for place in places})
    rd, without = table(row, "rd", dict.fromkeys(places, 0.85)), without_items(row, dict.fromkeys(places, 0.95))
    for scale in ("small", "full"):
        rows = pd.concat([memkd, rd, without]).assign(scale=scale)
        found = lines_of("S2-1", rows).query("metric == 'image_auroc'")
        assert [*found["against"]] == ["rd", "memkd(items=0)"]
        assert [*found["verdict"]] == [verdicts.SUPPORTED, verdicts.CONTRADICTED]
        assert [*found["printed"]] == ["98.4 -> 99.6"] * 2
        assert [*found["stated"]] == pytest.approx([1.2, 1.2])
    found = lines_of("S2-6", pd.concat([memkd, rd, without])).query("metric == 'image_auroc'")
    assert "rd" not in {*found["against"]}  # what is compared there is memories


def test_an_absolute_claim_needs_the_papers_conditions(row):
    textures = ("carpet", "grid", "leather", "tile", "wood")
    places = dict.fromkeys([(name, seed) for name in textures for seed in range(3)], 0.99)
    ours = table(row, "mixed_teacher", places, pixel_auroc=0.98)
    assert judged(ours, "S1-7", "pixel_auroc")["verdict"] == verdicts.NOT_TESTED
    as_printed = ours.assign(teacher="imagenet", scale="full")
    assert judged(as_printed, "S1-7", "pixel_auroc")["verdict"] == verdicts.SUPPORTED
    assert judged(as_printed.assign(pixel_auroc=0.96), "S1-7", "pixel_auroc")["verdict"] == verdicts.CONTRADICTED
    some = as_printed[as_printed["category"] != "wood"]
    (printed,) = claims.claims()[lambda t: t["id"] == "S1-7"]["paper_variant"]
    stated = float(printed)
    for distance, verdict in ((-0.49, verdicts.SUPPORTED), (-0.51, verdicts.CONTRADICTED)):
        near = judged(as_printed.assign(pixel_auroc=(stated + distance) / 100), "S1-7", "pixel_auroc")
        assert (near["verdict"], near["effect"]) == (verdict, pytest.approx(stated + distance))
    spread = as_printed.assign(pixel_auroc=stated / 100 + 0.01 * (as_printed["seed"] - 1))
    around = judged(spread, "S1-7", "pixel_auroc")
    assert around["verdict"] == verdicts.INCONCLUSIVE
    assert around["low"] < stated < around["high"]
    assert judged(some, "S1-7", "pixel_auroc")["verdict"] == verdicts.NOT_TESTED
    for textures, verdict in (("DTD, 1200 images", verdicts.NOT_TESTED), ("DTD, 5640 images", verdicts.SUPPORTED)):
        made_of = as_printed.assign(notes=[{"textures": textures}] * len(as_printed))
        assert judged(made_of, "S1-7", "pixel_auroc")["verdict"] == verdict
    stand_in = as_printed[as_printed["category"] == "wood"].assign(dataset="aitex", category="fabric")
    assert judged(pd.concat([some, stand_in]), "S1-7", "pixel_auroc")["verdict"] == verdicts.NOT_TESTED
    both = lines_of("S1-7", pd.concat([as_printed, as_printed.assign(recipe="code", pixel_auroc=0.9)]))
    assert both["verdict"].tolist() == [
        verdicts.CONTRADICTED,
        verdicts.SUPPORTED,
    ]  # code, paper: never mixed


def test_a_gain_that_is_printed_in_fractions_is_in_points():
    claim = {"metric": "image_auroc", "paper_variant": "0.98", "paper_baseline": "0.95", "baseline": "stpm"}
    assert scores._stated_gain(claim, 0, "stpm") == pytest.approx(3.0)
    claim = {"metric": "image_auroc", "paper_variant": "98.0", "paper_baseline": "95.0", "baseline": "stpm"}
    assert scores._stated_gain(claim, 0, "stpm") == pytest.approx(3.0)


def test_a_line_tells_whether_the_rules_were_there_before_its_rows(row):
    """One row of either side that was made earlier is enough; a claim on what gains most tells it, too."""
    early, late = "2026-11-30T23:12:09+00:00", "2026-11-30T23:12:10+00:00"
    places = [*SEEDS[:3], *(("transistor", seed) for seed in range(3))]
    sides = [
        table(row, method, dict.fromkeys(places, score), created=late)
        for method, score in (("destseg", 0.8), ("memory_destseg", 0.9))
    ]
    found = lines_of("S0-3", pd.concat(sides))
    assert found["rule"].tolist() == [verdicts.BEFORE] * 2
    for side in sides:
        side.loc[side.index[-1], "created"] = early
        assert lines_of("S0-3", pd.concat(sides))["rule"].tolist() == [verdicts.AFTER] * 2
        side.loc[side.index[-1], "created"] = late


def test_the_last_change_of_the_rules_is_dated_where_changes_are_told():
    told = (PROJECT / "docs" / "rule_changes.md").read_text()
    (last,) = re.findall(r"The last change of a rule for scores was on (\S+)\. ", told)
    assert last == verdicts.RULES_SINCE[:10]
