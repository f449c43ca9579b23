"""Synthetic inspection benchmark: eight parts drawn from a seed, in the MVTec layout.

Four textures and four objects, 256 x 256, each with five or six kinds of defect and exact masks. Nothing is
downloaded: a category is drawn when it is first asked for.

    <category>/{train/good,test/good,test/<defect>}/000.png, ground_truth/<defect>/000_mask.png, synthetic.json
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from adlib.datasets import mvtec
from adlib.datasets.synthetic import (
    blister_pack,
    brushed_steel,
    canvas,
    circuit_board,
    crown_cap,
    gear,
    terrazzo,
    veneer,
)
from adlib.datasets.synthetic.render import Picture, picture
from adlib.errors import check_known

__all__ = ["CATEGORIES", "DEFECTS", "SEED", "VERSION", "Counts", "draw", "generate", "samples"]

VERSION = 1  # raise it whenever a pixel changes
SEED = 0
RECORD = "synthetic.json"

_MODULES = {
    "canvas": canvas,
    "brushed_steel": brushed_steel,
    "veneer": veneer,
    "terrazzo": terrazzo,
    "gear": gear,
    "crown_cap": crown_cap,
    "blister_pack": blister_pack,
    "circuit_board": circuit_board,
}
CATEGORIES: tuple[str, ...] = tuple(_MODULES)
DEFECTS: dict[str, tuple[str, ...]] = {name: module.DEFECTS for name, module in _MODULES.items()}


@dataclass(frozen=True)
class Counts:
    """Pictures a category: good ones to train on, good ones to test on, and of each kind of defect."""

    train: int = 60
    good: int = 20
    defect: int = 8


def draw(category: str, split: str, defect: str, index: int, seed: int = SEED) -> Picture:
    """One picture with its mask and its renders before noise; depends on nothing but the arguments.

    `defect` is 'good' or one of `DEFECTS[category]`; ValueError for a name that is neither.
    """
    check_known("synthetic category", category, CATEGORIES)
    check_known(f"{category} defect", defect, ("good", *DEFECTS[category]))
    return picture(_MODULES[category].render, category, seed, split, defect, index)


def generate(root: Path, category: str, seed: int = SEED, counts: Counts = Counts()) -> Path:
    """Draw a category into `root`/`category` and return that folder; keep it if it is there already.

    The folder appears whole or not at all, also when two processes draw it at once. ValueError for an unknown
    category, or for a folder drawn with another version, seed or counts.
    """
    check_known("synthetic category", category, CATEGORIES)
    folder = Path(root) / category
    record = {"version": VERSION, "seed": seed, "counts": asdict(counts)}
    if folder.exists():
        _check(folder, record)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{category}-", dir=folder.parent))
    try:
        _write(scratch, category, seed, counts)
        (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        scratch.chmod(0o755)  # mkdtemp's folders are closed to everyone else
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.exists():
                raise
            _check(folder, record)  # another process was faster
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of samples of one category, drawn first if `root` does not hold it yet."""
    check_known("synthetic category", category, CATEGORIES)
    root = Path(root)
    folder = root / category
    if not folder.exists():
        generate(root, category)
    else:
        _check(folder, {"version": VERSION})
    return mvtec.samples(root, category)


def categories(root: Path) -> list[str]:
    """All categories: those that `root` lacks are drawn on first use."""
    return list(CATEGORIES)


def _check(folder: Path, expected: dict[str, object]) -> None:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} has no readable {RECORD}; delete the folder to draw it again") from error
    found = {key: record.get(key) for key in expected}
    if found != expected:
        raise ValueError(f"{folder}: expected {expected}, found {found}; delete the folder to draw it again")


def _write(folder: Path, category: str, seed: int, counts: Counts) -> None:
    plan = [("train", "good", counts.train), ("test", "good", counts.good)]
    plan += [("test", defect, counts.defect) for defect in DEFECTS[category]]
    for split, defect, count in plan:
        images, masks = folder / split / defect, folder / "ground_truth" / defect
        images.mkdir(parents=True)
        for index in range(count):
            drawn = draw(category, split, defect, index, seed)
            Image.fromarray(drawn.image).save(images / f"{index:03d}.png", compress_level=3)
            if drawn.mask is not None:
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(masks / f"{index:03d}_mask.png")
