"""The timing protocol: calls that take turns, their medians and spreads, and how many times faster one is."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """The seconds of each repetition of a call."""

    seconds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return float(np.quantile(self.seconds, 0.5))

    @property
    def p95(self) -> float:
        """What 95 % of the repetitions stay below, in seconds."""
        return float(np.quantile(self.seconds, 0.95))

    @property
    def each_ms(self) -> str:
        """The milliseconds of each repetition, as a cell of a row: what took turns with it can be paired."""
        return " ".join(f"{1e3 * second:.4g}" for second in self.seconds)

    @property
    def spread(self) -> float:
        """The range of the middle half in parts of the median."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float((high - low) / self.p50)


def wait(device: str) -> None:
    """Wait until the device has done all it was given; a CPU has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(call: Call, repeats: int = 20, warmup: int = 3, device: str = "cpu") -> Timing:
    """Time `repeats` calls one by one, after `warmup` calls that do not count. Raises ValueError for no repetition."""
    return alternating({"": call}, repeats, warmup, device)[""]


def alternating(
    calls: Mapping[str, Call], repeats: int = 10, warmup: int = 2, device: str = "cpu"
) -> dict[str, Timing]:
    """Time several calls in turns, A B C A B C ...: repetition i of one stands beside repetition i of the others."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(-warmup, repeats):
        for name, call in calls.items():
            wait(device)
            start = time.perf_counter()
            call()
            wait(device)
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def speedup(slow: Timing, fast: Timing) -> dict[str, float]:
    """How many times faster: the median of the paired ratios, and their 10 and 90 % quantiles.

    Raises ValueError for timings that were not taken in turns.
    """
    if len(slow.seconds) != len(fast.seconds):
        raise ValueError(
            f"{len(slow.seconds)} and {len(fast.seconds)} repetitions cannot be paired: time both by alternating()"
        )
    ratios = np.divide(slow.seconds, fast.seconds)
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return {"speedup": float(middle), "speedup_p10": float(low), "speedup_p90": float(high)}


def figures(timing: Timing, batch: int, slow: Timing) -> dict[str, float]:
    """Return the columns of a row on calls with `batch` images: ms, images a second, times faster than `slow`."""
    rate = {"p50_ms": 1e3 * timing.p50, "p95_ms": 1e3 * timing.p95, "images_per_s": batch / timing.p50}
    return rate | speedup(slow, timing)
