"""Compare teachers by what the detectors reach with them: one CSV row a teacher, method, category and seed.

    python benchmarks/teachers.py --teacher ours=resnet18.safetensors --teacher random=random \\
        --teacher source=mobilenetv2_100.safetensors@mobilenetv2_100 \\
        --category mvtec/bottle synthetic/gear --seed 0 1 2 --data-root DIR --out teachers.csv

Rows that the file already has are not made again, so an interrupted comparison goes on where it stopped. A teacher is
`name=source[@backbone]`, where the source is what `adlib.build` takes. To choose a recipe by, only bottle, fabric and
the synthetic set may be used: every other category is for measuring.
"""

import argparse
import csv
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch

import adlib

METRICS = ("image_auroc", "pixel_auroc", "aupro")
KEY = ("teacher", "method", "dataset", "category", "seed", "scale", "overrides")
COLUMNS = (*KEY, *METRICS, "seconds", "steps", "precision", "device", "teacher_sha256")


def main() -> None:
    """Make all rows that are missing, one after the other, and say how each went."""
    options = _options()
    done = _done(options.out)
    cells = itertools.product(options.seed, options.category, options.method, options.teacher)
    for seed, place, method, teacher in cells:
        name, source = teacher.split("=", 1)
        source, _, backbone = source.partition("@")
        overrides = {field: value for m, field, value in options.override if m == method}
        overrides |= {"backbone": backbone} if backbone else {}
        dataset, category = place.split("/", 1)
        key = (name, method, dataset, category, str(seed), options.scale, json.dumps(overrides, sort_keys=True))
        if key in done:
            continue
        try:
            row = measure(method, dataset, category, seed, source, overrides, options)
        except (ValueError, FloatingPointError) as error:  # one method that does not fit must not end the others
            print(f"{' '.join(key)}: {error}", flush=True)
            continue
        _append(options.out, dict(zip(KEY, key, strict=True)) | row)
        print(*key[:5], *(f"{metric} {row[metric]:.4f}" for metric in METRICS), f"{row['seconds']:.0f} s", flush=True)


def measure(
    method: str, dataset: str, category: str, seed: int, source: str, overrides: dict[str, Any], options: Any
) -> dict[str, Any]:
    """Train and evaluate one detector, and return its metrics with what they cost."""
    start = time.monotonic()
    run = adlib.prepare(
        method,
        dataset,
        category,
        seed=seed,
        scale=options.scale,
        teacher=source,
        overrides=overrides,
        data_root=options.data_root,
        device=options.device,
        precision=options.precision,
    )
    history = run.fit()
    values, _ = run.evaluate()
    device = torch.cuda.get_device_name() if run.device.startswith("cuda") else run.device
    return {metric: values[metric] for metric in METRICS} | {
        "seconds": round(time.monotonic() - start, 1),
        "steps": history.steps,
        "precision": run.precision,
        "device": device,
        "teacher_sha256": run.method.provenance.sha256,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", nargs="+", action="extend", required=True, help="name=source[@backbone]")
    parser.add_argument("--method", nargs="+", default=["stpm"])
    parser.add_argument("--category", nargs="+", required=True, help="dataset/category")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--scale", default="full", choices=("small", "full"))
    parser.add_argument(
        "--override", nargs="+", type=_override, default=[], help="method.field=JSON, e.g. stpm.epochs=9"
    )
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _override(text: str) -> tuple[str, str, Any]:
    place, value = text.split("=", 1)
    method, field = place.split(".", 1)
    return method, field, json.loads(value)


def _done(path: Path) -> set[tuple[str, ...]]:
    if not path.is_file():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[column] for column in KEY) for row in csv.DictReader(file)}


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
