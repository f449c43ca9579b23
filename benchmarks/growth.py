"""How the cost grows: seconds and peak memory against images, resolution, memory items, regions and maps.

    python benchmarks/growth.py [--out FILE] [--smoke] [--device cpu] [--only AXIS ...]

Every point is a process of its own, whose peak memory includes the package itself (`base_mib`). The images are random
pixels: no cost depends on what they show. Recipe `paper`, untrained networks, batch 4. `train` is a training of a few
steps from decoded images, the teacher's features included; `infer` is maps of one batch; `evaluate` is all metrics of
a test set. The last part is the peak memory of every method, at 256 x 256. About six minutes with two threads.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import in_own_process, kept_rows, parse_options

from adlib import metrics, speed
from adlib.corrupt import Corruption
from adlib.device import use_true_fp32
from adlib.environment import peak_memory
from adlib.images import Images
from adlib.methods import METHODS, build, resolve
from adlib.textures import procedural_textures
from adlib.train import fit

BATCH = 4
# One epoch, or one step of each stage, and nothing held out: as short as a training can be.
SHORT = {
    "epochs": 1,
    "batch": BATCH,
    "student_steps": 1,
    "segmentation_steps": 1,
    "validation": 0.0,
    "rotation": "none",
    "exemplars": BATCH,
}


def random_images(count: int, size: int) -> Images:
    """Normal images of random pixels."""
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    table = pd.DataFrame({"image": [f"{i:03d}.png" for i in range(count)]})
    return Images(
        pixels,
        torch.zeros(count, size, size, dtype=torch.bool),
        torch.zeros(count).long(),
        ~torch.zeros(count, dtype=torch.bool),
        table,
    )


def short(name: str, **fields: Any) -> Any:
    """Build a method with a training as short as it can be."""
    known = {field.name for field in dataclasses.fields(METHODS[name].Config)}
    return build(name, teacher="random", **({k: v for k, v in SHORT.items() if k in known} | fields))


def train(name: str, device: str, images: int = BATCH, size: int = 256, **fields: Any) -> dict[str, Any]:
    """Train for one epoch, or one step of each stage, once."""
    base = peak_memory(device)
    method = short(name, **fields)
    needed = any(stage.corrupted for stage in method.stages())
    corruption = Corruption(procedural_textures(size=size).to(device), rotation="none") if needed else None
    history = fit(method, random_images(images, size), corruption=corruption, device=device)
    return {"seconds": history.seconds, "steps": history.steps, "peak_mib": peak_memory(device), "base_mib": base}


@torch.inference_mode()
def infer(name: str, device: str, repeats: int = 3, size: int = 256, **fields: Any) -> dict[str, Any]:
    """Compute the maps of one batch, several times."""
    base = peak_memory(device)
    use_true_fp32()
    method = short(name, **fields).to(device, memory_format=torch.channels_last).eval()
    images = random_images(BATCH, size).to(device).normalised(slice(None)).contiguous(memory_format=torch.channels_last)
    timing = speed.timed(lambda: method.anomaly_map(images), repeats, warmup=1, device=device)
    return {"seconds": timing.p50, "steps": 1, "peak_mib": peak_memory(device), "base_mib": base}


def evaluate(repeats: int = 3, maps: int = 115, size: int = 256, regions: int = 150) -> dict[str, Any]:
    """Compute all metrics of random maps, with square regions of 3.3 % of all pixels in a lattice."""
    base = peak_memory()
    torch.set_num_threads(1)
    scores = np.random.default_rng(0).random((maps, size, size), dtype=np.float32)
    masks = np.zeros(scores.shape, bool)
    for image in range(maps):
        here = regions // maps + (image < regions % maps)
        cells = int(np.ceil(np.sqrt(max(here, 1))))
        side = max(1, round(size * np.sqrt(0.033 * maps / regions)))
        step = size // cells
        for region in range(here):
            y, x = step * (region // cells), step * (region % cells)
            masks[image, y : y + min(side, step - 1), x : x + min(side, step - 1)] = True
    found = metrics.count_regions(masks)
    if found != regions:
        raise ValueError(f"asked for {regions} regions, drew {found}")
    labels = masks.any(axis=(1, 2))
    timing = speed.timed(lambda: metrics.evaluate(scores, masks, scores.max(axis=(1, 2)), labels), repeats, warmup=1)
    return {"seconds": timing.p50, "steps": 1, "peak_mib": peak_memory(), "base_mib": base}


def points(smoke: bool, device: str) -> Iterator[tuple[dict[str, Any], Any, tuple[Any, ...], dict[str, Any]]]:
    """Give each point: what its row says, the function, its arguments."""
    ends = slice(None, None, 3) if smoke else slice(None)
    for images in (16, 32, 64, 128)[ends]:
        for name in ("reduced_student", "stpm"):
            yield _along("images", images, name, "train"), train, (name, device), {"images": images}
    for size in (128, 256, 384, 512)[ends]:
        for name in ("reduced_student", "stpm", "rd", "destseg"):
            yield _along("resolution", size, name, "train"), train, (name, device), {"size": size}
            yield _along("resolution", size, name, "infer"), infer, (name, device), {"size": size}
    for items in (10, 50, 100, 200, 400)[ends]:
        for name in ("memkd", "memory_destseg"):
            fields = {"items": (items,) * 3 if isinstance(resolve(name).items, tuple) else items}
            yield _along("items", items, name, "train"), train, (name, device), fields
            yield _along("items", items, name, "infer"), infer, (name, device), fields
    for regions in (115, 1000, 4000, 16000)[ends]:
        yield _along("regions", regions, "metrics", "evaluate"), evaluate, (), {"regions": regions}
    for maps in (50, 100, 200, 400)[ends]:
        yield _along("maps", maps, "metrics", "evaluate"), evaluate, (), {"maps": maps, "regions": 4 * maps}
    for size in (128, 256, 512, 1024)[ends]:
        yield _along("map size", size, "metrics", "evaluate"), evaluate, (), {"size": size, "maps": 50, "regions": 200}
    for name in METHODS:
        yield _along("method", BATCH, name, "train"), train, (name, device), {}
        yield _along("method", BATCH, name, "infer"), infer, (name, device), {}


def _along(axis: str, value: int, method: str, what: str) -> dict[str, Any]:
    return {"axis": axis, "value": value, "method": method, "what": what}


def main() -> None:
    """Write a row a point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two points an axis")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", metavar="AXIS", help="images, resolution, items, regions, maps, ...")
    options = parse_options(parser, "growth")
    place = speed.conditions(options.device)
    rows = kept_rows(options.out, ["axis"], options.only)
    for about, function, arguments, fields in points(options.smoke, options.device):
        if about["axis"] not in (options.only or [about["axis"]]):
            continue
        rows.append({**about, "batch": BATCH, **in_own_process(_call, function, arguments, fields), **place})
        speed.write(rows, options.out)
        print(*about.values(), f"{rows[-1]['seconds']:.3f} s {rows[-1]['peak_mib']:.0f} MiB", flush=True)


def _call(function: Any, arguments: tuple[Any, ...], fields: dict[str, Any]) -> dict[str, Any]:
    return function(*arguments, **fields)


if __name__ == "__main__":
    main()
