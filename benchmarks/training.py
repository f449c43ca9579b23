"""Training speed: images a second of the authors' way of training (`benchmarks/reference`) and of ours, in turns.

    python benchmarks/training.py [--out FILE] [--smoke] [--device cpu] [--only CASE ...]

Every variant is a process of its own, so that each has its allocator and its memory; it takes turns with one of the
reference, a block of a few steps each, and no third process waits beside them: that alone made the reference up to a
third slower. Steps include the loading of the images: the reference decodes PNG and JPEG files in the process that
trains, ours decodes once before. What is done once (decoding, the teacher's features, compilation, the first step) is
not in the images/s but in the column `once_s`. `speedup` is the median of the ratios of neighbouring blocks, with their
10 and 90 % quantiles; `speedup_free_loader` is what it would be if the reference's loading took no time, as with enough
idle cores; `speedup_of_step` is its ratio to that of the variant before. `user_s` and `system_s` are seconds of
processor time an image. Validation is on neither side. The reference's teachers compute no gradients.

`gflop` is what a step computes in convolutions and matrix products, an image (a multiply-add is two), `peak_gflops` the
best rate that this machine reached in them in that precision, measured once before, and `share` how much of it the
training reaches. `speedup_at_peak` is what `speedup` would be at that rate if nothing else took time: a bound.

Ours is also measured in bf16, which `precision="auto"` chooses where the processor multiplies it faster. stpm and
destseg stage 1 are taken apart: each variant adds one thing to the one before. Images are generated, 256 x 256; in the
cases `1024` the files are 4 x 4 of them side by side, which costs the reference's loader about what MVTec AD's files
cost. Networks are untrained, which changes no time. Batches of STPM, DeSTSeg and RD with the wide network are smaller
than the sources' (32, 32, 16), on both sides. About 20 minutes with two threads.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, parse_options
from PIL import Image
from reference import data, destseg, rd, reduced_student

import adlib.device
import adlib.train
from adlib import images, speed
from adlib.corrupt import Corruption
from adlib.datasets import synthetic
from adlib.device import use_true_fp32
from adlib.methods import Method, build
from adlib.sampling import Plan
from adlib.textures import procedural_textures

ROTATION = "full"
MANY = 10**6  # steps of a schedule that no benchmark reaches


@dataclass(frozen=True)
class Case:
    """What is trained: a stage of a method, in blocks of `steps` batches."""

    method: str
    recipe: str
    batch: int
    steps: int = 1
    repeats: int = 5
    stage: int = 0
    file_size: int = 256
    overrides: dict[str, Any] = field(default_factory=dict)


CASES = {
    "stpm": Case("stpm", "paper", 16),
    "destseg stage 1": Case("destseg", "code", 8),
    "destseg stage 1, 1024": Case("destseg", "code", 8, repeats=4, file_size=1024),
    "destseg stage 2": Case("destseg", "code", 8, repeats=4, stage=1),
    "reduced_student paper": Case("reduced_student", "paper", 16, steps=2, repeats=9),
    "reduced_student code": Case("reduced_student", "code", 8, steps=3, repeats=9),
    "reduced_student code, 1024": Case("reduced_student", "code", 8, steps=3, repeats=9, file_size=1024),
    "rd resnet18": Case("rd", "code", 16, overrides={"backbone": "resnet18"}),
    "rd wide_resnet50_2": Case("rd", "code", 4, repeats=4),
}


@dataclass(frozen=True)
class Variant:
    """How it is trained; the defaults are what `fit` does."""

    reference: bool = False
    cache: bool = True
    channels_last: bool = True
    keep_memory: bool = True
    fused: bool = True
    precision: str = "fp32"
    compile: bool = False


REFERENCE, OURS = "reference", "ours"
BF16 = f"{OURS}, bf16"
PAIR = {REFERENCE: Variant(reference=True), OURS: Variant(), BF16: Variant(precision="bf16")}
BARE = Variant(cache=False, channels_last=False, keep_memory=False, fused=False)
LADDER = {
    REFERENCE: Variant(reference=True),
    "no wasted work": BARE,  # decoded once, nothing computed that no loss needs, no number read in a step
    "+ teacher cached": replace(BARE, cache=True),
    "+ channels_last": replace(BARE, cache=True, channels_last=True),
    "+ memory kept": replace(BARE, cache=True, channels_last=True, keep_memory=True),
    OURS: Variant(),  # + fused optimiser
    BF16: Variant(precision="bf16"),
    "ours, compiled": Variant(compile=True),
}
LADDERS = ("stpm", "destseg stage 1")
COMPILED = ("reduced_student paper",)  # compiled in bf16, too: of what is not reached, what the processor would allow


def main() -> None:
    """Measure all cases and write one row a variant of each."""
    options = _options()
    if options.child:
        serve(**json.loads(options.child))
        return
    use_true_fp32()  # the peak of fp32 must not be that of TF32
    rows = kept_rows(options.out, ["case"], options.only)
    sizes = (512,) if options.smoke else (1024, 2048, 4096)
    peaks = {precision: speed.arithmetic_peak(options.device, precision, sizes) for precision in ("fp32", "bf16")}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), 8 if options.smoke else 40)
        for name in options.only or CASES:
            case = replace(CASES[name], batch=2, steps=1, repeats=1) if options.smoke else CASES[name]
            variants = dict(LADDER if name in LADDERS else PAIR)
            if name in COMPILED:
                variants |= {f"{BF16}, compiled": Variant(precision="bf16", compile=True)}
            if options.smoke:
                variants = {n: v for n, v in variants.items() if not v.compile}  # minutes
            if case.method == "destseg":
                variants.pop("+ teacher cached", None)  # its images are turned anew each time
            for row in measure(name, case, variants, folder, options.device, peaks):
                rows.append(row)
                print(f"{name:28s} {row['variant']:18s} {row['images_per_s']:8.2f}/s x{row['speedup']:.2f}", flush=True)
            speed.write(rows, options.out)


def measure(
    name: str, case: Case, variants: dict[str, Variant], folder: str, device: str, peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """Measure each variant beside the reference, these two alone, in turns; a row for each.

    Processes that only wait for their turn slow down the one that runs, and a large one more than a small one: so never
    more than two. The reference's own row is of its turns with `OURS`.
    """
    pairs = {
        v: _pair(case, variants[REFERENCE], variant, folder, device)
        for v, variant in variants.items()
        if v != REFERENCE
    }
    pairs = {REFERENCE: (pairs[OURS][0], pairs[OURS][0]), **pairs}
    count = case.batch * case.steps
    before = dict(zip(variants, [REFERENCE, *variants], strict=False))
    before |= {v: v.rsplit(", ", 1)[0] for v in before if v.startswith(f"{OURS}, ")}  # each adds one thing to ours
    gained = {v: speed.speedup(slow.timing, fast.timing)["speedup"] for v, (slow, fast) in pairs.items()}
    rows = []
    for v, (slow, fast) in pairs.items():
        loaded, peak = slow.mean("loader"), peaks[variants[v].precision]
        freed = speed.Timing(tuple(s - loaded for s in slow.timing.seconds))
        rows.append(
            {
                "case": name,
                "variant": v,
                "batch": case.batch,
                "images_per_s": count / fast.timing.p50,
                "spread": fast.timing.spread,
                **speed.speedup(slow.timing, fast.timing),
                "speedup_free_loader": 1.0 if v == REFERENCE else speed.speedup(freed, fast.timing)["speedup"],
                "speedup_of_step": gained[v] / gained[before[v]],
                "loader_s": fast.mean("loader") / count,
                "user_s": fast.mean("user") / count,
                "system_s": fast.mean("system") / count,
                "once_s": fast.once,
                "gflop": fast.gflop,
                "peak_gflops": peak,
                "share": count / fast.timing.p50 * fast.gflop / peak,
                "speedup_at_peak": slow.timing.p50 / count * peak / fast.gflop,
                "blocks": len(fast.timing.seconds),
                **speed.conditions(device, variants[v].precision),
            }
        )
    return rows


def _pair(case: Case, reference: Variant, variant: Variant, folder: str, device: str) -> tuple["Child", "Child"]:
    """Let two processes take turns, and end them."""
    children = [Child(case, each, folder, device) for each in (reference, variant)]
    try:
        for child in children:  # one after the other: `once_s` must not measure the neighbour
            child.start()
        calls = {str(number): child.block for number, child in enumerate(children)}
        timings = speed.alternating(calls, case.repeats, warmup=1)
    finally:
        for child in children:
            child.stop()
    for child, timing in zip(children, timings.values(), strict=True):
        child.timing = timing
    return children[0], children[1]


class Child:
    """A process that trains one variant, a block whenever it is asked."""

    def __init__(self, case: Case, variant: Variant, folder: str, device: str) -> None:
        self.specification = {"case": asdict(case), "variant": asdict(variant), "folder": folder, "device": device}
        self.process: subprocess.Popen[str] | None = None
        self.reports: list[dict[str, float]] = []
        self.timing = speed.Timing(())
        self.once = self.gflop = 0.0

    def start(self) -> None:
        """Start the process and wait until it has made its first step."""
        environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
        environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # else `once_s` would be the time of reading them
        command = [sys.executable, __file__, "--child", json.dumps(self.specification)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        answer = self._answer()
        self.once, self.gflop = answer["once"], answer["gflop"]

    def block(self) -> None:
        """Let it train one block."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.reports.append(self._answer())

    def mean(self, what: str) -> float:
        """Average a report over the blocks that count."""
        return float(np.mean([report[what] for report in self.reports[1:]]))

    def stop(self) -> None:
        """End the process by closing its input."""
        if self.process is not None:
            self.process.communicate()

    def _answer(self) -> dict[str, float]:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that trains {self.specification} ended; its error stands above")
        return json.loads(line)


