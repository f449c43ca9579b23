"""Verdicts of planted rows: what the rules say must follow from the numbers, and from nothing else."""

import pandas as pd
import pytest

from adlib.study import claims
from adlib.study.claims import verdicts
from tests.study.planted import lines_of, table

SEEDS = [("bottle", 0), ("bottle", 1), ("bottle", 2), ("pill", 0), ("pill", 1), ("pill", 2)]


def test_real_and_generated_images_are_judged_apart(row, tmp_path):
    real, drawn = ([(name, seed) for seed in range(3)] for name in ("tile", "canvas"))
    rows = [table(row, "stpm", dict.fromkeys(real, 0.8)), table(row, "reduced_student", dict.fromkeys(real, 0.9))]
    rows.append(table(row, "stpm", dict.fromkeys(drawn, 0.8), dataset="synthetic"))
    rows.append(table(row, "reduced_student", dict.fromkeys(drawn, 0.6), dataset="synthetic"))
    found = lines_of("S1-3", pd.concat(rows))
    assert sorted(found["effect"]) == pytest.approx([-20, 10])
    contradicted = found[found["verdict"] == verdicts.CONTRADICTED].iloc[0]
    assert "generated images; synthetic/canvas; reduced_student against" in contradicted["conditions"]
    assert contradicted["why"] == "0 of 5 categories of mvtec, 1 of other datasets in their place"

    line = {
        "id": "S1-10",
        "metric": "loss_ratio",
        "value": 1.0,
        "conditions": "small",
        "parts": "{}",
        "device": "cpu: A",
        "recipe": "paper",
        "why": "",
    }
    places = [("aitex", "fabric"), ("synthetic", "canvas")]
    lines = [line | {"dataset": of, "category": c, "seed": seed} for of, c in places for seed in range(3)]
    pd.DataFrame(lines).to_csv(tmp_path / "layers.csv", index=False)
    found = lines_of("S1-10", pd.DataFrame([row]), diagnostics=tmp_path)
    assert sorted(found["categories"]) == [1, 1]


def test_a_rule_that_is_not_known_is_an_error(tmp_path):
    listed = claims.claims()
    for rule, claim in (("gain_mots", "S0-3"), ("gain", "S1-7")):  # an absolute claim has none
        listed.assign(rule=listed["rule"].where(listed["id"] != claim, rule)).to_csv(tmp_path / "claims.csv")
        with pytest.raises(ValueError, match=f"unknown rule of claim {claim} in .*claims.csv '{rule}'"):
            claims.claims(tmp_path)


def test_every_claim_has_a_line_and_every_verdict_a_reason_or_an_interval(committed_verdicts):
    found = committed_verdicts
    assert set(found["id"]) == set(claims.claims()["id"])
    untested = found["verdict"].isin(verdicts.NO_VERDICT)
    assert (found.loc[untested, "why"] != "").all()
    assert found.loc[~untested, ["effect", "low", "high"]].notna().all(axis=None)
