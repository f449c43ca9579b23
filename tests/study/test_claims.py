"""Verdicts of planted rows: what the rules say must follow from the numbers, and from nothing else."""

import math

import pandas as pd
import pytest

from adlib import datasets
from adlib.study import claims, verdicts
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
    rd = without_items(row, dict.fromkeys(SEEDS, 0.9))
    memkd = table(row, "memkd", {place: 0.9 + gain for place, gain in zip(SEEDS, gains, strict=True)})
    found = judged(pd.concat([rd, memkd]), "S2-1")
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(100 * sum(gains) / 6)
    assert (found["pairs"], found["categories"], found["seeds"]) == (6, 2, 3)
    assert found["low"] <= found["effect"] <= found["high"]
    assert found["conditions"].startswith("paper, small, teacher bundled, resnet18, 80 steps, fp32; mvtec/bottle, ")
    assert found["conditions"].endswith(f"; memkd against memkd(items=0); on {row['device']}")
    assert found["against"] == "memkd(items=0)"
    assert found["by_category"] == f"bottle {100 * sum(gains[:3]) / 3:+.1f}, pill {100 * sum(gains[3:]) / 3:+.1f}"
    assert "2 of 15 categories" in found["why"]


def test_no_verdict_without_three_seeds_or_without_pairs(row):
    rd = without_items(row, {("bottle", 0): 0.8, ("bottle", 1): 0.8})
    memkd = table(row, "memkd", {("bottle", 0): 0.9, ("bottle", 1): 0.9})
    found = judged(pd.concat([rd, memkd]), "S2-1")
    assert (found["verdict"], found["why"]) == (verdicts.NOT_TESTED, "2 of 3 seeds")
    assert math.isnan(found["low"])
    other = table(row, "memkd", {("bottle", 0): 0.9}, overrides={"epochs": 3})
    found = judged(pd.concat([rd, other]), "S2-1")
    assert found["verdict"] == verdicts.NOT_TESTED
    assert "memkd(items=0): 2" in found["why"]


def test_real_and_generated_images_are_judged_apart(row, tmp_path):
    real, drawn = ([(name, seed) for seed in range(3)] for name in ("tile", "canvas"))
    rows = [table(row, "stpm", dict.fromkeys(real, 0.8)), table(row, "reduced_student", dict.fromkeys(real, 0.9))]
    rows.append(table(row, "stpm", dict.fromkeys(drawn, 0.8), dataset="synthetic"))
    rows.append(table(row, "reduced_student", dict.fromkeys(drawn, 0.6), dataset="synthetic"))
    found = lines_of("S1-3", pd.concat(rows))
    assert sorted(found["effect"]) == pytest.approx([-20, 10])
    contradicted = found[found["verdict"] == verdicts.CONTRADICTED].iloc[0]
    assert "generated images; synthetic/canvas; reduced_student against" in contradicted["conditions"]
    assert contradicted["why"] == "0 of 5 categories of mvtec, 1 of other datasets in their place"

    line = {
        "id": "S1-10",
        "metric": "loss_ratio",
        "value": 1.0,
        "conditions": "small",
        "parts": "{}",
        "device": "cpu: A",
    }
    places = [("aitex", "fabric"), ("synthetic", "canvas")]
    lines = [line | {"dataset": of, "category": c, "seed": seed} for of, c in places for seed in range(3)]
    pd.DataFrame(lines).to_csv(tmp_path / "layers.csv", index=False)
    found = lines_of("S1-10", pd.DataFrame([row]), diagnostics=tmp_path)
    assert sorted(found["categories"]) == [1, 1]


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
    found = judged(pd.concat(rows), "S3-1", "image_auroc")["by_category"]
    assert found == "bottle +10.0, screw +22.0 (chance); without chance +10.0 [+10.0, +10.0]"


def test_a_verdict_that_rests_on_categories_by_chance_together_says_so(row):
    """Each of the two alone leaves it standing."""
    places = [(category, seed) for category in ("bottle", "pill", "screw") for seed in range(3)]
    rows = [table(row, "dskd", {at: 0.8 if at[0] == "bottle" else 0.5 for at in places})]
    before = {at: 0.79 + 0.02 * (at[1] - 1) if at[0] == "bottle" else 0.3 for at in places}
    found = judged(pd.concat([*rows, table(row, "stpm", before)]), "S3-1", "image_auroc")
    assert found["verdict"] == verdicts.SUPPORTED
    assert found["rests_on"].startswith("those by chance (without them +1.0 [-")


