"""Which method to take, in sentences: who leads and how certain that is, and doubts where they belong."""

import math

import pandas as pd
import pytest

from adlib.study import guide, ranking
from tests.study.planted import ROWS, TIMINGS, scored, scored_row


def test_advice_names_the_best_and_the_doubts():
    table, kinds = ranking.costs_and_merits(ROWS, TIMINGS), ranking.by_kind(ROWS, TIMINGS)
    doubts, *said = guide.advice(table, "imagenet", kinds)
    assert doubts.startswith("Careful: some lines have 1 seed, too few")
    assert "1 texture and 1 object stand for all, too few to say" in doubts
    assert "in 1 cases a method is below chance" in doubts  # rd on tile
    assert "untrained" not in doubts
    assert "different machines" not in doubts
    assert "Shortest training: stpm (paper), 10 s." in said
    moved = ROWS.assign(device=["cpu", *["cuda"] * (len(ROWS) - 1)])
    doubts, *others = guide.advice(ranking.costs_and_merits(moved, TIMINGS), "", {})
    assert "training times are of different machines" in doubts
    assert not any("training:" in line for line in others)
    of = "of 2 methods and recipes on 1"
    first = "For textures: stpm (paper), image AUROC 50.0%, 10.0 points before rd (paper); 30 ms an image"
    assert f"{first}; {of} texture." in said
    objects = "For objects: rd (paper), image AUROC 90.0%, 20.0 points before stpm (paper)"
    assert f"{objects}; {of} object." in said  # whose network was not timed
    assert "the teacher is untrained" in guide.advice(table, "random", kinds)[0]


def test_a_method_that_was_run_on_objects_alone_is_compared_on_these():
    """It lacks the textures that all others have, and is the best one on objects."""
    both = [scored_row(m, c, 0.5) for m in ("stpm", "rd") for c in ("bottle", "pill", "tile", "wood")]
    rows = pd.DataFrame([*both, *(scored_row("destseg", c, 0.9) for c in ("bottle", "pill"))])
    table = ranking.costs_and_merits(rows, TIMINGS)
    assert "destseg" not in set(table["method"])
    said = guide.advice(table, "", ranking.by_kind(rows, TIMINGS))
    assert any(s.startswith("For objects: destseg (paper), image AUROC 90.0%, 40.0 points") for s in said)
    assert any(s.endswith("of 2 methods and recipes on 2 textures.") for s in said)


def test_a_lead_that_is_less_than_seeds_differ_by_is_none():
    rows = [scored_row("stpm", "bottle", v, seed=i) for i, v in enumerate((0.80, 0.90))]
    rows += [scored_row("rd", "bottle", v, seed=i) for i, v in enumerate((0.83, 0.84))]
    found = ranking.by_kind(pd.DataFrame(rows), TIMINGS)
    said = guide.advice(found["object"], "", found)[1]
    assert said.startswith(
        "For objects: stpm (paper), image AUROC 85.0% (seeds ± 7.1), not told apart from rd (paper), which is 1.5 "
    )


def test_parts_of_ones_own_are_neither_textures_nor_objects():
    rows = pd.DataFrame([scored_row(m, "/parts", v, dataset="folder") for m, v in {"stpm": 0.9, "rd": 0.8}.items()])
    doubts, *said = guide.advice(ranking.costs_and_merits(rows, TIMINGS), "", ranking.by_kind(rows, TIMINGS))
    assert "1 part stands for all" in doubts
    assert said[0].startswith("For parts: stpm (paper), image AUROC 90.0%, 10.0 points before rd (paper)")
    assert not any("texture" in line or "object" in line for line in said)


