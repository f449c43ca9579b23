"""Figures that can mislead: one scale for all maps, weak responses and scores that can be seen."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from adlib import plots
from adlib.methods import METHODS
from tests.conftest import tiny_images


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_gallery_has_one_scale_on_which_a_weak_response_shows():
    images = tiny_images(4, 2)
    maps = np.zeros((4, 64, 64), np.float32)
    maps[2, :16], maps[3, :2] = 1.0, 0.04
    figure = plots.best_and_worst(images, maps, maps.max(axis=(1, 2)), count=1)
    drawn = [image for axes in figure.axes for image in axes.images if image.get_array().ndim == 2]
    assert len(drawn) == 3  # the strongest defect, the weakest, a normal image
    assert len({id(image.norm) for image in drawn}) == 1
    scale = drawn[0].norm
    assert [float(scale(v)) for v in (0, 0.04, 1)] == pytest.approx([0, 0.2, 1], abs=1e-3)
    bar = figure.axes[-1]
    low, high = scale.vmin, scale.vmax
    assert bar.get_yticks().tolist() == pytest.approx([low + (high - low) * p for p in (0, 1 / 16, 1 / 4, 9 / 16, 1)])
    assert float(scale(-0.1)) < 0  # clipped, a tick from beyond an end of the colour bar would stand at that end
    assert float(plots.scale_of(maps)(0.04)) == pytest.approx(0.04, abs=1e-3)  # overlays stay linear


@pytest.mark.parametrize(("highest", "axis"), [(0.05, "linear"), (0.2, "log")])
def test_scores_over_more_than_a_decade_have_a_logarithmic_axis(highest, axis):
    scores = np.array([0.01, 0.011, 0.012, highest])
    figure = plots.histogram(scores, np.array([0, 0, 1, 1]), threshold=0.0115)
    assert figure.axes[0].get_xscale() == axis
    assert plots.histogram(scores - 0.01, np.array([0, 0, 1, 1])).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("highest", [2.0, 30.0])
def test_the_threshold_is_an_edge_of_the_bins(highest):
    scores = np.append(np.random.default_rng(0).uniform(1, 1.5, 39), highest)
    threshold = np.sort(scores)[29]
    edges, logarithmic = plots.score_bins(scores, threshold)
    assert logarithmic == (highest > 10)
    count, _ = np.histogram(np.log10(scores) if logarithmic else scores, edges)
    quiet = edges[1:] <= (np.log10(threshold) if logarithmic else threshold) + 1e-9
    assert (count[quiet].sum(), count[~quiet].sum()) == (30, 10)


def test_bins_hold_every_score_also_of_one_value():
    for scores in (np.full(5, 0.3), np.zeros(3), np.array([-1.0, 0.0, 7.0])):
        edges, logarithmic = plots.score_bins(scores)
        assert not logarithmic
        assert np.histogram(scores, edges)[0].sum() == len(scores)


def test_losses_of_each_stage_are_lines_and_the_held_out_score_has_an_axis_of_its_own():
    log = pd.DataFrame({"stage": ["a", "a", "b", "b"], "step": [0, 1, 2, 3], "epoch": 0, "loss": 9.0})
    log = log.assign(pull=[1.0, 0.5, np.nan, np.nan], push=[np.nan, np.nan, 4.0, 3.0])
    log["validation"] = [np.nan, 0.001, np.nan, np.nan]
    first, second, right = plots.losses(log).axes
    assert [line.get_label() for line in first.lines] == ["pull"]
    assert [list(line.get_ydata()) for line in second.lines] == [[4.0, 3.0]]
    assert np.array_equal(right.lines[0].get_ydata(), [np.nan, 0.001], equal_nan=True)
    assert right.get_ylim()[1] < 0.01


def test_methods_of_one_colour_to_some_eyes_have_different_markers():
    assert len(set(plots.MARKERS.values())) == len(set(plots.COLOURS.values())) == len(METHODS)


def test_accuracy_and_cost_are_named_from_the_best_down_and_code_is_open():
    rows = [("rd", "paper", 50, 70), ("stpm", "code", 20, 80), ("stpm", "paper", 30, 60), ("mkd", "paper", None, 90)]
    table = pd.DataFrame(rows, columns=["method", "recipe", "ms", "image_auroc"])
    axes = plots.pareto(table, "ms", "image_auroc")
    points = {line.get_label(): line for line in axes.lines[1:]}
    assert list(points) == ["stpm, code", "rd, paper", "stpm, paper"]  # what was not timed has no point
    assert [line.get_markerfacecolor() == "none" for line in points.values()] == [True, False, False]
    assert axes.lines[0].get_xdata().tolist() == [20]  # the only one that none beats


def test_a_roof_has_its_ridge_where_the_peak_meets_the_bandwidth():
    rows = [("rd", 1, 5.0, 50.0), ("rd", 16, 20.0, 90.0), ("stpm", 1, 8.0, 70.0), ("stpm", 16, 9.0, 95.0)]
    table = pd.DataFrame(rows, columns=["method", "batch", "intensity", "gflops"])
    (axes,) = plots.roofline(table.assign(peak_gflops=100.0, peak_gbytes_per_s=10.0)).axes
    assert axes.lines[0].get_xdata()[1:2].tolist() == [10.0]
    assert axes.lines[0].get_ydata().tolist() == [25.0, 100.0, 100.0]
    names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert names == ["roof: 100 GFLOP/s,\n10 GB/s", "stpm", "rd"]
    assert axes.get_legend().get_title().get_text() == "filled: batch 16\nopen: batch 1"


def test_a_method_has_one_colour_in_every_figure_and_its_code_open_dots():
    rows = pd.DataFrame(
        [
            {
                "dataset": "mvtec",
                "category": category,
                "method": method,
                "recipe": recipe,
                "image_auroc": value,
                "aupro": 0.5,
            }
            for category in ("pill", "bottle")
            for method, recipe, value in (("stpm", "paper", 0.7), ("rd", "paper", 0.8), ("rd", "code", 0.9))
        ]
    )
    both = plots.every_run(rows, ["image_auroc", "aupro"])
    alone = plots.every_run(rows[rows["method"] == "rd"], ["image_auroc"])
    left, right = both.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["mvtec/bottle", "mvtec/pill"]
    assert sorted(float(dots.get_offsets()[0, 0]) for dots in left.collections) == [70, 70, 80, 80, 90, 90]
    for dots in left.collections:  # each in the band of its category
        assert round(float(dots.get_offsets()[0, 1])) in (0, 1)
    colours = {round(float(dots.get_offsets()[0, 0])): tuple(dots.get_edgecolor()[0]) for dots in left.collections}
    assert colours[80] == colours[90] == tuple(alone.axes[0].collections[0].get_edgecolor()[0]) != colours[70]
    filled = {round(float(dots.get_offsets()[0, 0])): len(dots.get_facecolor()) for dots in left.collections}
    assert filled == {70: 1, 80: 1, 90: 0}
    shapes = {round(float(dots.get_offsets()[0, 0])): dots.get_paths()[0].vertices for dots in left.collections}
    assert shapes[80].tolist() == shapes[90].tolist() != shapes[70].tolist()
    assert [len(axis.lines) for axis in (left, right)] == [1, 0]  # chance is a half of an AUROC alone
    plt.close("all")


def test_a_line_runs_around_a_defect_and_not_over_it():
    mask = np.zeros((64, 64))
    mask[30, 10:50] = 1  # thinner than any line
    figure, axes = plt.subplots()
    plots.show_image(axes, np.zeros((3, 64, 64), np.uint8), mask)
    (line,) = axes.collections
    along = np.concatenate([path.vertices for path in line.get_paths()])
    beyond = np.maximum(np.maximum(10 - along[:, 0], along[:, 0] - 49), 0) + np.abs(along[:, 1] - 30)
    assert beyond.min() == pytest.approx(plots.AROUND + 0.5)
    plt.close(figure)
