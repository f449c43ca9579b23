"""What a verdict rests on, from planted differences."""

import pandas as pd

from adlib.study.claims import verdicts
from tests.study.planted import judged, table

SEEDS = [("bottle", 0), ("bottle", 1), ("bottle", 2), ("pill", 0), ("pill", 1), ("pill", 2)]


def test_a_verdict_that_rests_on_categories_by_chance_together_says_so(row):
    """Each of the two alone leaves it standing."""
    places = [(category, seed) for category in ("bottle", "pill", "screw") for seed in range(3)]
    rows = [table(row, "dskd", {at: 0.8 if at[0] == "bottle" else 0.5 for at in places})]
    before = {at: 0.79 + 0.02 * (at[1] - 1) if at[0] == "bottle" else 0.3 for at in places}
    found = judged(pd.concat([*rows, table(row, "stpm", before)]), "S3-1", "image_auroc")
    assert found["verdict"] == verdicts.SUPPORTED
    assert found["rests_on"].startswith("the categories at chance (without them +1.0 [-")


def test_a_verdict_names_the_categories_that_it_rests_on(row):
    """Three categories; the second one alone makes the mean what it is."""
    seeds = range(3)
    before = {(category, seed): 0.9 for category in ("bottle", "pill", "screw") for seed in seeds}
    gains = {"bottle": 0.01, "pill": -0.08, "screw": 0.01}
    after = {(category, seed): 0.9 + gains[category] + 0.001 * seed for category, seed in before}
    found = judged(pd.concat([table(row, "rd", before), table(row, "memkd", after)]), "S2-1")
    assert found["verdict"] == verdicts.DEPENDS
    assert found["effect"] < 0
    assert found["rests_on"] == "pill (without it +1.1 [+1.0, +1.2])"
    alike = {(category, seed): 0.91 + 0.001 * seed for category, seed in before}
    found = judged(pd.concat([table(row, "rd", before), table(row, "memkd", alike)]), "S2-1")
    assert (found["verdict"], found["rests_on"]) == (verdicts.SUPPORTED, "")
    gains = {"bottle": 0.11, "pill": 0.03, "screw": 0.02}
    weighty = {(c, seed): 0.9 + gains[c] + 0.001 * (seed - 1) for c, seed in before}
    weighty = judged(pd.concat([table(row, "rd", before), table(row, "memkd", weighty)]), "S2-1")
    assert (weighty["verdict"], weighty["rests_on"]) == (verdicts.SUPPORTED, "")
    assert "without bottle still +2.5 [+2.4, +2.6]" in weighty["by_category"]
    gains = {"bottle": 0.02, "pill": 0.0, "screw": 0.0}
    carried = {(c, seed): 0.9 + gains[c] + 0.001 * (seed - 1) for c, seed in before}
    carried = judged(pd.concat([table(row, "rd", before), table(row, "memkd", carried)]), "S2-1")
    assert carried["verdict"] == verdicts.SUPPORTED
    assert carried["rests_on"].startswith("bottle (without it +0.0 [-")
    assert "still" not in carried["by_category"]
    assert found["p"] < 0.05
    one = {place: value for place, value in alike.items() if place[0] == "bottle"}
    found = judged(pd.concat([table(row, "rd", before), table(row, "memkd", one)]), "S2-1")
    assert (found["verdict"], found["rests_on"]) == (verdicts.SUPPORTED, "bottle (alone)")  # one, of a claim on fifteen


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
    assert found["rests_on"].startswith("transistor and the categories at chance (without them +0.1 [")
    assert "screw +20.0 (chance)" in found["by_category"]
    assert "over categories like these [" in found["by_category"]
