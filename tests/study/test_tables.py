"""Our rows side by side: averages and differences that are known."""

import pandas as pd
import pytest

from adlib.study import tables
from tests.study.planted import made


def test_methods_stand_against_categories_and_what_has_no_row_says_so(row):
    rows = [made(row, "stpm", "bottle", [0.9, 0.7]), made(row, "rd", "screw", [0.5])]
    grid = tables.by_category(pd.concat(rows), "image_auroc")
    assert grid.to_dict("list") == {
        "mvtec/bottle": ["not run", "80.0 ± 14.1 (2)"],
        "mvtec/screw": ["50.0 (1)", "not run"],
    }
    assert (list(grid.index), grid.columns.name) == (["rd", "stpm"], "image_auroc")
    both = pd.concat([*rows, made(row, "rd", "screw", [0.6], recipe="code")])
    assert list(tables.by_category(both, "image_auroc").index) == [("rd", "code"), ("rd", "paper"), ("stpm", "paper")]


def test_every_two_methods_are_compared_where_both_were_run():
    values = {"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6], "c": [0.95, None, None]}
    rows = pd.DataFrame(
        [
            {"method": m, "dataset": "mvtec", "category": c, "seed": 0, "aupro": v}
            for m, of in values.items()
            for c, v in zip(("pill", "screw", "wood"), of, strict=True)
            if v is not None
        ]
    )
    by_column = tables.paired_differences(rows.assign(setting=rows["method"], method="rd"), "aupro", between="setting")
    pd.testing.assert_frame_equal(by_column, tables.paired_differences(rows, "aupro"))
    found = tables.paired_differences(rows, "aupro").set_index(["better", "worse"])
    assert list(found.index) == [("c", "b"), ("a", "b"), ("c", "a")]
    assert found.loc[("a", "b"), ["difference", "low", "high", "pairs", "categories"]].tolist() == pytest.approx(
        [10, 10, 10, 3, 3]
    )
    assert found.loc[("c", "b"), "difference"] == pytest.approx(15)
    assert found["after_holm"].tolist() == [False, True, False]
    assert found["excludes_0"].tolist() == [False, True, False]  # what one category has says nothing of others


def test_runs_made_again_are_paired_seed_by_seed(row):
    once = pd.concat([made(row, "stpm", "bottle", [0.9, 0.7]), made(row, "stpm", "screw", [0.5, 0.5])])
    again = pd.concat([made(row, "stpm", "bottle", [0.8, 0.7]), made(row, "stpm", "screw", [0.5, 0.6])])
    alone = made(row, "rd", "bottle", [0.1])
    found = tables.made_again(pd.concat([once, alone]), again, ["image_auroc"]).iloc[0]
    assert (found["method"], found["metric"], found["pairs"]) == ("stpm", "image_auroc", 4)
    assert found["difference"] == pytest.approx(0, abs=1e-9)
    assert found["spread"] == pytest.approx((200 / 3) ** 0.5)  # of +10, 0, 0, -10
    assert (found["largest"], found["seeds"]) == (pytest.approx(10), pytest.approx(10))  # variances 200 and 0
    assert found["high"] == pytest.approx(-found["low"]) == pytest.approx(12.99, abs=0.01)
    assert tables.made_again(alone, again).empty


def test_other_rows_take_the_place_of_the_same_runs(row):
    once = pd.concat([made(row, "stpm", "bottle", [0.9, 0.7]), made(row, "stpm", "bottle", [0.5], overrides={"lr": 1})])
    found = tables.instead(once, made(row, "stpm", "bottle", [0.8]))
    assert sorted(found["image_auroc"]) == [0.5, 0.7, 0.8]
    with pytest.raises(ValueError, match=r'no row to take the place of: .*"method": ?"rd"'):
        tables.instead(once, made(row, "rd", "bottle", [0.8]))
