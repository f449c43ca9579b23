"""Against curves drawn point by point in float64, scikit-learn, and values known by hand."""

import itertools
import math
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from adlib import metrics

EXACT = 1e-12


def random_case(seed, levels=None, dtype=np.float64, shape=(5, 17, 13)):
    """Maps and masks with several regions; few `levels` make heavy ties."""
    random = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(random.normal(size=shape), (0, 1.2, 1.2)) > 0.35
    masks[0] = False
    maps = random.normal(size=shape) + masks * random.uniform(0, 2)
    if levels:
        maps = np.round(maps * levels / 4)
    return maps.astype(dtype), masks


def labelled(masks):
    return [ndimage.label(mask, structure=np.ones((3, 3))) for mask in masks]


def aupro_by_thresholds(maps, masks, limit=0.3):
    """PRO and FPR at every distinct score, one after the other; trapezoid cut at the limit."""
    points = [(0.0, 0.0)]
    regions = [maps[i][labels == k + 1] for i, (labels, count) in enumerate(labelled(masks)) for k in range(count)]
    for threshold in np.unique(maps)[::-1]:
        fpr = np.mean(maps[~masks] >= threshold)
        points.append((fpr, np.mean([np.mean(scores >= threshold) for scores in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + y1) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def iap_by_loops(maps, masks, wanted):
    found = []
    for i, (labels, count) in enumerate(labelled(masks)):
        for k in range(count):
            scores = sorted(maps[i][labels == k + 1], reverse=True)
            found.append(scores[int(0.5 * len(scores))])
    found.sort()
    best, precision, at_recall = 0.0, [], None
    for i, threshold in enumerate(found):
        best = max(best, np.sum(masks & (maps >= threshold)) / np.sum(maps >= threshold))
        precision.append(best)
        if 1 - i / len(found) >= wanted - 1e-9:
            at_recall = best
    return np.mean(precision), at_recall


CASES = [(seed, levels) for seed in range(6) for levels in (None, 12, 3)]


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_pixel_metrics_equal_scikit_learn(seed, levels):
    maps, masks = random_case(seed, levels)
    flat = masks.ravel(), maps.ravel()
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(*flat), abs=EXACT)
    assert metrics.pixel_ap(maps, masks) == pytest.approx(average_precision_score(*flat), abs=EXACT)


@pytest.mark.parametrize(("seed", "levels"), CASES)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_equals_the_curve_drawn_point_by_point(seed, levels, limit):
    maps, masks = random_case(seed, levels)
    expected = aupro_by_thresholds(maps, masks, limit)
    assert metrics.aupro(maps, masks, limit) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize(("seed", "levels"), CASES)
@pytest.mark.parametrize("recall", [0.5, 0.9, 1.0])
def test_iap_equals_the_loops(seed, levels, recall):
    maps, masks = random_case(seed, levels)
    mean, at_recall = iap_by_loops(maps, masks, recall)
    assert metrics.iap(maps, masks) == pytest.approx(mean, abs=EXACT)
    assert metrics.iap_at(maps, masks, recall) == pytest.approx(at_recall, abs=EXACT)


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_parts_of_the_test_set_add_up_to_the_whole(seed, levels, monkeypatch):
    maps, masks = random_case(seed, levels)
    monkeypatch.setattr(metrics, "PART", 2 * maps[0].size)  # 5 images: parts of 2, 2 and 1
    monkeypatch.setattr(metrics, "BLOCK", 37)
    flat = masks.ravel(), maps.ravel()
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(*flat), abs=EXACT)
    assert metrics.pixel_ap(maps, masks) == pytest.approx(average_precision_score(*flat), abs=EXACT)
    assert metrics.aupro(maps, masks) == pytest.approx(aupro_by_thresholds(maps, masks), abs=EXACT)
    assert metrics.iap(maps, masks) == pytest.approx(iap_by_loops(maps, masks, 0.9)[0], abs=EXACT)


def test_an_evaluation_holds_no_copy_of_the_maps(monkeypatch):
    random = np.random.default_rng(0)
    maps, masks = random.normal(size=(40, 64, 64)).astype(np.float32), np.zeros((40, 64, 64), bool)
    masks[20:, 8:16, 8:16] = True
    scores, labels = maps.max((1, 2)), masks.any((1, 2))
    monkeypatch.setattr(metrics, "PART", 2 * 64 * 64)
    monkeypatch.setattr(metrics, "BLOCK", 1024)
    tracemalloc.start()
    metrics.evaluate(maps, masks, scores, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * metrics.PART + 60 * masks.sum() + 60 * 1024 < maps.nbytes / 2


@pytest.mark.parametrize("levels", [None, 6, 2])
def test_image_metrics_equal_scikit_learn(levels):
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 83)
    scores = random.normal(size=83) + labels
    scores = np.round(scores * levels) if levels else scores
    assert metrics.image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=EXACT)
    assert metrics.image_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=EXACT)


