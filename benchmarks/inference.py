"""How fast every method finds anomalies: latency of one image, throughput of a batch, and where the time goes.

    python benchmarks/inference.py [--out FILE] [--smoke] [--only METHOD/RECIPE/BACKBONE ...] [--device cuda]
        [--compile METHOD ...]

Measured from a host array (uint8 RGB, 256 x 256) to a host map and score, as EfficientAD's authors do. Variants:

- plain: fp32, eager, the layout in which the method was built;
- channels_last: the same with channels last in memory, as `adlib.predict` runs;
- optimised: `adlib.inference.optimised`;
- bf16: the same under bf16 autocast, where the processor multiplies that faster (`precision="auto"`);
- compiled: the same through torch.compile, for the methods named by `--compile`; the first call's time stands apart.

Variants take turns (`adlib.speed.alternating`); each row has the median and the 95 % quantile, and the speed-up over
plain of the same round with its 10 and 90 % quantiles. The share of convolutions is that of the operators' own time,
by torch's profiler, for plain at batch 1 and for optimised. Peak memory is what tensors hold at once beyond weights and
input; on a CPU without the scratch of single operators. Methods above 30 GFLOP an image (WideResNet, DeSTSeg) run in
batches of 4 instead of 16, and these without channels_last. Weights are random, which changes no time.
"""

import argparse
import copy
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

# Before torch is imported: `compile_s` must not be the time of reading what an earlier run compiled.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import numpy as np
import torch
from common import kept_rows, parse_options
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from adlib import speed
from adlib.device import autocast, resolve_precision, use_true_fp32
from adlib.images import normalise
from adlib.inference import optimised
from adlib.methods import METHODS, Method, build, resolve

SIZE = 256
BATCH, HEAVY_BATCH, HEAVY_GFLOP = 16, 4, 30
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "paper", {}) for name in METHODS),
    ("reduced_student", "code", {}),
    ("mixed_teacher", "code", {}),
    ("stpm", "code", {}),
    ("rd", "code", {"backbone": "resnet18"}),
    ("rd", "paper", {"backbone": "resnet18"}),
    ("memkd", "paper", {"backbone": "resnet18"}),
    ("rd_memae", "paper", {"backbone": "resnet18"}),
    ("mkd", "paper", {"backbone": "resnet18", "student": "resnet18"}),
    ("mem_mkd", "paper", {"backbone": "resnet18", "student": "resnet18"}),
]
KIND = ["method", "recipe", "backbone"]
Variant = Callable[[np.ndarray], Any]


def main() -> None:
    """Measure all methods, print each row and write them to one file; with `--only` its other rows stay."""
    options = _options()
    use_true_fp32()
    cases = [c for c in CASES if c[0] == "reduced_student"] if options.smoke else CASES
    rows = kept_rows(options.out, KIND, options.only)
    for name, recipe, overrides in cases:
        config = resolve(name, recipe, **overrides)
        if options.only and f"{name}/{recipe}/{config.backbone}" not in options.only:
            continue
        method = build(name, recipe, teacher="random", **overrides).eval().to(options.device)
        kind = dict(zip(KIND, (name, recipe, config.backbone), strict=True))
        compiles = name in options.compile and not overrides
        for row in measure(method, options, compiles):
            rows.append(kind | row | speed.conditions(options.device, "bf16" if row["variant"] == "bf16" else "fp32"))
            shown = {
                k: v for k, v in row.items() if k in ("variant", "batch", "p50_ms", "speedup", "conv_share", "note")
            }
            print(
                *kind.values(), *(f"{k} {v:.3g}" if isinstance(v, float) else v for k, v in shown.items()), flush=True
            )
        speed.write(rows, options.out)


def measure(method: Method, options: argparse.Namespace, compiles: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each variant of a method and each batch size."""
    gflop = speed.cost(method, SIZE)["gflop"]
    note, variants = "", _variants(method, options.device)
    if compiles:
        compiled = host(optimised(method, compile=True), options.device)
    heavy = gflop > HEAVY_GFLOP
    for batch in (1, HEAVY_BATCH if heavy else BATCH):
        profiled = ("plain", "optimised") if batch == 1 else ("optimised",)
        if heavy and batch > 1:
            variants.pop("channels_last")
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, SIZE, SIZE), dtype=np.uint8)
        calls = {k: partial(run, pixels) for k, run in variants.items()}
        first = {}
        if compiles:
            try:
                start = time.perf_counter()
                compiled(pixels)
                first["compiled"] = time.perf_counter() - start
                calls["compiled"] = partial(compiled, pixels)
            except Exception as error:  # whatever the compiler of this machine lacks: the other variants still count
                note, compiles = f"not compiled: {type(error).__name__}", False
        start = time.perf_counter()
        for call in calls.values():
            call()
        repeats = int(np.clip(options.seconds / (time.perf_counter() - start), 3, options.repeats))
        timings = speed.alternating(calls, repeats, warmup=0, device=options.device)  # all ran once just now
        for variant, timing in timings.items():
            yield {
                "variant": variant,
                "size": SIZE,
                "batch": batch,
                "repeats": repeats,
                **speed.figures(timing, batch, timings["plain"]),
                "gflop": gflop,
                "gflop_per_s": gflop * batch / timing.p50,
                "compile_s": first.get(variant),
                **(_profiled(calls[variant], options.device) if variant in profiled else {}),
                "note": note,
            }


def _variants(method: Method, device: str) -> dict[str, Variant]:
    last = copy.deepcopy(method).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def eager(model: Method, layout: torch.memory_format) -> Variant:
        def run(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.inference_mode():
                maps = model.anomaly_map(normalise(pixels.float() / 255).contiguous(memory_format=layout)).float()
                return maps, model.score(maps)

        return host(run, device)

    fast = optimised(method)
    variants = {
        "plain": eager(method, torch.contiguous_format),
        "channels_last": eager(last, torch.channels_last),
        "optimised": host(fast, device),
    }
    if resolve_precision("auto", device) == "bf16":
        variants["bf16"] = host(fast, device, "bf16")
    return variants


def host(model: Callable, device: str, precision: str = "fp32") -> Variant:
    """Let a model take an array from the host and give its results back there."""

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with autocast(device, precision):
            maps, scores = model(torch.from_numpy(pixels).to(device))
        return maps.cpu().numpy(), scores.cpu().numpy()

    return run


def _profiled(call: Callable[[], Any], device: str) -> dict[str, float]:
    """Return the convolutions' share of all operators' own time, and the peak memory in MiB."""
    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with profile(activities=activities, profile_memory=not cuda) as found:
        call()
        speed.wait(device)
    if cuda:
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        changes = [e.nbytes() for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
        peak = max(np.cumsum(changes), default=0)
    operators = [e for e in found.key_averages() if e.device_type == DeviceType.CPU]  # kernels are in their time
    own = {e.key: e.self_device_time_total if cuda else e.self_cpu_time_total for e in operators}
    return {
        "conv_share": sum(t for name, t in own.items() if "conv" in name) / max(sum(own.values()), 1e-9),
        "peak_mib": float(peak) / 2**20,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="the reduced student alone")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD/RECIPE/BACKBONE", help="measure these anew")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", nargs="*", default=["reduced_student"], metavar="METHOD", help="also compiled")
    parser.add_argument("--repeats", type=int, default=100, help="at most, for each variant")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each method and batch size, about")
    return parse_options(parser, "inference")


if __name__ == "__main__":
    main()
