"""One timing protocol for all speed figures: what a method costs, and how fast it is.

Times are wall-clock, with the device waited for before and after each repetition; warm-up is left out; implementations
that are compared take turns within one process, so that a machine that slows down slows all of them; the median and the
spread are given, never the best. Rows carry the device, the versions and the precision.
"""

from adlib.speed.arithmetic import arithmetic_peak, cost, flops
from adlib.speed.tables import PLACE, RESULTS, conditions, read, shown, three_digits, write
from adlib.speed.timing import Timing, alternating, figures, speedup, timed, wait

__all__ = [
    "PLACE",
    "RESULTS",
    "Timing",
    "alternating",
    "arithmetic_peak",
    "conditions",
    "cost",
    "figures",
    "flops",
    "read",
    "shown",
    "speedup",
    "three_digits",
    "timed",
    "wait",
    "write",
]
