"""From parameters to a run: all is checked, the images are read and the method is built before anything trains."""

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adlib import datasets, images, results
from adlib.backbones import with_files
from adlib.corrupt import rotation_of
from adlib.datasets import dtd
from adlib.device import memory_explained, resolve_device, resolve_precision
from adlib.files import check_writable, is_bare
from adlib.images import IMAGE_SIZE
from adlib.methods import METHODS, build, mapping, resolve
from adlib.row import RULES
from adlib.run import Run
from adlib.textures import PROCEDURAL_TEXTURES


def prepare(
    method: str,
    dataset: str,
    category: str,
    *,
    recipe: str = "paper",
    seed: int = 0,
    scale: str = "full",
    teacher: str = "bundled",
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    out_dir: str | Path | None = None,
) -> Run:
    """Check all parameters, read the images and build the method; nothing is trained yet, and no row written.

    Images whose decoding takes long are kept decoded in the user's cache folder (`adlib/decoded.py`).

    Args:
        method: a name in `adlib.METHODS`.
        dataset: a name in `adlib.datasets.DATASETS`; `folder` is a folder of your own.
        category: one of the dataset; of `folder` the path of the images, absolute or from `data_root`.
        recipe: 'paper' (what the text says) or 'code' (what the authors' code does), where there is any.
        seed: of the initial weights and all random draws.
        scale: 'full' trains as long as the source, 'small' for minutes.
        teacher: 'bundled', 'imagenet', 'random', or the path of a `.safetensors` file; see `adlib.backbones`.
        overrides: fields of the method's config, such as {'levels': [1, 2]}.
        data_root: the folder that holds the datasets; else `ADLIB_DATA`, else one in the user's cache.
        device: 'auto' (a free GPU, else the CPU), 'cpu', 'cuda'.
        precision: 'fp32', 'bf16', or 'auto': bf16 where the device is faster at it.
        out_dir: where an unfinished training leaves its state, beside where its row will be, and goes on from it.

    Raises ValueError or FileNotFoundError, saying what was expected and found, for anything that does not fit.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number of at least 0 and below 2^31, got {seed!r}")
    if not isinstance(category, str) or not category:
        raise ValueError(f"category must be text, got {category!r}; papermill keeps '01' as text with -r category 01")
    asked = mapping(overrides)
    config = resolve(method, recipe, scale, **asked)
    identity = identify(method, dataset, category, recipe, seed, scale, teacher, asked, data_root)
    expected, holds = RULES["category"]
    if not holds(identity["category"]):
        raise ValueError(
            f"the folder {identity['category']!r} would name a row, for which it takes {expected}, of at most 100 "
            "characters: rename it"
        )
    samples = datasets.load(dataset, category, data_root)
    if "test" not in set(samples["split"]):
        raise ValueError(
            f"{dataset}/{category} has no image to test on: of five good images or more one is held out, else put some "
            "into test/good or a folder named for a defect"
        )
    decided: dict[str, Any] = {}  # fields of the config that depend on the data
    if getattr(config, "rotation", None) == "auto":  # a user's folder may be called bottle, and is not MVTec's
        decided["rotation"] = "none" if dataset == "folder" else rotation_of(category)
    if scale == "small" and "epochs" in METHODS[method].SMALL.keys() - asked.keys():
        decided["epochs"] = small_epochs(config.epochs, int((samples["split"] == "train").sum()))
    with memory_explained(f"{method} was built"):
        built = build(method, recipe, teacher, scale, seed, **(asked | decided))
    built.stages()  # a schedule that cannot be is an error now, not after the images are read
    device = resolve_device(device)  # which may wait for a GPU
    precision = resolve_precision(precision, device)
    data_sha256 = datasets.fingerprint(samples)
    split = {
        name: images.load(part, IMAGE_SIZE, built.preprocess, identity=data_sha256)
        for name, part in samples.groupby("split")
    }
    exchanged = _exchanged(dataclasses.replace(config, **decided), built.config)
    notes = {"teacher": exchanged} if exchanged else {}
    textures: list[str] = []
    if any(stage.corrupted for stage in built.stages()):
        textures, notes["textures"] = _texture_files(data_root)
        if scale == "full" and not textures:
            root = datasets.data_root(data_root)
            warnings.warn(
                f"no DTD in {root / 'dtd'}: pseudo-anomalies will be made of generated textures, which is not what the "
                f"paper did. To fetch it: python -m adlib.datasets.download dtd --root {root}",
                stacklevel=2,
            )
    if out_dir is not None:  # hours of training are lost where the row cannot be written
        check_writable(results.row_path(Path(out_dir).expanduser(), identity).parent)
    run = Run(
        identity=identity,
        method=built,
        train=split["train"],
        test=split["test"],
        data_sha256=data_sha256,
        device=device,
        precision=precision,
        out_dir=None if out_dir is None else Path(out_dir).expanduser(),
        textures=textures,
        notes=notes,
    )
    if run.out_dir is not None:
        _warn_of_replacement(results.row_path(run.out_dir, run.identity), run)
    return run


def identify(
    method: str,
    dataset: str,
    category: str,
    recipe: str,
    seed: int,
    scale: str,
    teacher: str,
    overrides: Mapping[str, Any],
    data_root: str | Path | None = None,
) -> dict[str, Any]:
    """Return what identifies a run, as its row has it: of overrides the values that the config has, 1.0 for 1."""
    config = resolve(method, recipe, scale, **overrides)
    return {
        "method": method,
        "recipe": recipe,
        "dataset": dataset,
        "category": _label(category, data_root),
        "seed": seed,
        "scale": scale,
        # a row names a weights file, not the folder that it lay in
        "teacher": with_files(teacher, lambda path: Path(path).name),
        "overrides": results.document({"overrides": {name: getattr(config, name) for name in overrides}})["overrides"],
    }


def small_epochs(epochs: int, images: int) -> int:
    """Convert the epochs of the scale `small`, meant for 200 images, to about as many steps on that many images.

    So a run takes the same time on every category, and a folder of twenty good images is not trained for a moment only.
    """
    return max(1, round(epochs * 200 / max(images, 20)))


def _label(category: str, data_root: str | Path | None) -> str:
    """Name a category in a row: the user's own folder goes by its last part."""
    if is_bare(category):
        return category
    return Path(os.path.abspath(Path(datasets.data_root(data_root), Path(category).expanduser()))).name  # no links


