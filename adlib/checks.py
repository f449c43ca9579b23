"""What can be wrong with somebody's own images, in plain words, before and after a training.

Every check returns sentences: what was found, in which files, what it does to the result, what to do. None of them
stops anything but images that cannot train at all.
"""

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ExifTags, Image
from scipy.stats import mannwhitneyu
from torch import Tensor

from adlib.files import sha256
from adlib.images import Images
from adlib.threshold import held_out_needed

DARK = 32  # of 255: no pixel is brighter in what was stored with 8 to 12 bits and read as having 16
FEW = 30  # training images; of MVTec AD's fifteen categories, fourteen have over 200 and the least has 60
SHAPE = 1.1  # longest ratio of width to height over the shortest, from which resizing squeezes parts differently
SHARPER = 1.5  # ratio of the sides of two photographs from which one is the sharper at 256 x 256
LIGHTER = 32  # of 255: by so much more light or less an image is of another light
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
DETAIL = 128  # pixels a side at which images are compared
# Correlation of fine detail from which two images are one photograph. On MVTec's bottle, screw, pill and transistor,
# AITEX and MTD different photographs reach 0.93; copies that were stored as JPEG (quality 60), scaled to 180 pixels or
# darkened by a fifth mostly have over 0.95. A shift by a pixel hides a copy.
NEAR = 0.95
BORDER = 16  # pixels
LIGHT = 0.95  # share of the pairs of a defect and a good image in which the one is brighter, or darker
MOST = 0.5  # of an image, from which a mask rather marks what is good
FEW_DEFECTS = 5  # below, the light of so few photographs may well differ by chance
CONFIDENCE = 0.05  # chance of calling good images and defects different where they are not


def check_enough_held_out(held_out: int, false_alarm_rate: float) -> list[str]:
    """Compare the number of held-out good images with how many a false-alarm rate needs."""
    if held_out >= (needed := held_out_needed(false_alarm_rate)):
        return []
    return [
        f"Few held-out images: a false-alarm rate of {false_alarm_rate:.1%} can be promised from "
        f"{needed} held-out good images on, and there are {held_out}: the threshold is their "
        f"highest score, which promises {1 / (held_out + 1):.1%}. Add good images, or ask for a higher rate."
    ]


def check_files(samples: pd.DataFrame) -> list[str]:
    """Look at the table of samples: too few images, sizes that differ, one file in two places.

    Raises ValueError where no normal image is held out, so that no threshold can be chosen.
    """
    train = int((samples["split"] == "train").sum())
    held_out = int(((samples["split"] == "test") & (samples["label"] == 0)).sum())
    if held_out == 0:
        raise ValueError(
            f"too few images: {train} of good parts, of which none can be held out to choose a threshold; at least 5 "
            f"are needed, some {FEW} or more train a usable detector"
        )
    found = []
    if train < FEW:
        found.append(
            f"Few images: {train} good images to train on. Below {FEW} a detector hardly learns how much good parts "
            "differ, and good ones will alarm. Photograph more good parts."
        )
    sizes = {path: _size(path) for path in samples["image"]}
    return found + _sizes(sizes) + _resolutions(samples, sizes) + _two_names(samples)


def check_masks(samples: pd.DataFrame, masks: Sequence[Path]) -> list[str]:
    """Compare the table of samples with all masks that lie in the folder: those of no image, defects without one."""
    found = []
    used = set(samples["mask"].dropna())
    if unused := [str(path) for path in masks if str(path) not in used]:
        found.append(
            f"Masks of no image: {_count(len(unused), 'mask fits', 'masks fit')} no defect ({_some(unused)}). The mask "
            "of <defect>/000.jpg is <defect>/000.png or <defect>/000_mask.png in ground_truth/ or masks/."
        )
    defects = samples[samples["label"] == 1]
    without = defects.loc[defects["mask"].isna(), "image"]
    if masks and len(without):
        found.append(
            f"Defects without a mask: {len(without)} of {len(defects)} ({_some(without)}). What the test says of where "
            "the defects are leaves them out."
        )
    return found


