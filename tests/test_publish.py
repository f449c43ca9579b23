"""The README's tables, from planted verdicts."""

import math

import pandas as pd

from adlib import claims, publish


def line(**fields):
    base = dict.fromkeys(claims.COLUMNS, "") | {"id": "S2-1", "claim": "MemKD beats RD", "metric": "aupro"}
    base |= {
        "unit": claims.POINTS,
        "stated": 0.6,
        "effect": 1.25,
        "low": 0.5,
        "high": 2.0,
        "conditions": "small; bottle",
        "seeds": 3,
    }
    return base | {"verdict": claims.SUPPORTED} | fields


def table(*lines):
    return publish.verdicts(pd.DataFrame(lines)).splitlines()


def test_a_verdict_stands_beside_what_was_claimed_and_what_differs():
    text = table(line())[2]
    assert text.startswith("| S2-1: MemKD beats RD | aupro | +0.6 points | +1.2 points [+0.5, +2.0] | +0.7 |")
    assert text.endswith("| supported | 3 | small; bottle |")


def test_several_conditions_of_a_claim_are_a_line_each_and_disagreement_is_said():
    lines = table(line(), line(effect=-3.0, verdict=claims.CONTRADICTED, conditions="small; pill"))
    assert lines[2].endswith("| supported | 3 | small; bottle |")
    assert "| -3.0 points [+0.5, +2.0] | -3.6 | contradicted | 3 | small; pill |" in lines[3]
    assert lines[-1].startswith("Of 1 claims: 1 mixed (mixed: its lines differ);")


def test_ratios_and_numbers_have_no_points_and_what_is_not_printed_is_empty():
    ratio = line(unit=claims.RATIO, stated=1.3, effect=1.5, low=1.4, high=1.6, seeds=0)
    assert "| 1.3x | 1.5x [1.4, 1.6] | +0.2 | supported |  |" in table(ratio)[2]
    assert "| aupro |  | 1.25 [0.5, 2] |  | supported |" in table(line(unit=claims.NUMBER, stated=math.nan))[2]


def test_untested_claims_are_counted_and_not_shown():
    text = table(line(), line(id="S9-9", claim="never run", verdict=claims.NOT_TESTED))
    assert not any("never run" in part for part in text)
    assert text[-1].startswith("Of 2 claims: 1 supported, 1 not tested here;")
