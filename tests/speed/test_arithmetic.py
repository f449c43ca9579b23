"""What is counted, and the peak that it is set against; no time is asserted."""

import pytest
import torch
from torch.nn.functional import conv2d

from adlib import build, speed
from adlib.speed import Timing, arithmetic


def test_operations_are_counted_a_multiply_add_as_two():
    image, weight = torch.zeros(2, 3, 8, 8), torch.zeros(5, 3, 3, 3)
    assert speed.flops(lambda: conv2d(image, weight, padding=1)) == 2 * 2 * 8 * 8 * 5 * 3 * 3 * 3


def test_a_peak_is_the_best_rate_of_all_that_is_tried_in_that_precision(monkeypatch):
    kinds = []

    def half_a_second(call, *_):
        kinds.append(call().dtype)
        return Timing((0.5, 2.0))  # the best repetition counts

    monkeypatch.setattr(arithmetic, "timed", half_a_second)
    convolution = 2 * 16 * 32 * 32 * 512 * 512 * 9  # the largest of what is tried
    assert speed.arithmetic_peak("cpu", "bf16", sizes=(64,)) == pytest.approx(convolution / 0.5 / 1e9)
    assert set(kinds) == {torch.bfloat16}


def test_the_cost_of_a_method_has_its_parameters_and_shapes():
    found = speed.cost(build("stpm", teacher="random"), size=64)
    assert (found["trainable"], found["frozen"]) == (2_782_784, 2_782_784)
    assert (found["map"], found["score"]) == ("64x64", "scalar")
