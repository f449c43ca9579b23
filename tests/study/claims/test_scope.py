"""What a claim speaks of: its own categories, and others in their place only while it lacks some."""

import pandas as pd
import pytest

from adlib.study.claims import scope
from tests.study.planted import judged, lines_of, table


@pytest.mark.parametrize(
    ("speaks_of", "count"),
    [("mvtec", 15), ("mvtec textures", 5), ("mvtec objects", 10), ("mvtec/wood", 1), ("mvtec, mvtec3d, mtd", 26)],
)
def test_categories_that_a_claim_speaks_of_are_the_published_ones(speaks_of, count):
    """Of the magnetic tiles one split counts."""
    assert scope.wanted(speaks_of) == count


def test_stand_ins_count_only_until_all_of_a_claims_own_categories_are_there(row):
    own = {(name, seed): 0.5 for name in ("carpet", "grid", "leather", "tile", "wood") for seed in range(3)}
    tiles = {("split0", seed): 0.5 for seed in range(3)}
    methods = {"stpm": 0.0, "reduced_student": 0.1}
    rows = [table(row, name, {k: v + gain for k, v in own.items()}) for name, gain in methods.items()]
    rows += [table(row, name, {k: v - gain for k, v in tiles.items()}, dataset="mtd") for name, gain in methods.items()]
    whole = judged(pd.concat(rows), "S1-3")
    assert (whole["effect"], whole["categories"], whole["why"]) == (pytest.approx(10), 5, "")
    some = pd.concat([*rows, *(part.assign(category="split1") for part in rows[2:])])  # the same tiles: no second vote
    some = judged(some[some["category"] != "wood"], "S1-3")
    assert (some["effect"], some["categories"]) == (pytest.approx(6), 5)
    assert some["why"] == "4 of 5 categories of mvtec, 1 of other datasets in their place"


def test_a_diagnostic_counts_only_where_its_claim_speaks_of_it(tmp_path):
    line = {
        "id": "S1-10",
        "metric": "loss_ratio",
        "seed": 0,
        "value": 1.0,
        "conditions": "small",
        "parts": "{}",
        "device": "cpu: A",
        "recipe": "paper",
        "why": "",
    }
    places = [("mvtec", "bottle"), ("mvtec", "tile"), ("aitex", "fabric")]
    lines = [line | {"dataset": of, "category": c, "seed": seed} for of, c in places for seed in range(3)]
    pd.DataFrame(lines).to_csv(tmp_path / "layers.csv", index=False)
    (found,) = lines_of("S1-10", pd.DataFrame(), diagnostics=tmp_path).iloc
    assert (found["categories"], found["pairs"]) == (2, 6)
    assert "bottle" not in found["conditions"]


def test_of_objects_mvtec_has_ten():
    assert scope.wanted("mvtec objects") == 10
    assert scope.wanted("mvtec textures") == 5
    assert scope.wanted("mvtec") == 15
