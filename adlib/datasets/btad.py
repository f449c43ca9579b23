"""BTAD, the beanTech anomaly dataset (Mishra et al., 'VT-ADL', ISIE 2021).

    <category>/train/ok/0000.bmp
    <category>/test/ok/0000.bmp
    <category>/test/ko/0000.bmp
    <category>/ground_truth/ko/0000.png

Images and masks are bmp or png, not always alike, so that a mask is found by the image's stem.
"""

from pathlib import Path

import pandas as pd

from .table import Sample, folders_in, images_in, mask_of, require, table

CATEGORIES = ("01", "02", "03")


def categories(root: Path) -> list[str]:
    """Categories present on the disk."""
    return [name for name in folders_in(root) if (root / name / "train" / "ok").is_dir()]


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one category; its only defect name is 'ko', the name of the dataset's folder."""
    folder = root / category
    require(folder, ["train/ok", "test/ok", "test/ko", "ground_truth/ko"], "BTAD")
    masks = folder / "ground_truth" / "ko"
    rows = [Sample(image, "train") for image in images_in(folder / "train" / "ok")]
    rows += [Sample(image, "test") for image in images_in(folder / "test" / "ok")]
    for image in images_in(folder / "test" / "ko"):
        mask = mask_of(image, masks, [f"{image.stem}.png", f"{image.stem}.bmp"])
        rows.append(Sample(image, "test", "ko", mask))
    return table(rows)