def _exchanged(wanted: Any, used: Any) -> str:
    """Return as text which networks of a config were exchanged, as their weights do not ship; empty if none."""
    before = dataclasses.asdict(wanted)
    return "; ".join(
        f"{name} {value} in place of {before[name]}, {'to go with it' if name == 'student' else 'which does not ship'}"
        for name, value in dataclasses.asdict(used).items()
        if value != before[name]
    )


def _texture_files(data_root: str | Path | None) -> tuple[list[str], str]:
    """Files of DTD for pseudo-anomalies, none where it is not in the data root, and what a row says of either."""
    try:
        found = dtd.images(datasets.data_root(data_root) / "dtd")
    except FileNotFoundError:
        return [], f"procedural, {PROCEDURAL_TEXTURES} images (no DTD in the data root)"
    return found, f"DTD, {len(found)} images"


def _warn_of_replacement(path: Path, run: "Run") -> None:
    """Say before the training where its row will take the place of one of other images, textures, weights or precision.

    A row's path names neither the folder of somebody's images, nor that of a weights file, nor the precision.
    """
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(old, dict):
        return
    now = {
        "images of the same name": ("data_sha256", run.data_sha256),
        "weights of the same name": ("teacher_sha256", run.method.provenance.sha256),
        f"precision ({old.get('precision')}, now {run.precision})": ("precision", run.precision),
    }
    other = [what for what, (name, value) in now.items() if old.get(name) != value]
    notes = old.get("notes")
    found = notes.get("textures") if isinstance(notes, dict) else None
    if found != run.notes.get("textures"):
        other.append(f"textures of pseudo-anomalies ({found}, now {run.notes.get('textures')})")
    if other:
        warnings.warn(
            f"{path} was made with other {' and other '.join(other)} and will be replaced: "
            "move it away, or name another out_dir, to keep it",
            stacklevel=3,
        )