def test_values_known_by_hand():
    # Four normal pixels 0 1 2 3; region A = {2.5}, region B = {1.5, 3.5}.
    maps = np.array([[[0, 1, 2, 3, 2.5, 0, 1.5, 3.5]]])
    masks = np.array([[[0, 0, 0, 0, 1, 0, 1, 1]]])
    # Five normal pixels in all (two zeros): FPR of 2.5 is 1/5, of 1.5 is 2/5, of 3.5 is 0.
    assert metrics.pixel_auroc(maps, masks) == pytest.approx((0.8 + 0.6 + 1) / 3, abs=EXACT)
    assert metrics.pixel_ap(maps, masks) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=EXACT)
    assert metrics.aupro(maps, masks) == pytest.approx((0.1 + (0 + 0.3) / 2) / 2 / 0.3, abs=EXACT)
    # A is found at 2.5 (precision 2/3), B (two pixels) at its smaller score 1.5 (3/5).
    assert metrics.iap(maps, masks) == pytest.approx((3 / 5 + 2 / 3) / 2, abs=EXACT)
    assert metrics.iap_at(maps, masks) == pytest.approx(3 / 5, abs=EXACT)
    assert metrics.iap_at(maps, masks, recall=0.5) == pytest.approx(2 / 3, abs=EXACT)


def test_a_diagonal_neighbour_belongs_to_the_region():
    masks = np.zeros((1, 6, 6), bool)
    masks[0, 1, 1] = masks[0, 2, 2] = masks[0, 4, 0] = True
    maps = np.zeros((1, 6, 6))
    maps[0, 2, 2] = 1
    # Regions {(1,1), (2,2)} and {(4,0)}: half of one is found at FPR 0, the rest ties with all
    # the background. 4-connected, three regions would give another mean.
    ramp = 0.15
    assert metrics.aupro(maps, masks) == pytest.approx(0.25 + 0.75 * ramp, abs=EXACT)


def test_regions_of_neighbouring_images_do_not_touch():
    masks = np.ones((2, 2, 2), bool)
    masks[:, 0] = False
    assert metrics.split_pixels(np.zeros((2, 2, 2)), masks).region.max() == 1


def test_single_region_is_its_own_roc_curve():
    maps, masks = random_case(1)
    masks[:] = False
    masks[2, 3:7, 3:7] = True
    expected = roc_auc_score(masks.ravel(), maps.ravel())
    assert metrics.aupro(maps, masks, 1.0) == pytest.approx(expected, abs=EXACT)
    assert metrics.iap(maps, masks) == metrics.iap_at(maps, masks)


def test_perfect_constant_and_inverted_maps():
    _, masks = random_case(4)
    assert metrics.aupro(masks * 1.0, masks) == metrics.pixel_auroc(masks * 1.0, masks) == 1
    assert metrics.iap(masks * 1.0, masks) == metrics.pixel_ap(masks * 1.0, masks) == 1
    constant = np.full(masks.shape, 0.7)
    share = masks.mean()
    assert metrics.pixel_auroc(constant, masks) == 0.5
    assert metrics.aupro(constant, masks) == pytest.approx(0.15, abs=EXACT)
    for metric in (metrics.pixel_ap, metrics.iap, metrics.iap_at):
        assert metric(constant, masks) == pytest.approx(share, abs=EXACT)
    assert metrics.aupro(-1.0 * masks, masks) == metrics.pixel_auroc(-1.0 * masks, masks) == 0