def test_the_leader_is_named_with_the_category_that_it_owes_its_lead():
    table = {"stpm": (0.9, 0.9, 0.0), "rd": (0.8, 0.8, 0.9), "dskd": (0.1, 0.1, 0.1)}
    drawn = scored({name: values[::-1] for name, values in table.items()}, "synthetic", ("gear", "canvas", "veneer"))
    said = guide.standing(pd.DataFrame(scored(table) + drawn), TIMINGS.assign(device="cpu", threads=2))
    leads, certain, where, cost, alike = said
    assert leads.startswith(
        "Of 3 methods on the 3 real categories that all have, rd has the highest mean image AUROC, 83.3, and the best"
    )
    assert (
        "Where mvtec/tile is left out, stpm has the highest mean. They were not trained alike: on average over "
        "categories they saw 80 images (stpm) to 160 (dskd, rd), repeats counted." in leads
    )
    assert "rd differs from no other method. Of 3 pairs of methods, " in certain
    assert where.startswith("Where defects are: ")
    assert cost == (
        "Cost: rd takes 97 ms an image (batch 1, the fast path), 1.5 times the median of all; they take 30 to 97 ms "
        "(cpu, 2 threads)."
    )
    assert "between generated and real images: 1.00 by image_auroc" in alike
    assert guide.standing(pd.DataFrame(scored({"rd": (0.9, 0.8, 0.8)})), TIMINGS) == []
    always = guide.standing(pd.DataFrame(scored({"rd": (0.9,) * 3, "stpm": (0.8,) * 3})), TIMINGS.iloc[:0])
    assert "AUROC, 90.0, and the best mean rank, 1.0. Whichever category is left out, rd has the highest" in always[0]
    assert len(always) == 3


def test_the_method_that_shows_defects_best_is_named_by_its_aupro():
    rows = pd.DataFrame(scored({"rd": (0.9, 0.8, 0.8), "stpm": (0.5, 0.5, 0.5), "dskd": (0.7, 0.7, 0.7)}))
    rows["aupro"] = rows["method"].map({"rd": 0.3, "stpm": 0.9, "dskd": 0.2}) + [0.0, 0.01, 0.02] * 3
    where = guide.standing(rows, TIMINGS.iloc[:0])[2]
    assert where.startswith("Where defects are: stpm has the highest mean AUPRO, 91.0, dskd the lowest, 21.0. Of 3 ")
    assert "3 have a 95 % interval" in where


def test_the_recipes_of_a_method_differ_by_what_its_means_differ():
    of = {"stpm": (0.5, 0.5, 0.5), "rd": (0.5, 0.6, 0.7)}
    rows = scored(of) + scored({"stpm": (0.6, 0.7, 0.8), "rd": (0.5, 0.6, 0.8)}, recipe="code")
    said = guide.recipes(pd.DataFrame([*rows, scored_row("rd", "wood", 0.0)]))  # not run by both
    assert "of 2 methods that were run by both, stpm differs most" in said
    assert "50.0 by its paper's text and 70.0 by the code" in said
    assert guide.recipes(pd.DataFrame(scored(of))) == ""
    assert "the teacher" not in said


@pytest.mark.parametrize("teacher", ["bundled", "imagenet"])
def test_a_difference_between_recipes_that_may_be_the_bundled_teachers_says_so(teacher):
    rows = [scored({"mixed_teacher": (0.5 + i, 0.5 + i, 0.5 + i)}, recipe=r) for i, r in enumerate(("paper", "code"))]
    said = guide.recipes(pd.DataFrame(rows[0] + rows[1]).assign(teacher=teacher))
    assert ("which may be the teacher's doing" in said) == (teacher == "bundled")


def test_what_longer_training_moves_is_counted():
    small = pd.DataFrame(scored({"stpm": (0.5, 0.5, 0.5), "rd": (0.9, 0.9, 0.9)})).assign(teacher="bundled", steps=100)
    assert guide.longer(small) == ""
    full = pd.DataFrame(scored({"stpm": (0.54, 0.9, 0.4)})).assign(teacher="bundled", scale="full", steps=500)
    full.loc[full["category"] == "pill", "steps"] = 2000
    said = guide.longer(pd.concat([small, full]))
    assert said.startswith(
        "Against a short training whole ones take 5.0 to 20 times the steps, and raise image AUROC by more than 5 "
    )
    assert "in 1 of 3 cases (a method, recipe and category each; 3 with a single long training) and lower it by" in said
    assert "by more than that in 1. The largest change: stpm (paper) on pill, 50.0 to 90.0 (100 to 2000 st" in said
    by_code = guide.longer(pd.concat([small, full, small.assign(recipe="code"), full.assign(recipe="code")]))
    assert "in 2 of 6 cases (" in by_code
    assert "lower it by more than that in 2." in by_code
    assert "small: 1 seed, fp32 (stpm); full: 1 seed, fp32 (stpm)" in said
    assert "highest mean" not in said  # of one method there is no best one
    best = guide.longer(pd.concat([small, full, full.assign(method="rd", image_auroc=0.7)]))
    assert best.startswith(
        "Their sources' whole schedules were run for few methods. On the same 3 categories rd (paper) has the highest "
        "mean image AUROC, 70.0, of rd (paper), stpm (paper). "
    )


