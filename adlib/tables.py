"""Tables for readers: rows side by side and averaged over seeds, in percent."""

from collections.abc import Sequence

import pandas as pd

from adlib import results

METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")


def summary(rows: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """List rows with what identifies them and their metrics in percent, one decimal."""
    shown = rows[list(results.IDENTITY)].copy()
    for name in metrics:
        shown[name] = (100 * rows[name].astype(float)).round(1)
    return shown


def spread(rows: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Average rows over seeds: 'mean ± standard deviation (n)' in percent; one seed has no deviation."""
    averaged = results.aggregate(rows, metrics=metrics)
    shown = averaged[list(results.GROUP)].copy()
    for name in metrics:
        shown[name] = [
            _text(mean, std, n)
            for mean, std, n in zip(*(averaged[f"{name}_{what}"] for what in ("mean", "std", "n")), strict=True)
        ]
    return shown


def _text(mean: float, std: float, n: int) -> str:
    if n == 0:
        return "undefined"
    deviation = "" if n == 1 else f" ± {100 * std:.1f}"
    return f"{100 * mean:.1f}{deviation} ({n})"
