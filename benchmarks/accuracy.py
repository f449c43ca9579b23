"""Does speed cost accuracy? The same runs with and without each speed-up, over seeds, one row a run.

    python benchmarks/accuracy.py [--out FILE] [--smoke] [--device cpu] [--teacher bundled] [--seeds 0 1 2]
        [--methods rd ...] [--variants NCHW ...]

Each variant is what `adlib.train.fit` and `adlib.predict` do with one thing changed; `ours` is with nothing changed.
Generated images, the short schedules of the scale `small`, of DeSTSeg the distillation alone. What counts as noise is
how far `ours` itself moves from seed to seed.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pandas as pd
from torch import nn

import adlib
from adlib import speed, train

CASES: dict[str, dict[str, Any]] = {
    "stpm": {},
    "rd": {},
    "reduced_student": {},
    "destseg": {"map": "dest", "student_steps": 60, "batch": 4},
}
VARIANTS = ("ours", "teacher not cached", "NCHW", "optimiser not fused", "bf16", "fast inference")
METRICS = ("image_auroc", "pixel_auroc", "aupro")


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Take one speed-up away while this lasts, or put one in that is off by default."""
    with ExitStack() as stack:
        if name == "teacher not cached":
            stack.enter_context(patch.object(train, "CACHE_BUDGET", 0))
        if name == "optimiser not fused":
            stack.enter_context(patch.object(train, "fuse", lambda optimiser: None))
        if name == "NCHW":
            move = nn.Module.to
            plain = lambda self, *where, memory_format=None, **how: move(self, *where, **how)  # noqa: E731
            stack.enter_context(patch.object(nn.Module, "to", plain))
        yield


def measure(method: str, name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train and test once, and return the metrics."""
    smoke = {"student_steps": 1} if method == "destseg" else {"epochs": 1}
    overrides = CASES[method] | (smoke if options.smoke else {})
    precision = "bf16" if name == "bf16" else "fp32"
    with variant(name):
        run = adlib.prepare(
            method,
            "synthetic",
            "canvas",
            seed=seed,
            scale="small",
            teacher=options.teacher,
            overrides=overrides,
            device=options.device,
            precision=precision,
        )
        run.fit()
        run.prediction = adlib.predict(
            run.method, run.test, device=options.device, precision=precision, fast=name == "fast inference"
        )
        values, _ = run.evaluate()
    return {metric: values[metric] for metric in METRICS}


def main() -> None:
    """Measure all variants of all cases, seed by seed."""
    options = _options()
    before = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame({"method": []})
    rows: list[dict[str, Any]] = before.to_dict("records")
    for method in options.methods:
        for seed in options.seeds[:1] if options.smoke else options.seeds:
            for name in VARIANTS[:2] if options.smoke else ["ours", *options.variants]:
                if method == "destseg" and name == "teacher not cached":
                    continue  # its images change in every step: nothing can be cached
                found = measure(method, name, seed, options)
                place = {"method": method, "variant": name, "teacher": options.teacher, "seed": seed}
                where = speed.conditions(options.device, "bf16" if name == "bf16" else "fp32")
                rows = [row for row in rows if {key: row[key] for key in place} != place]  # made again
                rows.append(place | found | where)
                print(*place.values(), *(f"{value:.4f}" for value in found.values()), flush=True)
                speed.write(rows, options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one seed, two variants: shows that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--methods", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS[1:], default=VARIANTS[1:], help="beside ours")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return speed.options(parser, "accuracy")


if __name__ == "__main__":
    main()
