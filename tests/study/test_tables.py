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
    found = tables.paired_differences(rows, "aupro").set_index(["better", "worse"])
    assert list(found.index) == [("c", "b"), ("a", "b"), ("c", "a")]
    assert found.loc[("a", "b"), ["difference", "low", "high", "pairs", "categories"]].tolist() == pytest.approx(
        [10, 10, 10, 3, 3]
    )
    assert found.loc[("c", "b"), "difference"] == pytest.approx(15)
    assert found["after_holm"].tolist() == [False, True, False]
    assert found["excludes_0"].tolist() == [False, True, False]  # what one category has says nothing of others
