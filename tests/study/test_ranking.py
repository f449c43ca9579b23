"""Numbers for choosing a method: fair averages, the right latency, ranks and their tests."""

import math

import pandas as pd
import pytest

from adlib import datasets, plots
from adlib.study import guide, intervals, ranking
from tests.study.planted import ROWS, TIMINGS, scored, scored_row


def test_conditions_count_real_and_generated_images_apart():
    drawn = pd.DataFrame([scored_row("stpm", "bottle", 0.8, dataset="synthetic")])
    found = ranking.conditions(pd.concat([ROWS, drawn]))
    assert list(found["images"]) == ["real", "generated"]
    assert list(found["rows"]) == [7, 1]
    assert list(found["categories"]) == [3, 1]


def test_of_what_is_asked_for_that_of_most_rows_is_chosen_and_what_is_not_there_is_named():
    drawn = pd.DataFrame([scored_row("stpm", "bottle", 0.8, dataset="synthetic")])
    rows = pd.concat([ROWS, drawn])
    teacher, scale, images = ranking.chosen(rows, teacher="", images="")
    assert images == "real"
    assert ranking.chosen(rows, images="generated") == (teacher, scale, "generated")
    with pytest.raises(ValueError, match=f"no row has teacher 'elsewhere'; there are .*{teacher}, {scale}, real; "):
        ranking.chosen(rows, teacher="elsewhere", images="")
    with pytest.raises(ValueError, match="no row has any teacher; there are .*: no rows at all"):
        ranking.chosen(rows.iloc[:0])


def test_averages_are_over_shared_categories_and_the_usual_settings():
    table = ranking.costs_and_merits(ROWS, TIMINGS).set_index("method")
    assert table.loc["stpm", "object"] == pytest.approx(70)
    assert table.loc["stpm", "texture"] == pytest.approx(50)
    assert table.loc["stpm", "image_auroc"] == pytest.approx(60)  # every category counts alike
    assert math.isnan(table.loc["stpm", "spread"])  # one seed alone has both
    assert table.loc["rd", "object"] == pytest.approx(90)
    assert table.loc["rd", "image_auroc"] == pytest.approx(65)
    assert table.loc["stpm", "ms"] == 30
    assert math.isnan(table.loc["rd", "ms"])  # its network was not timed
    assert (table.categories == 2).all()
    assert (table.overrides == "").all()
    assert table.index[0] == "rd"


def test_mean_ranks_are_over_the_shared_categories_and_best_first():
    rows = [scored_row(m, c, v) for m, values in {"stpm": (0.9, 0.5), "rd": (0.8, 0.6), "dskd": (0.7, 0.4)}.items()
            for c, v in zip(("bottle", "pill"), values, strict=True)]  # fmt: skip
    ranks, apart = ranking.mean_ranks(pd.DataFrame([*rows, scored_row("stpm", "wood", 0.1)]), "image_auroc")
    assert ranks.to_dict() == {"rd": 1.5, "stpm": 1.5, "dskd": 3.0}
    assert ranks.index[-1] == "dskd"
    assert apart == pytest.approx(intervals.critical_difference(3, 2))


def test_ranks_that_always_agree_are_not_by_chance():
    agreeing = scored({"stpm": (0.9, 0.8, 0.9), "rd": (0.8, 0.7, 0.8), "dskd": (0.7, 0.6, 0.7)})
    # Of three rankings of three alike, the statistic is 6 with 2 degrees of freedom.
    assert ranking.friedman(pd.DataFrame(agreeing), "image_auroc") == pytest.approx(math.exp(-3))
    assert math.isnan(ranking.friedman(pd.DataFrame(agreeing[:6]), "image_auroc"))


def test_a_category_without_the_metric_ranks_nothing():
    """As of images without masks, where no pixel metric is known: with it methods would seem easier to tell apart."""
    rows = pd.DataFrame(scored({"stpm": (0.9, 0.8, 0.9), "rd": (0.8, 0.7, 0.8), "dskd": (0.7, 0.6, 0.7)}))
    without = pd.DataFrame(
        [*rows.to_dict("records"), *(scored_row(m, "wood", math.nan) for m in ("stpm", "rd", "dskd"))]
    )
    one = pd.DataFrame(
        [
            *rows.to_dict("records"),
            *(scored_row(m, "wood", v) for m, v in zip(("stpm", "rd", "dskd"), (0.1, 0.2, math.nan), strict=True)),
        ]
    )
    for more in (without, one):
        ranks, apart = ranking.mean_ranks(more, "image_auroc")
        assert ranks.to_dict() == {"stpm": 1.0, "rd": 2.0, "dskd": 3.0}
        assert apart == pytest.approx(intervals.critical_difference(3, 3))
        assert ranking.friedman(more, "image_auroc") == pytest.approx(math.exp(-3))


def test_the_front_holds_what_nothing_beats():
    cost, merit = pd.Series([1, 2, 3, 3, 2]), pd.Series([5, 7, 7, 8, 6])
    assert plots.on_front(cost, merit).tolist() == [True, True, False, True, False]


