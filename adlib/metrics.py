"""Exact metrics of anomaly maps and image scores: no threshold grid, ties as trapezoids.

Pixel metrics take `maps` and `masks` of shape (N, H, W), all images of a test set together, the
normal ones included; image metrics take `scores` and `labels` of shape (N,), 1 = defect. Every
metric is unchanged by a strictly increasing transform of its scores. Half precision is compared
exactly as given. What is not defined is NaN, with an `UndefinedMetric` warning that says why.

How: the normal pixels are sorted once. A defect pixel then needs only two ranks among them (normal
pixels above its score, and at or above it), and each metric is a sum over defect pixels. Ranks are
counts, so they may be added over parts of the normal pixels: only `PART` of these are held at a time,
sorted in the maps' own precision, whatever the size of the test set. Beside its input an evaluation
needs 10 bytes a pixel of one part and about 50 bytes a defect pixel.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", "iap", "iap90")
EIGHT_CONNECTED = np.ones((3, 3), dtype=int)
PART = 1 << 23  # pixels held at a time: 128 maps of 256 x 256, or 8 of 1024 x 1024
BLOCK = 1 << 18  # defect pixels whose areas are held at a time


class UndefinedMetric(UserWarning):
    """A metric is NaN; the message names the metric and says why."""


class _UndefinedError(Exception):
    """The reason why a metric has no value."""


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve of the image scores; NaN without both kinds of image."""
    return _warned("image_auroc", lambda: _auroc(split_images(scores, labels)))


def image_ap(scores: ArrayLike, labels: ArrayLike) -> float:
    """Step-wise average precision, sum of (R_n - R_{n-1}) P_n; NaN without a defect."""
    return _warned("image_ap", lambda: _ap(split_images(scores, labels)))


def pixel_auroc(maps: ArrayLike, masks: ArrayLike) -> float:
    """Area under the ROC curve over all pixels of all images; NaN without both kinds of pixel."""
    return _warned("pixel_auroc", lambda: _auroc(split_pixels(maps, masks)))


def pixel_ap(maps: ArrayLike, masks: ArrayLike) -> float:
    """Step-wise average precision over all pixels of all images; NaN without a defect pixel."""
    return _warned("pixel_ap", lambda: _ap(split_pixels(maps, masks)))


