"""How sure a difference is: 95 % intervals of a mean of few numbers, and how far apart mean ranks must be.

An interval is of these categories, of categories like these, or of a median of repetitions. The first two are Student's
t: a bootstrap's is too narrow for so few. Without any effect, of one category and three seeds it leaves 0 out in a
quarter of all cases.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

ENOUGH_SEEDS = 3  # with fewer there is no verdict, and no difference between methods is told from chance


def over_seeds(values: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of `value` over these `category`s (equal weights), and what seeds leave uncertain of it: mean, low, high.

    For claims: a printed mean is one over a list of categories. Each has a spread over its seeds of its own (degrees of
    freedom: Welch and Satterthwaite). Says nothing of other categories. NaN where a category has a single value.
    """
    return _interval(*_welch(values))


def chance_over_seeds(values: pd.DataFrame) -> float:
    """How likely a mean at least as far from 0 is where there is no effect: two-sided p, by the t of `over_seeds`."""
    return _chance(*_welch(values))


def holm(chances: pd.Series, level: float = 0.05) -> pd.Series:
    """Return a mask of the p that are conclusive when all are judged at once: in `level` of studies of nothing, any is.

    Holm's step-down method (1979): the smallest of n has to be below level / n, the next below level / (n - 1), until
    one is not. NaN is not judged. As exact as the p are: those of few seeds are too small far from 0, where one
    category's spread is much larger than the others'.
    """
    ordered = chances.dropna().sort_values()
    bounds = level / (len(ordered) - pd.Series(range(len(ordered)), ordered.index))
    return (ordered <= bounds).cummin().reindex(chances.index, fill_value=False).astype(bool)


def of_median(values: Sequence[float]) -> tuple[float, float, float]:
    """Median of repetitions, and between which two of them in order it lies with at least 95 %: median, low, high.

    By the binomial distribution of how many repetitions lie below it, whatever theirs is. That takes repetitions for
    independent, and a machine drifts: so the interval reaches at least to the median of either half, in their order.
    NaN for fewer than six, which have no such two.
    """
    given = np.asarray(values, dtype=float)
    ordered = np.sort(given)
    rank = int(stats.binom.ppf(0.025, len(ordered), 0.5))
    if rank == 0:
        return float(np.median(ordered)), math.nan, math.nan
    halves = [float(np.median(half)) for half in np.array_split(given, 2)]
    return float(np.median(ordered)), min(float(ordered[rank - 1]), *halves), max(float(ordered[-rank]), *halves)


def chance_limit(normal: int, defect: int) -> float:
    """AUROC that scores without any skill exceed in one of twenty test sets of so many images.

    0.5 + 1.645 standard errors of the rank-sum statistic without ties (Mann and Whitney, 1947). NaN without both kinds.
    """
    if not normal or not defect:
        return math.nan
    return 0.5 + float(stats.norm.ppf(0.95)) * math.sqrt((normal + defect + 1) / (12 * normal * defect))


def auroc_error(auroc: float, normal: int, defect: int) -> float:
    """Standard error of an AUROC (0 to 1) through the choice of so many test images, as if drawn from many alike.

    Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982: exact where scores have
    exponential distributions, and in use for all others. It needs no single score, so it knows nothing of how alike two
    methods err on the same images: a difference between them has a smaller error than both together. NaN without both
    kinds of images.
    """
    if not normal or not defect:
        return math.nan
    two_defects, two_normal = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)  # both above a normal; one above both
    beyond = (defect - 1) * (two_defects - auroc**2) + (normal - 1) * (two_normal - auroc**2)
    return math.sqrt((auroc * (1 - auroc) + beyond) / (normal * defect))


def over_categories(values: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of `value` over `category`s, each the mean over its seeds, as drawn from many alike: mean, low, high.

    For choosing a method for one's own parts. NaN for one category, which says nothing of others; two hardly do.
    """
    return _interval(*_of_means(values))


def chance_over_categories(values: pd.DataFrame) -> float:
    """How likely a mean at least as far from 0 is where there is no effect: two-sided p, by the t of `over_categories`.

    NaN for one category.
    """
    return _chance(*_of_means(values))


def critical_difference(methods: int, categories: int) -> float:
    """By how many mean ranks some two methods differ in one of twenty studies where all are equally good.

    Nemenyi's test, which is of all pairs at once (Demsar, "Statistical Comparisons of Classifiers over Multiple Data
    Sets", JMLR 7, 2006, Section 3.2.2). NaN of one method.
    """
    if methods < 2:
        return math.nan
    quantile = float(stats.studentized_range.ppf(0.95, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * categories))


def _welch(values: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of categories' means, its standard error and degrees of freedom; NaN where a category has one value."""
    groups = values.groupby("category")["value"]
    mean, errors, free = groups.mean().mean(), groups.var(ddof=1) / groups.size(), groups.size() - 1
    if (free == 0).any():
        return float(mean), math.nan, math.nan
    total = errors.sum()
    degrees = total**2 / (errors**2 / free).sum() if total else free.sum()
    return float(mean), math.sqrt(total) / len(errors), float(degrees)


def _of_means(values: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of categories' means, its standard error and degrees of freedom; the error of one category is NaN."""
    means = values.groupby("category")["value"].mean()
    return float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means)), len(means) - 1


def _chance(mean: float, error: float, degrees: float) -> float:
    return float(2 * stats.t.sf(abs(mean) / error, degrees)) if error else float(mean == 0)


def _interval(mean: float, error: float, degrees: float) -> tuple[float, float, float]:
    reach = float(stats.t.ppf(0.975, degrees)) * error
    return mean, mean - reach, mean + reach
