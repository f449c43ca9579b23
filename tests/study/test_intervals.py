"""Intervals against closed forms, and by how often they cover the truth when it is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from adlib.study import intervals


def table(values: dict[str, list[float]]) -> pd.DataFrame:
    lines = [(category, seed, v) for category, of in values.items() for seed, v in enumerate(of)]
    return pd.DataFrame(lines, columns=["category", "seed", "value"])


def test_of_one_category_the_interval_over_seeds_is_students():
    values = [1.0, 2.0, 6.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert intervals.over_seeds(table({"a": values})) == pytest.approx((3.0, *expected))
    assert intervals.over_seeds(table({"a": [1.0], "b": [1.0, 2.0]}))[1:] == pytest.approx((math.nan,) * 2, nan_ok=True)


def test_of_two_categories_it_is_welchs():
    a, b = [1.0, 2.0, 6.0], [-1.0, -1.5, -1.1, -2.0]
    # the mean of both is half the difference of a and -b, whose interval scipy has
    expected = stats.ttest_ind(a, [-v for v in b], equal_var=False).confidence_interval(0.95)
    _, low, high = intervals.over_seeds(table({"a": a, "b": b}))
    assert (low, high) == pytest.approx((expected.low / 2, expected.high / 2))


def test_the_interval_over_categories_is_students_of_their_means():
    of = {"a": [1.0, 3.0], "b": [4.0, 4.0], "c": [0.0, 1.0]}
    expected = stats.ttest_1samp([2.0, 4.0, 0.5], 0).confidence_interval(0.95)
    assert intervals.over_categories(table(of)) == pytest.approx((6.5 / 3, *expected))
    assert math.isnan(intervals.over_categories(table({"a": [1.0, 2.0]}))[1])
    assert intervals.chance_over_categories(table(of)) == pytest.approx(stats.ttest_1samp([2.0, 4.0, 0.5], 0).pvalue)
    assert math.isnan(intervals.chance_over_categories(table({"a": [1.0, 2.0]})))


def test_values_that_agree_have_an_interval_without_width():
    assert intervals.over_seeds(table({"a": [2.0, 2.0], "b": [4.0, 4.0]})) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("spreads", [[1.0], [1.0, 1.0], [1.0, 5.0], [0.1, 1.0, 3.0], [1.0] * 6])
def test_19_of_20_intervals_cover_the_mean_of_these_categories(spreads):
    generator = np.random.default_rng(0)
    centres = 1 + np.arange(len(spreads)) - (len(spreads) - 1) / 2
    covered = []
    for _ in range(400):
        drawn = {str(i): list(generator.normal(centres[i], s, 3)) for i, s in enumerate(spreads)}
        _, low, high = intervals.over_seeds(table(drawn))
        covered.append(low <= 1 <= high)
    assert 0.93 <= np.mean(covered) <= 0.99  # a little more than 0.95 where spreads differ


@pytest.mark.parametrize("categories", [2, 3, 7])
def test_19_of_20_intervals_cover_the_mean_of_all_categories(categories):
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        drawn = {str(i): list(generator.normal(generator.normal(1, 2), 1, 3)) for i in range(categories)}
        _, low, high = intervals.over_categories(table(drawn))
        covered.append(low <= 1 <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


# Demsar 2006: the quantiles of Table 5(a), and the example of Section 3.2.3 (four methods, 14 data sets).
@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_the_published_one(methods, quantile):
    expected = quantile * math.sqrt(methods * (methods + 1) / 6)
    assert intervals.critical_difference(methods, 1) == pytest.approx(expected, rel=3e-4)
    assert intervals.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_in_one_of_twenty_studies_without_a_difference_some_ranks_lie_further_apart():
    ranks = np.random.default_rng(0).random((4000, 30, 5)).argsort(axis=2) + 1
    spans = np.ptp(ranks.mean(axis=1), axis=1)
    assert 0.035 <= np.mean(spans > intervals.critical_difference(5, 30)) <= 0.06
    assert math.isnan(intervals.critical_difference(1, 30))


def test_the_chance_of_an_effect_is_that_of_students_test():
    values = [0.5, 1.5, 2.5, 1.0]
    found = intervals.chance_over_seeds(pd.DataFrame({"category": "a", "value": values}))
    assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    bounds = intervals.over_seeds(pd.DataFrame({"category": "a", "value": values}))[1:]
    assert (found < 0.05) == (bounds[0] > 0 or bounds[1] < 0)
    assert intervals.chance_over_seeds(pd.DataFrame({"category": "a", "value": [1.0, 1.0]})) == 0
    assert intervals.chance_over_seeds(pd.DataFrame({"category": "a", "value": [0.0, 0.0]})) == 1


def test_holm_judges_from_the_smallest_on_and_stops_at_the_first_that_fails():
    chances = pd.Series([0.013, 0.04, float("nan"), 0.001, 0.03], index=[*"abcde"])  # of four: .0125, .0167, .025, .05
    assert intervals.holm(chances).to_dict() == {"a": True, "b": False, "c": False, "d": True, "e": False}


def test_the_interval_of_a_median_holds_it_as_often_as_it_says():
    """Whatever the distribution: of forty skewed values the 14th and the 27th hold it in 96 of 100 cases."""
    rng = np.random.default_rng(0)
    found = [intervals.of_median(rng.exponential(size=40)) for _ in range(2000)]
    covered = np.mean([low <= math.log(2) <= high for _, low, high in found])
    assert 0.95 <= covered <= 0.975
    alternating = [value for low in range(1, 21) for value in (low, 41 - low)]
    assert intervals.of_median(alternating) == (20.5, 14, 27)


def test_the_interval_of_a_median_reaches_to_the_medians_of_both_halves():
    """Of forty values that drift upwards all the way."""
    assert intervals.of_median(range(1, 41)) == (20.5, 10.5, 30.5)


def test_six_repetitions_are_the_fewest_with_an_interval():
    assert intervals.of_median([3, 1, 2, 6, 5, 4]) == (3.5, 1, 6)
    assert math.isnan(intervals.of_median([1, 2, 3, 4, 5])[1])


def test_scores_without_skill_exceed_the_limit_of_chance_in_one_of_twenty_test_sets():
    rng, limit = np.random.default_rng(0), intervals.chance_limit(20, 63)
    assert limit == pytest.approx(0.6226, abs=1e-4)
    ranks = np.array([rng.permutation(83)[:63].sum() for _ in range(4000)])  # of the defects, from 0
    auroc = (ranks - 63 * 62 / 2) / (20 * 63)
    assert np.mean(auroc > limit) == pytest.approx(0.05, abs=0.01)
    assert math.isnan(intervals.chance_limit(0, 5))


def test_auroc_error_is_that_of_exponential_scores():
    # Of a defect's score, so many times as large on average as a normal one's: AUROC = times / (1 + times).
    rng, times, normal, defect = np.random.default_rng(0), 4.0, 20, 12
    drawn = rng.exponential(size=(4000, normal, 1)) < rng.exponential(times, size=(4000, 1, defect))
    assert intervals.auroc_error(0.8, normal, defect) == pytest.approx(drawn.mean(axis=(1, 2)).std(), rel=0.03)


def test_auroc_error_without_skill_is_that_of_the_rank_sum():
    assert 0.5 + 1.6449 * intervals.auroc_error(0.5, 20, 63) == pytest.approx(intervals.chance_limit(20, 63), abs=1e-5)


def test_auroc_error_of_a_perfect_order_is_none_and_of_one_kind_unknown():
    assert intervals.auroc_error(1.0, 20, 63) == 0
    assert math.isnan(intervals.auroc_error(0.8, 20, 0))
