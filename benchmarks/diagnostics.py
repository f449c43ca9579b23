"""Measure what the papers say of a method's inside and of its maps: one CSV row a number, category and seed.

    python benchmarks/diagnostics.py --category mvtec/bottle --seed 0 1 2 --teacher bundled --data-root DIR

Topics: `rise` and `trial` (memory DeSTSeg, Figs. 9, 11, 17), `recall` and `values` (MemKD, Figs. 6 and 7), `ratio` and
`layers` (MixedTeacher, Sec. 4.2, and Fig. 2 of Sec. 4.1), `depth` (DSKD's limitations), and, of no paper and without a
claim, `kinds`: which kinds of defects STPM and RD find. `value` is made so that the claim `id` says it is above 0;
`parts` are the numbers that it was made of. `curves/` beside the tables holds what figures are drawn from, and the
table of `kinds`. `values` compares categories, so it has one row a seed. A number that says nothing is left out of its
row, and `why` says so. Rows that a file has already are not made again. Memories take more steps than scale `small`
has: with --override memkd.epochs=6 memkd.batch=4 memkd.exemplars=4 rd_memae.epochs=6 rd_memae.batch=4 they move far
enough.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import kept_rows, key, rows_as_text
from scipy import ndimage
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

import adlib
from adlib import speed
from adlib.environment import environment
from adlib.layers import resize
from adlib.run import Run
from adlib.study import diagnostics
from adlib.study.claims.diagnostics import DIAGNOSTICS
from adlib.study.claims.effects import TOGETHER

ALARMS = 0.01  # share of the pixels of normal test images that the threshold lets through
MOVED = 0.1  # cosine distance of a memory's items from their beginning, above which it holds what it has learnt
# A memory that leaves less than this share of every distance, of normal pixels and of defects alike, has collapsed: it
# recalls nearly one feature for all.
COLLAPSED = 0.05
ALIKE = "every pixel recalls nearly the same, so that what a distance loses is nearly all that it was"
WHERE = ("dataset", "category", "seed", "recipe", "conditions")  # what tells a measurement from another
BEGUN = "after so few steps BatchNorm's own statistics still hold their beginning: train longer"
UNMOVED = "the learned values are where they began: train longer"
FAINT = "the learned values lie apart, but by a silhouette below .1: train longer"
DEEP = 16  # pixels from the border of a defect, inwards
NEAR = 16  # the same outwards
# What a topic sets besides the given overrides, as its conditions say it.
SETTINGS = {
    "rise": ", not settled, memories without attention",
    "ratio": ", alpha 1",
    "layers": ", EfficientNet stages {bottom} and {top}".format(**diagnostics.BOTTOM_AND_TOP),
}
# DeSTSeg without memories, with those of the paper, and with the one of its first trial, added directly; without the
# attention, which the paper adds for another purpose.
ALONE = {"attention": False, "squeeze": False}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "destseg": ("destseg", {}),
    "memory": ("memory_destseg", ALONE),
    "mse": ("memory_destseg", ALONE | {"memory_loss": "mse", "memory_levels": [2]}),
}
Make = Callable[..., Run]
# A number: claim, metric, value or why there is none, parts, and what has to be said beside a value.
Number = tuple[str, str, float | str, dict[str, float]] | tuple[str, str, float | str, dict[str, float], str]
Found = tuple[Sequence[Number], dict[str, pd.DataFrame]]  # ... and the tables of curves by name


def rise(make: Make) -> Found:
    """L_cos where the student is frozen, its fall before, and what a first trial with one MSE memory does to both."""
    # Not settled, as the source: the change of mode is what is measured.
    runs = {name: make(method, log_both_modes=True, settle=False, **of) for name, (method, of) in VARIANTS.items()}
    logs = {name: run.history.losses for name, run in runs.items() if run.history is not None}
    rises = {name: diagnostics.abrupt_rise(log) for name, log in logs.items()}
    known = min((log["stage"] == "student").sum() for log in logs.values()) >= diagnostics.FORGOTTEN
    falls = {name: float(log.loc[log["stage"] == "student", "_cos_train"].mean()) for name, log in logs.items()}
    numbers: list[Number] = [("S0-10", "l_cos", falls["destseg"] - falls["memory"], falls)]
    # With the student's own statistics, as the paper saw it, and with the batch's, which leaves only the features.
    for metric, mode in (("l_cos_jump", "rise"), ("l_cos_jump_batch", "rise_batch")):
        jumps = {name: found[mode] for name, found in rises.items()}
        values = {
            "S0-7": (jumps["destseg"], rises["destseg"]),
            "S0-8": (jumps["destseg"] - jumps["memory"], rises["memory"]),
            "S0-9": (jumps["mse"] - jumps["destseg"], rises["mse"]),
        }
        said = known or mode == "rise_batch"
        numbers += [(claim, metric, value if said else BEGUN, parts) for claim, (value, parts) in values.items()]
    shown = ["stage", "step", "_cos_train", "_cos_eval"]
    return numbers, {"rise": pd.concat([log[shown].assign(variant=name) for name, log in logs.items()])}


def trial(make: Make) -> Found:
    """What a first trial with one MSE memory does to the accuracy."""
    runs = {name: make(method, **of) for name, (method, of) in VARIANTS.items() if name != "memory"}
    scores = {name: run.evaluate()[0]["image_auroc"] for name, run in runs.items()}
    return [("S0-9", "image_auroc", 100 * (scores["destseg"] - scores["mse"]), scores)], {}


def recall(make: Make) -> Found:
    """How far from the mean normal feature pixels are before and after recall, of good images and inside defects.

    Memories whose values are hardly moved do not count, as what such a memory recalls is its beginning. Where none
    counts nothing is judged. With another temperature than the paper's, which is none, the number is of no claim.
    """
    run, fresh = make("memkd"), make("memkd", trained=False)
    far = _movements(_values(fresh), _values(run))
    labels = run.test.labels
    good, bad = (torch.nonzero(labels == label).flatten() for label in (0, 1))
    normal, masks = run.test.normalised(good), run.test.masks[bad].float()
    with torch.inference_mode():
        sides = {"normal": run.method.recall_distances(normal, normal)}  # type: ignore[operator]
        sides["defect"] = run.method.recall_distances(run.test.normalised(bad), normal)  # type: ignore[operator]
    lines = []
    for kind, memories in sides.items():
        for memory, found in memories.items():
            size = found["before"].shape[-2:]
            inside = resize(masks, size) >= 0.5 if kind == "defect" else torch.ones(len(good), *size, dtype=torch.bool)
            if inside.any():  # at 8 x 8 cells a small defect has none
                before, after = (float(found[side][inside].mean()) for side in ("before", "after"))
                lines.append({"pixels": kind, "memory": memory, "before": before, "after": after})
    table = pd.DataFrame(lines)
    counted = table[table["memory"].isin([name for name, by in far.items() if by > MOVED])]
    claim = "S2-12" if run.method.config.temperature == 1 else ""
    return [(claim, *_descents(counted, {f"{name} moved": by for name, by in far.items()}))], {"recall": table}


def _descents(counted: pd.DataFrame, further: Mapping[str, float]) -> tuple[str, float | str, dict[str, float], str]:
    """By how much recall lowers the distances, of normal pixels and of defects, in parts of what normal ones had.

    Two statements: both decrease, and those of anomalies decrease by more. The least margin decides.
    """
    sides = counted.pivot(index="memory", columns="pixels", values=["before", "after"]).dropna()
    if sides.empty:
        return "feature_distance", UNMOVED, dict(further), ""
    fall = (sides["before"] - sides["after"]).div(sides["before", "normal"], axis=0).mean()
    value = min(fall["normal"], fall["defect"], fall["defect"] - fall["normal"])
    kept = sides["after"] / sides["before"]
    note = ALIKE if (kept < COLLAPSED).all(axis=None) else ""
    return "feature_distance", value, fall.to_dict() | dict(further), note


def values(makes: dict[str, Make]) -> Found:
    """How apart the learned values of the categories are, with NR memories and with MemAE's; all categories at once.

    Scores are means over the memories that training has moved in every category (`diagnostics.compact_and_apart`).
    """
    held: dict[str, dict[str, dict[str, np.ndarray]]] = {}  # method -> memory -> category -> (L, C)
    least: dict[tuple[str, str], float] = {}  # (method, memory) -> how far it moved in the category where least
    for category, make in makes.items():
        for method in ("memkd", "rd_memae"):
            after = _values(make(method))
            for memory, found in after.items():
                held.setdefault(method, {}).setdefault(memory, {})[category] = found
            for memory, far in _movements(_values(make(method, trained=False)), after).items():
                least[method, memory] = min(far, least.get((method, memory), far))
    counted = {method: {m: v for m, v in of.items() if least[method, m] > MOVED} for method, of in held.items()}
    scores = {m: [diagnostics.compactness(v) for v in of.values()] for m, of in counted.items()}
    planes: dict[str, list[float]] = {method: [] for method in held}
    frames = []
    for method, memories in held.items():
        for memory, by_category in memories.items():
            found = np.concatenate([*by_category.values()])
            points = TSNE(init="pca", perplexity=15, random_state=0).fit_transform(found).astype(float).round(2)
            names = np.repeat([*by_category], [len(v) for v in by_category.values()])
            if memory in counted[method]:
                planes[method].append(float(silhouette_score(points, names)))
            frame = pd.DataFrame({"of": names, "x": points[:, 0], "y": points[:, 1]})
            frames.append(frame.assign(method=method, memory=memory))
    moved = {f"{method} {memory} moved": far for (method, memory), far in least.items()}
    numbers: list[Number] = []
    for metric, of in (("silhouette", scores), ("t-SNE", planes)):  # among themselves, and in the plane
        means = {method: float(np.mean(found)) for method, found in of.items() if found}
        value = diagnostics.compact_and_apart(means.get("memkd"), means.get("rd_memae"))
        why = FAINT if 0 < means.get("memkd", 0) < diagnostics.SEEN else UNMOVED  # of either memory
        numbers.append(("S2-13", metric, why if value is None else value, means | moved))
    return numbers, {"values": pd.concat(frames)}


def _values(run: Run) -> dict[str, np.ndarray]:
    """The values of each memory, (L, C)."""
    return {name: v.float().numpy() for name, v in run.method.memory_values().items()}  # type: ignore[operator]


def _movements(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, float]:
    """How far training has moved the values of each memory from where the seed put them."""
    return {name: diagnostics.movement(before[name], after[name]) for name in before}


def ratio(make: Make) -> Found:
    """The losses of both pairs of the mixed teacher, a level.

    With alpha at 1: the paper sets it to a tenth because of this ratio, and what counts less in a loss is learnt less.
    """
    run = make("mixed_teacher", alpha=1.0)
    assert run.history is not None
    config: Any = run.method.config
    levels = len(config.efficient_stages) / len(config.levels)
    losses = run.history.losses["_ratio"] / levels  # the losses are sums over levels
    found = float(losses.iloc[-max(1, len(losses) // 10) :].mean())  # the end: at first both students are random
    about: float | str = math.log(2) - abs(math.log(found / 10))  # up to twofold
    if found < 10 and diagnostics.still_rising(losses.to_numpy()):
        about = "towards ten the ratio still rises when the training ends"
    curve = pd.DataFrame({"step": range(len(losses)), "ratio": losses.to_numpy()})
    return [("S1-10", "loss_ratio", about, {"ratio": found})], {"ratio": curve}


def layers(make: Make) -> Found:
    """The maps of an early and of a late stage of the mixed teacher's EfficientNet (the paper takes two late ones)."""
    run = make("mixed_teacher", efficient_stages=[*diagnostics.BOTTOM_AND_TOP.values()])
    masks = run.test.masks.numpy()
    found = {name: _level_map(run, level) for level, name in enumerate(diagnostics.BOTTOM_AND_TOP)}
    areas = {name: adlib.metrics.pixel_auroc(maps, masks) for name, maps in found.items()}
    noise = {name: diagnostics.normal_noise(maps, masks) for name, maps in found.items()}
    spills = {name: diagnostics.spill(maps, masks) for name, maps in found.items()}
    numbers = [
        ("S1-11", "spill", spills["top"] - spills["bottom"], spills),
        ("S1-11", "pixel_auroc", 100 * (areas["bottom"] - areas["top"]), areas),
        ("S1-11", "normal_noise", noise["bottom"] - noise["top"], noise),
    ]
    return numbers, {}


