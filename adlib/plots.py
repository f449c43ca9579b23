"""Figures: maps on one scale a category, galleries, histograms, loss curves, and what speed is limited by.

One colour scale serves all maps of a figure: scaled one by one, a good part would glow as red as a defect.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from adlib.files import OVERLAY, is_overlay, whole_file
from adlib.images import Images
from adlib.methods import METHODS

CMAP = "inferno"
OUTLINE = "#00e5ff"
AROUND = 4  # pixels from a defect to the line around it
BINS = 30
WEAK_TOO = "anomaly map (colours by its square root)"
NORMAL, DEFECT = "#4c72b0", "#c44e52"
# A method has the same colour and marker in every figure; the marker tells apart what some eyes see as one colour.
COLOURS = dict(zip(METHODS, cycle([*sns.color_palette("colorblind", 10), (0.0, 0.0, 0.0)])))
MARKERS = dict(zip(METHODS, cycle("os^DvPX<*>hp")))
AXES = {"resolution": "pixels a side", "items": "items a memory"}  # of `growth`, where the name has no unit


def scale_of(maps: NDArray) -> Normalize:
    """Choose the one colour range for maps (N, H, W): from the median to the 99.9th percentile of their pixels.

    Of many maps some 64 to 127 are looked at, evenly chosen.
    """
    low, high = np.quantile(maps[:: max(1, len(maps) // 64)], [0.5, 0.999])
    return Normalize(float(low), float(max(high, low + 1e-12)), clip=True)


def weak_too(scale: Normalize) -> Normalize:
    """Spread the low end of a scale by a square root: a missed defect is a weak response, black on a linear scale."""
    return PowerNorm(0.5, scale.vmin, scale.vmax)  # with clip=True a colour bar has ticks from beyond its ends


def label_scale(figure: Figure, drawn: AxesImage, scale: Normalize, axes: Sequence[Axes], shrink: float) -> None:
    """Draw the bar of maps on a scale of `weak_too`, with ticks from its very low end on, where a missed defect is."""
    bar = figure.colorbar(drawn, ax=axes, label=WEAK_TOO, shrink=shrink, extend="both")
    ticks = [float(scale.inverse(part)) for part in (0, 0.25, 0.5, 0.75, 1)]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])


def show_image(axes: Axes, image: NDArray, mask: NDArray | None = None) -> None:
    """Draw an RGB image (3, H, W) uint8, with a line around what a mask (H, W) marks, if there is anything."""
    axes.imshow(image.transpose(1, 2, 0))
    if mask is not None and mask.any():
        beside = ndimage.binary_dilation(mask, iterations=AROUND)  # on it the line would hide a thin defect
        axes.contour(beside, levels=[0.5], colors=[OUTLINE], linewidths=0.8)
    axes.set_axis_off()


def overlay(image: NDArray, anomaly_map: NDArray, scale: Normalize) -> Image.Image:
    """Paint a map (H, W) over its image (3, H, W) uint8: clear at the low end of `scale`, opaque at the high."""
    level = np.asarray(scale(anomaly_map), dtype=float)[..., None]
    colours = 255 * plt.get_cmap(CMAP)(0.4 + 0.6 * level[..., 0])[..., :3]  # the dark end would hide the image
    opacity = 0.7 * level
    return Image.fromarray(((1 - opacity) * image.transpose(1, 2, 0) + opacity * colours).round().astype(np.uint8))


def save_overlay(picture: Image.Image, path: Path) -> None:
    """Write a picture of `overlay` as PNG, marked as what it is; never over a file without the mark (ValueError)."""
    check_overlay(path)
    mark = PngInfo()
    mark.add_text(*OVERLAY)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=mark)


def check_overlay(path: Path) -> None:
    """Raise ValueError if a picture may not be written to `path`, as something else is there."""
    if (path.exists() or path.is_symlink()) and not is_overlay(path):
        raise ValueError(
            f"{path} is there already and is no overlay of adlib, which would take its place: name another folder"
        )


def images(images: Images, index: Sequence[int], title: str = "") -> Figure:
    """Draw chosen images in a line, with lines around what their masks mark."""
    figure, axes = plt.subplots(1, len(index), figsize=(1.7 * len(index), 1.9), squeeze=False, layout="constrained")
    for axis, i in zip(axes[0], index, strict=True):
        show_image(axis, images.pixels[i].cpu().numpy(), images.masks[i].cpu().numpy())
    figure.suptitle(title, fontsize=10)
    return figure


def gallery(
    images: Images,
    maps: NDArray,
    scores: NDArray,
    bands: Mapping[str, Sequence[int]],
    title: str = "",
) -> Figure:
    """Draw bands of chosen images above their maps, all maps on one scale, over each its true kind and its score.

    `bands` are indices by what they show; the scale is that of all maps, by the square root (`weak_too`).
    """
    scale = weak_too(scale_of(maps))
    bands = {name: index for name, index in bands.items() if len(index)}
    columns = max(map(len, bands.values()))
    size = (1.7 * columns + 1.2, 3.6 * len(bands) + 0.2)
    figure, axes = plt.subplots(2 * len(bands), columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for band, (name, index) in enumerate(bands.items()):
        for column, i in enumerate(index):
            top, bottom = axes[2 * band : 2 * band + 2, column]
            show_image(top, images.pixels[i].cpu().numpy(), images.masks[i].cpu().numpy())
            top.set_title(f"{images.table.defect.iloc[i]}\n{scores[i]:.3g}", fontsize=8)
            drawn = bottom.imshow(maps[i], cmap=CMAP, norm=scale)
        start = axes[2 * band, 0]
        start.text(-0.08, 0.5, name, rotation=90, ha="right", va="center", fontsize=9, transform=start.transAxes)
    label_scale(figure, drawn, scale, axes.ravel().tolist(), shrink=0.5)
    figure.suptitle(title, fontsize=10)
    return figure


def best_and_worst(images: Images, maps: NDArray, scores: NDArray, count: int = 6, title: str = "") -> Figure:
    """Draw the defects with the highest and the lowest scores, and the normal images with the highest."""
    labels = images.labels.cpu().numpy()
    order = np.argsort(scores, kind="stable")[::-1]
    defects, normals = order[labels[order] == 1].tolist(), order[labels[order] == 0].tolist()
    bands = {
        "defects, highest scores": defects[:count],
        "defects, lowest scores": defects[count:][-count:],
        "normal, highest scores": normals[:count],
    }
    return gallery(images, maps, scores, bands, title=title)


def score_bins(scores: NDArray, threshold: float | None = None) -> tuple[NDArray, bool]:
    """Choose the bins for image scores: edges, and whether they are of the decimal logarithm.

    They are where the scores span more than a decade: else all but the worst fall into one bin. The threshold is an
    edge, so what is drawn right of it alarms.
    """
    logarithmic = bool(scores.min() > 0 and scores.max() > 10 * scores.min())
    place = np.log10 if logarithmic else np.asarray
    lowest, highest = place(scores.min()), place(scores.max())
    width = (highest - lowest) / BINS or 1.0
    edge = lowest if threshold is None else np.nextafter(place(threshold), np.inf)  # a score at it does not alarm
    first, last = np.floor((lowest - edge) / width), np.ceil((highest - edge) / width) + 1
    return edge + width * np.arange(first, last + 1), logarithmic


def histogram(scores: NDArray, labels: NDArray, title: str = "", threshold: float | None = None) -> Figure:
    """Draw the image scores of normal and defective test images in one histogram, and the threshold if there is one.

    The bins are those of `score_bins`.
    """
    edges, logarithmic = score_bins(scores, threshold)
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    kinds = pd.Series(labels).map({0: "normal", 1: "defect"})
    data = pd.DataFrame({"score": scores, "test image": kinds})
    sns.histplot(
        data,
        x="score",
        hue="test image",
        hue_order=["normal", "defect"],
        palette=[NORMAL, DEFECT],
        bins=edges,  # seaborn wants them as they lie on the axis
        element="step",
        log_scale=logarithmic,
        ax=axes,
    )
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        axes.text(threshold, 0.97, " threshold", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
    axes.set_title(title, fontsize=10)
    return figure


def losses(history: pd.DataFrame) -> Figure:
    """Draw each stage's loss terms over its steps; where epochs are chosen, the score of held-out images as dots.

    The score has an axis of its own, on the right, as it need not be a loss: STPM's is the mean of its maps. The least
    is the one whose weights are kept.
    """
    stages = list(dict.fromkeys(history["stage"]))
    figure, axes = plt.subplots(1, len(stages), figsize=(5 * len(stages), 2.8), squeeze=False, layout="constrained")
    terms = [c for c in history.columns if c not in ("stage", "step", "epoch", "loss", "validation")]
    for axis, stage in zip(axes[0], stages, strict=True):
        part = history[history["stage"] == stage]
        for term in (t for t in terms if part[t].notna().any()):
            axis.plot(part["step"], part[term], label=term, linewidth=1)
        if "validation" in part and part["validation"].notna().any():
            right = axis.twinx()
            right.plot(part["step"], part["validation"], "k.")
            right.set(ylabel="score of held-out good images (dots)", ylim=(0, None))
            right.spines["top"].set_visible(False)
        axis.set(title=stage, xlabel="step", ylabel="loss")
        axis.legend(fontsize=7, frameon=False)
        sns.despine(ax=axis)
    return figure


def localised(images: Images, maps: NDArray, index: Sequence[int], title: str = "") -> Figure:
    """Draw image, defect and map side by side, a row each: the picture that says what a method does."""
    scale = weak_too(scale_of(maps))
    figure, axes = plt.subplots(
        len(index), 3, figsize=(6.6, 2.2 * len(index) + 0.4), squeeze=False, layout="constrained"
    )
    for row, i in zip(axes, index, strict=True):
        pixels, mask = images.pixels[i].cpu().numpy(), images.masks[i].cpu().numpy()
        show_image(row[0], pixels)
        show_image(row[1], pixels, mask)
        drawn = row[2].imshow(maps[i], cmap=CMAP, norm=scale)
        row[2].set_axis_off()
        row[0].text(4, 14, images.table.defect.iloc[i], color="white", fontsize=8, backgroundcolor="#00000080")
    for axis, name in zip(axes[0], ("test image", "the defect", "anomaly map"), strict=True):
        axis.set_title(name, fontsize=9)
    label_scale(figure, drawn, scale, axes[:, 2].tolist(), shrink=0.8)
    figure.suptitle(title, fontsize=9)
    return figure


def every_run(rows: pd.DataFrame, metrics: Sequence[str] = ("image_auroc", "pixel_auroc", "aupro")) -> Figure:
    """Draw a dot a row, in percent: metrics side by side, a band a category, in it a line a method, as in the legend.

    Open dots are of the recipe `code`. The dotted line of an AUROC is chance.
    """
    rows = rows.assign(place=rows["dataset"] + "/" + rows["category"])
    places = [*dict.fromkeys(rows.sort_values(["dataset", "category"])["place"])]
    methods = [name for name in METHODS if name in set(rows["method"])]
    size = (4 * len(metrics) + 1.5, 0.12 * len(places) * max(3, len(methods)) + 1)
    figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, metric in zip(axes[0], metrics, strict=True):
        for at, part in rows.groupby(["place", "method", "recipe"]):
            place, method, recipe = map(str, at)
            line = places.index(place) + (methods.index(method) + 0.5) / len(methods) * 0.9 - 0.45
            face = "none" if recipe == "code" else COLOURS[method]
            axis.scatter(
                100 * part[metric],
                [line] * len(part),
                18,
                marker=MARKERS[method],
                facecolors=face,
                edgecolors=[COLOURS[method]],
            )
        for band in range(1, len(places), 2):
            axis.axhspan(band - 0.5, band + 0.5, color="0.95", zorder=0)
        if metric.endswith("auroc"):
            axis.axvline(50, color="0.4", linestyle=":", linewidth=0.8)
        axis.set(xlabel=f"{metric}, %", ylim=(len(places) - 0.5, -0.5))
        axis.set_yticks(range(len(places)), places)
        sns.despine(ax=axis)
    dots = [Line2D([], [], linestyle="", label=method, **_style(method)) for method in methods]
    if (rows["recipe"] == "code").any():
        dots.append(Line2D([], [], color="0.4", marker="o", fillstyle="none", linestyle="", label="recipe code"))
    title = "from top to bottom\nof each band"
    figure.legend(handles=dots, loc="outside right center", frameon=False, fontsize=8, title=title, title_fontsize=8)
    return figure


def _style(method: str, is_open: bool = False) -> dict[str, Any]:
    """Return how a method's points are drawn, as matplotlib names it."""
    colour = COLOURS[method]
    return {
        "color": colour,
        "marker": MARKERS[method],
        "markersize": 5,
        "markerfacecolor": "none" if is_open else colour,
        "markeredgewidth": 0.9,
    }