def check_dark(train: Images) -> list[str]:
    """Look at the brightest pixel: 12 bits stored in files of 16 are read as nearly black, and most levels are lost."""
    brightest = int(train.pixels.max())
    if brightest >= DARK:
        return []
    return [
        f"Nearly black: no pixel of the training images is brighter than {brightest} of 255. If the camera has 10 or "
        "12 bits and the files 16, most levels are lost: multiply the values so that they fill 16 bits, then train."
    ]


def check_areas(test: Images) -> list[str]:
    """Look for masks that outline nothing at the size that is measured at, or nearly all: white may mean good there."""
    found = []
    empty = test.table.loc[test.table["mask"].notna().to_numpy() & ~test.mask_known.numpy(), "image"]
    if len(empty):
        size = test.masks.shape[-1]
        found.append(
            f"Masks without a defect: {_count(len(empty), 'mask is', 'masks are')} empty at {size} x {size} pixels "
            f"({_some(empty)}): the defect is thinner than a pixel there, or painted too dark, where white, 255, is "
            "meant. What the test says of where the defects are leaves them out."
        )
    outlined = test.masks[test.mask_known & (test.labels == 1)]
    if len(outlined) and (median := float(outlined.float().mean(dim=(1, 2)).median())) > MOST:
        found.append(
            f"Masks of nearly all: half of the masks mark {median:.0%} of their image as defect, or more. White, 255, "
            "is defect, black good: if yours are the other way round, invert them; until then what the test says of "
            "where the defects are is wrong."
        )
    return found


def check_duplicates(train: Images, test: Images) -> list[str]:
    """Compare the pixels of training and test images: test images that the training has seen, exactly or nearly."""
    ours, theirs = detail(train.pixels), detail(test.pixels)
    exact: list[tuple[str, str]] = []
    near: list[tuple[str, str]] = []
    for index in torch.arange(len(test)).split(256):
        alike, where = (theirs[index] @ ours.T).max(dim=1)
        for i, j, value in zip(index.tolist(), where.tolist(), alike.tolist(), strict=True):
            if value >= NEAR:
                pair = (test.table.image[i], train.table.image[j])
                if torch.equal(test.pixels[i], train.pixels[j]):
                    exact.append(pair)
                else:
                    near.append(pair)
    found = []
    if exact or near:
        counts = [_count(len(exact), "exact copy", "exact copies")] if exact else []
        counts += [_count(len(near), "near copy", "near copies")] if near else []
        found.append(
            f"Test images seen in training: {' and '.join(counts)} of training images "
            f"({_pairs(exact + near)}). The test then looks better than new parts will. Keep all photographs of one "
            "part on one side; if these are different parts after all, ignore this."
        )
    return found


def check_brightness(test: Images) -> list[str]:
    """Look at the mean of all pixels: where it tells defects from good images, a score may be of the light.

    So it is in MVTec AD's screw (`benchmarks/shortcuts.py`), and no defect is the reason.
    """
    mean = _brightness(test)
    good, defects = mean[test.labels.numpy() == 0], mean[test.labels.numpy() == 1]
    if min(len(good), len(defects)) < FEW_DEFECTS:
        return []
    brighter = float(mannwhitneyu(defects, good).statistic) / (len(good) * len(defects))
    if max(brighter, 1 - brighter) < LIGHT:
        return []
    return [
        f"Brightness alone tells the defects: in {max(brighter, 1 - brighter):.0%} of all pairs the defect is the "
        f"{'brighter' if brighter > 0.5 else 'darker'} image. Unless the defects themselves are that large, they were "
        "photographed in another light, and what the test says of scores may be of the light. Photograph both in the "
        "same light; until then trust the maps."
    ]


def looks(loaded: Images) -> pd.DataFrame:
    """Measure what changes with the camera and the light: `brightness` (0 to 255) and `side` (pixels), a line an image.

    `side` is the square root of the file's width times height.
    """
    sides = [math.sqrt(math.prod(_size(path))) for path in loaded.table["image"]]
    return pd.DataFrame({"brightness": _brightness(loaded), "side": sides})