def depth(make: Make) -> Found:
    """Recall inside large defects against their border, and alarms beside found small defects against beside large.

    Large are the images with a defect pixel deeper than `DEEP`. Every smoothed map has a halo, so that beside against
    far would be above 0 for any.
    """
    run = make("dskd")
    maps, masks = run.predicted.maps, run.test.masks.numpy()
    threshold = diagnostics.threshold_at(maps[(run.test.labels == 0).numpy()], ALARMS)
    large = np.array([ndimage.distance_transform_edt(mask).max() > DEEP for mask in masks])
    border, inside = diagnostics.recall_by_depth(maps[large], masks[large], threshold, (0, DEEP, np.inf))["recall"]
    sizes = {"small": ~large, "large": large}
    beside = {n: partial(diagnostics.alarms_by_distance, maps[of], masks[of], threshold) for n, of in sizes.items()}
    near = {size: alarms(edges=(0, NEAR, np.inf))["alarms"][0] for size, alarms in beside.items()}
    numbers = [
        ("S3-6", "recall_by_depth", border - inside, {"border": border, "inside": inside}),
        ("S3-6", "halo_fpr", near["small"] - near["large"], near),
    ]
    curves = {"depth": diagnostics.recall_by_depth(maps, masks, threshold)}
    curves["halo"] = pd.concat([alarms().assign(size=size) for size, alarms in beside.items()])
    return numbers, curves


