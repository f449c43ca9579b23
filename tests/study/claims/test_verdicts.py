"""What an interval needs for each verdict."""

import pytest

from adlib.study.claims import verdicts


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.2, 1.4, verdicts.SUPPORTED), (1.0, 1.1, verdicts.CONTRADICTED), (1.0, 1.4, verdicts.INCONCLUSIVE)],
)
def test_a_ratio_reaches_the_claimed_one_up_to_a_tenth(low, high, verdict):
    assert verdicts.at_least(low, high, 1.3) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 0.99, verdicts.SUPPORTED), (1.01, 1.05, verdicts.CONTRADICTED), (0.9, 1.05, verdicts.INCONCLUSIVE)],
)
def test_what_is_only_said_to_be_lower_has_no_leeway(low, high, verdict):
    assert verdicts.lower(low, high) == verdict


@pytest.mark.parametrize(
    ("low", "high", "claimed", "verdict"),
    [
        (1.04, 1.08, 1.06, verdicts.SUPPORTED),
        (0.7, 0.75, 1.06, verdicts.CONTRADICTED),  # "about 6 % more" is not 30 % less
        (1.05, 1.18, 1.06, verdicts.INCONCLUSIVE),
        (0.3, 0.36, 1 / 3, verdicts.SUPPORTED),
        (0.10, 0.12, 1 / 3, verdicts.CONTRADICTED),  # nine times slower is not three times
        (0.6, 0.9, 1 / 3, verdicts.CONTRADICTED),
    ],
)
def test_about_has_two_bounds(low, high, claimed, verdict):
    assert verdicts.about(low, high, claimed) == verdict
