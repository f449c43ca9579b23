"""Which method to take: fair averages, the right latency, the front, and doubts where they belong."""

import math

import pandas as pd
import pytest

from adlib import datasets, plots
from adlib.study import guide, intervals


def row(
    method, category, auroc, dataset="mvtec", seed=0, overrides=None, backbone="resnet18", recipe="paper", device="cpu"
):
    return {
        "method": method,
        "recipe": recipe,
        "dataset": dataset,
        "category": category,
        "seed": seed,
        "scale": "small",
        "teacher": "imagenet",
        "overrides": overrides or {},
        "config": {"backbone": backbone},
        "image_auroc": auroc,
        "pixel_auroc": 1 - auroc,
        "aupro": auroc / 2,
        "precision": "fp32",
        "seconds_train": 10.0 if method == "stpm" else 20.0,
        "peak_memory_mib": 500.0,
        "device": device,
    }


ROWS = pd.DataFrame(
    [
        row("stpm", "bottle", 0.8),
        row("stpm", "bottle", 0.6, seed=1),
        row("stpm", "tile", 0.5),
        row("stpm", "wood", 0.1),  # not run with the other method
        row("stpm", "bottle", 0.0, overrides={"levels": [1]}),  # an ablation
        row("rd", "bottle", 0.9, backbone="wide"),
        row("rd", "tile", 0.4, backbone="wide"),
    ]
)
TIMINGS = pd.DataFrame(
    [
        {"method": method, "recipe": "paper", "backbone": "resnet18", "batch": batch, "p50_ms": ms}
        for method, batch, ms in [("stpm", 16, 98), ("stpm", 1, 30), ("rd", 1, 97)]
    ]
)


def test_conditions_count_real_and_generated_images_apart():
    drawn = pd.DataFrame([row("stpm", "bottle", 0.8, dataset="synthetic")])
    found = guide.conditions(pd.concat([ROWS, drawn]))
    assert list(found["images"]) == ["real", "generated"]
    assert list(found["rows"]) == [7, 1]
    assert list(found["categories"]) == [3, 1]


def test_of_what_is_asked_for_that_of_most_rows_is_chosen_and_what_is_not_there_is_named():
    drawn = pd.DataFrame([row("stpm", "bottle", 0.8, dataset="synthetic")])
    rows = pd.concat([ROWS, drawn])
    teacher, scale, images = guide.chosen(rows, teacher="", images="")
    assert images == "real"
    assert guide.chosen(rows, images="generated") == (teacher, scale, "generated")
    with pytest.raises(ValueError, match=f"no row has teacher 'elsewhere'; there are .*{teacher}, {scale}, real; "):
        guide.chosen(rows, teacher="elsewhere", images="")
    with pytest.raises(ValueError, match="no row has any teacher; there are .*: no rows at all"):
        guide.chosen(rows.iloc[:0])


def test_averages_are_over_shared_categories_and_the_usual_settings():
    table = guide.costs_and_merits(ROWS, TIMINGS).set_index("method")
    assert table.loc["stpm", "object"] == pytest.approx(70)
    assert table.loc["stpm", "texture"] == pytest.approx(50)
    assert table.loc["stpm", "image_auroc"] == pytest.approx(60)  # every category counts alike
    assert math.isnan(table.loc["stpm", "spread"])  # one seed alone has both
    assert table.loc["rd", "object"] == pytest.approx(90)
    assert table.loc["rd", "image_auroc"] == pytest.approx(65)
    assert table.loc["stpm", "ms"] == 30
    assert math.isnan(table.loc["rd", "ms"])  # its network was not timed
    assert (table.textures + table.objects == 2).all()
    assert (table.overrides == "").all()
    assert table.index[0] == "rd"


def test_a_line_is_of_one_setting_and_a_changed_network_has_no_latency():
    """The whole method on one category and a part of it on two are not one line."""
    both = [row("stpm", name, 0.5) for name in ("bottle", "tile")]
    part = [row("destseg", name, 0.2, overrides={"map": "dest"}) for name in ("bottle", "tile")]
    table = guide.costs_and_merits(pd.DataFrame([*both, *part]), TIMINGS).set_index("method")
    assert table.loc["destseg", "overrides"] == '{"map": "dest"}'
    assert table.loc["destseg", "image_auroc"] == pytest.approx(20)
    assert "methods with overrides" in guide.advice(table.reset_index(), "", {})[0]
    table = guide.costs_and_merits(pd.DataFrame([*both, *part, row("destseg", "tile", 0.9)]), TIMINGS)
    whole = table.set_index("method").loc["destseg"]
    assert (whole.overrides, whole.textures, whole.objects) == ("", 1, 0)
    assert whole.image_auroc == pytest.approx(90)
    wide = pd.DataFrame([row("stpm", "tile", 0.5, overrides={"backbone": "resnet18"}), row("rd", "tile", 0.5)])
    assert guide.costs_and_merits(wide, TIMINGS).set_index("method").loc["stpm", "ms"] == 30
    wide["overrides"] = [{"levels": [1]}, {}]
    assert math.isnan(guide.costs_and_merits(wide, TIMINGS).set_index("method").loc["stpm", "ms"])


