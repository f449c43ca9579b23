"""Verdicts on times, from planted ones: what was not measured side by side has none."""

import pandas as pd
import pytest

from adlib import claims, results, verdicts
from adlib.speed import claims as speed_claims

WHERE = {"device": "cpu: A", "threads": 2, "commit": "a" * 40, "precision": "fp32"}


def timed(method: str, p50: float, p95: float, **fields):
    base = {
        "method": method,
        "recipe": "paper",
        "backbone": "resnet18",
        "variant": "optimised",
        "size": 256,
        "batch": 1,
    }
    return base | {"p50_ms": p50, "p95_ms": p95, "peak_mib": 1.0} | WHERE | fields


def peer(detector: str, p50: float, p95: float, **fields):
    base = {"detector": detector, "environment": "adlib", "variant": "model", "batch": 1, "p50_ms": p50, "p95_ms": p95}
    return base | WHERE | fields


def judged(folder, name: str, *lines, peers=()):
    table = pd.DataFrame([*lines])
    table.drop(columns=["variant", "peak_mib"]).to_csv(folder / "turns.csv", index=False)
    table.assign(p50_ms=1e9).to_csv(folder / "inference.csv", index=False)  # memory is read from it, and no time
    pd.DataFrame([*peers, peer("stpm paper", 99.0, 99.0, commit="c" * 40)]).to_csv(folder / "peers.csv", index=False)
    (claim,) = claims.claims()[lambda table: table["id"] == name].to_dict("records")
    found = speed_claims.judge(claim, "seconds" if name == "S2-11" else "fps", folder)
    return [line for line in found if line["verdict"] != verdicts.NOT_TESTED]


def test_a_ratio_has_brackets_of_median_and_95th_percentile(tmp_path):
    (line,) = judged(tmp_path, "S1-4", timed("stpm", 30.0, 33.0), timed("reduced_student", 15.0, 20.0))
    assert (line["effect"], line["low"], line["high"]) == pytest.approx((2.0, 1.5, 2.2))
    assert line["verdict"] == verdicts.SUPPORTED
    assert line["stated"] == pytest.approx(1.3, abs=0.01)
    (line,) = judged(tmp_path, "S1-4", timed("stpm", 30.0, 33.0), timed("reduced_student", 30.0, 33.0))
    assert line["verdict"] == verdicts.CONTRADICTED


@pytest.mark.parametrize("other", [{"commit": "b" * 40}, {"device": "cpu: B"}, {"threads": 1}, {"backbone": "other"}])
def test_times_of_two_commits_or_machines_are_no_ratio(tmp_path, other):
    assert not judged(tmp_path, "S1-4", timed("stpm", 30.0, 33.0), timed("reduced_student", 15.0, 20.0, **other))


def test_recipes_are_not_mixed(tmp_path):
    lines = [timed("stpm", 30.0, 33.0), timed("reduced_student", 15.0, 20.0, recipe="code")]
    assert not judged(tmp_path, "S1-4", *lines)


def test_peers_are_of_their_own_environment(tmp_path):
    ours = peer("reduced_student paper", 10.0, 11.0, variant="optimised")
    theirs = peer("fastflow", 100.0, 110.0, environment="peers")
    plain = peer("reduced_student paper", 50.0, 55.0, variant="plain")
    fast, slow = judged(tmp_path, "S1-5", timed("stpm", 1.0, 1.0), peers=[ours, plain, theirs])
    assert (fast["effect"], slow["effect"]) == pytest.approx((10.0, 2.0))
    assert "ours as the fast path" in fast["conditions"]
    assert "ours as plain modules" in slow["conditions"]
    assert "peers.csv" in fast["conditions"]


def test_without_measurements_nothing_is_judged(tmp_path):
    found = claims.judge(results.read(results.RUNS).head(0), timings=tmp_path)
    speed = found[found["metric"].isin(["fps", "seconds", "memory"])]
    assert len(speed) > 3
    assert set(speed["verdict"]) == {verdicts.NOT_TESTED}