def check_alike(good: Mapping[str, tuple[float, float]], scored: pd.DataFrame) -> list[str]:
    """Compare images to score with the least and greatest of what `looks` found of the good ones, by its columns."""
    found = []
    for name, of in (("brightness", "a mean brightness (of 255)"), ("side", "a size (pixels a side)")):
        low, high = good[name]
        least, most = (low - LIGHTER, high + LIGHTER) if name == "brightness" else (low / SHARPER, high * SHARPER)
        outside = scored.loc[~scored[name].between(least, most), name]
        if len(outside) > len(scored) / 2:
            found.append(
                f"Other images than those learned from: {len(outside)} of {len(scored)} have {of} of "
                f"{outside.min():.0f} to {outside.max():.0f}, where the good ones had {low:.0f} to {high:.0f}. Of "
                "another light or camera a score says little: photograph as for the training, or train anew."
            )
    return found


def check_scores(table: pd.DataFrame, threshold: float) -> list[str]:
    """Look at the test images' scores: defects that score like good parts, good parts that score like defects.

    `table` has the columns image, label, score.
    """
    good, defects = table[table["label"] == 0], table[table["label"] == 1]
    if defects.empty:
        return [
            "No defects to test on: the threshold follows from the good images alone, and nobody knows which defects "
            "it finds. Even five images of defects, in a folder beside the good ones, would show it."
        ]
    test = mannwhitneyu(defects["score"], good["score"], alternative="greater")
    auroc = test.statistic / (len(good) * len(defects))
    missed = defects[defects["score"] <= threshold]
    found = []
    if 1 / math.comb(len(table), len(good)) > CONFIDENCE:  # not even a perfect order would be told from chance
        found.append(
            f"Too few images to judge the detector: with {_count(len(good), 'good image', 'good images')} held out and "
            f"{_count(len(defects), 'defect', 'defects')} even a perfect order may be chance. In {auroc:.0%} of all "
            "pairs the defect has the higher score. Add images."
        )
    elif test.pvalue > CONFIDENCE:
        found.append(
            f"Held-out good images score like the defects: in {auroc:.0%} of all pairs the defect has the higher "
            "score, no better than chance (50%) allows. Do not use this detector. See whether the defects can be seen "
            "at 256 x 256 pixels, whether good images are sorted rightly, and try another teacher, scale or method."
        )
    elif len(missed) > len(defects) / 2:
        found.append(
            f"Most defects are missed: {len(missed)} of {len(defects)} score below the threshold, lowest "
            f"{_some(missed.sort_values('score')['image'])}. They may be too small at 256 x 256 pixels; a higher "
            "false-alarm rate, more training or another method may help."
        )
    suspects = good[good["score"] > defects["score"].median()].sort_values("score", ascending=False)
    if len(suspects) and test.pvalue <= CONFIDENCE:
        found.append(
            f"Look at {_count(len(suspects), 'held-out good image that scores', 'held-out good images that score')} "
            f"higher than half of the defects: {_some(suspects['image'])}. Perhaps they show defects, or "
            "another kind of part."
        )
    return found


def check_held_out(train: NDArray, held_out: NDArray) -> list[str]:
    """Compare scores of good images: held-out ones that score far above those of the training are of another kind."""
    beyond = float((held_out > train.max()).mean())
    if beyond <= 0.5:
        return []
    return [
        f"Held-out good images differ from the training images: {beyond:.0%} score higher than every training image. "
        "Other light, camera or kind of part, or too few training images: train on images as they will come."
    ]


def check_border(maps: NDArray) -> list[str]:
    """Look at where the maps (N, H, W) of held-out good images are highest: at the border no defect is the reason.

    Convolutions see zeros beyond the border, and a short training has not learnt there what the teacher makes of them.
    """
    highest = maps.reshape(len(maps), -1).argmax(axis=1)
    row, column = np.divmod(highest, maps.shape[2])
    from_border = np.minimum.reduce([row, column, maps.shape[1] - 1 - row, maps.shape[2] - 1 - column])
    at_border = int((from_border < BORDER).sum())
    if at_border <= len(maps) / 2:
        return []
    return [
        f"The border sets the threshold: in {at_border} of {len(maps)} held-out good images the map is highest within "
        f"{BORDER} pixels of the border, where student and teacher differ without a defect. Weaker defects "
        "show in the maps and do not alarm. A longer training lessens it; so does plain background around the part."
    ]


