"""The threshold: its value by hand, its promise by simulation, rates that are none."""

import numpy as np
import pytest

from adlib.environment import PROJECT
from adlib.threshold import Threshold, held_out_needed


def test_the_threshold_is_the_kth_smallest_score():
    scores = np.random.default_rng(0).permutation(99) + 1.0
    found = Threshold.of(scores, 0.05)
    assert (found.value, found.promised, found.held_out) == (pytest.approx(95, rel=2e-5), pytest.approx(0.05), 99)
    assert found.value > np.float32(95) * (1 + 1e-6)  # the image that set it does not alarm in another batch
    assert Threshold.of(scores, 0.01).value == pytest.approx(99, rel=2e-5)
    short = Threshold.of([3.0, 1.0, 2.0], 0.05)
    assert "at most 5.0%, for which they are too few. On average" in str(short)
    assert "at most 5.0%. On average" in str(found)
    assert (short.value, short.promised) == (pytest.approx(3, rel=2e-5), 0.25)
    assert Threshold.of([-2.0], 0.05).value > -2
    assert held_out_needed(0.05) == 19


def test_a_rate_near_one_takes_the_lowest_score():
    found = Threshold.of([3.0, 1.0, 2.0], 1 - 1e-12)
    assert 1 <= found.value < 1.001
    assert 0 <= found.low <= found.high <= 1


def test_a_rate_may_come_from_an_array():
    found = Threshold.of(np.arange(99.0), np.float32(0.25))
    assert found == Threshold.of(np.arange(99.0), 0.25)
    assert type(found.asked) is float  # JSON, in which a detector is saved, knows no other


def test_the_threshold_keeps_its_promise_on_average_and_its_interval_on_each():
    rng = np.random.default_rng(0)
    rates, inside = [], []
    for _ in range(2000):
        found = Threshold.of(rng.uniform(size=30), 0.1)
        rates.append(1 - found.value)  # the true false-alarm rate of uniform scores
        inside.append(found.low <= rates[-1] <= found.high)
    assert np.mean(rates) == pytest.approx(found.promised, abs=0.004)
    assert found.promised <= 0.1
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_the_readme_says_how_many_good_images_a_rate_needs():
    """Every fifth is held out."""
    said = (PROJECT / "README.md").read_text()
    needed = [held_out_needed(rate) for rate in (0.05, 0.01)]
    assert f"a false-alarm rate of 5 % needs {5 * needed[0]} good images, one of 1 % needs {5 * needed[1]}" in said
    assert f"(or {needed[0]} and {needed[1]} of your own choice" in said
