"""Does speed cost accuracy? The same runs with and without each speed-up, over seeds, one row a run.

    python benchmarks/accuracy.py [--out FILE] [--smoke] [--device cpu] [--teacher bundled] [--seeds 0 1 2]
        [--cases "rd resnet18" ...] [--variants NCHW ...]

Each variant is what `adlib.train.fit` and `adlib.predict` do with one thing changed; `ours` is with nothing changed.
Generated images, the short schedules of the scale `small`; of DeSTSeg the distillation alone (stage 1), and all of it
with 40 steps of 4 images for each of its two stages (stage 2). What counts as noise is how far `ours` itself moves from
seed to seed. About two hours with one thread, three quarters of it for DeSTSeg's second stage.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from common import kept_rows, key, parse_options
from torch import nn

import adlib
from adlib import speed, train
from adlib.predict import Prediction
from adlib.run import Run
from adlib.speed.accuracy import METRICS

# The names are those of `benchmarks/training.py`, which measures what a variant gives.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "stpm": ("stpm", {}),
    "rd resnet18": ("rd", {}),
    "reduced_student paper": ("reduced_student", {}),
    "destseg stage 1": ("destseg", {"map": "dest", "student_steps": 60, "batch": 4}),
    "memory_destseg stage 1": ("memory_destseg", {"map": "dest", "student_steps": 60, "batch": 4}),
    "destseg stage 2": ("destseg", {"student_steps": 40, "segmentation_steps": 40, "batch": 4}),
}
# `fast inference` is the training of `ours`, tested in another way.
VARIANTS = ("ours", "fast inference", "teacher not cached", "NCHW", "optimiser not fused", "bf16", "compiled")
BATCH = 16  # images at a time, as `adlib.predict` takes them


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Take one speed-up away while this lasts, or put one in that is off by default."""
    with ExitStack() as stack:
        if name == "teacher not cached":
            stack.enter_context(patch.object(train, "CACHE_BUDGET", 0))
        if name == "optimiser not fused":
            stack.enter_context(patch.object(train, "use_fused_kernels", lambda optimiser: None))
        if name == "NCHW":
            move = nn.Module.to
            plain = lambda self, *where, memory_format=None, **how: move(self, *where, **how)  # noqa: E731
            stack.enter_context(patch.object(nn.Module, "to", plain))
        yield


def trained(case: str, name: str, seed: int, options: argparse.Namespace) -> Run:
    """Train once."""
    method, overrides = CASES[case]
    if options.smoke:
        overrides = overrides | {key: 1 for key in overrides if key.endswith("_steps")} or {"epochs": 1}
    run = adlib.prepare(
        method,
        "synthetic",
        "canvas",
        seed=seed,
        scale="small",
        teacher=options.teacher,
        overrides=overrides,
        device=options.device,
        precision="bf16" if name == "bf16" else "fp32",
    )
    run.fit(compile=name == "compiled")
    return run


def measured(run: Run, fast: bool = False) -> dict[str, float]:
    """Return the metrics of what was trained, its maps made by `adlib.optimised` if `fast`."""
    run.prediction = fast_prediction(run) if fast else run.predict()
    values, _ = run.evaluate()
    return {metric: values[metric] for metric in METRICS}


def fast_prediction(run: Run) -> Prediction:
    """Compute the maps and scores of the test images in fp32 as `adlib.predict` does, but by the fast module."""
    fast, pixels = adlib.optimised(run.method), run.test.pixels.to(run.device)
    maps, scores = zip(*(fast(part) for part in pixels.split(BATCH)), strict=True)
    return Prediction(maps=torch.cat(maps).cpu().numpy(), scores=torch.cat(scores).cpu().numpy())


def main() -> None:
    """Measure all variants of all cases, seed by seed."""
    options = _options()
    for case in options.cases:
        for seed in options.seeds[:1] if options.smoke else options.seeds:
            ours = trained(case, "ours", seed, options)
            for name in VARIANTS[:2] if options.smoke else ["ours", *options.variants]:
                if name == "teacher not cached" and "destseg" in case:
                    continue  # its images change in every step: nothing can be cached
                with variant(name):
                    run = ours if name in ("ours", "fast inference") else trained(case, name, seed, options)
                    found = measured(run, fast=name == "fast inference")
                where = speed.conditions(options.device, "bf16" if name == "bf16" else "fp32")
                place = {"case": case, "variant": name, "teacher": options.teacher, "seed": seed}
                place["device"] = where["device"]  # another processor rounds otherwise: its rows stay
                rows = kept_rows(options.out, [*place], [key(place, [*place])])
                speed.write([*rows, place | found | where], options.out)
                print(case, name, options.teacher, seed, *(f"{value:.4f}" for value in found.values()), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one seed, two variants: shows that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS[1:], default=VARIANTS[1:], help="beside ours")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return parse_options(parser, "accuracy")


if __name__ == "__main__":
    main()
