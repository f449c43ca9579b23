"""Each published PRO against its definition as loops, and against what sets it apart."""

import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import auc, roc_curve

from adlib import legacy_metrics as legacy
from adlib import metrics


def random_case(seed, levels=None, dtype=np.float64, shape=(5, 17, 13)):
    """Maps and masks with several regions, the first image normal; few `levels` make ties."""
    random = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(random.normal(size=shape), (0, 1.2, 1.2)) > 0.35
    masks[0] = False
    maps = random.normal(size=shape) + masks * random.uniform(0, 2)
    maps = np.round(maps * levels / 4) if levels else maps
    return maps.astype(dtype), masks


def labelled(masks):
    return [ndimage.label(mask, structure=np.ones((3, 3))) for mask in masks]


def overlap_and_fpr(maps, masks, thresholds):
    """(FPR, mean overlap) of maps > t, one threshold after the other."""
    regions = [(i, lab == k + 1) for i, (lab, n) in enumerate(labelled(masks)) for k in range(n)]
    above = [maps.astype(np.float64) > t for t in thresholds]
    fpr = np.array([a[~masks].mean() for a in above])
    return fpr, np.array([np.mean([a[i][region].mean() for i, region in regions]) for a in above])


def smooth(maps):
    return ndimage.gaussian_filter(maps.astype(np.float64), (0, 1, 1)).astype(maps.dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("seed", range(5))
def test_rd_is_the_mean_over_defective_images(seed, dtype):
    maps, masks = random_case(seed)
    maps = smooth(maps.astype(dtype))
    expected = []
    for one, mask in zip(maps, masks, strict=True):
        if mask.any():
            low, high = float(one.min()), float(one.max())
            thresholds = [low + i * ((high - low) / 200) for i in range(200)]
            fpr, pro = overlap_and_fpr(one[None], mask[None], thresholds)
            fpr, pro = fpr[fpr < 0.3], pro[fpr < 0.3]
            expected.append(auc(fpr / fpr.max(), pro))
    assert legacy.rd_pro(maps, masks) == pytest.approx(np.mean(expected), abs=1e-12)
    # Normal images do not enter.
    assert legacy.rd_pro(maps[1:], masks[1:]) == legacy.rd_pro(maps, masks)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(3))
def test_stpm_rescales_both_axes(seed, dtype):
    maps, masks = random_case(seed, shape=(4, 12, 12))
    maps = smooth(maps.astype(dtype))
    low, high = float(maps.min()), float(maps.max())
    thresholds = [high - i * ((high - low) / 4000) for i in range(4000)]
    fpr, pro = overlap_and_fpr(maps, masks, thresholds)
    fpr, pro = fpr[fpr <= 0.3], pro[fpr <= 0.3]
    expected = auc((fpr - fpr.min()) / (fpr.max() - fpr.min()), (pro - pro.min()) / (pro.max() - pro.min()))
    assert legacy.stpm_pro(maps, masks) == pytest.approx(expected, abs=1e-12)
    assert expected > metrics.aupro(maps, masks)  # it inflates


def test_rd_and_stpm_treat_the_limit_itself_differently():
    # Ten normal pixels 0 to 9 and defect pixels 9.5, 7.5, 6.5: PRO is 1/3 at FPR 0 and 0.1, and
    # reaches 2/3 between 0.1 and 0.2, 1 between 0.2 and 0.3 (7.5 lies under 8, 6.5 under 7).
    maps = np.array([[[*range(10), 9.5, 7.5, 6.5]]])
    masks = np.array([[[0] * 10 + [1] * 3]])
    # STPM keeps FPR = 0.3, where thresholds see PRO 2/3 (above 6.5) and 1: (0, 0) (0, 1/3) (0.1,
    # 1/3) (0.2, 1/3) (0.2, 2/3) (0.3, 2/3) (0.3, 1), its first point the empty one at the maximum.
    stpm = (0.2 * 1 / 3 + 0.1 * 2 / 3) / 0.3
    assert legacy.stpm_pro(maps, masks) == pytest.approx(stpm, abs=1e-12)
    # RD drops it: FPR 0 (above 9), 0.1 (above 8), 0.2 (8 to 7: PRO 1/3, then 2/3), over 0.2.
    assert legacy.rd_pro(maps, masks) == pytest.approx(1 / 3, abs=1e-12)


def test_thresholds_are_not_rounded_to_the_dtype_of_the_map():
    # float32(k / 200) lies above or below the threshold k / 200, never on it (but for halves).
    random = np.random.default_rng(0)
    maps = (random.integers(0, 201, (1, 20, 20)) / 200).astype(np.float32)
    maps[0, 0, :2] = 0, 1
    masks = np.zeros((1, 20, 20), bool)
    masks[0, 5:9, 5:9] = True
    fpr, pro = overlap_and_fpr(maps, masks, [i * (1 / 200) for i in range(200)])
    expected = auc(fpr[fpr < 0.3] / fpr[fpr < 0.3].max(), pro[fpr < 0.3])
    assert legacy.rd_pro(maps, masks) == pytest.approx(expected, abs=1e-12)


