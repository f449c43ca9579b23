"""One timing protocol for all speed figures: what a method costs, and how fast it is.

Times are wall-clock, with the device waited for before and after each repetition; warm-up is left out; implementations
that are compared take turns within one process, so that a machine that slows down slows all of them; the median and the
spread are given, never the best. Rows carry the device, the versions and the precision.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from adlib.environment import PROJECT, environment
from adlib.files import whole_file
from adlib.methods.base import Method

RESULTS = PROJECT / "results" / "speed"  # the committed rows
PLACE = ("precision", "commit", "device", "threads", "created", "python", "torch")  # the fields of `conditions`

Call = Callable[[], Any]
T = TypeVar("T")


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


def flops(call: Call) -> int:
    """Count the floating-point operations of the convolutions and matrix products in a call; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def arithmetic_peak(device: str = "cpu", precision: str = "fp32", sizes: Sequence[int] = (1024, 2048, 4096)) -> float:
    """Measure the best GFLOP/s of a square matrix product, or of a 3 x 3 convolution with 512 channels.

    Two libraries: on some processors the one behind matmul reaches half of what convolutions do.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rates = []
    for n in sizes:
        a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
        rates.append(2e-9 * n**3 / min(timed(partial(torch.matmul, a, b), 7, 2, device).seconds))
    for batch in (1, 16):
        images = torch.rand(batch, 512, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        weights = torch.rand(512, 512, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        call = partial(conv2d, images, weights, padding=1)
        rates.append(1e-9 * flops(call) / min(timed(call, 7, 2, device).seconds))
    return max(rates)


@torch.inference_mode()
def cost(method: Method, size: int = 256) -> dict[str, Any]:
    """Return what one image of `size` pixels costs: parameters, FLOP (G, forward) and the shapes that come out."""
    method.eval()
    device = next(method.parameters()).device
    image = torch.zeros(1, 3, size, size, device=device)
    maps = method.anomaly_map(image)
    return {
        "trainable": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "frozen": sum(p.numel() for p in method.parameters() if not p.requires_grad),
        "gflop": flops(lambda: method.anomaly_map(image)) / 1e9,
        "map": "x".join(map(str, maps.shape[1:])),
        "score": "x".join(map(str, method.score(maps).shape[1:])) or "scalar",
    }


def fresh(call: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in a process of its own, so that its peak memory is its own and nobody else's.

    The process is forked from one that has imported this package and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["adlib"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def conditions(device: str = "cpu", precision: str = "fp32") -> dict[str, Any]:
    """Return what a figure holds under, for its row: device, threads, precision, versions, commit, time."""
    found = environment(device)
    versions = found.pop("versions")
    return {"precision": precision, **found, "python": versions["python"], "torch": versions["torch"]}


def write(rows: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write rows as CSV, four significant digits a number, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        pd.DataFrame(list(rows)).to_csv(temporary, index=False, float_format="%.4g")
    return path


def options(parser: argparse.ArgumentParser, topic: str) -> argparse.Namespace:
    """Parse a benchmark's options, among them `--out`: by default the committed rows of its topic.

    A trial run (`--smoke`) has to name another file, as its rows are not to be told from measured ones.
    """
    parser.add_argument("--out", type=Path, help=f"CSV file, by default results/speed/{topic}.csv")
    found = parser.parse_args()
    if found.out is None and getattr(found, "smoke", False):
        parser.error("--smoke needs --out: its rows must not replace those that were measured")
    found.out = found.out or RESULTS / f"{topic}.csv"
    return found


def others(path: Path, by: Sequence[str], again: Collection[str] | None) -> list[dict[str, Any]]:
    """Return a file's rows whose columns `by`, joined by '/', are not among those to be measured again.

    No rows where there is no file, or nothing is named to be measured again: then everything is.
    """
    if not again or not path.is_file():
        return []
    rows = pd.read_csv(path)
    return [row for row in rows.to_dict("records") if "/".join(str(row[name]) for name in by) not in again]  # type: ignore[misc]


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
    """Word a number with three significant digits, from 100 on a whole one; NaN is empty, what is no float as it is."""
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
