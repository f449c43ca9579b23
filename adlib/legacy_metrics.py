"""The PRO scores of three published codes, for comparison columns only.

Each is another quantity than `adlib.metrics.aupro`, and than the two others: never mix them. All
take the same `maps` and `masks` (N, H, W) and give NaN with an `UndefinedMetric` warning where the
published code divides by zero. Thresholds are float64 here; the codes use the dtype of the map.
"""

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adlib.metrics import Split, UndefinedMetric, check_maps, count_regions, split_pixels

FPR_LIMIT = 0.3
WORK_LIMIT = 3e9  # pixels times regions, for `evaluate`; an MVTec test set has about 1e9, which takes 10 s


def evaluate(maps: ArrayLike, masks: ArrayLike) -> tuple[dict[str, float], dict[str, str]]:
    """Compute all three, NaN where undefined, and say why one was not computed.

    `destseg_pro` takes a ROC curve over all pixels for each region: minutes where there are many of both, so that it is
    left out above `WORK_LIMIT`.
    """
    maps, masks = check_maps(maps, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetric)
        values = {"rd_pro": rd_pro(maps, masks), "stpm_pro": stpm_pro(maps, masks)}
        work = count_regions(masks) * maps.size
        if work > WORK_LIMIT:
            return values | {"destseg_pro": math.nan}, {"destseg_pro": f"not computed: {work:.1g} pixels to sort"}
        return values | {"destseg_pro": destseg_pro(maps, masks)}, {}


def rd_pro(maps: ArrayLike, masks: ArrayLike, thresholds: int = 200) -> float:
    """RD's PRO, `compute_pro` of hq-deng/RD4AD (commit 6554076): a mean over defective images.

    Each image alone: `thresholds` equal steps from the map's minimum up, strictly above, the
    regions and the background of that image; points with FPR < 0.3, their FPR divided by its
    largest, trapezoid. Images without a mask do not enter.
    """
    maps, masks = check_maps(maps, masks)
    values = []
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        split = split_pixels(maps[i : i + 1], masks[i : i + 1])
        low, high = float(maps[i].min()), float(maps[i].max())
        fpr, pro = _grid_curve(split, low + np.arange(thresholds) * ((high - low) / thresholds))
        fpr, pro = fpr[fpr < FPR_LIMIT], pro[fpr < FPR_LIMIT]
        if fpr.size < 2 or fpr.max() == 0:
            return _undefined("rd_pro", f"map {i} has no two thresholds with an FPR in (0, 0.3)")
        values.append(_area(fpr / fpr.max(), pro))
    return float(np.mean(values)) if values else _undefined("rd_pro", "no defect pixel")


def stpm_pro(maps: ArrayLike, masks: ArrayLike, thresholds: int = 4000) -> float:
    """STPM's PRO, `evaluate.py` of gdwang08/STFPM (commit 2598a5e): both axes stretched to [0, 1].

    `thresholds` equal steps down from the maximum of all maps, strictly above, all regions
    together; points with FPR <= 0.3; then FPR AND overlap are min-max scaled (which inflates),
    trapezoid.
    """
    maps, masks = check_maps(maps, masks)
    split = split_pixels(maps, masks)
    if not split.defect.size or not split.normal.size:
        return _undefined("stpm_pro", "no defect pixel" if split.normal.size else "no normal pixel")
    low, high = float(maps.min()), float(maps.max())
    fpr, pro = _grid_curve(split, high - np.arange(thresholds) * ((high - low) / thresholds))
    fpr, pro = fpr[fpr <= FPR_LIMIT], pro[fpr <= FPR_LIMIT]
    if np.ptp(fpr) == 0 or np.ptp(pro) == 0:
        return _undefined("stpm_pro", "the curve up to an FPR of 0.3 is flat, nothing to rescale")
    return _area((fpr - fpr.min()) / np.ptp(fpr), (pro - pro.min()) / np.ptp(pro))