def kinds(make: Make) -> Found:
    """Measure each kind of defect of a category alone, by STPM and RD."""
    runs = {method: make(method) for method in ("stpm", "rd")}
    tables = [run.by_kind().rename_axis("kind").reset_index().assign(method=method) for method, run in runs.items()]
    found = environment(runs["stpm"].device)
    return [], {"kinds": pd.concat(tables).assign(device=found["device"], commit=found["commit"])}


TOPICS: dict[str, Callable[..., Found]] = {
    "rise": rise,
    "trial": trial,
    "recall": recall,
    "values": values,
    "ratio": ratio,
    "layers": layers,
    "depth": depth,
    "kinds": kinds,
}

WITH_MEMORIES = "memory_"  # a method whose name begins so has the overrides of the one without
GIVEN = [name for name in adlib.METHODS if not name.startswith(WITH_MEMORIES)]  # whose overrides can be named


def main() -> None:
    """Make all rows that are missing."""
    options = _options()
    overrides = json.dumps(_all(options), sort_keys=True) if _all(options) else ""
    precision = "" if options.precision == "fp32" else options.precision
    said = [f"teacher {options.teacher}", f"{options.scale} scale", overrides, precision]
    conditions = ", ".join(filter(None, said))
    for topic, seed in itertools.product(options.topic, options.seed):
        together = topic == "values"
        for place in [TOGETHER] if together else options.category:
            dataset, category = place.split("/", 1)
            path = options.out / f"{topic}.csv"
            where = {"dataset": dataset, "category": category, "seed": seed, "recipe": options.recipe}
            further = f", of {', '.join(sorted(options.category))}" if together else ""
            where["conditions"] = conditions + SETTINGS.get(topic, "") + further
            made = rows_as_text(options.out / "curves" / path.name if topic == "kinds" else path)  # it has no numbers
            if key(where, WHERE) in {key(row, WHERE) for row in made}:
                continue
            # Compared categories begin apart, as separate trainings do: one seed would give them one beginning.
            places = {p: seed + 100 * i for i, p in enumerate(options.category)} if together else {place: seed}
            makes = {p: partial(_train, options, *p.split("/", 1), seed=begun) for p, begun in places.items()}
            numbers, curves = TOPICS[topic](makes if together else makes[place])
            origin = {k: v for k, v in environment(options.device).items() if k in ("device", "commit", "created")}
            rows = [
                {"id": claim, "metric": metric, **_value_or_why(value, *note), "parts": json.dumps(parts)}
                | where
                | origin
                for claim, metric, value, parts, *note in numbers
            ]
            for name, curve in curves.items():  # before the rows, which say that all is there
                _replace(options.out / "curves" / f"{name}.csv", curve.assign(**where).to_dict("records"), where)
            _replace(path, rows, where)
            for row in rows:
                print(place, seed, row["id"], row["metric"], row["value"], row["why"], row["parts"], flush=True)