def test_kinds_of_the_datasets():
    assert [datasets.origin(name) for name in ("synthetic", "mvtec", "folder")] == ["generated", "real", "real"]
    assert [datasets.kind(*p) for p in (("mvtec", "wood"), ("mvtec", "screw"), ("mtd", "split1"), ("folder", "x"))] == [
        "texture",
        "object",
        "texture",
        "part",
    ]
    unknown = [c for d, names in datasets.TEXTURES.items() for c in names if c not in datasets.PUBLISHED[d]]
    assert unknown == []


def test_a_method_with_few_categories_does_not_narrow_the_comparison_of_the_others():
    wide = [scored_row(m, c, 0.9) for m in ("stpm", "rd") for c in ("bottle", "pill", "screw")]
    table = ranking.costs_and_merits(pd.DataFrame([*wide, scored_row("dskd", "bottle", 0.9)]), pd.DataFrame())
    assert sorted(table["method"]) == ["rd", "stpm"]
    assert set(table["categories"]) == {3}


def test_categories_that_only_few_methods_have_do_not_push_the_others_out():
    narrow = [scored_row(m, c, 0.9) for m in ("stpm", "rd", "dskd", "memkd") for c in ("bottle", "pill")]
    wide = [scored_row(m, c, 0.1) for m in ("stpm", "rd") for c in ("screw", "wood")]
    table = ranking.costs_and_merits(pd.DataFrame(narrow + wide), pd.DataFrame())
    assert sorted(table["method"]) == ["dskd", "memkd", "rd", "stpm"]
    assert table["image_auroc"].tolist() == pytest.approx([90.0] * 4)


def test_a_method_with_few_categories_does_not_take_theirs_from_the_others():
    many = [scored_row(method, name, 0.5) for method in ("stpm", "rd") for name in ("bottle", "pill", "tile")]
    alone = [scored_row("stpm", "wood", 0.5), scored_row("destseg", "bottle", 0.9)]
    kept = ranking.comparable(pd.DataFrame(many + alone))
    assert set(kept["method"]) == {"stpm", "rd"}
    assert set(kept["category"]) == {"bottle", "pill", "tile"}
    assert (
        len(
            ranking.comparable(
                pd.DataFrame([*many, scored_row("destseg", "pill", 0.9), scored_row("destseg", "tile", 0.9)])
            )
        )
        == 6
    )
    assert len(ranking.comparable(pd.DataFrame(many[:0], columns=list(many[0])))) == 0


def test_what_two_lines_share_may_be_the_most_though_neither_has_just_that():
    names = [f"c{i}" for i in range(8)]
    lines = {"stpm": names[:7], "rd": [*names[:6], names[7]], "dskd": names[:1]}
    kept = ranking.comparable(pd.DataFrame([scored_row(m, name, 0.5) for m, of in lines.items() for name in of]))
    assert set(kept["method"]) == {"stpm", "rd"}
    assert set(kept["category"]) == set(names[:6])
    apart = {"stpm": names[:3], "rd": names[2:5], "dskd": names[4:7]}  # each two share one, and all of them none
    kept = ranking.comparable(pd.DataFrame([scored_row(m, name, 0.5) for m, of in apart.items() for name in of]))
    assert set(kept["method"]) == {"stpm", "rd"}
    assert set(kept["category"]) == {"c2"}


def test_the_spread_is_that_of_the_means_of_the_seeds_and_all_else_a_mean():
    rows = [scored_row("stpm", name, value + seed / 10, seed=seed) | {"peak_memory_mib": 100.0 + seed}
            for seed in (0, 1) for name, value in (("bottle", 0.4), ("tile", 0.6))]  # fmt: skip
    (line,) = ranking.costs_and_merits(pd.DataFrame(rows), TIMINGS).to_dict("records")
    assert (line["image_auroc"], line["aupro"], line["peak_mib"]) == pytest.approx((55, 27.5, 100.5))
    assert line["spread"] == pytest.approx(10 / math.sqrt(2))


def test_a_line_is_of_one_setting_and_a_changed_network_has_no_latency():
    """The whole method on one category and a part of it on two are not one line."""
    both = [scored_row("stpm", name, 0.5) for name in ("bottle", "tile")]
    part = [scored_row("destseg", name, 0.2, overrides={"map": "dest"}) for name in ("bottle", "tile")]
    table = ranking.costs_and_merits(pd.DataFrame([*both, *part]), TIMINGS).set_index("method")
    assert table.loc["destseg", "overrides"] == '{"map": "dest"}'
    assert table.loc["destseg", "image_auroc"] == pytest.approx(20)
    assert "methods with overrides" in guide.advice(table.reset_index(), "", {})[0]
    table = ranking.costs_and_merits(pd.DataFrame([*both, *part, scored_row("destseg", "tile", 0.9)]), TIMINGS)
    whole = table.set_index("method").loc["destseg"]
    assert (whole.overrides, whole.categories) == ("", 1)
    assert "object" not in table  # of which there is none
    assert whole.image_auroc == pytest.approx(90)
    wide = pd.DataFrame(
        [scored_row("stpm", "tile", 0.5, overrides={"backbone": "resnet18"}), scored_row("rd", "tile", 0.5)]
    )
    assert ranking.costs_and_merits(wide, TIMINGS).set_index("method").loc["stpm", "ms"] == 30
    wide["overrides"] = [{"levels": [1]}, {}]
    assert math.isnan(ranking.costs_and_merits(wide, TIMINGS).set_index("method").loc["stpm", "ms"])
