"""Variants are found by their config."""

import pandas as pd
import pytest

from adlib.study.claims import verdicts
from tests.study.planted import judged, table, without_items


def test_variants_are_found_by_their_config_and_paired_by_all_other_overrides(row):
    places = [("bottle", seed) for seed in range(3)]
    off = {"config": {"lambda_nm": 0.0}, "overrides": {"epochs": 3, "lambda_nm": 0.0}}
    rows = [table(row, "memkd", dict.fromkeys(places, 0.8), **off)]
    rows.append(table(row, "memkd", dict.fromkeys(places, 0.1), overrides={"epochs": 3}))
    rows.append(without_items(row, dict.fromkeys(places, 0.7), epochs=3))
    found = judged(pd.concat(rows), "S2-6")
    assert found["effect"] == pytest.approx(10)
    assert found["verdict"] == verdicts.SUPPORTED
