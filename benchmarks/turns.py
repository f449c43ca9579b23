"""How fast are the methods beside each other? Latency of one image, all methods in turns, for ratios between methods.

    python benchmarks/turns.py [--out FILE] [--smoke] [--device cpu] [--repeats N]

`benchmarks/inference.py` measures one method after another. Between two of them, minutes apart, a machine that others
use, too, may change its speed by a third, which no percentile of either shows. Here repetition i of one method stands
beside repetition i of all others: each as `adlib.inference.optimised`, fp32, from a host array (uint8 RGB, 256 x 256)
to a host map and score; `each_ms` has every repetition. Weights are random, which changes no time.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import parse_options
from inference import CASES, KIND, SIZE, host

from adlib import speed
from adlib.inference import optimised
from adlib.methods import build, resolve


def main() -> None:
    """Measure all methods of `inference.py` and write a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="STPM and the reduced student, three repetitions")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=40)
    options = parse_options(parser, "turns")
    cases = [case for case in CASES if case[0] in ("stpm", "reduced_student")] if options.smoke else CASES
    repeats = 3 if options.smoke else options.repeats
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8)
    calls: dict[tuple[str, str, str], Callable[[], Any]] = {}
    for name, recipe, overrides in cases:
        kind = (name, recipe, str(resolve(name, recipe, **overrides).backbone))
        fast = optimised(build(name, recipe, teacher="random", **overrides).eval().to(options.device))
        calls[kind] = partial(host(fast, options.device), pixels)
    named = {"/".join(kind): call for kind, call in calls.items()}
    timings = speed.alternating(named, repeats, device=options.device)
    rows = []
    for kind in calls:
        timing = timings["/".join(kind)]
        row = dict(zip(KIND, kind, strict=True)) | {"size": SIZE, "batch": 1, "repeats": repeats}
        row |= {"p50_ms": 1e3 * timing.p50, "p95_ms": 1e3 * timing.p95, "each_ms": timing.each_ms}
        rows.append(row | speed.conditions(options.device))
        print(*kind, f"{row['p50_ms']:.1f} to {row['p95_ms']:.1f} ms", flush=True)
    print("->", speed.write(rows, options.out))


if __name__ == "__main__":
    main()
