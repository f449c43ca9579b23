"""Rows by what their columns say: where their images are from, of what kind, and which columns have given values."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from adlib.datasets import kind, origin


def places(rows: pd.DataFrame) -> pd.Series:
    """Name the dataset and category of each row, as 'mvtec/bottle'."""
    return rows["dataset"] + "/" + rows["category"]


def origins(rows: pd.DataFrame) -> pd.Series:
    """Name the origin of each row's images, 'real' or 'generated' (`datasets.origin`)."""
    return rows["dataset"].map(origin)


def kinds(rows: pd.DataFrame) -> pd.Series:
    """Name the kind of each row's images, 'texture', 'object' or 'part' (`datasets.kind`)."""
    found = [kind(dataset, category) for dataset, category in zip(rows["dataset"], rows["category"], strict=True)]
    return pd.Series(found, rows.index, dtype=object)


def real(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of real images."""
    return rows[origins(rows) == "real"]


def with_values(rows: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """Take the rows whose columns equal the values that are wanted of them; KeyError for a column that is not there."""
    return rows[(rows[list(wanted)] == pd.Series(dict(wanted), dtype=object)).all(axis=1)]
