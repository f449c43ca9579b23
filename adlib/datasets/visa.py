"""VisA (Zou et al., 'SPot-the-Difference', ECCV 2022) with its one-class split.

    split_csv/1cls.csv                          columns object, split, label, image, mask
    <category>/Data/Images/Normal/0000.JPG
    <category>/Data/Images/Anomaly/000.JPG
    <category>/Data/Masks/Anomaly/000.png

Its masks hold small class numbers (1, 2, ...), not 255: the authors' own preparation script sets
every non-zero pixel to 255, and whoever decodes them must do the same.
"""

import csv
from pathlib import Path

import pandas as pd

from .table import Sample, mask_of, require, table

CATEGORIES = (
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
    *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
)
SPLIT = "split_csv/1cls.csv"
FIELDS = ["object", "split", "label", "image", "mask"]


def categories(root: Path) -> list[str]:
    """Categories present on the disk."""
    return [name for name in CATEGORIES if (root / name).is_dir()]


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one category; its only defect name is 'anomaly', as the split csv names no type."""
    require(root, [SPLIT, category], "VisA")
    rows = []
    with (root / SPLIT).open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != FIELDS:
            raise ValueError(f"{root / SPLIT}: expected columns {FIELDS}, found {reader.fieldnames}")
        for row in reader:
            if row["object"] == category:
                rows.append(_sample(root, row))
    return table(rows)


def _sample(root: Path, row: dict[str, str]) -> Sample:
    image = root / row["image"]
    if not image.is_file():
        raise FileNotFoundError(f"{root / SPLIT} lists {row['image']}, but there is no {image}")
    if row["label"] == "normal":
        return Sample(image, row["split"])
    return Sample(image, row["split"], row["label"], mask_of(image, root, [row["mask"]]))
