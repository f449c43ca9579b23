"""The score above which an image raises an alarm, chosen from good images alone for a false-alarm rate."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

FALSE_ALARM_RATE = 0.05  # one good part in twenty
ROUNDING = 1e-5  # parts of a score by which it differs where an image is scored in another batch or runtime


def check_rate(rate: float) -> None:
    """Raise ValueError for a false-alarm rate that is not between 0 and 1."""
    if not isinstance(rate, Real) or not 0 < rate < 1:
        raise ValueError(f"the false-alarm rate must lie between 0 and 1, got {rate!r}")


def held_out_needed(rate: float) -> int:
    """How many held-out good images it takes to promise a false-alarm rate."""
    return math.ceil(1 / rate - 1e-9) - 1


@dataclass(frozen=True)
class Threshold:
    """A score above `value` is an alarm; how often that happens to good parts, and how well this is known.

    `promised`: the false-alarm rate holds on average over held-out images, whatever the scores' distribution, as long
    as new good parts are like these. `low`, `high`: where the rate of this very threshold lies with 90 % probability.
    """

    value: float
    asked: float
    promised: float
    low: float
    high: float
    held_out: int

    @classmethod
    def of(cls, scores: ArrayLike, rate: float = FALSE_ALARM_RATE) -> "Threshold":
        """Choose from the scores of n held-out good images: the k-th smallest, k = ceil((n + 1) (1 - rate)).

        A new good image is equally likely to fall into each of the n + 1 gaps between them, so that it exceeds the k-th
        with probability (n + 1 - k) / (n + 1) <= rate, and this rate is Beta(n + 1 - k, k) distributed. Where n is too
        small for that, the highest score is taken; where a rate is nearly 1, the lowest. `ROUNDING` is added, so that
        the image that sets the threshold does not alarm where it is scored in another batch. (Split conformal
        prediction: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005.) Raises ValueError for a
        rate outside of (0, 1) or no score.
        """
        check_rate(rate)
        rate = float(rate)
        ordered = np.sort(np.asarray(scores, dtype=float))
        if not len(ordered):
            raise ValueError("a threshold needs the scores of held-out good images, got none")
        n = len(ordered)
        k = min(n, max(1, math.ceil((n + 1) * (1 - rate) - 1e-9)))
        low, high = (beta.ppf(q, n + 1 - k, k) for q in (0.05, 0.95))
        value = float(ordered[k - 1])
        return cls(value + ROUNDING * abs(value), rate, (n + 1 - k) / (n + 1), float(low), float(high), n)

    def __str__(self) -> str:
        if self.promised > self.asked:
            reached = f"at most {self.asked:.1%}, for which they are too few"
        else:
            reached = f"at most {self.asked:.1%}"
        return (
            f"Alarm above {self.value:.4g}: chosen from {self.held_out} held-out good images for a false-alarm rate of "
            f"{reached}. On average over such choices {self.promised:.1%} of good parts will alarm; for "
            f"this one it is {self.low:.1%} to {self.high:.1%} with 90% probability."
        )
