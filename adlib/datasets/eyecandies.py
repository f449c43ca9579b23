"""Eyecandies (Bonfiglioli et al., ACCV 2022), colour images only.

    <category>/train/data/000_image_0.png
    <category>/test_public/data/00_image_0.png      also _image_1 ... _image_5, _depth, _normals
    <category>/test_public/data/00_mask.png
    <category>/test_public/data/00_metadata.yaml    lines such as anomalous: 1, anomalous_bumps: 0

Of the six lightings `image_0` (all spotlights on) is read. `val` belongs to neither split and
`test_private` has no labels: both are left out. Layout read from the authors' page and code
(eyecan-ai/eyecandies, docs/download.md at 6b2fc50, eyecandies/commands/download.py at a579c59).
"""

import re
from pathlib import Path

import pandas as pd

from .table import GOOD, Sample, folders_in, images_in, mask_of, require, table

CATEGORIES = (
    *("CandyCane", "ChocolateCookie", "ChocolatePraline", "Confetto", "GummyBear"),
    *("HazelnutTruffle", "LicoriceSandwich", "Lollipop", "Marshmallow", "PeppermintCandy"),
)
LIGHT = "image_0"
DEFECTS = ("bumps", "colors", "dents", "normals")


def categories(root: Path) -> list[str]:
    """Categories present on the disk."""
    return [name for name in folders_in(root) if (root / name / "train" / "data").is_dir()]


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one category.

    A defect's name joins the kinds that its metadata names, as in 'bumps+colors', or is
    'anomalous' where they name none. A test image without metadata is a FileNotFoundError.
    """
    folder = root / category
    require(folder, ["train/data", "test_public/data"], "Eyecandies")
    rows = [Sample(image, "train") for image in _images(folder / "train")]
    for image in _images(folder / "test_public"):
        number = image.name.removesuffix(f"_{LIGHT}.png")
        defect = _defect(image.with_name(f"{number}_metadata.yaml"))
        mask = None if defect == GOOD else mask_of(image, image.parent, [f"{number}_mask.png"])
        rows.append(Sample(image, "test", defect, mask))
    return table(rows)


def _images(split: Path) -> list[Path]:
    return [path for path in images_in(split / "data") if path.name.endswith(f"_{LIGHT}.png")]


def _defect(metadata: Path) -> str:
    """Defect name from a metadata file, whose lines are `key: 0` or `key: 1`."""
    if not metadata.is_file():
        raise FileNotFoundError(f"test image without its label: expected {metadata}")
    text = metadata.read_text()
    flags = {
        key: value.lower() in ("1", "true")
        for key, value in re.findall(r"^(\w+):[ \t]*(\w+)[ \t]*$", text, re.MULTILINE)
    }
    if "anomalous" not in flags:
        raise ValueError(f"{metadata}: expected a line 'anomalous: 0' or 'anomalous: 1'")
    if not flags["anomalous"]:
        return GOOD
    kinds = [kind for kind in DEFECTS if flags.get(f"anomalous_{kind}")]
    return "+".join(kinds) or "anomalous"
