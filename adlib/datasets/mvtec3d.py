"""MVTec 3D-AD (Bergmann et al., VISAPP 2022), colour images only.

    <category>/train/good/rgb/000.png
    <category>/validation/good/rgb/000.png
    <category>/test/<defect>/rgb/000.png
    <category>/test/<defect>/gt/000.png         all zero for test/good

The point clouds beside them (`xyz/`) are not read. The validation images are left out of the
table: they belong to neither split, and nothing here is selected on them.
"""

from pathlib import Path

import pandas as pd

from .table import GOOD, Sample, folders_in, images_in, mask_of, require, table

CATEGORIES = (
    *("bagel", "cable_gland", "carrot", "cookie", "dowel"),
    *("foam", "peach", "potato", "rope", "tire"),
)


def categories(root: Path) -> list[str]:
    """Categories present on the disk."""
    return [name for name in folders_in(root) if (root / name / "train" / GOOD / "rgb").is_dir()]


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one category; a defect without a mask is a FileNotFoundError."""
    folder = root / category
    require(folder, ["train/good/rgb", "test/good/rgb"], "MVTec 3D-AD")
    rows = [Sample(image, "train") for image in images_in(folder / "train" / GOOD / "rgb")]
    for defect in folders_in(folder / "test"):
        masks = folder / "test" / defect / "gt"
        for image in images_in(folder / "test" / defect / "rgb"):
            mask = None if defect == GOOD else mask_of(image, masks, [f"{image.stem}.png"])
            rows.append(Sample(image, "test", defect, mask))
    return table(rows)
