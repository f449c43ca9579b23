"""The timing protocol's arithmetic, and where the rows of benchmarks go; no time is asserted."""

import argparse
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.functional import conv2d

from adlib import build, speed
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


def test_operations_are_counted_a_multiply_add_as_two():
    image, weight = torch.zeros(2, 3, 8, 8), torch.zeros(5, 3, 3, 3)
    assert speed.flops(lambda: conv2d(image, weight, padding=1)) == 2 * 2 * 8 * 8 * 5 * 3 * 3 * 3


def test_a_peak_is_the_best_rate_of_all_that_is_tried_in_that_precision(monkeypatch):
    kinds = []

    def half_a_second(call, *_):
        kinds.append(call().dtype)
        return Timing((0.5, 2.0))  # the best repetition counts

    monkeypatch.setattr(speed, "timed", half_a_second)
    convolution = 2 * 16 * 32 * 32 * 512 * 512 * 9  # the largest of what is tried
    assert speed.arithmetic_peak("cpu", "bf16", sizes=(64,)) == pytest.approx(convolution / 0.5 / 1e9)
    assert set(kinds) == {torch.bfloat16}


def test_the_cost_of_a_method_has_its_parameters_and_shapes():
    found = speed.cost(build("stpm", teacher="random"), size=64)
    assert (found["trainable"], found["frozen"]) == (2_782_784, 2_782_784)
    assert (found["map"], found["score"]) == ("64x64", "scalar")


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    return parser


def test_a_trial_run_does_not_write_over_what_was_measured(parser, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "--smoke"])
    with pytest.raises(SystemExit):
        speed.options(parser, "growth")
    assert "--smoke needs --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "path"), [([], speed.RESULTS / "growth.csv"), (["--smoke", "--out", "a/b.csv"], Path("a/b.csv"))]
)
def test_rows_go_to_the_topics_file_unless_another_is_named(parser, monkeypatch, words, path):
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    assert speed.options(parser, "growth").out == path


def test_what_is_not_measured_again_stays(tmp_path):
    path = speed.write([{"method": m, "recipe": r, "ms": 1.23456} for m in "ab" for r in "xy"], tmp_path / "t.csv")
    kept = speed.others(path, ["method", "recipe"], ["a/x", "b/y"])
    assert [(row["method"], row["recipe"]) for row in kept] == [("a", "y"), ("b", "x")]
    assert pd.read_csv(path).ms.tolist() == [1.235] * 4
    assert speed.others(tmp_path / "none.csv", ["method"], ["a"]) == []
