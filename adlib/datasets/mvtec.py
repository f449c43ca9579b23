"""MVTec AD, and whatever uses its layout: MPDD, and the AITEX fabric tiles.

<category>/train/good/000.png
<category>/test/good/000.png
<category>/test/<defect>/000.png
<category>/ground_truth/<defect>/000_mask.png
"""

from pathlib import Path

import pandas as pd

from .table import GOOD, Sample, folders_in, images_in, mask_of, require, table

MVTEC = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
MPDD = ("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes")
AITEX = ("fabric",)


def categories(root: Path) -> list[str]:
    """Categories present on the disk: the sub-folders that hold a `train` folder."""
    return [name for name in folders_in(root) if (root / name / "train").is_dir()]


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one category; a defect without a mask is a FileNotFoundError."""
    folder = root / category
    require(folder, ["train/good", "test"], "MVTec AD")
    rows = [Sample(image, "train") for image in images_in(folder / "train" / GOOD)]
    for defect in folders_in(folder / "test"):
        masks = folder / "ground_truth" / defect
        for image in images_in(folder / "test" / defect):
            mask = None if defect == GOOD else mask_of(image, masks, _mask_names(image))
            rows.append(Sample(image, "test", defect, mask))
    return table(rows)


def _mask_names(image: Path) -> list[str]:
    return [f"{image.stem}_mask.png", f"{image.stem}.png"]
