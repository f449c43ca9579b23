"""Which rows are pairs: those that agree in all that is not compared."""

import pandas as pd
import pytest

from adlib.study.claims import verdicts
from adlib.study.claims.pairs import chosen
from tests.study.planted import judged, made, table


@pytest.mark.parametrize(
    "other", [{"data_sha256": "0" * 64}, {"notes": {"textures": "procedural, 128 images"}}, {"precision": "bf16"}]
)
def test_rows_of_other_images_textures_or_precision_are_no_pair(row, other):
    places = {("tile", seed): 0.5 for seed in range(3)}
    found = judged(pd.concat([table(row, "stpm", places), table(row, "reduced_student", places, **other)]), "S1-3")
    assert found["verdict"] == verdicts.NOT_TESTED
    assert found["why"].startswith("no pairs of rows")


@pytest.mark.parametrize(("teacher", "pairs"), [("own.safetensors", False), ("bundled", False), ("imagenet", True)])
def test_teachers_of_one_name_and_other_weights_are_no_pair(row, teacher, pairs):
    """Of no file is the hash: it is that of the layers which a method reads, and differs between methods."""
    places = {("tile", seed): 0.5 for seed in range(3)}
    sides = [
        table(row, method, places, teacher=teacher, teacher_sha256=letter * 64)
        for method, letter in (("stpm", "a"), ("reduced_student", "b"))
    ]
    found = judged(pd.concat(sides), "S1-3")
    assert found["why"].startswith("no pairs of rows") != pairs
    same = [side.assign(teacher_sha256="a" * 64) for side in sides]
    assert judged(pd.concat(same), "S1-3")["pairs"] == 3


def test_what_differs_in_the_training_of_both_sides_is_said(row):
    places = {("tile", seed): 0.5 for seed in range(3)}
    stpm = table(row, "stpm", places, steps=42, config={"settle": True}, device="cpu: A")
    reduced = table(row, "reduced_student", places, device="cpu: B")
    found = judged(pd.concat([stpm, reduced]), "S1-3")
    assert ", 80 steps, fp32; mvtec/tile; " in found["conditions"]
    devices = "on cpu: A and cpu: B, different ones in 3 of 3 pairs"
    assert found["conditions"].endswith(f"against stpm (42 steps, settled); {devices}")
    assert found["steps"] == "80 steps against 42"
    stpm, reduced = stpm.assign(device="cpu: A (family 1 model 2)"), reduced.assign(device="cpu: A")
    found = judged(pd.concat([stpm, reduced]), "S1-3")  # of before it was recorded: perhaps the same
    assert found["conditions"].endswith("different ones in 0 to 3 of 3 pairs")


def test_a_category_with_too_few_seeds_does_not_count_and_takes_nothing_from_the_others(row):
    places = [("bottle", 0), ("bottle", 1), ("bottle", 2), ("pill", 0)]
    none = table(row, "rd", dict.fromkeys(places, 0.5))
    memkd = table(row, "memkd", dict(zip(places, [0.6, 0.61, 0.62, 0.1], strict=True)))
    found = judged(pd.concat([none, memkd]), "S2-1")
    assert (found["verdict"], found["categories"], found["seeds"]) == (verdicts.SUPPORTED, 1, 3)
    assert "pill" not in found["conditions"]
    assert found["why"] == "1 of 15 categories of mvtec"


def test_of_the_splits_of_the_tiles_the_first_counts(row):
    rows = pd.concat([made(row, "stpm", f"split{k}", [0.5, 0.6], dataset="mtd") for k in range(3)])
    assert set(chosen(rows, "stpm", "image_auroc")["category"]) == {"split0"}