def _value_or_why(value: float | str, note: str = "") -> dict[str, float | str]:
    if isinstance(value, str):
        return {"value": "", "why": value}
    if not math.isfinite(value):
        return {"value": "", "why": "no image has what is measured"}
    return {"value": value, "why": note}


def _train(
    options: argparse.Namespace,
    dataset: str,
    category: str,
    method: str,
    *,
    seed: int,
    trained: bool = True,
    **fields: Any,
) -> Run:
    overrides = options.override.get(method.removeprefix(WITH_MEMORIES), {}) | fields
    run = adlib.prepare(
        method,
        dataset,
        category,
        seed=seed,
        recipe=options.recipe,
        scale=options.scale,
        teacher=options.teacher,
        overrides=overrides,
        data_root=options.data_root,
        device=options.device,
        precision=options.precision,
    )
    if trained:
        run.fit()
    run.method.cpu()  # what is measured afterwards is small, and the test images are there
    return run


@torch.inference_mode()
def _level_map(run: Run, level: int) -> np.ndarray:
    """The map of one level of the mixed teacher's EfficientNet pair alone."""
    method: Any = run.method
    parts = torch.arange(len(run.test)).split(16)
    found = [method.efficient_level_map(run.test.normalised(index), level) for index in parts]
    return torch.cat(found).numpy()


