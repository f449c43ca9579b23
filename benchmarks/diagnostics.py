"""Measure what the papers say of a method's inside and of its maps: one CSV row a number, category and seed.

    python benchmarks/diagnostics.py --category mvtec/bottle --seed 0 1 2 --teacher bundled --data-root DIR

Topics: `rise` (memory DeSTSeg, Figs. 9, 11, 17), `recall` (MemKD, Figs. 6 and 7), `layers` (MixedTeacher, Sec. 4.2 and
Fig. 2), `depth` (DSKD's limitations). `value` is made so that the claim `id` says it is above 0; `parts` are the
numbers that it was made of. Rows that the file has already are not made again.
"""

import argparse
import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import adlib
from adlib import diagnostics
from adlib.claims import DIAGNOSTICS
from adlib.environment import environment
from adlib.layers import resize, smooth
from adlib.run import Run

COLUMNS = ("id", "metric", "value", "parts", "dataset", "category", "seed", "conditions", "device", "commit", "created")
ALARMS = 0.01  # share of the pixels of normal test images that the threshold lets through
DEEP = 16  # pixels from the border of a defect
Values = Iterator[tuple[str, str, float, dict[str, float]]]  # claim, metric, value, parts
Make = Callable[..., Run]


def rise(make: Make) -> Values:
    """L_cos where the student is frozen, its fall before, and what a first trial with one MSE memory does to both."""
    runs = {
        "destseg": make("destseg", log_both_modes=True),
        "memory": make("memory_destseg", log_both_modes=True),
        "mse": make("memory_destseg", log_both_modes=True, memory_loss="mse", memory_levels=[2]),
    }
    rises = {name: diagnostics.abrupt_rise(run.history.losses) for name, run in runs.items()}  # type: ignore[union-attr]
    yield "S0-7", "l_cos_jump", rises["destseg"]["rise"], rises["destseg"]
    yield "S0-8", "l_cos_jump", rises["destseg"]["rise"] - rises["memory"]["rise"], rises["memory"]
    yield "S0-9", "l_cos_jump", rises["mse"]["rise"] - rises["destseg"]["rise"], rises["mse"]
    scores = {name: run.evaluate()[0]["image_auroc"] for name, run in runs.items()}
    yield "S0-9", "image_auroc", 100 * (scores["destseg"] - scores["mse"]), scores
    falls = {name: _mean_cosine_loss(run) for name, run in runs.items()}
    yield "S0-10", "l_cos", falls["destseg"] - falls["memory"], falls


def recall(make: Make) -> Values:
    """How near the mean normal feature the recalled ones are, of normal and of defective test images."""
    run = make("memkd")
    labels = run.test.labels
    good, bad = (torch.nonzero(labels == label).flatten() for label in (0, 1))
    normal = run.test.normalised(good)
    masks = run.test.masks[bad].float()
    parts: dict[str, list[float]] = {"normal": [], "defect": []}
    for name, images, shown in (("normal", normal, None), ("defect", run.test.normalised(bad), masks)):
        for sides in run.method.recall_distances(images, normal).values():  # type: ignore[operator]
            ratio = sides["after"] / sides["before"].clamp_min(1e-12)
            if shown is None:
                parts[name].append(float(ratio.mean()))
            else:
                inside = resize(shown, ratio.shape[-2:]) >= 0.5
                parts[name] += [float(ratio[inside].mean())] if inside.any() else []
    kept = {name: float(np.mean(values)) for name, values in parts.items()}
    yield "S2-12", "feature_distance", min(1 - kept["defect"], kept["normal"] - kept["defect"]), kept