def test_nothing_shared_gives_no_advice():
    apart = pd.DataFrame([scored_row("stpm", "bottle", 0.8), scored_row("rd", "tile", 0.9)])
    assert guide.advice(ranking.costs_and_merits(apart, pd.DataFrame()), "imagenet", {}) == [
        "No advice: there is no category that all methods were run on."
    ]
    assert guide.advice(ranking.costs_and_merits(apart[:0], pd.DataFrame()), "imagenet", {})[0].startswith("No advice")


def test_a_method_that_is_always_last_is_told_apart_from_the_first():
    names = [f"c{number}" for number in range(20)]
    of = {"stpm": [0.9] * 20, "rd": [0.8] * 10 + [0.95] * 10, "dskd": [0.1] * 20}
    said = guide.standing(pd.DataFrame(scored(of, names=names)), TIMINGS.iloc[:0])
    assert "(Nemenyi); rd differs from dskd. Of 3 pairs" in said[1]


def test_more_epochs_are_set_beside_the_best_short_training():
    """On the two categories with three seeds of rd's; dskd, with the best scores, lacks one of them."""
    rows = [
        scored_row(method, category, score, seed=seed)
        for method, of in {"rd": (0.5, 0.6, 0.8), "stpm": (0.7, 0.9, 0.1), "dskd": (1.0,)}.items()
        for category, score in zip(("bottle", "pill", "tile"), of, strict=False)
        for seed in range(3)
    ]
    rows = [row | {"seconds_train": 10.0} for row in rows]
    assert guide.part_way(pd.DataFrame(rows).assign(teacher="bundled")) == ""
    rows += [
        scored_row("rd", category, score, seed=seed, overrides={"epochs": 20}) | {"seconds_train": 60.0}
        for category, score, seeds in (("bottle", 0.8, 3), ("pill", 0.9, 3), ("tile", 0.7, 2))
        for seed in range(seeds)
    ]
    rows.append(scored_row("rd", "bottle", 0.0, overrides={"epochs": 20, "lr": 0.1}))  # another ablation
    assert guide.part_way(pd.DataFrame(rows).assign(teacher="bundled")) == (
        "With 20 epochs, a part of its schedule, the image AUROC of rd (paper) goes from 50.0 to 80.0 on bottle, from "
        "60.0 to 90.0 on pill, from 80.0 to 70.0 on tile (2 seeds). The mean of the 2 with 3 seeds is then 85.0 (60 s "
        "of training); that of the best short training on them, stpm (paper), is 80.0 (10 s; processors differ)."
    )
    assert guide.part_way(pd.DataFrame(rows).assign(teacher="random")) == ""


def test_without_masks_nothing_is_said_of_where_defects_are():
    unmasked = ROWS.assign(aupro=math.nan)
    said = guide.advice(ranking.costs_and_merits(unmasked, TIMINGS), "imagenet", {})
    assert any(line.startswith("Where time counts") for line in said)
    assert not any("AUPRO" in line or "nan" in line for line in said)
    rows = pd.DataFrame([scored_row(m, c, 0.5) for m in ("stpm", "rd") for c in ("bottle", "pill")])
    rows = rows.assign(aupro=math.nan, steps=10, batch=8, precision="fp32")
    assert guide.standing(rows, pd.DataFrame())
    assert not any("AUPRO" in line or "nan" in line for line in guide.standing(rows, pd.DataFrame()))


def test_without_defects_there_is_no_advice_and_the_reason_is_said():
    good_alone = ROWS.assign(image_auroc=math.nan, aupro=math.nan)
    (said,) = guide.advice(ranking.costs_and_merits(good_alone, TIMINGS), "imagenet", {})
    assert said.startswith("No advice: without defects among the test images")
    assert guide.standing(good_alone, TIMINGS) == []