def destseg_pro(maps: ArrayLike, masks: ArrayLike) -> float:
    """DeSTSeg's PRO, `AUPRO` of apple/ml-destseg (commit f6ea31f), itself anomalib's of 2022.

    Per region, the ROC curve of that region against all normal pixels, up to FPR 0.3, re-sampled
    by INDEX to the number of points of the pooled ROC curve; the curves averaged, trapezoid,
    divided by the last FPR. Costs one pass over the kept thresholds a region. NaN also where a region's
    curve has no point with an FPR in (0, 0.3], as of tied background: there the code goes beyond 0.3.
    """
    split = split_pixels(maps, masks)
    if not split.defect.size or not split.normal.size:
        text = "no defect pixel" if split.normal.size else "no normal pixel"
        return _undefined("destseg_pro", text)
    values, counts = np.unique(split.normal, return_counts=True)
    values, false_rate = values[::-1], np.cumsum(counts[::-1]) / split.normal.size
    # One threshold beyond the limit is all that the interpolation at the limit can need.
    keep = min(int(np.searchsorted(false_rate, FPR_LIMIT, side="right")) + 1, values.size)
    values, false_rate = values[:keep], false_rate[:keep]
    pooled_fpr, _ = _roc(values, false_rate, split.defect)
    size = int((pooled_fpr <= FPR_LIMIT).sum())
    if size < 2:
        return _undefined("destseg_pro", "the pooled ROC curve has one point below an FPR of 0.3")
    fpr, tpr = np.zeros(size), np.zeros(size)
    regions = int(split.region.max()) + 1
    for region in range(regions):
        curve = _roc(values, false_rate, split.defect[split.region == region])
        if curve[0][curve[0] <= FPR_LIMIT].max() == 0:
            return _undefined("destseg_pro", f"the ROC curve of region {region} has no point with an FPR in (0, 0.3]")
        index = _sample_index(curve[0], size)
        for total, axis in zip((fpr, tpr), curve, strict=True):
            total += np.interp(index, np.arange(axis.size), axis) / regions
    # The interpolated last sample may lie left of the one before: the code sorts the points.
    order = np.argsort(fpr, kind="stable")
    return _area(fpr[order], tpr[order]) / float(fpr[-1])


def _grid_curve(split: Split, thresholds: NDArray) -> tuple[NDArray, NDArray]:
    """(FPR, mean overlap of the regions) of the pixels strictly above each threshold."""
    # A mean over regions of covered fractions is a sum over pixels of 1 / (regions x region size).
    sizes = np.bincount(split.region)
    weights = (1 / (sizes.size * sizes))[split.region]
    covered = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
    pro = covered[np.searchsorted(split.defect.astype(np.float64), thresholds, side="right")]
    # float64 thresholds against the array's own dtype, without a float64 copy of all pixels.
    below = np.searchsorted(split.normal, _floor_to(thresholds, split.normal.dtype), side="right")
    with np.errstate(invalid="ignore"):  # no background at all: NaN, which no limit keeps
        return (split.normal.size - below) / np.float64(split.normal.size), pro


def _floor_to(thresholds: NDArray, dtype: np.dtype) -> NDArray:
    """The largest value of `dtype` not above each threshold: the same pixels exceed it."""
    if dtype.kind != "f":
        return np.floor(thresholds).astype(dtype)
    rounded = thresholds.astype(dtype)
    return np.where(rounded > thresholds, np.nextafter(rounded, dtype.type(-np.inf)), rounded)


def _roc(values: NDArray, false_rate: NDArray, region: NDArray) -> tuple[NDArray, NDArray]:
    """ROC points from (0, 0), one a distinct score: descending normal `values` and the region's."""
    scores, counts = np.unique(region, return_counts=True)
    scores, true_rate = scores[::-1], np.cumsum(counts[::-1]) / region.size
    # Positions in the descending normal values, by searching the ascending ones from the right.
    place = values.size - np.searchsorted(values[::-1], scores, side="right")
    new = (place == values.size) | (values[np.minimum(place, values.size - 1)] != scores)
    rate = np.concatenate([[0.0], false_rate])
    fpr = np.insert(rate, place[new] + 1, rate[place[new]])
    # Each score's own point: scores before it that made a point of their own shift it.
    points = place + 1 + np.cumsum(new) - new
    steps = np.zeros(fpr.size)
    steps[points] = np.diff(true_rate, prepend=0.0)
    return fpr, np.cumsum(steps)


def _sample_index(fpr: NDArray, size: int) -> NDArray:
    """Where `size` samples lie on the points of a curve: even steps, the last one at FPR 0.3."""
    kept = int((fpr <= FPR_LIMIT).sum())
    if np.isclose(fpr[kept - 1], FPR_LIMIT, rtol=1e-5, atol=1e-8):
        return np.linspace(0, kept - 1, size)
    index = np.linspace(0, kept, size)
    index[-1] = kept - 1 + (FPR_LIMIT - fpr[kept - 1]) / (fpr[kept] - fpr[kept - 1])
    return index


def _area(x: NDArray, y: NDArray) -> float:
    """Trapezoid over x, ascending or descending, points of one x in the order given."""
    return abs(float(np.trapezoid(y, x)))


def _undefined(name: str, reason: str) -> float:
    warnings.warn(f"{name} is NaN: {reason}", UndefinedMetric, stacklevel=3)
    return float("nan")
