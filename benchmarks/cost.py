"""What the full study would take, from rows that were measured: hours by method and device, and disk.

    python benchmarks/cost.py [--rows results/runs] [--out results/speed/cost.csv]

The steps of each run follow from its schedule and the number of its images; the seconds of a step with so many images
are those of the rows of the same method, recipe and network without an ablation, the median where there are several of
one device and precision; testing likewise. Left out: the start of a process, reading and decoding the images, and the
metrics. A row of the scale `small` also paid once for the teacher's features, as a long training does, so hours are
rather too many than too few. Also writes the table in docs/full_study.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch.utils._pytree import tree_leaves

from adlib import build, datasets, results, speed
from adlib.environment import PROJECT, environment
from adlib.files import replace_between
from adlib.images import IMAGE_SIZE
from adlib.methods import Method, resolve
from adlib.sampling import Plan
from adlib.study import grids
from adlib.study.filters import with_values

STUDY = PROJECT / "full.yaml"
PAGE = PROJECT / "docs" / "full_study.md"
COUNTS = PROJECT / "results" / "paper" / "dataset_counts.csv"
NAMES = {"MVTec AD": "mvtec", "VisA (1-class split)": "visa", "MPDD": "mpdd", "BTAD": "btad", "MVTec 3D-AD": "mvtec3d"}
NAMES |= {"Eyecandies (test_public)": "eyecandies"}
BEGIN, END = "<!-- written by benchmarks/cost.py -->", "<!-- end -->"
DECODED = 4 * IMAGE_SIZE**2  # bytes that a decoded image takes in the cache: three channels and a mask
SCHEDULE = {"epochs", "batch", "student_steps", "segmentation_steps"}  # overrides that leave a step what it is


def image_counts(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Map (dataset, category) to its numbers of training and of test images."""
    table = pd.read_csv(COUNTS, dtype={"category": str})
    table["dataset"] = table.dataset.map(NAMES)
    candies = table.dataset == "eyecandies"  # whose folders are CandyCane, ...
    table.loc[candies, "category"] = table.category[candies].str.title().str.replace("_", "")
    published = {(r.dataset, r.category): (r.train, r.test_normal + r.test_anomalous) for r in table.itertuples()}
    # Where no counts are published (our splits of the magnetic tiles), all categories are as large as one that we read.
    ours = {r.dataset: (r.train_images, r.test_normal + r.test_defect) for r in rows.itertuples()}
    return {(name, category): ours[name] for name in ours for category in datasets.PUBLISHED.get(name, ())} | published


