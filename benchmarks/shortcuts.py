"""Can one number of an image tell defects from good images? And does a method's score hang on it?

    python benchmarks/shortcuts.py numbers --data-root DIR
    python benchmarks/shortcuts.py equalised --data-root DIR --category mvtec/screw --methods stpm rd reduced_student

`numbers`: for every category of `small.yaml`, the brightness (mean of all values, 0 to 255) and the contrast (their
standard deviation) of its images at 256 x 256: of training, good and defective test images, mean and standard
deviation. `auroc` takes the number as the score; near 0 it tells them apart as well as near 1. `auroc_distance` takes
its distance from the mean of the training images, as a detector would that knows nothing else: below 0.5 the good test
images are less like the training images than the defective ones are.

`equalised`: image AUROC of a method (scale small, recipe paper, teacher bundled), and of the same trained network where
each test image was multiplied so that its brightness is the training images' mean. CSVs in results/shortcuts.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml
from common import kept_rows
from sklearn.metrics import roc_auc_score

import adlib
from adlib import datasets, images, speed
from adlib.environment import PROJECT

FOLDER = PROJECT / "results" / "shortcuts"


def numbers(dataset: str, category: str, data_root: Path | None) -> list[dict[str, Any]]:
    """One row a number: brightness and contrast."""
    table = datasets.load(dataset, category, data_root)
    loaded = images.load(table)
    train = torch.tensor((table["split"] == "train").tolist())
    defect = loaded.labels.bool()
    parts = {"train": train, "good": ~train & ~defect, "defect": ~train & defect}
    rows = []
    for name, of in (("brightness", torch.mean), ("contrast", torch.std)):
        values = torch.stack([of(image.double()) for image in loaded.pixels])
        row: dict[str, Any] = {"dataset": dataset, "category": category, "number": name}
        for part, chosen in parts.items():
            row |= {part: float(values[chosen].mean()), f"{part}_std": float(values[chosen].std())}
        tested, truth = values[~train], defect[~train]
        row["auroc"] = float(roc_auc_score(truth, tested))
        row["auroc_distance"] = float(roc_auc_score(truth, (tested - values[train].mean()).abs()))
        rows.append(row | {f"{part}_images": int(chosen.sum()) for part, chosen in parts.items()} | speed.conditions())
    return rows


def equalised(method: str, dataset: str, category: str, seed: int, data_root: Path | None) -> dict[str, Any]:
    """Image AUROC of one training, on the test images as they are and at one brightness."""
    run = adlib.prepare(
        method, dataset, category, seed=seed, scale="small", teacher="bundled", data_root=data_root, precision="auto"
    )
    run.fit()
    labels = run.test.labels.cpu().numpy()
    row = run.identity | {"steps": run.history.steps if run.history else 0}
    row["image_auroc"] = float(roc_auc_score(labels, run.predict().scores))
    values = run.test.pixels.float()
    factors = run.train.pixels.float().mean() / values.mean((1, 2, 3), keepdim=True)
    run.test = replace(run.test, pixels=(values * factors).clamp(0, 255).round().to(torch.uint8))
    row["image_auroc_equalised"] = float(roc_auc_score(labels, run.predict().scores))
    row.pop("overrides")
    return row | speed.conditions(run.device, run.precision)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["numbers", "equalised"])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--category", nargs="+", default=["mvtec/screw"], metavar="DATASET/CATEGORY")
    parser.add_argument("--methods", nargs="+", default=["stpm", "rd", "reduced_student"])
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.what == "numbers":
        of = yaml.safe_load((PROJECT / "small.yaml").read_text())["grids"][0]["datasets"]
        places = [(dataset, category) for dataset, names in of.items() for category in names]
        places += [("synthetic", category) for category in datasets.PUBLISHED["synthetic"]]
        for dataset, category in places:
            rows += numbers(dataset, category, options.data_root)
            print(dataset, category, *(f"{row['number']} {row['auroc']:.3f}" for row in rows[-2:]), flush=True)
    else:
        again = {
            f"{method}/{place}/{seed}"
            for place, method, seed in product(options.category, options.methods, options.seed)
        }
        rows = kept_rows(options.out / "equalised.csv", ["method", "dataset", "category", "seed"], again)
        for place, method, seed in product(options.category, options.methods, options.seed):
            dataset, category = place.split("/")
            rows.append(equalised(method, dataset, category, seed, options.data_root))
            print(place, method, seed, rows[-1]["image_auroc"], rows[-1]["image_auroc_equalised"], flush=True)
    print("->", speed.write(rows, options.out / f"{options.what}.csv"))


if __name__ == "__main__":
    main()
