"""Rows by what their columns say."""

import pandas as pd
import pytest

from adlib.study import filters

ROWS = pd.DataFrame(
    {"dataset": ["mvtec", "mvtec", "synthetic"], "category": ["wood", "screw", "canvas"], "seed": [0, 1, 0]},
    index=[5, 3, 1],
)


def test_where_images_are_from_and_of_what_kind():
    assert filters.places(ROWS).to_dict() == {5: "mvtec/wood", 3: "mvtec/screw", 1: "synthetic/canvas"}
    assert filters.origins(ROWS).to_dict() == {5: "real", 3: "real", 1: "generated"}
    assert filters.kinds(ROWS).to_dict() == {5: "texture", 3: "object", 1: "texture"}
    assert list(filters.real(ROWS).index) == [5, 3]


def test_rows_with_values_have_all_of_them():
    assert list(filters.with_values(ROWS, {"dataset": "mvtec", "seed": 0}).index) == [5]
    assert len(filters.with_values(ROWS, {})) == 3
    assert len(filters.with_values(ROWS.iloc[:0], {"dataset": "mvtec"})) == 0
    with pytest.raises(KeyError, match="teacher"):
        filters.with_values(ROWS, {"teacher": "bundled"})