def seconds_per_image(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the seconds of an image in training and in testing, by what they depend on."""
    rows = rows[[given.keys() <= SCHEDULE for given in rows.overrides]]
    rates = rows[["method", "recipe", "device", "threads", "precision"]].assign(
        backbone=[config["backbone"] for config in rows.config],
        train=rows.seconds_train / (rows.steps * rows.batch),
        test=rows.seconds_test / (rows.test_normal + rows.test_defect),
        rows=1,
    )
    groups = rates.groupby(["method", "recipe", "backbone", "device", "threads", "precision"])
    return groups.agg({"train": "median", "test": "median", "rows": "sum"}).reset_index()


def state_bytes(method: Method) -> int:
    """Return the size that the state of a method's training reaches; the weights are not the same afterwards.

    It holds what was learnt, once more where a stage keeps its best epoch, and what the stage's optimiser keeps.
    """
    learnt, sizes = _bytes(method.learned_state()), []
    for stage in method.stages():
        for group in stage.optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        stage.optimiser.step()  # an optimiser has its moments from the first step on
        best = learnt if stage.select is not None and stage.validation else 0
        sizes.append(learnt + best + _bytes(stage.optimiser.state_dict()))
    return max(sizes)


def _bytes(tensors: Any) -> int:
    """Sum the bytes of the tensors in any nest of values."""
    return sum(tensor.nbytes for tensor in tree_leaves(tensors) if isinstance(tensor, torch.Tensor))


def decoded_bytes(runs: list[dict[str, Any]], counts: dict[tuple[str, str], tuple[int, int]]) -> int:
    """Return the size of the decoded images of all runs, which are kept once for each way of preprocessing."""
    kept = set()
    for run in runs:
        config = resolve(run["method"], run["recipe"], run["scale"], **run["overrides"])
        kept.add((run["dataset"], run["category"], getattr(config, "preprocess", "resize")))
    return DECODED * sum(sum(counts[dataset, category]) for dataset, category, _ in kept)


def drawn(run: dict[str, Any], images: int, stages: list[Any]) -> int:
    """Count the images that a training draws."""
    plans = [Plan(stage, number, images, run["seed"]) for number, stage in enumerate(stages)]
    return sum(plan.steps * plan.batch for plan in plans)


def estimate(runs: list[dict[str, Any]], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a line for each method, recipe, overrides, device and precision; hours are NaN where no row was measured."""
    counts, rates = image_counts(rows), seconds_per_image(rows)
    table = pd.DataFrame(runs)
    table["changed"] = table.overrides.map(json.dumps)
    lines = []
    for (method, recipe, changed), group in table.groupby(["method", "recipe", "changed"], sort=False):
        first = group.iloc[0]
        built = build(method, recipe, "random", first["scale"], **first["overrides"])
        stages, trained, tested = built.stages(), 0, 0
        for run in group.to_dict("records"):
            train, test = counts[run["dataset"], run["category"]]
            trained, tested = trained + drawn(run, train, stages), tested + test
        line = {
            "method": method,
            "recipe": recipe,
            "overrides": changed,
            "runs": len(group),
            "images_trained": trained,
            "images_tested": tested,
        }
        state = state_bytes(built) / 2**20
        alike = {"method": method, "recipe": recipe, "backbone": built.config.backbone}
        found = with_values(rates, alike)
        for rate in found.to_dict("records") or [{"device": "not measured"}]:
            hours = (trained * rate.get("train", float("nan")) + tested * rate.get("test", float("nan"))) / 3600
            lines.append(line | {name: rate.get(name) for name in ("device", "threads", "precision", "rows")} | {
                "hours": hours, "hours_a_run": hours / len(group), "state_mib": state,
            })  # fmt: skip
    return lines


def page(lines: list[dict[str, Any]], rows: Path, decoded: int, commit: str) -> str:
    """Return the table for the page: hours by method, recipe, device and precision, their sums, and disk.

    `decoded`: bytes of the decoded images.
    """
    table = pd.DataFrame(lines)
    text = [
        f"`{STUDY.name}`, estimated at commit {commit[:12]}: hours of all runs of a method without overrides, from the",
        "quickest of the devices below to the slowest.",
        "",
    ]
    for (method, recipe), group in table[table["overrides"] == "{}"].groupby(["method", "recipe"], sort=False):
        low, high = (f"{hours:,.0f}" for hours in (group["hours"].min(), group["hours"].max()))
        took = f"{low} hours" if low == high else f"{low} to {high} hours"
        hours = "not measured" if group["hours"].isna().all() else took
        text.append(f"- {method} ({recipe}): {group['runs'].iloc[0]} runs, {hours}")
    text += ["", "<details><summary>Each device, precision and override</summary>", ""]
    text += [
        "| method | recipe | overrides | runs | device | threads | precision | rows behind it | minutes a run | hours |"
    ]
    text += ["| --- | --- | --- | ---: | --- | ---: | --- | ---: | ---: | ---: |"]
    for line in table.itertuples():
        measured = f"{line.threads:.0f} | {line.precision} | {line.rows:.0f} | "
        measured += f"{60 * line.hours_a_run:,.0f} | {line.hours:,.0f}"
        text.append(
            f"| {line.method} | {line.recipe} | {line.overrides if line.overrides != '{}' else ''} | {line.runs} "
            f"| {line.device} | " + (measured if pd.notna(line.hours) else "| | | | not measured") + " |"
        )
    runs = table.drop_duplicates(["method", "recipe", "overrides"]).runs.sum()
    text += [
        "",
        "</details>",
        "",
        f"{runs:,} runs in all. Sums, over the runs that have rows on the device; what is not measured is in none:",
        "",
    ]
    where = ["device", "threads", "precision"]
    for (device, threads, precision), group in table.dropna(subset="hours").groupby(where):
        hours = f"{group.hours.sum():,.0f} hours for {group.runs.sum():,} runs"
        text.append(f"- {device}, {threads:.0f} thread{'s' * (threads > 1)}, {precision}: {hours}")
    row = [path.stat().st_size for path in rows.rglob("*.json")]
    notebook = (PROJECT / "notebooks" / "run.ipynb").stat().st_size
    kept, state = (sum(row) / max(1, len(row)) + notebook) * runs / 2**30, table.state_mib.max()
    text.append(
        f"- disk: {kept:.1f} GiB of rows and executed notebooks in the end (the median row has "
        f"{pd.Series(row).median() / 1024:.0f} KiB, the committed run notebook {notebook / 2**20:.1f} MiB), and while "
        f"a run is in work a training state of up to {state:,.0f} MiB, twice that while a new one is written"
    )
    text.append(
        f"- cache: up to {decoded / 2**30:.0f} GiB of decoded images, {DECODED // 2**10} KiB each, those of each "
        "preprocessing apart"
    )
    return "\n".join(text)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=results.RUNS)
    parser.add_argument("--out", type=Path, default=speed.RESULTS / "cost.csv")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    rows = results.read(options.rows)
    runs = list(grids.runs(yaml.safe_load(STUDY.read_text())).values())
    lines = estimate(runs, rows)
    commit = environment()["commit"]
    speed.write([line | {"study": STUDY.name, "commit": commit} for line in lines], options.out)
    text = page(lines, options.rows, decoded_bytes(runs, image_counts(rows)), commit)
    replace_between(options.page, BEGIN, END, text)
    print(text)


if __name__ == "__main__":
    main()