def layers(make: Make) -> Values:
    """The losses of both pairs of the mixed teacher, and the maps of each pair alone."""
    run = make("mixed_teacher")
    losses = run.history.losses  # type: ignore[union-attr]
    ratio = float(losses["_ratio"].iloc[: max(1, len(losses) // 10)].mean())
    yield "S1-10", "loss_ratio", math.log(2) - abs(math.log(ratio / 10)), {"ratio": ratio}
    masks = run.test.masks.numpy()
    found = {name: _pair_maps(run, i) for i, name in enumerate(("bottom", "top"))}
    areas = {name: adlib.metrics.pixel_auroc(maps, masks) for name, maps in found.items()}
    noise = {name: diagnostics.normal_noise(maps, masks) for name, maps in found.items()}
    yield "S1-11", "pixel_auroc", 100 * (areas["bottom"] - areas["top"]), areas
    yield "S1-11", "normal_noise", noise["bottom"] - noise["top"], noise


def depth(make: Make) -> Values:
    """Recall inside large defects against their border, and alarms beside defects against far from them."""
    run = make("dskd")
    maps, masks = run.predicted.maps, run.test.masks.numpy()
    threshold = diagnostics.threshold_at(maps[(run.test.labels == 0).numpy()], ALARMS)
    border, inside = diagnostics.recall_by_depth(maps, masks, threshold, (0, DEEP, np.inf))["recall"]
    yield "S3-6", "recall_by_depth", border - inside, {"border": border, "inside": inside}
    alarms = diagnostics.halo(maps, masks, threshold)
    yield "S3-6", "halo_fpr", alarms["near"] - alarms["far"], alarms


TOPICS: dict[str, Callable[[Make], Values]] = {"rise": rise, "recall": recall, "layers": layers, "depth": depth}


def main() -> None:
    """Make all rows that are missing; a value that is NaN (say, no defect is that deep) is left out and said."""
    options = _options()
    for topic, place, seed in itertools.product(options.topic, options.category, options.seed):
        path = options.out / f"{topic}.csv"
        dataset, category = place.split("/", 1)
        conditions = f"teacher {options.teacher}, {options.scale} scale, {json.dumps(_all(options), sort_keys=True)}"
        if (dataset, category, str(seed), conditions) in _done(path):
            continue
        make = partial(_train, options, dataset, category, seed)
        where = {"dataset": dataset, "category": category, "seed": seed, "conditions": conditions}
        where |= {name: value for name, value in environment(options.device).items() if name in COLUMNS}
        rows = [
            {"id": claim, "metric": metric, "value": value, "parts": json.dumps(parts)} | where
            for claim, metric, value, parts in TOPICS[topic](make)
        ]
        _append(path, [row for row in rows if math.isfinite(row["value"])])
        for row in rows:
            print(place, seed, row["id"], row["metric"], row["value"], row["parts"], flush=True)


def _train(options: argparse.Namespace, dataset: str, category: str, seed: int, method: str, **fields: Any) -> Run:
    overrides = options.override.get(method.removeprefix("memory_"), {}) | fields
    run = adlib.prepare(
        method,
        dataset,
        category,
        seed=seed,
        scale=options.scale,
        teacher=options.teacher,
        overrides=overrides,
        data_root=options.data_root,
        device=options.device,
    )
    run.fit()
    return run


def _mean_cosine_loss(run: Run) -> float:
    losses = run.history.losses  # type: ignore[union-attr]
    return float(losses.loc[losses["stage"] == "student", "_cos_train"].mean())


@torch.inference_mode()
def _pair_maps(run: Run, number: int) -> np.ndarray:
    """The map of one pair of the mixed teacher alone."""
    pair: Any = run.method.pairs[number]  # type: ignore[index]
    found = []
    for index in torch.arange(len(run.test)).split(16):
        images = run.test.normalised(index)
        levels = [resize(d, images.shape[-2:]) for d in pair.distances(images)]
        found.append(smooth(torch.stack(levels).sum(0), pair.config.sigma))
    return torch.cat(found).numpy()


def _all(options: argparse.Namespace) -> dict[str, Any]:
    return {
        f"{method}.{field}": value for method, fields in options.override.items() for field, value in fields.items()
    }


def _done(path: Path) -> set[tuple[str, ...]]:
    if not path.is_file():
        return set()
    with path.open(newline="") as file:
        return {(r["dataset"], r["category"], r["seed"], r["conditions"]) for r in csv.DictReader(file)}


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", nargs="+", choices=TOPICS, default=[*TOPICS])
    parser.add_argument("--category", nargs="+", required=True, help="dataset/category")
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--scale", default="small", choices=("small", "full"))
    parser.add_argument("--override", nargs="+", default=[], help="method.field=JSON, of the memory variants, too")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=DIAGNOSTICS)
    options = parser.parse_args()
    given: dict[str, dict[str, Any]] = {}
    for text in options.override:
        place, value = text.split("=", 1)
        method, field = place.split(".", 1)
        given.setdefault(method, {})[field] = json.loads(value)
    options.override = given
    return options


if __name__ == "__main__":
    main()
