"""What a paper says of a method's inside or of its maps, as numbers: the abrupt rise, depth and halo, noise, spread.

Each is a function of arrays or of a training's log; `benchmarks/diagnostics.py` measures them, `claims` judges them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

# Stages of EfficientNet, which MixedTeacher's Fig. 2 does not name: one as fine as ResNet's layer1, and the last. The
# bundled EfficientNet was distilled at both; at stage 6, which the paper distils, it was not.
BOTTOM_AND_TOP = {"bottom": 2, "top": 7}
# Steps after which BatchNorm's own statistics have forgotten their beginning, a variance of 1: a tenth less a step, it
# then weighs a hundredth of the 1e-5 that BatchNorm adds to every variance.
FORGOTTEN = 153
EDGES = (0, 4, 8, 16, 32, np.inf)  # bins of distances, in pixels
SEEN = 0.1  # the silhouette from which on values count as clusters; one that lies inside another has none


def abrupt_rise(losses: pd.DataFrame, window: int = 5, trend: int = 20) -> dict[str, float]:
    """Compare L_cos before and after the student is frozen (memory DeSTSeg, Figs. 9 and 17).

    While the student trains the loss falls, within a few steps by more than a jump may be. So the value before is where
    the line through its last steps arrives when training stops, which is where the frozen student begins.

    Args:
        losses: `History.losses` of a DeSTSeg with `log_both_modes`, whose columns `_cos_train` and `_cos_eval` are
            L_cos with BatchNorm on the batch's statistics and on its own.
        window: steps averaged after the freezing.
        trend: last steps before it that the line is fitted to.

    Returns `before`, where the first stage arrives as it trains; `after` and `after_batch`, the beginning of the second
    with the student's own and with the batch's statistics; `rise` = after - before, and `rise_batch`.
    Raises ValueError where the log has no such columns.
    """
    if not {"_cos_train", "_cos_eval"} <= set(losses.columns):
        raise ValueError("the log holds no L_cos in both modes: train with the override log_both_modes=True")
    first = losses.loc[losses["stage"] == "student", "_cos_train"].tail(trend).to_numpy()
    second = losses[losses["stage"] == "segmentation"].head(window)
    # The loss of a step is that of the weights before it, so the frozen ones are those of one step further.
    line = np.polynomial.Polynomial.fit(np.arange(len(first)), first, deg=min(1, len(first) - 1))
    before, after = float(line(len(first))), float(second["_cos_eval"].mean())
    batch = float(second["_cos_train"].mean())
    found = {"before": before, "after": after, "after_batch": batch}
    return found | {"rise": after - before, "rise_batch": batch - before}


def threshold_at(maps: np.ndarray, false_positive_rate: float) -> float:
    """Choose the threshold that this share of the pixels of normal maps (N, H, W) exceeds."""
    return float(np.quantile(maps, 1 - false_positive_rate))


def still_rising(values: np.ndarray, by: float = 0.05) -> bool:
    """Tell whether the last fifth of a curve (N,), N >= 2, lies above the fifth before by more than a share of it."""
    fifth = max(1, len(values) // 5)
    return bool(values[-fifth:].mean() > (1 + by) * values[-2 * fifth : -fifth].mean())


def recall_by_depth(
    maps: np.ndarray, masks: np.ndarray, threshold: float, edges: Sequence[float] = EDGES
) -> pd.DataFrame:
    """Count found defect pixels by how deep they lie in their defect: `depth` (its upper edge), `pixels`, `recall`.

    `recall` is NaN where no pixel lies that deep, also without any image.

    Args:
        maps, masks: (N, H, W); the depth of a pixel is its distance to the nearest pixel outside, in pixels.
        edges: of the bins, increasing; a pixel belongs to (edges[i], edges[i + 1]].
    """
    masks = masks.astype(bool)
    found = _above_by_distance(maps, masks, ~masks, threshold, edges)
    return found.set_axis(["depth", "pixels", "recall"], axis=1)


def alarms_by_distance(
    maps: np.ndarray, masks: np.ndarray, threshold: float, edges: Sequence[float] = EDGES
) -> pd.DataFrame:
    """Count false alarms beside what was found: `distance` (its upper edge), `pixels`, `alarms` (a share).

    A pixel without a defect counts by its distance to the nearest defect pixel above the threshold: beside what was
    missed there is nothing to be seen, so that of two maps the one that finds more would seem to flag more. Images
    without a defect pixel above the threshold do not count. Otherwise as `recall_by_depth`.
    """
    masks = masks.astype(bool)
    hits = masks & (maps > threshold)
    shown = hits.any(axis=(1, 2))
    found = _above_by_distance(maps[shown], ~masks[shown], hits[shown], threshold, edges)
    return found.set_axis(["distance", "pixels", "alarms"], axis=1)


def _above_by_distance(
    maps: np.ndarray, counted: np.ndarray, border: np.ndarray, threshold: float, edges: Sequence[float]
) -> pd.DataFrame:
    """Of the pixels `counted`, by their distance to those of `border`: upper edge, count, share above the threshold."""
    # Without a border pixel scipy's distances mean nothing: then all is infinitely far.
    away = (ndimage.distance_transform_edt(~of) if of.any() else np.full(of.shape, np.inf) for of in border)
    far = (distance[pixels] for distance, pixels in zip(away, counted, strict=True))
    which = np.digitize(np.concatenate([np.empty(0), *far]), edges, right=True) - 1
    count = np.bincount(which, minlength=len(edges) - 1)
    above = np.bincount(which, weights=maps[counted] > threshold, minlength=len(edges) - 1)
    share = np.divide(above, count, out=np.full(len(count), np.nan), where=count > 0)
    return pd.DataFrame({"edge": edges[1:], "count": count, "share": share})


def normal_noise(maps: np.ndarray, masks: np.ndarray) -> float:
    """Measure how restless maps (N, H, W) are where nothing is wrong, relative to what a defect adds.

    The mean over images without a defect of the map's standard deviation, divided by the difference of the mean over
    defect pixels and the mean over normal images; NaN where a defect adds nothing. Needs both kinds of images.
    """
    defective = masks.astype(bool).any(axis=(1, 2))
    normal = maps[~defective]
    contrast = maps[masks.astype(bool)].mean() - normal.mean()
    return float(normal.std(axis=(1, 2)).mean() / contrast) if contrast > 0 else math.nan


def spill(maps: np.ndarray, masks: np.ndarray, reach: float = 16) -> float:
    """Measure how far the answer to a defect goes beyond it: 0 where it ends at the border, 1 where it goes on as high.

    The answer is what a map has above the mean map of the normal images: its mean over the normal pixels up to `reach`
    pixels from a defect, divided by that over defect pixels (both image by image, then over images; noise, which has no
    sign, cancels). A negative mean outside counts as 0. Images without a normal pixel that near are left out. NaN where
    defects get no answer on average. Needs both kinds of images.

    Args:
        maps, masks: (N, H, W).
        reach: in pixels.
    """
    masks = masks.astype(bool)
    defective = masks.any(axis=(1, 2))
    above = maps[defective] - maps[~defective].mean(axis=0)
    inside, beside = [], []
    for answer, mask in zip(above, masks[defective], strict=True):
        near = ~mask & (ndimage.distance_transform_edt(~mask) <= reach)
        if near.any():
            inside.append(answer[mask].mean())
            beside.append(answer[near].mean())
    return float(max(np.mean(beside), 0) / np.mean(inside)) if inside and np.mean(inside) > 0 else math.nan


def compactness(values: Mapping[str, np.ndarray]) -> float:
    """Measure how well the learned values (L, C) of each category stand apart: the mean silhouette, -1 to 1.

    By cosine distance; 0 is what values without any order give. Raises ValueError for fewer than two categories.
    """
    if len(values) < 2:
        raise ValueError(f"a silhouette compares categories; got {list(values)}")
    labels = np.repeat(list(values), [len(v) for v in values.values()])
    return float(silhouette_score(np.concatenate(list(values.values())), labels, metric="cosine"))


def neighbours_alike(points: np.ndarray, labels: np.ndarray, count: int = 5) -> float:
    """Measure order that a silhouette does not see: the share of each point's nearest ones that bear its label.

    A cluster that lies inside another has a silhouette of about 0. Without any order the share is that of the label
    among the others. Raises ValueError (scikit-learn's) for no more points than `count`.

    Args:
        points: (N, D), compared by Euclidean distance.
        labels: (N,).
        count: how many neighbours, beside the point itself.
    """
    nearest = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)  # none is its own
    return float((labels[nearest] == labels[:, None]).mean())


def movement(before: np.ndarray, after: np.ndarray) -> float:
    """Measure how far training has moved a memory's items (L, C) from where the seed put them.

    The mean cosine distance item by item: 0 where they are, up to scale, 1 for directions that have nothing in common.
    What is near 0 shows its beginning, and no order of it means anything.
    """
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (before, after)]
    return float((1 - (units[0] * units[1]).sum(axis=1)).mean())


def compact_and_apart(own: float | None, other: float | None, seen: float = SEEN) -> float | None:
    """Judge MemKD's S2-13 by two silhouettes: its values lie together, and more so than MemAE's. Above 0: both hold.

    The lesser margin decides: how far `own` lies above `seen`, below which it counts no clusters, and above `other`;
    values without any order have an `own` of 0, so that one below it denies the claim. In between the values are on
    their way, and nothing is known: None. For `own` and `other` None stands for memories that training has not moved:
    without `other` the first margin is an upper bound, which can say that the claim fails and not that it holds;
    without `own` there is none.
    """
    if own is None or 0 < own < seen:
        return None
    value = min(own - seen if own >= seen else own, math.inf if other is None else own - other)
    return None if other is None and value > 0 else value
