"""Samples -> images decoded once, in parallel, kept as uint8 -> normalised batches on the device.

What a file becomes: EXIF orientation applied; alpha dropped; palette and CMYK converted to RGB;
gray repeated three times; 16-bit gray divided by 257. Preprocessing (the common protocol):
`"resize"` makes images size x size with PIL's bilinear (antialiased) filter, masks likewise,
then >= 0.5; `"resize_nearest"` (MixedTeacher's code) takes the nearest pixel of masks. Its centre crop, which cuts
nothing of the square images that it was written for, is left out: of oblong ones it would cut the defects, too.
"""

import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from adlib import decoded
from adlib.datasets.table import COLUMNS, NOT_READ

IMAGE_SIZE = 256  # pixels a side that all methods see, and that everything is measured at
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, RGB
PREPROCESS = ("resize", "resize_nearest")
CLASS_INDICES = 16  # a mask below this holds class numbers (VisA), not gray levels
MANY = 200  # images from which a progress bar is worth its lines
ENOUGH_REFUSED = 10  # files after which no more are decoded

# What PIL's readers raise on a broken file: not only OSError.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, struct.error, zlib.error)


class UnknownMask(UserWarning):
    """Defects without pixel truth: pixel metrics leave them out, image metrics count them."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size with their truth, row i of `table` for entry i of each tensor.

    `pixels` (N, 3, H, W) uint8 RGB; `masks` (N, H, W) bool; `labels` (N,) int64, 1 = defect, from
    the table; `mask_known` (N,) bool, False for a defect without a mask or with an empty one.
    """

    pixels: Tensor
    masks: Tensor
    labels: Tensor
    mask_known: Tensor
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device | str) -> "Images":
        """The same images with all tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device), self.table)

    def normalised(self, index: Any) -> Tensor:
        """Images (B, 3, H, W) float32 at a slice, a list or a 1-d index, for the teacher."""
        return normalise(self.pixels[index].float() / 255)

    def subset(self, index: Any) -> "Images":
        """The images at a slice, a list of positions or a boolean mask (N,), in that order."""
        if isinstance(index, pd.Series):
            index = index.to_numpy(copy=True)
        rows = torch.arange(len(self))[index if isinstance(index, slice) else _cpu(index)]
        on_device = rows.to(self.pixels.device)
        table = self.table.iloc[rows.numpy()].reset_index(drop=True)
        return self._each(lambda tensor: tensor[on_device], table)

    def _each(self, change: Callable[[Tensor], Tensor], table: pd.DataFrame) -> "Images":
        return Images(
            change(self.pixels),
            change(self.masks),
            change(self.labels),
            change(self.mask_known),
            table,
        )


def normalise(x01: Tensor) -> Tensor:
    """RGB in [0, 1], (..., 3, H, W), less ImageNet's mean, over its standard deviation."""
    mean, std = _statistics(x01.device, x01.dtype)
    return (x01 - mean) / std


def load(
    samples: pd.DataFrame,
    size: int = IMAGE_SIZE,
    preprocess: str = "resize",
    workers: int | None = None,
    progress: bool | None = None,
    identity: str | None = None,
) -> Images:
    """Decode all `samples` (columns `COLUMNS`; mask None where there is none) at size x size.

    A mask whose largest value is below 16 holds class indices: non-zero is defect; any other is
    gray, white = defect. Warns once (`UnknownMask`) with the defects whose pixel truth is unknown.
    FileNotFoundError for a missing file; ValueError, naming the files, for one that cannot be
    decoded, a mask of another size than its image, a normal sample with a non-empty mask.
    `progress`: None shows a bar for many images in a terminal. `identity`: what
    `datasets.fingerprint` gives for a table with these samples; images that take long to decode
    are then kept on disk (`adlib.decoded`) and read from there the next time.
    """
    _check_samples(samples)
    _check_options(size, preprocess)
    table = samples.reset_index(drop=True)
    paths = [str(path) for path in table["image"]]
    mask_paths = [None if pd.isna(path) or path == "" else str(path) for path in table["mask"]]
    kept = None if identity is None else decoded.path(identity, table, size, preprocess)
    found = None if kept is None else decoded.read(kept, len(table), size)
    if found is None:
        start = time.monotonic()
        found = _decode(paths, mask_paths, size, preprocess, workers, progress)
        if kept is not None and time.monotonic() - start >= decoded.WORTH:
            decoded.write(kept, *found)
    pixels, masks = found
    labels = torch.tensor(table["label"].astype(int).tolist(), dtype=torch.int64)
    filled = masks.flatten(1).any(1)
    if (wrong := (labels == 0) & filled).any():
        first = int(wrong.nonzero()[0])
        raise ValueError(f"{paths[first]} is labelled normal, but {mask_paths[first]} has a defect")
    mask_known = (labels == 0) | filled
    _warn_unknown([paths[i] for i in (~mask_known).nonzero().flatten().tolist()])
    return Images(pixels, masks, labels, mask_known, table)


