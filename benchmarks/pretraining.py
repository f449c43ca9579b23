"""Which recipe makes the best teacher? One change a trial, the same minutes each: one CSV row a trial.

    python benchmarks/pretraining.py --source mobilenetv2_100.safetensors --data natural.zip --seconds 240
    python benchmarks/pretraining.py --source mobilenetv2_100.safetensors --data natural.zip --seconds 240 --search

A trial is `adlib.pretrain` with one choice changed, ended by the clock: what costs twice as much gets half as far. What
it is measured at is the share of the source's variance that is left unexplained at levels 1 to 3, on whole photographs
of 256 x 256 that were never trained on; no category of a detector's dataset is looked at. Trials that the file already
has are not made again. With `--keep DIR` each trial's teacher stays there, to be named as any run's `teacher`.

With `--search` the changes are tried one after another, each put on top of those that were adopted before: one is
adopted where the mean over the levels falls by more than `LEAST`, and the search ends when `PATIENCE` ideas in a row
were not. Its first rows are the recipe and the same with other seeds, which say how far two trainings are apart.
`border`: the largest cosine distance, over levels and edges, of features at the border to those inside, on good images
of the generated category canvas.
"""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from adlib import speed
from adlib.pretrain import Augmentation, Config, Distillation, data
from adlib.pretrain.border import border_distance, borderless
from adlib.pretrain.config import MIX
from adlib.pretrain.export import write_teacher
from adlib.pretrain.networks import Source

FEATURES = {"levels": (1, 2, 3), "level_weights": (1.0, 1.0, 1.0), "logit_weight": 0.0}
CALM = Augmentation(mixup=0.1, cutmix=0.2, invert=0.0, noise=0.2)
RECIPE: dict[str, Any] = FEATURES | {"sizes": (128, 192, 256), "batch": 16, "lr": 1.5e-3, "augmentation": CALM}
TRIALS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "level 4 and logits, too": {"levels": (1, 2, 3, 4), "level_weights": (1.0,) * 4, "logit_weight": 1.0},
    "cosine of the maps": {"feature_loss": "cosine"},
    "small views": {"sizes": (64, 96, 128), "batch": 64},
    "large views": {"sizes": (256,)},
    "stronger augmentation": {"augmentation": Augmentation()},
    "crops alone": {"augmentation": dataclasses.replace(CALM, mixup=0, cutmix=0, colour=0, noise=0, blur=0, gray=0)},
    "photographs alone": {"mix": dict.fromkeys(MIX, 0.0) | {"photographs": 1.0}},
    "half procedural": {"mix": MIX | {"procedural": 1.0}},
    "twice the learning rate": {"lr": 3e-3},
}
# In this order: what won alone, then what may go with it. A dictionary replaces what an earlier one says of its fields.
IDEAS: dict[str, dict[str, Any]] = {
    "twice the learning rate": TRIALS["twice the learning rate"],
    "photographs alone": TRIALS["photographs alone"],
    "border left out": {"margin": 16},
    "small views": TRIALS["small views"],
    "four times the learning rate": {"lr": 6e-3},
    "batches of 8": {"batch": 8},
    "no weight decay": {"weight_decay": 0.0},
    "larger crops": {"augmentation": dataclasses.replace(CALM, area_min=0.3)},
    "batches of 4": {"batch": 4},
    "shallow levels weigh more": {"level_weights": (2.0, 1.0, 1.0)},
    "deep levels weigh more": {"level_weights": (1.0, 1.0, 2.0)},
    "eight times the learning rate": {"lr": 1.2e-2},
    "nothing mixed": {"augmentation": dataclasses.replace(CALM, area_min=0.3, mixup=0, cutmix=0)},
}
SEEDS: dict[str, dict[str, Any]] = {"seed 1": {"seed": 1}, "seed 2": {"seed": 2}}  # the recipe again: what chance does
LEAST, PATIENCE = 0.005, 3
LEVELS = ["level 1", "level 2", "level 3"]


def main() -> None:
    """Make all trials that are missing, or search on."""
    options = _options()
    rows: list[dict[str, Any]] = pd.read_csv(options.out).to_dict("records") if options.out.is_file() else []
    groups, counts = data.read(options.data)
    if options.search:
        search(options, groups, counts, rows)
        return
    for name in options.trials:
        if name not in {row["trial"] for row in rows}:
            rows.append(trial(name, TRIALS[name], options, groups, counts))
            speed.write(rows, options.out)


def search(
    options: argparse.Namespace, groups: dict[str, Tensor], counts: dict[str, int], rows: list[dict[str, Any]]
) -> None:
    """Put one idea after another on top of what was adopted, until too many in a row gain too little."""
    made = {row["trial"]: row for row in rows}
    best, adopted, misses = math.nan, dict[str, Any](), 0
    for name, change in ({"the recipe": {}} | SEEDS | IDEAS).items():
        if misses == PATIENCE:
            break
        if name not in made:
            top = " + ".join(["the recipe", *(row["trial"] for row in rows if row["adopted"])])
            found = trial(name, adopted | change, options, groups, counts)
            mean = sum(found[level] for level in LEVELS) / len(LEVELS)
            gain = best - mean
            made[name] = found | {"on top of": top, "mean": mean, "gain": gain}
            made[name]["adopted"] = name in IDEAS and gain > LEAST
            rows.append(made[name])
            speed.write(rows, options.out)
        if name == "the recipe":
            best = made[name]["mean"]
        elif made[name]["adopted"]:
            best, adopted, misses = made[name]["mean"], adopted | change, 0
        elif name in IDEAS:
            misses += 1


def trial(
    name: str, change: dict[str, Any], options: argparse.Namespace, groups: dict[str, Tensor], counts: dict[str, int]
) -> dict[str, Any]:
    """Train once with a change of the recipe, and measure."""
    config = Config(**RECIPE | _short(options) | change)
    source = Source("mobilenetv2_100", str(options.source), config.levels, config.logit_weight > 0)
    training = Distillation(config, source, groups, options.device)
    training.run(report=lambda line: None)
    measured = training.finish()
    found = {level: measured[level] for level in LEVELS}
    if options.keep is not None:
        path = options.keep / f"{name.replace(',', '').replace(' ', '_')}.safetensors"
        write_teacher(training, path, counts, measured)
    found["border"] = border(training)
    print(name, training.step, training.views, {k: round(v, 4) for k, v in found.items()}, flush=True)
    row = {"trial": name, "student": config.student, "seconds": options.seconds, "steps": training.step}
    return row | {"views": training.views} | found | speed.conditions(options.device, options.precision)


def border(training: Distillation) -> float:
    """Measure how differently the network sees the border of a pattern that has none."""
    with torch.inference_mode():
        maps, _ = training.averaged.pyramid(borderless().to(training.device))
    return max(distance for level in maps for distance in border_distance(level).values())


def _short(options: argparse.Namespace) -> dict[str, Any]:
    """A schedule of minutes: a short warm-up, and an average over fewer steps."""
    return {"seconds": options.seconds, "warmup": 40, "ema": 0.98, "precision": options.precision}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the whole MobileNetV2 as .safetensors")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders or zips of <group>/<image>")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=[*TRIALS])
    parser.add_argument("--keep", type=Path, help="folder for each trial's teacher and its card")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--search", action="store_true", help="put what wins together, until nothing wins")
    parser.add_argument("--out", type=Path, help="the CSV file; else trials.csv or search.csv in results/teachers")
    options = parser.parse_args()
    if options.out is None:
        options.out = speed.RESULTS.parent / "teachers" / ("search.csv" if options.search else "trials.csv")
    return options


if __name__ == "__main__":
    main()
