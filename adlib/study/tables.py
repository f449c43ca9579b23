"""Tables of rows for readers: side by side, averaged over seeds, methods compared with each other; in percent."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from adlib import results
from adlib.study.filters import places
from adlib.study.intervals import chance_over_categories, holm, over_categories

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


def by_category(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Set methods (lines; with several recipes, a line each) against categories (columns): cells as in `spread`.

    `rows` are of one scale and teacher, without overrides; what has no row says 'not run'.
    """
    shown = spread(rows, [metric])
    shown["place"] = places(shown)
    lines = ["method", "recipe"] if shown["recipe"].nunique() > 1 else ["method"]
    grid = shown.pivot(index=lines, columns="place", values=metric)
    return grid.rename_axis(columns=metric).fillna("not run")


def paired_differences(rows: pd.DataFrame, metric: str, between: str = "method") -> pd.DataFrame:
    """Compare every two methods, or values of another column, on the categories and seeds of both, in percent points.

    Columns better, worse, difference (the mean over categories of the mean over seeds), low, high (its 95 %
    interval, `intervals.over_categories`: NaN of one), pairs, categories, excludes_0 (whether the interval does, each
    difference for itself), after_holm (whether it stays so when all are judged at once: `intervals.holm`); the largest
    first. `rows` have one row a method (or value of `between`), category and seed.
    """
    keys = ["dataset", "category", "seed"]
    values = rows.pivot(index=keys, columns=between, values=metric).astype(float)
    lines, chances = [], []
    for a, b in combinations(values.columns, 2):
        both = (100 * (values[a] - values[b])).dropna().rename("value").reset_index()
        if both.empty:
            continue
        better, worse = (a, b) if both.groupby(keys[:2])["value"].mean().mean() >= 0 else (b, a)
        both["value"] *= 1 if better == a else -1
        both["category"] = places(both)
        mean, low, high = over_categories(both)
        chances.append(chance_over_categories(both))
        lines.append((better, worse, mean, low, high, len(both), both["category"].nunique(), low > 0))
    columns = ["better", "worse", "difference", "low", "high", "pairs", "categories", "excludes_0"]
    found = pd.DataFrame(lines, columns=columns).assign(after_holm=holm(pd.Series(chances, dtype=float)))
    return found.sort_values("difference", ascending=False, ignore_index=True)


def made_again(rows: pd.DataFrame, others: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Compare runs with the same runs on another processor, in percent points: a line a method and metric.

    A method with overrides has a line of its own. Columns `difference` (of `rows` less `others`, mean over pairs) with
    its 95 % interval `low` to `high` (Student's t over `pairs`), `spread` (the standard deviation of a difference),
    `largest` (of all, either way), `seeds` (the standard deviation over seeds in a category of `rows`, pooled).
    """
    keys = [*results.IDENTITY, "precision", "data_sha256", "teacher_sha256"]
    texts = [part.assign(overrides=part["overrides"].map(results.text_of)) for part in (rows, others)]
    both = texts[0].merge(texts[1], on=keys, suffixes=("", "_other"))
    lines = []
    for setting, group in both.groupby(["method", "recipe", "overrides", "precision"]):
        for metric in metrics:
            found = 100 * (group[metric] - group[f"{metric}_other"]).to_numpy(dtype=float)
            pairs = pd.DataFrame({"category": range(len(found)), "value": found})
            mean, low, high = over_categories(pairs) if np.isfinite(found).all() else (math.nan,) * 3
            spread = float(found.std(ddof=1)) if len(found) > 1 else math.nan
            variances = group.groupby(["dataset", "category"])[metric].var(ddof=1)
            seeds = 100 * float(np.sqrt(np.nanmean(variances.to_numpy(dtype=float))))
            measured = (len(found), mean, low, high, spread, float(np.abs(found).max()), seeds)
            lines.append((*setting, metric, *measured))
    columns = ["method", "recipe", "overrides", "precision", "metric", "pairs"]
    return pd.DataFrame(lines, columns=[*columns, "difference", "low", "high", "spread", "largest", "seeds"])


def instead(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Give `rows` with those of `others` in place of the ones of the same runs; raise ValueError where one has none."""
    runs = [part[list(results.IDENTITY)].to_dict("records") for part in (rows, others)]
    names, theirs = ([results.text_of(run) for run in part] for part in runs)
    if strange := sorted(set(theirs) - set(names)):
        raise ValueError(f"no row to take the place of: {strange[0]}")
    return pd.concat([rows[[name not in theirs for name in names]], others], ignore_index=True)


def _text(mean: float, std: float, n: int) -> str:
    if n == 0:
        return "undefined"
    deviation = "" if n == 1 else f" ± {100 * std:.1f}"
    return f"{100 * mean:.1f}{deviation} ({n})"