@pytest.mark.parametrize("seed", range(4))
def test_half_precision_is_compared_as_given(seed):
    maps, masks = random_case(seed, dtype=np.float16)
    assert len(np.unique(maps)) < maps.size  # half precision ties
    given, _ = metrics.evaluate(maps, masks, maps.max((1, 2)), masks.any((1, 2)))
    exact, _ = metrics.evaluate(maps.astype(np.float64), masks, maps.max((1, 2)).astype(float), masks.any((1, 2)))
    assert given == exact


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_monotone_transforms_and_dtypes_change_nothing(dtype):
    maps, masks = random_case(7, levels=20)
    maps -= maps.min()
    direct, _ = metrics.evaluate(maps, masks, maps.max((1, 2)), masks.any((1, 2)))
    other = maps.astype(dtype)
    transformed = np.exp(other.astype(np.float64)) if dtype == np.float64 else other
    again, _ = metrics.evaluate(transformed, masks.astype(np.uint8), maps.max((1, 2)), masks.any((1, 2)).astype(int))
    assert again == direct


def test_evaluate_equals_the_functions_and_leaves_its_input_alone():
    maps, masks = random_case(9, levels=9, dtype=np.float32)
    labels = masks.any((1, 2))
    before = maps.copy(), masks.copy()
    values, reasons = metrics.evaluate(maps, masks, maps.max((1, 2)), labels)
    assert tuple(values) == metrics.METRICS
    assert not reasons
    for name in ("pixel_auroc", "pixel_ap", "aupro", "iap"):
        assert values[name] == getattr(metrics, name)(maps, masks)
    assert values["iap90"] == metrics.iap_at(maps, masks)
    for name in ("image_auroc", "image_ap"):
        assert values[name] == getattr(metrics, name)(maps.max((1, 2)), labels)
    assert np.array_equal(before[0], maps)
    assert np.array_equal(before[1], masks)


def test_defects_without_a_mask_count_for_image_metrics_only():
    maps, masks = random_case(2)
    labels = masks.any((1, 2))
    masks[1] = False  # a defect whose pixel truth is not known
    values, reasons = metrics.evaluate(maps, masks, maps.max((1, 2)), labels)
    kept = np.array([True, False, True, True, True])
    assert values["aupro"] == metrics.aupro(maps[kept], masks[kept])
    assert values["aupro"] != metrics.aupro(maps, masks)
    assert values["image_auroc"] == metrics.image_auroc(maps.max((1, 2)), labels)
    assert not reasons
    explicit, _ = metrics.evaluate(maps, masks, maps.max((1, 2)), labels, known=kept)
    assert explicit == values
    fewer = np.array([True, False, True, False, True])
    said, _ = metrics.evaluate(maps, masks, maps.max((1, 2)), labels, known=fewer)
    assert said["aupro"] == metrics.aupro(maps[fewer], masks[fewer]) != values["aupro"]
    assert said["image_auroc"] == values["image_auroc"]