def test_advice_names_the_best_and_the_doubts():
    table, kinds = guide.costs_and_merits(ROWS, TIMINGS), guide.by_kind(ROWS, TIMINGS)
    doubts, *said = guide.advice(table, "imagenet", kinds)
    assert doubts.startswith("Careful: some lines have 1 seed, too few")
    assert "1 texture and 1 object stand for all, too few to say" in doubts
    assert "in 1 cases a method is below chance" in doubts  # rd on tile
    assert "untrained" not in doubts
    assert "different machines" not in doubts
    assert "Shortest training: stpm (paper), 10 s." in said
    moved = ROWS.assign(device=["cpu", *["cuda"] * (len(ROWS) - 1)])
    doubts, *others = guide.advice(guide.costs_and_merits(moved, TIMINGS), "", {})
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
    both = [row(m, c, 0.5) for m in ("stpm", "rd") for c in ("bottle", "pill", "tile", "wood")]
    rows = pd.DataFrame([*both, *(row("destseg", c, 0.9) for c in ("bottle", "pill"))])
    table = guide.costs_and_merits(rows, TIMINGS)
    assert "destseg" not in set(table["method"])
    said = guide.advice(table, "", guide.by_kind(rows, TIMINGS))
    assert any(s.startswith("For objects: destseg (paper), image AUROC 90.0%, 40.0 points") for s in said)
    assert any(s.endswith("of 2 methods and recipes on 2 textures.") for s in said)


def test_mean_ranks_are_over_the_shared_categories_and_best_first():
    rows = [row(m, c, v) for m, values in {"stpm": (0.9, 0.5), "rd": (0.8, 0.6), "dskd": (0.7, 0.4)}.items()
            for c, v in zip(("bottle", "pill"), values, strict=True)]  # fmt: skip
    ranks, apart = guide.mean_ranks(pd.DataFrame([*rows, row("stpm", "wood", 0.1)]), "image_auroc")
    assert ranks.to_dict() == {"rd": 1.5, "stpm": 1.5, "dskd": 3.0}
    assert ranks.index[-1] == "dskd"
    assert apart == pytest.approx(intervals.critical_difference(3, 2))


def scored(of, dataset="mvtec", names=("bottle", "pill", "tile"), **fields):
    """A row a method and category of {method: scores}."""
    return [row(m, c, v, dataset, **fields) for m, values in of.items() for c, v in zip(names, values, strict=True)]


def test_the_leader_is_named_with_the_category_that_it_owes_its_lead():
    table = {"stpm": (0.9, 0.9, 0.0), "rd": (0.8, 0.8, 0.9), "dskd": (0.1, 0.1, 0.1)}
    drawn = scored({name: values[::-1] for name, values in table.items()}, "synthetic", ("gear", "canvas", "veneer"))
    said = guide.standing(pd.DataFrame(scored(table) + drawn), TIMINGS.assign(device="cpu", threads=2))
    leads, certain, where, cost, alike = said
    assert leads.startswith(
        "Of 3 methods on the 3 real categories that all have, rd has the highest mean image AUROC, 83.3, and the best"
    )
    assert leads.endswith("Without mvtec/tile stpm has it.")
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
    said = guide.recipes(pd.DataFrame([*rows, row("rd", "wood", 0.0)]))  # not run by both
    assert "of 2 methods that were run by both, stpm differs most" in said
    assert "50.0 by its paper's text and 70.0 by the code" in said
    assert guide.recipes(pd.DataFrame(scored(of))) == ""


def test_ranks_that_always_agree_are_not_by_chance():
    agreeing = scored({"stpm": (0.9, 0.8, 0.9), "rd": (0.8, 0.7, 0.8), "dskd": (0.7, 0.6, 0.7)})
    # Of three rankings of three alike, the statistic is 6 with 2 degrees of freedom.
    assert guide.friedman(pd.DataFrame(agreeing), "image_auroc") == pytest.approx(math.exp(-3))
    assert math.isnan(guide.friedman(pd.DataFrame(agreeing[:6]), "image_auroc"))


