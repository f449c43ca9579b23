"""Rows as CSV: what is written, and that text stays as it was."""

import math

import numpy as np
import pytest

from adlib import speed


@pytest.mark.parametrize(("digits", "number"), [(4, "1.235"), (None, "1.23456")])
def test_numbers_have_so_many_digits_and_whole_ones_and_text_stay(tmp_path, digits, number):
    rows = [
        {"method": "a", "ms": 1.23456, "images": 12345, "note": '{"x": 1}'},
        {"method": "b", "ms": "1.234560", "done": True},  # as it was read, and without the number of images
        {"method": "c", "ms": np.float32(math.nan), "note": None},
    ]
    path = speed.write(rows, tmp_path / "new" / "rows.csv", digits=digits)
    expected = ["method,ms,images,note,done", f'a,{number},12345,"{{""x"": 1}}",', "b,1.234560,,,True", "c,,,,"]
    assert path.read_text().splitlines() == expected
    assert len(speed.read("rows", path.parent)) == 3
    assert speed.read("other", path.parent).empty
