"""What a speed-up costs and gives, from planted rows."""

import math

import pandas as pd
import pytest

from adlib import speed
from adlib.speed import accuracy


def row(variant, seed, value, case="stpm", device="cpu"):
    place = {"case": case, "teacher": "bundled", "seed": seed, "device": device, "variant": variant}
    return place | dict.fromkeys(accuracy.METRICS, value)


STEPS = pd.DataFrame(
    [
        {"case": case, "variant": variant, "speedup_of_step": gives}
        for case, variant, gives in [
            ("stpm", "+ channels_last", 1.5),
            ("stpm", "+ memory kept", 1.2),
            ("stpm", "ours", 1.1),
            ("stpm", "ours, bf16", 1.6),
            ("rd resnet18", "ours", 2.0),  # all speed-ups at once
            ("rd resnet18", "ours, bf16", 1.7),
        ]
    ]
)


def test_a_variant_is_compared_seed_by_seed_with_ours():
    rows = [row("ours", 0, 0.5), row("ours", 1, 0.7), row("ours", 2, 0.9), row("NCHW", 0, 0.6), row("NCHW", 1, 0.7)]
    found = accuracy.paired(pd.DataFrame(rows), STEPS, pd.DataFrame()).loc[("stpm", "aupro", "NCHW")]
    assert (found["runs"], found["seeds"], found["gives"]) == (2, 2, 1.5)
    assert found["mean"] == pytest.approx(65)
    assert found["difference"] == pytest.approx(5)  # not 65 less 70, the mean of ours over other seeds
    assert found["largest"] == pytest.approx(10)
    assert found["noise"] == pytest.approx(100 * math.sqrt(0.02))  # of the seeds that both have
    assert not found["beyond"]


def test_a_run_is_compared_with_that_on_the_same_processor():
    rows = [row("ours", 0, 0.5), row("ours", 0, 0.9, device="faster"), row("NCHW", 0, 0.6, device="faster")]
    found = accuracy.paired(pd.DataFrame(rows), STEPS, pd.DataFrame())
    assert found.loc[("stpm", "aupro", "NCHW"), "difference"] == pytest.approx(-30)
    assert found.loc[("stpm", "aupro", "ours"), ["runs", "seeds"]].to_list() == [2, 1]


def test_noise_is_of_seeds_and_not_of_devices():
    values = {"cpu": (0.90, 0.91, 0.92), "faster": (0.50, 0.51, 0.52)}
    rows = [row("ours", seed, v, device=d) for d, three in values.items() for seed, v in enumerate(three)]
    rows += [row("NCHW", seed, v - 0.05, device=d) for d, three in values.items() for seed, v in enumerate(three)]
    found = accuracy.paired(pd.DataFrame(rows), STEPS, pd.DataFrame()).loc[("stpm", "aupro", "NCHW")]
    assert found["noise"] == pytest.approx(1)
    assert found["beyond"]
    assert found[["low", "high"]].isna().all() or found["high"] - found["low"] == pytest.approx(0, abs=1e-9)


def test_a_mean_difference_has_an_interval_over_runs():
    """Differences of 1, 2 and 3 points: 2 with 4.303 (Student's t, 2 degrees) standard errors to either side."""
    rows = [row("ours", seed, 0.5) for seed in range(3)] + [row("bf16", s, 0.51 + s / 100) for s in range(3)]
    found = accuracy.paired(pd.DataFrame(rows), STEPS, pd.DataFrame())
    assert found.loc[("stpm", "aupro", "bf16"), ["low", "high"]].tolist() == pytest.approx(
        [2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-3
    )
    assert found.loc[("stpm", "aupro", "ours"), ["low", "high"]].isna().all()
    two = accuracy.paired(pd.DataFrame([r for r in rows if r["seed"] < 2]), STEPS, pd.DataFrame())
    assert two.loc[("stpm", "aupro", "bf16"), ["low", "high"]].isna().all()


def test_what_a_speed_up_gives_is_its_own_step():
    rows = [row(variant, seed, 0.5, case) for case in ("stpm", "rd resnet18") for seed in (0, 1)
            for variant in ("ours", "optimiser not fused", "bf16", "fast inference")]  # fmt: skip
    fast = {
        "method": "stpm",
        "recipe": "paper",
        "backbone": "resnet18",
        "variant": "optimised",
        "batch": 1,
        "speedup": 3,
    }
    without = fast | {"variant": "channels_last", "speedup": 1.5}
    found = accuracy.paired(pd.DataFrame(rows), STEPS, pd.DataFrame([fast, without]))["gives"].xs(
        "aupro", level="metric"
    )
    assert (found["stpm", "optimiser not fused"], found["stpm", "bf16"], found["stpm", "fast inference"]) == (
        1.1,
        1.6,
        2,  # what channels_last does not give already
    )
    assert math.isnan(found["rd resnet18", "optimiser not fused"])
    assert found["rd resnet18", "bf16"] == 1.7
    assert math.isnan(found["rd resnet18", "ours"])
    assert math.isnan(found["rd resnet18", "fast inference"])


def test_every_variant_of_the_committed_rows_has_a_gain_by_one_method():
    tables = [speed.read(topic) for topic in ("accuracy", "training", "inference")]
    found = accuracy.paired(*tables)["gives"].drop("ours", level="variant")
    assert found.groupby("variant").max().notna().all()