def serve(case: dict[str, Any], variant: dict[str, Any], folder: str, device: str) -> None:
    """Be a child: train a block for each line of the input, and say what it cost."""
    torch.manual_seed(0)
    use_true_fp32()
    made, how, start = Case(**case), Variant(**variant), time.perf_counter()
    kind = {"batch": made.batch, **made.overrides}
    method = build(made.method, made.recipe, "random", **kind)
    step = (reference if how.reference else ours)(method, made, how, Path(folder), device)
    step()
    speed.wait(device)
    once = time.perf_counter() - start
    counted = step
    if how.compile:  # its operations cannot be counted: those of the same step without
        method = build(made.method, made.recipe, "random", **kind)
        counted = ours(method, made, replace(how, compile=False), Path(folder), device)
    gflop = speed.flops(counted) / 1e9 / made.batch
    print(json.dumps({"once": once, "gflop": gflop}), flush=True)
    for _ in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF)
        loader = sum(step() for _ in range(made.steps))
        speed.wait(device)
        after = resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        print(json.dumps({"user": user, "system": system, "loader": loader}), flush=True)


def reference(method: Method, case: Case, how: Variant, folder: Path, device: str) -> Callable[[], float]:
    """Make the authors' step: a call that returns the seconds its loading took."""
    method.to(device)
    paths = sorted((folder / str(case.file_size)).glob("*.png"))
    files: torch.utils.data.Dataset[Any] = data.Files(paths)
    if case.method == "destseg":
        files = destseg.Corrupted(paths, sorted((folder / "textures").glob("*.jpg")), ROTATION)
    batches = _forever(torch.utils.data.DataLoader(files, case.batch, shuffle=True, drop_last=True))
    if case.method == "destseg":
        learn = destseg.Reference(method, case.stage).step
    elif case.method == "rd":
        learn = rd.Reference(method).step
    else:
        learn = reduced_student.Reference(method, MANY).step

    def step() -> float:
        start = time.perf_counter()
        batch = next(batches)
        seconds = time.perf_counter() - start
        learn([part.to(device) for part in batch] if isinstance(batch, list) else batch.to(device))
        return seconds

    return step


