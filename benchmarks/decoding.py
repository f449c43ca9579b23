"""From files to the first training step: decoding with one and two threads, and a category's first and second run.

    python benchmarks/decoding.py [--out FILE] [--smoke]

A category of MVTec AD's mean size, 209 training and 83 test images (PNG, RGB), as files of 256 x 256 and of
1024 x 1024, made from generated images. `decode` is `images.load` to 256 x 256; `start` is a process of its own, from
the end of its imports to the end of the first training step of STPM: table of samples, fingerprint, pixels, network,
step. The second run finds the pixels that the first one kept (`adlib.decoded`) where decoding took long. All of it is
done several times: rows are medians, `p95` is of `seconds`, and `begins` is when the first step starts, with its 10 and
90 % quantiles. About five minutes with two threads.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import in_own_process, parse_options
from PIL import Image

from adlib import datasets, images, speed
from adlib.datasets.synthetic import draw
from adlib.methods import build
from adlib.train import fit

BATCH = 32


def write_category(home: Path, size: int, train: int, test: int) -> Path:
    """Write a category of generated images at `size` in MVTec AD's layout, with noise as a camera has it."""
    pictures = [draw("gear", "train", "good", i).image for i in range(8)]
    kinds = [("train/good", train), ("test/good", test // 4), ("test/flaw", test - test // 4)]
    jobs = [(kind, i) for kind, count in kinds for i in range(count)]

    def one(job: tuple[str, int]) -> None:
        kind, i = job
        image = Image.fromarray(pictures[i % len(pictures)]).resize((size, size), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(i).integers(-2, 3, (size, size, 3), dtype=np.int16)
        pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(home / kind / f"{i:03d}.png")
        if kind == "test/flaw":
            mask = np.zeros((size, size), np.uint8)
            mask[size // 4 : size // 2, size // 4 : size // 2] = 255
            Image.fromarray(mask).save(home / "ground_truth/flaw" / f"{i:03d}_mask.png")

    for folder in ("train/good", "test/good", "test/flaw", "ground_truth/flaw"):
        (home / folder).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(one, jobs))
    return home


def start(root: str, cache: str) -> dict[str, float]:
    """Go from nothing to the end of the first training step; return the seconds of each part."""
    os.environ["ADLIB_CACHE"] = cache
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return marks[-1] - marks[-2]

    found = {}
    samples = datasets.load("folder", root)
    found["table"] = mark()
    identity = datasets.fingerprint(samples)
    found["fingerprint"] = mark()
    split = {name: images.load(part, identity=identity) for name, part in samples.groupby("split")}
    found["pixels"] = mark()
    method = build("stpm", teacher="random", epochs=1, validation=0.0)
    found["network"] = mark()
    fit(method, split["train"].subset(slice(BATCH)), device="cpu")
    found["step"] = mark()
    return found | {"seconds": sum(found.values())}


def started(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sum up several calls of `start`: the median of each part, and how far the calls lie apart."""
    parts = pd.DataFrame(runs)
    begins = parts["seconds"] - parts["step"]
    low, half, high = begins.quantile([0.1, 0.5, 0.9])
    return {
        **{str(part): float(middle) for part, middle in parts.median().items()},
        "p95": float(parts["seconds"].quantile(0.95)),
        "begins": float(half),
        "begins_p10": float(low),
        "begins_p90": float(high),
        "repeats": len(parts),
    }


def measure(folder: Path, size: int, count: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Make the rows of one file size."""
    home = write_category(folder / str(size), size, *count)
    samples = datasets.load("folder", str(home))
    mib = sum(Path(path).stat().st_size for path in samples.image) / 2**20
    about = {"file_size": size, "files": len(samples), "files_mib": mib}
    calls = {workers: lambda workers=workers: images.load(samples, workers=workers) for workers in (1, 2)}
    rows: list[dict[str, Any]] = [
        {
            "what": "decode",
            "workers": workers,
            **about,
            "seconds": timing.p50,
            "p95": timing.p95,
            "images_per_s": len(samples) / timing.p50,
            "repeats": repeats,
        }
        for workers, timing in speed.alternating(calls, repeats, warmup=0).items()
    ]
    found: dict[str, list[dict[str, float]]] = {"first run": [], "second run": []}
    for i in range(repeats):
        cache = folder / f"cache{i}"
        for runs in found.values():
            runs.append(in_own_process(start, str(home), str(cache)))
        kept = sum(file.stat().st_size for file in cache.rglob("*.safetensors")) / 2**20
        shutil.rmtree(cache, ignore_errors=True)
    rows += [{"what": what, **about, **started(runs)} for what, runs in found.items()]
    rows[-1]["kept_mib"] = kept
    return rows


def main() -> None:
    """Write one row a number of threads, and one a run, for each file size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="12 and 8 images, once")
    options = parse_options(parser, "decoding")
    count, repeats = ((12, 8), 1) if options.smoke else ((209, 83), 5)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (256, 1024):
            rows += measure(Path(folder), size, count, repeats)
    place = speed.conditions()
    speed.write([{**row, **place} for row in rows], options.out)
    for row in rows:
        print(f"{row['file_size']:5d} {row['what']:10s} {row.get('workers', ''):1} {row['seconds']:7.3f} s")


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    main()