def test_a_verdict_names_the_categories_that_it_rests_on(row):
    """Three categories; the second one alone makes the mean what it is."""
    seeds = range(3)
    before = {(category, seed): 0.9 for category in ("bottle", "pill", "screw") for seed in seeds}
    gains = {"bottle": 0.01, "pill": -0.08, "screw": 0.01}
    after = {(category, seed): 0.9 + gains[category] + 0.001 * seed for category, seed in before}
    found = judged(pd.concat([without_items(row, before), table(row, "memkd", after)]), "S2-1")
    assert found["verdict"] == verdicts.DEPENDS
    assert found["effect"] < 0
    assert found["rests_on"] == "pill (without it +1.1 [+1.0, +1.2])"
    alike = {(category, seed): 0.91 + 0.001 * seed for category, seed in before}
    found = judged(pd.concat([without_items(row, before), table(row, "memkd", alike)]), "S2-1")
    assert (found["verdict"], found["rests_on"]) == (verdicts.SUPPORTED, "")
    gains = {"bottle": 0.02, "pill": 0.0, "screw": 0.0}
    carried = {(c, seed): 0.9 + gains[c] + 0.001 * (seed - 1) for c, seed in before}
    carried = judged(pd.concat([without_items(row, before), table(row, "memkd", carried)]), "S2-1")
    assert carried["verdict"] == verdicts.SUPPORTED
    assert carried["rests_on"].startswith("bottle (without it +0.0 [-")
    assert found["p"] < 0.05
    one = {place: value for place, value in alike.items() if place[0] == "bottle"}
    found = judged(pd.concat([without_items(row, before), table(row, "memkd", one)]), "S2-1")
    assert (found["verdict"], found["rests_on"]) == (verdicts.SUPPORTED, "bottle (alone)")  # one, of a claim on fifteen


def test_the_most_is_the_gain_less_the_largest_of_the_others(row):
    gains = {"transistor": [0.10, 0.11, 0.12], "pill": [0.05, 0.05, 0.05], "bottle": [0.01, 0.02, 0.03]}
    places = [(category, seed) for category in gains for seed in range(3)]
    rows = [table(row, "destseg", dict.fromkeys(places, 0.5))]
    rows.append(table(row, "memory_destseg", {(c, seed): 0.5 + gains[c][seed] for c, seed in places}))
    found = lines_of("S0-3", pd.concat(rows))
    assert list(found["effect"]) == pytest.approx([11, 6])  # that it gains, and that it gains most
    assert found["conditions"].iloc[1].endswith("gain less that of pill, the largest of 2 others")
    assert math.isnan(found["stated"].iloc[1])
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


def test_a_rule_that_is_not_known_is_an_error(tmp_path):
    listed = claims.claims()
    for rule, claim in (("gain_mots", "S0-3"), ("gain", "S1-7")):  # an absolute claim has none
        listed.assign(rule=listed["rule"].where(listed["id"] != claim, rule)).to_csv(tmp_path / "claims.csv")
        with pytest.raises(ValueError, match=f"unknown rule of claim {claim} in .*claims.csv '{rule}'"):
            claims.claims(tmp_path)


def test_every_claim_has_a_line_and_every_verdict_a_reason_or_an_interval(committed_verdicts):
    found = committed_verdicts
    assert set(found["id"]) == set(claims.claims()["id"])
    untested = found["verdict"] == verdicts.NOT_TESTED
    assert (found.loc[untested, "why"] != "").all()
    assert found.loc[~untested, ["effect", "low", "high"]].notna().all(axis=None)