def _all(options: argparse.Namespace) -> dict[str, Any]:
    return {
        f"{method}.{field}": value for method, fields in options.override.items() for field, value in fields.items()
    }


def _replace(path: Path, rows: Sequence[Mapping[Any, Any]], where: Mapping[str, Any]) -> None:
    """Add rows to a table, in place of those that a killed call has left of the same measurement."""
    if rows:
        speed.write([*kept_rows(path, WHERE, [key(where, WHERE)]), *rows], path, digits=None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", nargs="+", choices=TOPICS, default=[*TOPICS])
    parser.add_argument("--category", nargs="+", required=True, help="dataset/category")
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--recipe", default="paper", choices=("paper", "code"), help="code: of the methods whose authors published some"
    )
    parser.add_argument("--teacher", default="bundled")
    parser.add_argument("--scale", default="small", choices=("small", "full"))
    parser.add_argument(
        "--override", nargs="+", default=[], help="method.field=JSON; destseg's are memory_destseg's, too"
    )
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--out", type=Path, default=DIAGNOSTICS)
    options = parser.parse_args()
    for place in options.category:
        if "/" not in place:
            parser.error(f"a category is given with its dataset, as mvtec/bottle; got {place!r}")
    given: dict[str, dict[str, Any]] = {}
    for text in options.override:
        place, value = text.split("=", 1)
        method, field = place.split(".", 1)
        if method not in GIVEN:
            parser.error(f"--override begins with one of {', '.join(GIVEN)}; got {method!r}")
        given.setdefault(method, {})[field] = json.loads(value)
    options.override = given
    return options


if __name__ == "__main__":
    main()