def pareto(table: pd.DataFrame, x: str, y: str) -> Axes:
    """Draw rows, each a `method` by a `recipe`, by a cost `x` (logarithmic) and a merit `y`.

    Those that none beats in both are joined by a line. A column `spread` is drawn as bars to either side of the merit.
    The legend has the rows from the highest merit to the lowest; open points are of the recipe `code`.
    """
    axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")[1]
    known = table.dropna(subset=[x, y]).sort_values(y, ascending=False)
    best = known[on_front(known[x], known[y])].sort_values(x)
    axes.step(best[x], best[y], where="post", color="0.5", linewidth=1, zorder=0, label="none is better in both")
    if "spread" in known:
        axes.errorbar(known[x], known[y], known["spread"], fmt="none", ecolor="0.8", elinewidth=0.8, zorder=0)
    for line in known.to_dict("records"):
        style = _style(line["method"], line["recipe"] == "code")
        axes.plot(line[x], line[y], linestyle="", label=f"{line['method']}, {line['recipe']}", **style)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    axes.set(xscale="log", xlabel=x, ylabel=y)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12, y=0.1)
    sns.despine(ax=axes)
    return axes


def on_front(cost: pd.Series, merit: pd.Series) -> pd.Series:
    """Mark the rows that no other one beats: none costs at most as much and is at least as good, and better in one."""
    return pd.Series(
        [not ((cost <= c) & (merit >= m) & ((cost < c) | (merit > m))).any() for c, m in zip(cost, merit, strict=True)],
        index=cost.index,
        dtype=bool,
    )