def detail(pixels: Tensor) -> Tensor:
    """Reduce images (N, 3, H, W) to their fine detail, vectors (N, 16384) of length 1 and mean 0.

    What parts of one kind share is coarse and goes; grain and dirt, which are one photograph's own, stay.
    """
    vectors = []
    for part in pixels.split(64):
        gray = F.interpolate(part.float().mean(dim=1, keepdim=True), size=(DETAIL, DETAIL), mode="area")
        fine = (gray - F.avg_pool2d(F.pad(gray, (2, 2, 2, 2), mode="reflect"), 5, 1)).flatten(1)
        vectors.append(F.normalize(fine - fine.mean(dim=1, keepdim=True), dim=1))
    return torch.cat(vectors)


def _brightness(loaded: Images) -> NDArray:
    """Each image's mean over pixels and colours, 0 to 255."""
    return np.array([float(image.double().mean()) for image in loaded.pixels])


def _resolutions(samples: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Compare how many pixels good images and defects have: a detector may tell cameras apart, and not parts."""
    sides = samples["image"].map(lambda path: math.sqrt(math.prod(sizes[path])))
    good, defects = (sides[samples["label"] == label].median() for label in (0, 1))
    if not max(good, defects) / min(good, defects) > SHARPER:  # also without a defect
        return []
    return [
        f"Good images and defects are of different resolution: {good:.0f} and {defects:.0f} pixels a side in the "
        "median. The detector may tell the cameras apart, and not the parts: photograph both in the same way."
    ]


def _sizes(sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    kinds = Counter(sizes.values())
    shapes = [width / height for width, height in kinds]
    if max(shapes) / min(shapes) < SHAPE:
        return []
    widest, tallest = (f"{w} x {h}" for w, h in (max(kinds, key=_shape), min(kinds, key=_shape)))
    common, count = kinds.most_common(1)[0]
    odd = [path for path, size in sizes.items() if size != common]
    mostly = f"; {count} have {common[0]} x {common[1]}, others are {_some(odd)}" if count > len(sizes) / 2 else ""
    return [
        f"Sizes differ: {len(kinds)} sizes, from {tallest} to {widest} pixels (width x height){mostly}. All become "
        "256 x 256, so the same part looks wider in one image than in another. Crop them to one shape if you can."
    ]


def _shape(size: tuple[int, int]) -> float:
    return size[0] / size[1]


def _size(path: str) -> tuple[int, int]:
    """Width and height of an upright image, from its header; (1, 1) for one whose decoding will say what is wrong."""
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
            return (image.height, image.width) if turned else image.size
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError):
        return 1, 1


def _two_names(samples: pd.DataFrame) -> list[str]:
    """Find files of the same bytes among both the good images and the defects."""
    names: dict[str, list[Any]] = defaultdict(list)
    for _, part in samples.groupby(samples["image"].map(lambda path: Path(path).stat().st_size)):
        if part["label"].nunique() > 1:
            for row, path in part["image"].items():
                names[sha256(Path(path))].append(row)
    groups = [samples.loc[rows].sort_values("label")["image"] for rows in names.values()]
    both = [(g.iloc[0], g.iloc[-1]) for g in groups if samples.loc[g.index, "label"].nunique() > 1]
    if not both:
        return []
    return [
        f"One image, two names: {_count(len(both), 'image lies', 'images lie')} both among the good ones and among the "
        f"defects ({_pairs(both)}). Decide which it is and delete the other."
    ]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(paths: Sequence[str] | pd.Series) -> str:
    return _first([_short(path) for path in paths])


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return _first([f"{_short(a)} = {_short(b)}" for a, b in pairs])


def _first(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