def test_a_diagnostic_is_judged_by_its_numbers(tmp_path):
    line = {"id": "S0-7", "metric": "l_cos_jump", "dataset": "mvtec", "category": "bottle", "conditions": "small"}
    line |= {"parts": '{"rise": 0.5}', "device": "cpu: A"}
    pd.DataFrame([line | {"seed": seed, "value": value} for seed, value in enumerate([0.1, 0.2, 0.3])]).to_csv(
        tmp_path / "rise.csv", index=False
    )
    (found,) = lines_of("S0-7", pd.DataFrame(), diagnostics=tmp_path).query("metric == 'l_cos_jump'").iloc
    assert (found["verdict"], found["seeds"]) == (verdicts.INCONCLUSIVE, 3)
    assert (found["effect"], found["low"], found["high"]) == pytest.approx((0.2, -0.048, 0.448), abs=1e-3)
    assert found["conditions"] == "small; mvtec/bottle; mean rise 0.5; on cpu: A"


def test_a_diagnostic_of_several_categories_says_what_each_gives(tmp_path):
    line = {
        "id": "S0-7",
        "metric": "l_cos_jump",
        "dataset": "mvtec",
        "conditions": "small",
        "parts": "{}",
        "device": "cpu: A",
    }
    values = [("bottle", 0.1), ("bottle", 0.2), ("bottle", 0.3), ("pill", -0.5), ("pill", -0.4), ("pill", -0.3)]
    rows = [line | {"category": c, "seed": i % 3, "value": value} for i, (c, value) in enumerate(values)]
    pd.DataFrame(rows).to_csv(tmp_path / "rise.csv", index=False)
    found = lines_of("S0-7", pd.DataFrame(), diagnostics=tmp_path).set_index("metric")
    assert found.loc["l_cos_jump", "by_category"] == "bottle +0.2, pill -0.4"


def test_a_diagnostic_that_says_nothing_is_not_judged_and_says_why(tmp_path):
    line = {"id": "S2-12", "metric": "feature_distance", "dataset": "mvtec", "category": "bottle", "parts": "{}"}
    line |= {"device": "cpu: A"}
    lines = [line | {"conditions": "short", "seed": seed, "value": "", "why": "not moved"} for seed in range(3)]
    lines += [line | {"conditions": "long", "seed": seed, "value": 0.1 + seed, "why": ""} for seed in range(3)]
    lines += [line | {"conditions": "long", "seed": 3, "value": "", "why": "not moved"}]
    pd.DataFrame(lines).to_csv(tmp_path / "recall.csv", index=False)
    found = lines_of("S2-12", pd.DataFrame(), diagnostics=tmp_path)
    found = found.set_index(found["conditions"].str.split(";").str[0])
    assert list(found.loc["short", ["verdict", "why", "pairs"]]) == [verdicts.NOT_TESTED, "not moved", 0]
    assert list(found.loc["long", ["why", "pairs"]]) == ["1 of 15 categories of mvtec", 3]
    assert found.loc["long", "effect"] == pytest.approx(1.1)


def test_a_gain_that_is_printed_in_fractions_is_in_points():
    claim = {"metric": "image_auroc", "paper_variant": "0.98", "paper_baseline": "0.95", "baseline": "stpm"}
    assert claims._stated_gain(claim, 0, "stpm") == pytest.approx(3.0)
    claim = {"metric": "image_auroc", "paper_variant": "98.0", "paper_baseline": "95.0", "baseline": "stpm"}
    assert claims._stated_gain(claim, 0, "stpm") == pytest.approx(3.0)


def test_a_verdict_that_a_category_by_chance_would_hide_names_the_other_one(row):
    """Screw is below what chance may give on both sides, and keeps the verdict alive without transistor."""
    gains = {"bottle": 0.001, "transistor": 0.1, "screw": 0.2}
    base = {"bottle": 0.9, "transistor": 0.8, "screw": 0.2}
    places = [(name, seed) for name in gains for seed in range(3)]
    noise = [-0.004, 0.0, 0.004]
    without = table(row, "stpm", {(name, seed): base[name] for name, seed in places})
    ours = table(row, "dskd", {(name, seed): base[name] + gains[name] + noise[seed] for name, seed in places})
    found = judged(pd.concat([without, ours]), "S3-1")
    assert found["verdict"] == verdicts.SUPPORTED
    assert found["rests_on"].startswith("transistor and those by chance (without them +0.1 [")
    assert "screw +20.0 (chance)" in found["by_category"]
    assert "over categories like these [" in found["by_category"]