def test_no_anomaly_is_nan_with_a_reason():
    maps, masks = np.random.default_rng(0).normal(size=(3, 4, 4)), np.zeros((3, 4, 4), bool)
    for name in ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap_at"):
        with pytest.warns(metrics.UndefinedMetric, match=f"{name} is NaN: no defect pixel"):
            assert math.isnan(getattr(metrics, name)(maps, masks))
    for name in ("image_auroc", "image_ap"):
        with pytest.warns(metrics.UndefinedMetric, match=f"{name} is NaN: no defect image"):
            assert math.isnan(getattr(metrics, name)([0.1, 0.2], [0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, reasons = metrics.evaluate(maps, masks, [1, 2, 3], [0, 0, 0])
    assert set(reasons) == set(metrics.METRICS)
    assert all(math.isnan(value) for value in values.values())


def test_defects_that_all_lack_masks_say_so():
    maps = np.random.default_rng(0).normal(size=(3, 4, 4))
    values, reasons = metrics.evaluate(maps, np.zeros_like(maps), [1, 2, 3], [0, 1, 1])
    assert values["image_auroc"] == 1
    assert set(reasons) == {"pixel_auroc", "pixel_ap", "aupro", "iap", "iap90"}
    assert reasons["aupro"] == "no defect pixel (2 defects have no known mask)"


def test_nothing_normal():
    maps, masks = np.arange(8.0).reshape(2, 2, 2), np.ones((2, 2, 2), bool)
    for metric in (metrics.pixel_auroc, metrics.aupro):
        with pytest.warns(metrics.UndefinedMetric, match="no normal pixel"):
            assert math.isnan(metric(maps, masks))
    assert metrics.pixel_ap(maps, masks) == metrics.iap(maps, masks) == 1


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4)), r"\(N, H, W\), found \(4, 4\)"),
        (np.zeros((1, 4, 4)), np.zeros((2, 4, 4)), r"found \(1, 4, 4\) and \(2, 4, 4\)"),
        (np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2)), "maps must be finite"),
        (np.array([[[1.0, np.inf]]]), np.zeros((1, 1, 2)), "maps must be finite"),
        (np.array([[[1.0, -np.inf]]]), np.zeros((1, 1, 2)), "maps must be finite"),
        (np.array([[["a"]]]), np.zeros((1, 1, 1)), "maps must be real numbers"),
        (np.zeros((1, 1, 2)), np.array([[[0, 255]]]), r"masks must be boolean.*\[0, 255\]"),
        (np.zeros((1, 1, 2)), np.array([[[0, 0.5]]]), "masks must be boolean"),
        (np.zeros((1, 1, 2)), np.array([[[0, np.nan]]]), "masks must be boolean"),
    ],
)
def test_bad_arrays_are_refused(maps, masks, message):
    for metric in (metrics.aupro, metrics.pixel_auroc, metrics.pixel_ap, metrics.iap):
        with pytest.raises(ValueError, match=message):
            metric(maps, masks)


def test_bad_arguments_are_refused():
    maps, masks = random_case(0)
    for limit in (0, 1.5, -0.1):
        with pytest.raises(ValueError, match="fpr_limit must be in"):
            metrics.aupro(maps, masks, limit)
        with pytest.raises(ValueError, match="recall must be in"):
            metrics.iap_at(maps, masks, limit)
    with pytest.raises(ValueError, match=r"\(N,\), found \(3,\) and \(2,\)"):
        metrics.image_auroc([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="scores must be finite"):
        metrics.image_ap([1, np.nan], [0, 1])
    with pytest.raises(ValueError, match="5 maps, but 2 scores"):
        metrics.evaluate(maps, masks, [1, 2], [0, 1])
    with pytest.raises(ValueError, match="known has shape"):
        metrics.evaluate(maps, masks, np.ones(5), np.ones(5), known=[True])


def test_regions_are_counted_with_eight_neighbours():
    masks = np.zeros((3, 4, 4), dtype=bool)
    assert metrics.count_regions(masks) == 0
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 3, 3] = masks[2, 0, 0] = True
    assert metrics.count_regions(masks) == 3


def test_scores_of_double_precision_and_large_counts_are_not_rounded_to_ties():
    close = np.array([1.0, 1.0 + 1e-12])
    assert metrics.image_auroc(close, [0, 1]) == 1
    assert metrics.image_auroc(np.array([2**24, 2**24 + 1]), [0, 1]) == 1
    maps = np.array([[[1.0, 1.0 + 1e-12]]])
    assert metrics.pixel_auroc(maps, [[[0, 1]]]) == 1


def test_more_labels_than_maps_are_named():
    with pytest.raises(ValueError, match="2 maps, but 3 scores"):
        metrics.evaluate(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), [0, 1, 2], [0, 1, 1], known=[1, 1, 0])


def test_iap_at_is_at_ninety_percent_unless_said_otherwise():
    # Ten defects of one pixel score 1 to 10, ten normal pixels 0.5 to 9.5: at recall 0.9 nine defects and eight normal.
    score = np.arange(1.0, 11.0)
    maps, masks = np.stack([score, score - 0.5], axis=1)[:, None], np.tile([True, False], (10, 1, 1))
    assert metrics.iap_at(maps, masks) == metrics.iap_at(maps, masks, 0.9) == pytest.approx(9 / 17)
    assert metrics.iap_at(maps, masks, 0.8) == pytest.approx(8 / 15)


def test_reasons_of_image_metrics_do_not_speak_of_masks():
    maps, masks = np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool)
    _, reasons = metrics.evaluate(maps, masks, [0.0, 1.0], [1, 1])
    assert reasons["image_auroc"] == "no normal image"
    assert "known mask" in reasons["pixel_auroc"]