def aupro(maps: ArrayLike, masks: ArrayLike, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap curve for false positive rates in [0, fpr_limit], over it.

    PRO(t) is the mean covered fraction of all 8-connected regions of the test set (MVTec AD,
    Bergmann et al. 2021); the false positive rate is that of all normal pixels together. The curve
    starts at (0, 0), ties are straight lines, its last point is interpolated at `fpr_limit`: a
    constant map has `fpr_limit / 2`. NaN without a region or without a normal pixel.
    """
    return _warned("aupro", lambda: _aupro(split_pixels(maps, masks), fpr_limit))


def iap(maps: ArrayLike, masks: ArrayLike) -> float:
    """Instance average precision (DeSTSeg, Zhang et al., CVPR 2023); NaN without a region.

    A region of n pixels is found at the score s that floor(n / 2) of its pixels exceed (in sorted
    order). With the K regions' s ascending, recall_i = 1 - i / K, and precision_i is the defect
    share of the pixels scored >= s_i, made non-decreasing in i; IAP is its mean.
    """
    return _warned("iap", lambda: float(_instance_precision(split_pixels(maps, masks)).mean()))


def iap_at(maps: ArrayLike, masks: ArrayLike, recall: float = 0.9) -> float:
    """IAP@k: the precision of `iap` at the smallest recall >= `recall` in (0, 1]."""
    return _warned("iap_at", lambda: _iap_at(split_pixels(maps, masks), recall))


def evaluate(
    maps: ArrayLike,
    masks: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    known: ArrayLike | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """All of `METRICS`, with one sort of the normal pixels, and why each NaN is one.

    Pixel metrics leave out the images whose mask is not `known` (N,); by default, the defects
    (label 1) with an empty mask. Image metrics count them. Never warns: the second dictionary
    has one reason for each metric that is NaN.
    """
    images = split_images(scores, labels)
    maps, masks = check_maps(maps, masks)
    flags = check_binary(labels, "labels")
    if len(flags) != len(maps):
        raise ValueError(f"{len(maps)} maps, but {len(flags)} scores and labels")
    seen = ~flags | masks.any(axis=(1, 2)) if known is None else check_binary(known, "known")
    if seen.shape != flags.shape:
        raise ValueError(f"known has shape {seen.shape}, expected {flags.shape}")
    pixels = split_pixels(maps, masks, seen)
    computations: dict[str, Callable[[], float]] = {
        "image_auroc": lambda: _auroc(images),
        "image_ap": lambda: _ap(images),
        "pixel_auroc": lambda: _auroc(pixels),
        "pixel_ap": lambda: _ap(pixels),
        "aupro": lambda: _aupro(pixels, 0.3),
        "iap": lambda: float(_instance_precision(pixels).mean()),
        "iap90": lambda: _iap_at(pixels, 0.9),
    }
    metrics, reasons = {}, {}
    for name, compute in computations.items():
        metrics[name], reason = _value(compute)
        if reason:
            left_out = f" ({int((~seen).sum())} defects have no known mask)"
            reasons[name] = reason + ("" if seen.all() or name.startswith("image") else left_out)
    return metrics, reasons


def count_regions(masks: ArrayLike) -> int:
    """Count the 8-connected regions of all masks (N, H, W)."""
    return int(_regions(check_binary(masks, "masks")).max(initial=-1)) + 1


@dataclass(frozen=True, eq=False)
class Split:
    """Scores by truth: those of `defect` pixels, ascending, the number of each one's `region`, how many are normal.

    `parts` gives the normal scores, unsorted, in arrays that the caller may change; anew at each call.
    """

    defect: NDArray
    region: NDArray[np.integer]
    normals: int
    parts: Callable[[], Iterator[NDArray]]
    what: str = "pixel"

    @cached_property
    def normal(self) -> NDArray:
        """All normal scores, ascending; a copy of them all, which no metric here needs."""
        return np.sort(np.concatenate([self.defect[:0], *self.parts()]))

    @cached_property
    def false_positives(self) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Of each defect score: how many normal scores are above it, and at or above it."""
        above, at = np.full((2, self.defect.size), self.normals)
        for normal in self.parts():
            normal.sort()
            above -= np.searchsorted(normal, self.defect, side="right")
            at -= np.searchsorted(normal, self.defect, side="left")
        return above, at

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """Share of defects among everything scored at least as high as each defect score."""
        positives = self.defect.size - np.searchsorted(self.defect, self.defect, side="left")
        return positives / (positives + self.false_positives[1])

    def require(self, normal: bool) -> None:
        """Raise the reason if there is no defect, or (where it matters) nothing normal."""
        if not self.defect.size:
            raise _UndefinedError(f"no defect {self.what}")
        if normal and not self.normals:
            raise _UndefinedError(f"no normal {self.what}")


def split_images(scores: ArrayLike, labels: ArrayLike) -> Split:
    """Image scores by label; ValueError unless both are (N,), finite and 0/1."""
    scores, labels = _check_scores(scores, "scores"), check_binary(labels, "labels")
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must both be (N,), found {scores.shape} and {labels.shape}")
    normal, defect = scores[~labels], np.sort(scores[labels])
    return Split(defect, np.arange(defect.size), normal.size, lambda: iter([normal.copy()]), "image")


def split_pixels(maps: ArrayLike, masks: ArrayLike, images: NDArray[np.bool_] | None = None) -> Split:
    """Pixel scores by mask, each defect pixel with its 8-connected region, 0 to K - 1.

    `images` (N,) says which to take, by default all. The maps are read again when ranks are asked for.
    """
    maps, masks = check_maps(maps, masks)
    chosen = np.arange(len(maps)) if images is None else np.flatnonzero(images)
    step = max(1, PART // max(1, maps[:1].size))
    parts = [chosen[i : i + step] for i in range(0, len(chosen), step)]
    defect = np.concatenate([_upcast(maps[:0].ravel()), *(_upcast(maps[part][masks[part]]) for part in parts)])
    order = np.argsort(defect, kind="stable")
    return Split(
        defect[order],
        _regions(masks[i] for i in chosen)[order],
        len(chosen) * maps[:1].size - defect.size,
        lambda: (_upcast(maps[part][~masks[part]]) for part in parts),
    )


def check_maps(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray, NDArray[np.bool_]]:
    """Both as arrays, the masks boolean; ValueError unless (N, H, W) alike, finite and 0/1."""
    maps, masks = _check_scores(maps, "maps"), check_binary(masks, "masks")
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps and masks must both be (N, H, W), found {maps.shape} and {masks.shape}")
    return maps, masks


def check_binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """The values as booleans; ValueError unless they are booleans, or all 0 or 1."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} must be boolean, or 0 and 1; found {_describe(array)}")
    return array.astype(bool)


def _check_scores(values: ArrayLike, name: str) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be real numbers, found dtype {array.dtype}")
    # NaN and infinity show in the extremes: no boolean array of the size of the maps.
    if array.size and not np.isfinite([array.min(), array.max()]).all():
        raise ValueError(f"{name} must be finite, found {_describe(array)}")
    return _upcast(array) if array.ndim == 1 else array


def _describe(array: NDArray) -> str:
    if array.dtype.kind not in "iuf":
        return f"dtype {array.dtype}"
    if array.dtype.kind == "f" and np.isnan(array).any():
        return f"NaN in {np.isnan(array).sum()} of {array.size} values"
    return f"dtype {array.dtype} in [{array.min():g}, {array.max():g}]"


def _upcast(values: NDArray) -> NDArray:
    """Half precision as single: the same numbers, sorted many times faster."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _regions(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.int32]:
    """The region number of each defect pixel, image by image, row by row."""
    pieces, total = [np.zeros(0, dtype=np.int32)], 0
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            continue
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # labelling reads every pixel it is given
        labelled, count = ndimage.label(box, structure=EIGHT_CONNECTED)
        pieces.append(labelled[box].astype(np.int32) + np.int32(total - 1))
        total += count
    return np.concatenate(pieces)


def _auroc(split: Split) -> float:
    split.require(normal=True)
    above, at = split.false_positives
    # Whole numbers until the last division: half the pairs that a tie leaves undecided.
    wrong = int(above.sum()) + int(at.sum())
    return 1 - wrong / (2 * split.normals * split.defect.size)


def _ap(split: Split) -> float:
    split.require(normal=False)
    return float(split.precision.mean())


def _aupro(split: Split, limit: float) -> float:
    if not 0 < limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], found {limit}")
    split.require(normal=True)
    sizes = np.bincount(split.region)
    covered = np.zeros(sizes.size)
    for start in range(0, split.defect.size, BLOCK):
        block = slice(start, start + BLOCK)
        above, at = (count[block] / split.normals for count in split.false_positives)
        # A pixel adds to the curve a ramp from FPR `above` to FPR `at`, then 1: this is its area.
        width = np.maximum(at - above, np.finfo(float).tiny)
        cut = np.maximum(limit - above, 0) ** 2 / (2 * width)
        area = np.where(at <= limit, limit - (above + at) / 2, cut)
        # Over the limit first: the sums of a perfect map are then whole numbers, and it has 1 exactly.
        covered += np.bincount(split.region[block], weights=area / limit, minlength=sizes.size)
    return float((covered / sizes).mean())


def _instance_precision(split: Split) -> NDArray[np.float64]:
    """The non-decreasing precision of each region, in the order of their scores."""
    split.require(normal=False)
    # `defect` ascends, so each region's pixels do too after a stable sort by region.
    by_region = np.argsort(split.region, kind="stable")
    sizes = np.bincount(split.region)
    found = by_region[np.cumsum(sizes) - 1 - sizes // 2]
    return np.maximum.accumulate(split.precision[np.sort(found)])


def _iap_at(split: Split, recall: float) -> float:
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be in (0, 1], found {recall}")
    precision = _instance_precision(split)
    # (K - i) / K is the double nearest to the ratio, as 0.9 is to 9/10: no rounding trap.
    recalls = np.arange(precision.size, 0, -1) / precision.size
    return float(precision[np.flatnonzero(recalls >= recall)[-1]])


def _value(compute: Callable[[], float]) -> tuple[float, str]:
    try:
        return compute(), ""
    except _UndefinedError as reason:
        return float("nan"), str(reason)


def _warned(name: str, compute: Callable[[], float]) -> float:
    value, reason = _value(compute)
    if reason:
        warnings.warn(f"{name} is NaN: {reason}", UndefinedMetric, stacklevel=3)
    return value
