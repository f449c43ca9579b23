"""Which recipe makes the best teacher? One change a trial, the same minutes each: one CSV row a trial.

    python benchmarks/pretraining.py --source mobilenetv2_100.safetensors --data natural.zip --seconds 300

A trial is `adlib.pretrain` with one choice changed, ended by the clock: what costs twice as much gets half as far. What
it is measured at is the share of the source's variance that is left unexplained at levels 1 to 3, on whole photographs
of 256 x 256 that were never trained on; no category of a detector's dataset is looked at. Trials that the file already
has are not made again. With `--keep DIR` each trial's teacher stays there, to be named as any run's `teacher`.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from adlib import speed
from adlib.pretrain import Augmentation, Config, Distillation, data
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


def main() -> None:
    """Make all trials that are missing."""
    options = _options()
    before = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame({"trial": []})
    rows: list[dict[str, Any]] = before.to_dict("records")
    groups, counts = data.read(options.data)
    for name in options.trials:
        if name in set(before["trial"]):
            continue
        config = Config(**RECIPE | _short(options) | TRIALS[name])
        source = Source("mobilenetv2_100", str(options.source), config.levels, config.logit_weight > 0)
        training = Distillation(config, source, groups, options.device)
        training.run(report=lambda line: None)
        measured = training.finish()
        found = {k: v for k, v in measured.items() if k in ("level 1", "level 2", "level 3")}
        if options.keep is not None:
            path = options.keep / f"{name.replace(',', '').replace(' ', '_')}.safetensors"
            write_teacher(training, path, counts, measured)
        row = {"trial": name, "student": config.student, "seconds": options.seconds, "steps": training.step}
        rows.append(row | {"views": training.views} | found | speed.conditions(options.device, options.precision))
        speed.write(rows, options.out)
        print(name, training.step, training.views, {k: round(v, 4) for k, v in found.items()}, flush=True)


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
    parser.add_argument("--out", type=Path, default=speed.RESULTS.parent / "teachers" / "trials.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