def roofline(table: pd.DataFrame) -> Figure:
    """Draw each method's rate over its arithmetic intensity, below the roof of the machine; both axes are logarithmic.

    `table` is what `benchmarks/roofline.py` writes: method, batch, intensity (FLOP/byte), gflops, peak_gflops,
    peak_gbytes_per_s. The points of a method are joined; those of its largest batch are filled.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    peak, bandwidth = table["peak_gflops"].iloc[0], table["peak_gbytes_per_s"].iloc[0]
    ridge = peak / bandwidth
    along = np.array([min(table["intensity"].min(), ridge) / 2, ridge, table["intensity"].max() * 2])
    roof = f"roof: {peak:.3g} GFLOP/s,\n{bandwidth:.3g} GB/s"
    axes.plot(along, np.minimum(peak, bandwidth * along), "k-", linewidth=1, label=roof)
    largest = table["batch"].max()
    for method in table.sort_values(["batch", "gflops"], ascending=False)["method"].unique():
        part = table[table["method"] == method].sort_values("batch")
        axes.plot(part["intensity"], part["gflops"], "-", color="0.8", linewidth=0.8, zorder=0)
        for line in part.to_dict("records"):
            filled = line["batch"] == largest
            axes.plot(line["intensity"], line["gflops"], linestyle="", **_style(method, not filled))
        axes.plot([], [], linestyle="", label=method, **_style(method))
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte", ylabel="GFLOP/s")
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        side.set_major_formatter("{x:g}")
        side.set_minor_locator(NullLocator())
    others = ", ".join(str(batch) for batch in sorted(table["batch"].unique()) if batch != largest)
    title = f"filled: batch {largest}" + (f"\nopen: batch {others}" if others else "")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5), title=title, title_fontsize=8)
    sns.despine(ax=axes)
    return figure


def growth(table: pd.DataFrame, axis: str) -> Figure:
    """Draw seconds and peak memory (MiB) along one axis of what `benchmarks/growth.py` writes, a line a method.

    Seconds: both axes are logarithmic, so that growth in proportion has slope 1. Memory: only the horizontal axis is.
    """
    part = table[table["axis"] == axis]
    values = sorted(part["value"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained")
    for place, column, unit in zip(axes, ("seconds", "peak_mib"), ("seconds", "peak memory, MiB"), strict=True):
        methods = [*dict.fromkeys(part["method"])]
        for (method, what), line in part.groupby(["method", "what"]):
            style = f"o{'--' if what == 'infer' else '-'}C{methods.index(method)}"
            place.plot(line["value"], line[column], style, markersize=3, label=f"{method}, {what}")
        place.set(xscale="log", xlabel=AXES.get(axis, axis), ylabel=unit)
        place.set_xticks(values, [f"{value:g}" for value in values])
        place.xaxis.set_minor_locator(NullLocator())
        sns.despine(ax=place)
    axes[0].set(yscale="log", ylim=(part["seconds"].min() / 2, 2 * part["seconds"].max()))
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[1].set_ylim(0, 1.1 * part["peak_mib"].max())
    lines = axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right center", frameon=False, fontsize=7, handlelength=4)
    return figure