def destseg_by_definition(maps, masks):
    """Every region's ROC by scikit-learn, re-sampled by index to the pooled curve's length."""
    pooled, _, _ = roc_curve(masks.ravel(), maps.ravel(), drop_intermediate=False)
    size = int((pooled <= 0.3).sum())
    curves = []
    for i, (labels, count) in enumerate(labelled(masks)):
        for k in range(count):
            inside = np.zeros(masks.shape, bool)
            inside[i] = labels == k + 1
            use = inside | ~masks
            fpr, tpr, _ = roc_curve(inside[use], maps[use], drop_intermediate=False)
            last = int(np.searchsorted(fpr, 0.3))
            below = fpr[fpr <= 0.3]
            if np.isclose(below.max(), 0.3, rtol=1e-5, atol=1e-8):
                last, end = below.size - 1, float(size - 1)
            else:
                share = (0.3 - fpr[last - 1]) / (fpr[last] - fpr[last - 1])
                end = (last - 1 + share) * (size - 1) / last
            old = np.arange(last + 1) * (size - 1) / last
            new = np.append(np.arange(size - 1), end)
            curves.append([np.interp(new, old, axis[: last + 1]) for axis in (fpr, tpr)])
    fpr, tpr = np.mean(curves, axis=0)
    order = np.argsort(fpr, kind="stable")
    return np.trapezoid(tpr[order], fpr[order]) / fpr[-1]


@pytest.mark.parametrize("levels", [None, 40, 8])
@pytest.mark.parametrize("seed", range(6))
def test_destseg_resamples_each_region_by_index(seed, levels):
    maps, masks = random_case(seed, levels)
    expected = destseg_by_definition(maps, masks)
    assert legacy.destseg_pro(maps, masks) == pytest.approx(expected, abs=1e-9)


def test_destseg_with_a_limit_that_is_a_point_of_the_curve():
    maps = np.arange(12.0).reshape(1, 1, 12)
    masks = np.zeros((1, 1, 12), bool)
    masks[0, 0, [7, 10]] = True  # ten normal pixels: FPR 0.3 is exactly the third
    expected = destseg_by_definition(maps, masks)
    assert legacy.destseg_pro(maps, masks) == pytest.approx(expected, abs=1e-12)


def test_destseg_is_undefined_where_the_code_would_go_beyond_its_limit():
    maps, masks = random_case(3, shape=(3, 24, 24))
    maps = np.where(masks, maps, np.median(maps[masks]))  # all of the background is tied
    with pytest.warns(metrics.UndefinedMetric, match=r"region \d+ has no point with an FPR in \(0, 0\.3\]"):
        assert math.isnan(legacy.destseg_pro(maps, masks))


def test_destseg_is_close_to_the_exact_value_where_the_map_is_fine():
    maps, masks = random_case(3, shape=(6, 48, 48))
    assert legacy.destseg_pro(maps, masks) == pytest.approx(metrics.aupro(maps, masks), abs=0.01)
    assert legacy.destseg_pro(maps, masks) != metrics.aupro(maps, masks)


def test_threshold_grids_depend_on_the_scale_of_the_map():
    maps, masks = random_case(5, shape=(6, 48, 48))
    steep = np.exp(6 * smooth(maps))
    assert metrics.aupro(steep, masks) == metrics.aupro(smooth(maps), masks)
    assert abs(legacy.rd_pro(steep, masks) - legacy.rd_pro(smooth(maps), masks)) > 0.05


@pytest.mark.parametrize("metric", [legacy.rd_pro, legacy.stpm_pro, legacy.destseg_pro])
def test_undefined_is_nan_with_a_reason(metric):
    maps, masks = random_case(0)
    with pytest.warns(metrics.UndefinedMetric, match=f"{metric.__name__} is NaN: no defect"):
        assert math.isnan(metric(maps, np.zeros_like(masks)))
    with pytest.warns(metrics.UndefinedMetric, match=metric.__name__):
        assert math.isnan(metric(np.ones_like(maps), masks))
    with pytest.warns(metrics.UndefinedMetric, match=metric.__name__):
        assert math.isnan(metric(maps, np.ones_like(masks)))
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        metric(maps[0], masks[0])


@pytest.mark.parametrize("metric", [legacy.rd_pro, legacy.stpm_pro, legacy.destseg_pro])
def test_half_precision_is_compared_as_given(metric):
    maps, masks = random_case(1, dtype=np.float16)
    assert metric(maps, masks) == pytest.approx(metric(maps.astype(np.float64), masks), abs=1e-12)


def test_all_three_are_computed_together_unless_one_would_take_minutes(monkeypatch):
    maps, masks = random_case(0)
    each = {name: getattr(legacy, name)(maps, masks) for name in ("rd_pro", "stpm_pro", "destseg_pro")}
    assert legacy.evaluate(maps, masks) == (each, {})
    work = metrics.count_regions(masks) * maps.size
    monkeypatch.setattr(legacy, "WORK_LIMIT", work - 1)
    values, reasons = legacy.evaluate(maps, masks)
    assert math.isnan(values.pop("destseg_pro"))
    assert values == {name: each[name] for name in ("rd_pro", "stpm_pro")}
    assert reasons == {"destseg_pro": f"not computed: {work:.1g} pixels to sort"}


def test_pro_of_whole_numbers_is_that_of_the_same_floats():
    rng = np.random.default_rng(1)
    maps, masks = rng.integers(0, 8, (3, 12, 12)), np.zeros((3, 12, 12), bool)
    masks[:, 3:6, 3:6] = True
    maps[masks] += 2
    for pro in (legacy.rd_pro, legacy.stpm_pro):
        assert pro(maps, masks) == pro(maps.astype(float), masks)


def test_a_curve_that_ends_within_rounding_of_the_limit_is_not_interpolated():
    fpr = np.array([0.0, 0.1, 0.3 - 1e-6, 0.4])
    assert legacy._sample_index(fpr, 3).tolist() == [0, 1, 2]
