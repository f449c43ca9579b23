"""Diagnostics are judged by their committed numbers."""

import pandas as pd
import pytest

from adlib.study.claims import verdicts
from tests.study.planted import lines_of

SEEDS = [("bottle", 0), ("bottle", 1), ("bottle", 2), ("pill", 0), ("pill", 1), ("pill", 2)]


def test_a_diagnostic_is_judged_by_its_numbers(tmp_path):
    line = {"id": "S0-7", "metric": "l_cos_jump", "dataset": "mvtec", "category": "bottle", "conditions": "small"}
    line |= {"parts": '{"rise": 0.5}', "device": "cpu: A", "recipe": "paper", "why": ""}
    pd.DataFrame([line | {"seed": seed, "value": value} for seed, value in enumerate([0.1, 0.2, 0.3])]).to_csv(
        tmp_path / "rise.csv", index=False
    )
    (found,) = lines_of("S0-7", pd.DataFrame(), diagnostics=tmp_path).query("metric == 'l_cos_jump'").iloc
    assert (found["verdict"], found["seeds"]) == (verdicts.INCONCLUSIVE, 3)
    assert (found["effect"], found["low"], found["high"]) == pytest.approx((0.2, -0.048, 0.448), abs=1e-3)
    assert found["conditions"] == "recipe paper, small; mvtec/bottle; mean rise 0.5; on cpu: A"


def test_a_diagnostic_of_several_categories_says_what_each_gives(tmp_path):
    line = {
        "id": "S0-7",
        "metric": "l_cos_jump",
        "dataset": "mvtec",
        "conditions": "small",
        "parts": "{}",
        "device": "cpu: A",
        "recipe": "paper",
        "why": "",
    }
    values = [("bottle", 0.1), ("bottle", 0.2), ("bottle", 0.3), ("pill", -0.5), ("pill", -0.4), ("pill", -0.3)]
    rows = [line | {"category": c, "seed": i % 3, "value": value} for i, (c, value) in enumerate(values)]
    pd.DataFrame(rows).to_csv(tmp_path / "rise.csv", index=False)
    found = lines_of("S0-7", pd.DataFrame(), diagnostics=tmp_path).set_index("metric")
    assert found.loc["l_cos_jump", "by_category"] == "bottle +0.2, pill -0.4"


def test_each_recipe_is_judged_in_a_line_of_its_own_and_what_tells_nothing_in_none(tmp_path):
    line = {"id": "S0-7", "metric": "l_cos_jump", "dataset": "mvtec", "category": "bottle", "conditions": "small"}
    line |= {"parts": "{}", "device": "cpu: A", "why": ""}
    lines = [line | {"recipe": "paper", "seed": seed, "value": 0.1 + 0.01 * seed} for seed in range(3)]
    lines += [line | {"recipe": "code", "seed": seed, "value": -0.1 - 0.01 * seed, "why": "bent"} for seed in range(3)]
    pd.DataFrame(lines).to_csv(tmp_path / "rise.csv", index=False)
    found = lines_of("S0-7", pd.DataFrame(), diagnostics=tmp_path).query("metric == 'l_cos_jump'").set_index("recipe")
    assert found["verdict"].to_dict() == {"paper": verdicts.SUPPORTED, "code": verdicts.NOT_JUDGED}
    assert found.loc["code", "conditions"].startswith("recipe code, small; ")
    assert found.loc["code", "effect"] == pytest.approx(-0.11)  # measured all the same
    assert found["why"].to_dict() == {"paper": "1 of 15 categories of mvtec", "code": "bent"}


def test_what_a_claim_grants_can_support_it_and_not_deny_it(tmp_path):
    line = {"id": "S1-11", "metric": "pixel_auroc", "dataset": "mvtec", "category": "wood", "conditions": "small"}
    line |= {"parts": "{}", "device": "cpu: A", "why": "", "recipe": "paper"}
    for sign, verdict in ((1, verdicts.SUPPORTED), (-1, verdicts.NOT_JUDGED)):
        lines = [line | {"seed": seed, "value": sign * (5 + seed)} for seed in range(3)]
        pd.DataFrame(lines).to_csv(tmp_path / "layers.csv", index=False)
        (found,) = lines_of("S1-11", pd.DataFrame(), diagnostics=tmp_path).query("metric == 'pixel_auroc'").iloc
        assert (found["verdict"], found["effect"]) == (verdict, sign * 6)
    assert "as noise, which the claim grants" in found["why"]


def test_a_diagnostic_that_says_nothing_is_not_judged_and_says_why(tmp_path):
    line = {"id": "S2-12", "metric": "feature_distance", "dataset": "mvtec", "category": "bottle", "parts": "{}"}
    line |= {"device": "cpu: A", "recipe": "paper"}
    lines = [line | {"conditions": "short", "seed": seed, "value": "", "why": "not moved"} for seed in range(3)]
    lines += [line | {"conditions": "long", "seed": seed, "value": 0.1 + seed, "why": ""} for seed in range(3)]
    lines += [line | {"conditions": "long", "seed": 3, "value": "", "why": "not moved"}]
    pd.DataFrame(lines).to_csv(tmp_path / "recall.csv", index=False)
    found = lines_of("S2-12", pd.DataFrame(), diagnostics=tmp_path)
    found = found.set_index(found["conditions"].str.split(";").str[0].str.removeprefix("recipe paper, "))
    assert list(found.loc["short", ["verdict", "why", "pairs"]]) == [verdicts.NOT_JUDGED, "not moved", 0]
    assert list(found.loc["long", ["why", "pairs"]]) == ["1 of 15 categories of mvtec", 3]
    assert found.loc["long", "effect"] == pytest.approx(1.1)
