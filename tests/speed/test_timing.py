"""The timing protocol's arithmetic; no time is asserted."""

import pytest

from adlib import speed
from adlib.speed import Timing


def test_what_is_compared_takes_turns_and_warm_up_is_left_out():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = speed.alternating(calls, repeats=3, warmup=1)
    assert "".join(order) == "abababab"
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        speed.timed(order.clear, repeats=0)


def test_a_speed_up_is_the_median_of_the_paired_ratios():
    slow, fast = Timing((2.0, 8.0, 3.0)), Timing((1.0, 2.0, 3.0))  # ratios 2, 4, 1
    found = speed.figures(fast, batch=4, slow=slow)
    assert (found["speedup"], found["p50_ms"], found["images_per_s"]) == (2.0, 2000.0, 2.0)
    assert found["speedup_p10"] == pytest.approx(1.2)
    assert found["speedup_p90"] == pytest.approx(3.6)
    assert fast.spread == pytest.approx(0.5)
    with pytest.raises(ValueError, match="3 and 2 repetitions cannot be paired"):
        speed.speedup(slow, Timing((1.0, 1.0)))


def test_p95_is_what_95_percent_stay_below():
    assert Timing(tuple(range(101))).p95 == 95
    assert Timing(tuple(range(101))).p50 == 50