def load_textures(paths: Sequence[str | Path], size: int = IMAGE_SIZE) -> Tensor:
    """Decode images without truth (DTD, the source of pseudo-anomalies) to uint8 (M, 3, H, W)."""
    if not len(paths):
        raise ValueError("no textures: the list of paths is empty")
    _check_options(size, "resize")
    pixels = torch.empty((len(paths), 3, size, size), dtype=torch.uint8)

    def decode(i: int) -> None:
        image = read_image(str(paths[i]))
        pixels[i] = _to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))

    _in_parallel(decode, len(paths), None, None)
    return pixels


def read_image(path: str) -> Image.Image:
    """An upright RGB image of the file's size; ValueError, naming it, if it cannot be decoded."""
    image = _open(path)
    if image.mode == "F":
        raise ValueError(f"{path} holds floating-point values: expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{path} holds {values.min()} to {values.max()}: expected 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        # Through RGBA: a palette may itself be transparent, and alpha is dropped, not blended.
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_mask(path: str) -> Image.Image:
    """A gray 8-bit image, 255 = defect, of the file's size; errors as `read_image`."""
    image = _open(path)
    # A palette's numbers are the classes, its colours only show them; 0 is then black.
    palette = image.getpalette() if image.mode == "P" else None
    indices = palette and not any(palette[:3]) and np.asarray(image).max() < CLASS_INDICES
    wide = image.mode == "F" or image.mode.startswith("I")
    if image.mode in ("LA", "RGBA"):
        *colours, alpha = (np.asarray(band) for band in image.split())
        if all(np.ptp(colour) == 0 for colour in colours) and np.ptp(alpha):  # the shape is what is opaque
            image = image.getchannel("A")
    values = np.asarray(image if wide or indices else image.convert("RGB").convert("L"))
    if values.max() < CLASS_INDICES:
        values = np.where(values > 0, 255, 0)
    elif values.max() > 255:
        values = np.round(values / 257)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _open(path: str) -> Image.Image:
    """The whole file decoded and turned upright."""
    try:
        with Image.open(path) as image:
            # A phone's JPEG may have a second frame, too, which is a preview.
            if image.format in ("TIFF", "GIF", "WEBP") and (pages := getattr(image, "n_frames", 1)) > 1:
                raise ValueError(f"it holds {pages} images, of which only the first would be seen: save one a file")
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"{path} is larger than the {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels that Pillow opens: "
            "crop it to the part or scale it down; or raise PIL.Image.MAX_IMAGE_PIXELS where you trust the file"
        ) from None
    except MemoryError as error:  # also of a damaged header that asks for more than there is
        raise ValueError(f"cannot decode {path}: it is damaged, or asks for more memory than there is") from error
    except _BROKEN as error:
        unread = f"{Path(path).suffix} is not read here: convert it to PNG or JPEG"
        raise ValueError(
            f"cannot decode {path}: {unread if Path(path).suffix.lower() in NOT_READ else error}"
        ) from error