def ours(method: Method, case: Case, how: Variant, folder: Path, device: str) -> Callable[[], float]:
    """Make the step of `adlib.train.fit`, with some of what it does left out if asked."""
    if how.keep_memory:
        adlib.device.keep_memory()
    method.to(device, memory_format=torch.channels_last if how.channels_last else torch.contiguous_format)
    pixels = images.load_textures(sorted((folder / str(case.file_size)).glob("*.png")))
    textures = images.load_textures(sorted((folder / "textures").glob("*.jpg")))
    none = torch.zeros(len(pixels))
    training = adlib.train.Training(
        method=method,
        images=images.Images(pixels, none, none, none, None).to(device),
        seed=0,
        corruption=Corruption(textures.to(device), ROTATION),
        device=device,
        precision=how.precision,
        resume=None,
        identity="",
        save_every=math.inf,
        compile=how.compile,
    )
    stage = replace(method.stages()[case.stage], steps=MANY, epochs=None, drop_last=True, validation=0.0)
    plan = Plan(stage, case.stage, len(pixels), 0)
    stage = training.begin(case.stage, stage, plan, fused=how.fused)
    cache = training.features(stage) if how.cache else None
    training.train_mode(stage, epoch=0)
    batches = plan.batches(0, device)

    def step() -> float:
        number, _, index = next(batches)
        training.advance(stage, cache, number, index)
        return 0.0

    return step


def write_files(folder: Path, count: int) -> None:
    """Write generated images as PNG files of 256 and of 1024 pixels a side, and textures as JPEG."""
    drawn = synthetic.generate(folder, "canvas", counts=synthetic.Counts(train=count, good=1, defect=1))
    for size in (256, 1024):
        (folder / str(size)).mkdir()
        for path in sorted((drawn / "train" / "good").glob("*.png")):
            tiles = np.tile(np.asarray(Image.open(path)), (size // 256, size // 256, 1))
            Image.fromarray(tiles).save(folder / str(size) / path.name)
    (folder / "textures").mkdir()
    for number, texture in enumerate(procedural_textures(16, 512)):
        Image.fromarray(texture.permute(1, 2, 0).numpy()).save(folder / "textures" / f"{number}.jpg", quality=90)


def _forever(loader: torch.utils.data.DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two images a batch, one block: shows that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parse_options(parser, "training")


if __name__ == "__main__":
    main()
