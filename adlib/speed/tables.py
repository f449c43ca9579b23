"""Rows of measured speed as CSV files: written, read, worded for notebooks; the conditions that each row carries."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adlib.environment import PROJECT, environment
from adlib.files import whole_file

RESULTS = PROJECT / "results" / "speed"  # the committed rows
PLACE = ("precision", "commit", "device", "threads", "created", "python", "torch")  # the fields of `conditions`


def conditions(device: str = "cpu", precision: str = "fp32") -> dict[str, Any]:
    """Return what a figure holds under, for its row: device, threads, precision, versions, commit, time."""
    found = environment(device)
    versions = found.pop("versions")
    return {"precision": precision, **found, "python": versions["python"], "torch": versions["torch"]}


def write(rows: Iterable[Mapping[str, Any]], path: str | Path, digits: int | None = 4) -> Path:
    """Write rows as CSV, whole or not at all; floats with so many significant digits, or all that they have (None)."""
    path = Path(path)
    table = pd.DataFrame(list(rows), dtype=object)  # a column may hold text of before beside new numbers
    with whole_file(path) as temporary:
        table.map(lambda value: _cell(value, digits)).to_csv(temporary, index=False)
    return path


def _cell(value: Any, digits: int | None) -> str:
    if not isinstance(value, float | np.floating):
        return "" if value is None else str(value)
    return "" if np.isnan(value) else str(value) if digits is None else f"{value:.{digits}g}"


def read(topic: str, folder: str | Path = "") -> pd.DataFrame:
    """Read what `benchmarks/<topic>.py` wrote to a folder, by default the committed rows; no rows where it has not."""
    path = Path(folder or RESULTS) / f"{topic}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def shown(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Give the columns that rows have (by default all but their conditions) as text, three digits a number."""
    if rows.empty:
        return pd.DataFrame({"": ["not measured here"]})
    kept = [c for c in columns or rows.columns if c in rows and (columns or c not in PLACE)]
    return rows[kept].map(three_digits)


def three_digits(value: Any) -> str:
    """Return a number as text, three significant digits, from 100 on a whole one; NaN is empty, no float as it is."""
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
