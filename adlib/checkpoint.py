"""Trained methods as files, to score with.

A method is a `.safetensors` file with every weight and statistic that inference needs, the teacher's included, and a
`.json` file of the same name that says what it is. Both are written under another name first, so that a file that
exists is whole. (Unfinished trainings: `adlib/training_state.py`.)
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from adlib.backbones import Provenance
from adlib.files import check_writable, sha256, whole_file
from adlib.methods import METHODS, name_of, resolve
from adlib.methods.base import Method

FORMAT = 2


def save(method: Method, path: str | Path, detector: dict[str, Any] | None = None) -> Path:
    """Write a trained method to `path` (`.safetensors`) and its description beside it (`.json`).

    `detector`: what turns it into a detector, such as its threshold; see `adlib.Detector.save`.
    """
    path = _checked(path)
    check_writable(path.parent)
    name = name_of(method)
    if name is None:
        raise ValueError(f"a checkpoint names its method: add {type(method).__name__} to adlib.methods.METHODS first")
    description = {
        "format": FORMAT,
        "method": name,
        "config": dataclasses.asdict(method.config),
        "teacher": dataclasses.asdict(method.provenance),
    }
    if detector is not None:
        description["detector"] = detector
    # Both are written before either takes the place of an older one, and the description knows its weights: whatever
    # fails in between, no threshold is ever used with weights that it was not chosen for.
    with whole_file(path.with_suffix(".json")) as beside, whole_file(path) as weights:
        save_file({k: v.contiguous() for k, v in method.state_dict().items()}, weights)
        description["sha256"] = sha256(weights)
        beside.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
    return path


def load(path: str | Path) -> Method:
    """Read a method that `save` wrote; its maps are bit-equal to those before, on the same device.

    Raises FileNotFoundError for a missing half of the pair, ValueError for a truncated or foreign file, or two halves
    of different pairs.
    """
    path = _checked(path)
    beside = path.with_suffix(".json")
    for part in (path, beside):
        if not part.is_file():
            raise FileNotFoundError(
                f"checkpoint file not found: {part.absolute()}; a checkpoint is a .safetensors and a "
                ".json file of one name"
            )
    try:
        description = json.loads(beside.read_text())
        found, weights = description["format"], description["sha256"]
        config = resolve(description["method"], **description["config"])
        provenance = Provenance(**description["teacher"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{beside} does not describe a checkpoint of this version: {error}") from error
    if found != FORMAT:
        raise ValueError(f"{beside} has checkpoint format {found}, this version reads {FORMAT}; train again")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete checkpoint ({path.stat().st_size} bytes: {error}); train again or copy it again"
        ) from error
    if weights != sha256(path):
        raise ValueError(
            f"{beside} describes other weights than those in {path.name}: the files are of two savings, perhaps as "
            "one was interrupted or a copy left one file out; save or copy both again"
        )
    method = METHODS[description["method"]](config, provenance)  # type: ignore[call-arg]
    try:
        method.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {beside.name}: {error}") from error
    return method.eval()


def read_detector(path: str | Path) -> dict[str, Any]:
    """Read what `save` was given as `detector`, of a checkpoint that `load` has accepted; ValueError if nothing."""
    beside = _checked(path).with_suffix(".json")
    found = json.loads(beside.read_text()).get("detector")
    if found is None:
        raise ValueError(
            f"{beside} has no threshold: it was written by adlib.save, and adlib.load reads it; a Detector's own save "
            "writes one"
        )
    return found


def _checked(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise ValueError(f"a checkpoint's name ends in .safetensors, got {path.name!r}")
    return path