def _decode(
    paths: list[str],
    mask_paths: list[str | None],
    size: int,
    preprocess: str,
    workers: int | None,
    progress: bool | None,
) -> tuple[Tensor, Tensor]:
    """Pixels (N, 3, size, size) and masks (N, size, size) of all samples."""
    pixels = torch.empty((len(paths), 3, size, size), dtype=torch.uint8)
    masks = torch.empty((len(paths), size, size), dtype=torch.bool)

    def decode(i: int) -> None:
        pixels[i], masks[i] = _read_sample(paths[i], mask_paths[i], size, preprocess)

    _in_parallel(decode, len(paths), workers, progress)
    return pixels, masks


def _read_sample(path: str, mask_path: str | None, size: int, preprocess: str) -> tuple[Tensor, Tensor]:
    """Pixels (3, size, size) and mask (size, size) of one sample; without a mask all False."""
    image = read_image(path)
    pixels = _to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))
    if mask_path is None:
        return pixels, torch.zeros((size, size), dtype=torch.bool)
    mask = read_mask(mask_path)
    if mask.size != image.size:
        raise ValueError(
            f"mask {mask_path} is {mask.size[0]} x {mask.size[1]}, its image {path} is "
            f"{image.size[0]} x {image.size[1]}: expected the same size"
        )
    how = Image.Resampling.BILINEAR if preprocess == "resize" else Image.Resampling.NEAREST
    return pixels, torch.from_numpy(np.array(mask.resize((size, size), how)) >= 128)


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _in_parallel(decode: Callable[[int], None], count: int, workers: int | None, progress: bool | None) -> None:
    """Run `decode(i)` for all i in threads, as PIL works outside the interpreter lock; then name all refused files."""
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    # None lets tqdm decide: silent where stderr is no terminal, as in an executed notebook.
    silent = (None if count >= MANY else True) if progress is None else not progress
    refused: dict[int, Exception] = {}
    skipped: list[int] = []

    def attempt(i: int) -> None:
        if len(refused) >= ENOUGH_REFUSED:
            skipped.append(i)
            return
        try:
            decode(i)
        except (ValueError, FileNotFoundError) as error:
            refused[i] = error

    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half of Pillow's limit on
        for _ in tqdm(pool.map(attempt, range(count)), total=count, disable=silent, desc="decoding", leave=False):
            pass
    if refused:
        errors = [refused[i] for i in sorted(refused)]
        more = f"\nand perhaps more: {len(skipped)} others were not looked at" if skipped else ""
        said = "\n".join(map(str, errors)) + more
        raise (FileNotFoundError if isinstance(errors[0], FileNotFoundError) else ValueError)(said) from errors[0]


def _cores() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def _check_samples(samples: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in samples.columns]
    if missing:
        raise ValueError(f"samples lack the columns {missing}: expected {COLUMNS}")
    if samples.empty:
        raise ValueError("no samples: the table is empty")
    if not samples["label"].isin([0, 1]).all():
        found = sorted(map(str, samples["label"].unique()))
        raise ValueError(f"label must be 0 (normal) or 1 (defect), found {found}")
    if not samples["split"].isin(["train", "test"]).all():
        found = sorted(map(str, samples["split"].unique()))
        raise ValueError(f"split must be 'train' or 'test', found {found}")


def _check_options(size: int, preprocess: str) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, found {size}")
    if preprocess not in PREPROCESS:
        raise ValueError(f"preprocess must be one of {list(PREPROCESS)}, found {preprocess!r}")


def _warn_unknown(paths: list[str], shown: int = 20) -> None:
    if paths:
        more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
        warnings.warn(
            f"{len(paths)} defects have no mask or an empty one; pixel metrics leave them out: "
            + ", ".join(paths[:shown])
            + more,
            UnknownMask,
            stacklevel=3,
        )


def _cpu(index: Any) -> Tensor:
    tensor = torch.as_tensor(index).cpu()
    return tensor.long() if tensor.numel() == 0 else tensor


@lru_cache(maxsize=8)
def _statistics(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Kept on the device: a copy for each batch would wait for it."""
    mean, std = (torch.tensor(v, device=device, dtype=dtype).view(3, 1, 1) for v in (MEAN, STD))
    return mean, std