def test_what_longer_training_moves_is_counted():
    small = pd.DataFrame(scored({"stpm": (0.5, 0.5, 0.5), "rd": (0.9, 0.9, 0.9)})).assign(teacher="bundled")
    assert guide.longer(small) == ""
    full = pd.DataFrame(scored({"stpm": (0.54, 0.9, 0.4)})).assign(teacher="bundled", scale="full")
    said = guide.longer(pd.concat([small, full]))
    assert "rises by more than 5 points in 1 of 3 cases and falls by more in 1, each of a method" in said
    assert "most of stpm (paper) on pill, 50.0 to 90.0." in said
    by_code = guide.longer(pd.concat([small, full, small.assign(recipe="code"), full.assign(recipe="code")]))
    assert "in 2 of 6 cases and falls by more in 2" in by_code
    assert "small: 1 seed, fp32 (stpm); full: 1 seed, fp32 (stpm)" in said
    assert "Trained so" not in said  # of one method there is no best one
    best = guide.longer(pd.concat([small, full, full.assign(method="rd", image_auroc=0.7)]))
    assert "Trained so, rd (paper) has the highest mean image AUROC, 70.0, of 2 methods and recipes on 3" in best


def test_nothing_shared_gives_no_advice():
    apart = pd.DataFrame([row("stpm", "bottle", 0.8), row("rd", "tile", 0.9)])
    assert guide.advice(guide.costs_and_merits(apart, pd.DataFrame()), "imagenet", {}) == [
        "No advice: there is no category that all methods were run on."
    ]
    assert guide.advice(guide.costs_and_merits(apart[:0], pd.DataFrame()), "imagenet", {})[0].startswith("No advice")


def test_the_front_holds_what_nothing_beats():
    cost, merit = pd.Series([1, 2, 3, 3, 2]), pd.Series([5, 7, 7, 8, 6])
    assert plots.on_front(cost, merit).tolist() == [True, True, False, True, False]


def test_kinds_of_the_datasets():
    assert [datasets.origin(name) for name in ("synthetic", "mvtec", "folder")] == ["generated", "real", "real"]
    assert [datasets.kind(*p) for p in (("mvtec", "wood"), ("mvtec", "screw"), ("mtd", "split1"), ("folder", "x"))] == [
        "texture",
        "object",
        "texture",
        "object",
    ]
    unknown = [c for d, names in datasets.TEXTURES.items() for c in names if c not in datasets.PUBLISHED[d]]
    assert unknown == []


def test_a_method_with_few_categories_does_not_narrow_the_comparison_of_the_others():
    wide = [row(m, c, 0.9) for m in ("stpm", "rd") for c in ("bottle", "pill", "screw")]
    table = guide.costs_and_merits(pd.DataFrame([*wide, row("dskd", "bottle", 0.9)]), pd.DataFrame())
    assert sorted(table["method"]) == ["rd", "stpm"]
    assert set(table["textures"] + table["objects"]) == {3}


def test_categories_that_only_few_methods_have_do_not_push_the_others_out():
    narrow = [row(m, c, 0.9) for m in ("stpm", "rd", "dskd", "memkd") for c in ("bottle", "pill")]
    wide = [row(m, c, 0.1) for m in ("stpm", "rd") for c in ("screw", "wood")]
    table = guide.costs_and_merits(pd.DataFrame(narrow + wide), pd.DataFrame())
    assert sorted(table["method"]) == ["dskd", "memkd", "rd", "stpm"]
    assert table["image_auroc"].tolist() == pytest.approx([90.0] * 4)


def test_a_method_with_few_categories_does_not_take_theirs_from_the_others():
    many = [row(method, name, 0.5) for method in ("stpm", "rd") for name in ("bottle", "pill", "tile")]
    alone = [row("stpm", "wood", 0.5), row("destseg", "bottle", 0.9)]
    kept = guide.comparable(pd.DataFrame(many + alone))
    assert set(kept["method"]) == {"stpm", "rd"}
    assert set(kept["category"]) == {"bottle", "pill", "tile"}
    assert len(guide.comparable(pd.DataFrame([*many, row("destseg", "pill", 0.9), row("destseg", "tile", 0.9)]))) == 6
    assert len(guide.comparable(pd.DataFrame(many[:0], columns=list(many[0])))) == 0


def test_a_method_that_is_always_last_is_told_apart_from_the_first():
    names = [f"c{number}" for number in range(20)]
    of = {"stpm": [0.9] * 20, "rd": [0.8] * 10 + [0.95] * 10, "dskd": [0.1] * 20}
    said = guide.standing(pd.DataFrame(scored(of, names=names)), TIMINGS.iloc[:0])
    assert "(Nemenyi); rd differs from dskd. Of 3 pairs" in said[1]


def test_the_spread_is_that_of_the_means_of_the_seeds_and_all_else_a_mean():
    rows = [row("stpm", name, value + seed / 10, seed=seed) | {"peak_memory_mib": 100.0 + seed}
            for seed in (0, 1) for name, value in (("bottle", 0.4), ("tile", 0.6))]  # fmt: skip
    (line,) = guide.costs_and_merits(pd.DataFrame(rows), TIMINGS).to_dict("records")
    assert (line["image_auroc"], line["aupro"], line["peak_mib"]) == pytest.approx((55, 27.5, 100.5))
    assert line["spread"] == pytest.approx(10 / math.sqrt(2))
