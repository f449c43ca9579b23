"""Write a finished teacher: the stages that methods read, in half precision, and a card that says what it is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from adlib.backbones import feature_network
from adlib.environment import environment
from adlib.files import sha256, whole_file
from adlib.pretrain.training import Pretraining

SHIPPED = {"resnet18": 3}  # the highest level of each student that methods read; 4 for all others


def shipped(student: str, level: int | None = None) -> int:
    """Return the highest level that a file of this student holds, by default all that methods read.

    Raises ValueError for a level that the student does not have.
    """
    level = SHIPPED.get(student, 4) if level is None else level
    feature_network(student, range(1, level + 1))
    return level


def teacher_state(student: nn.Module, name: str, level: int) -> dict[str, Tensor]:
    """Take what the feature pyramid up to `level` needs, under timm's names.

    Kernels become half precision. Everything one-dimensional stays single: a BatchNorm variance may be below what half
    precision holds, and all of them together are a few kilobytes.
    """
    whole = student.state_dict()
    names = feature_network(name, range(1, level + 1)).state_dict()
    return {key: whole[key].half() if whole[key].ndim > 1 else whole[key] for key in names}


def write_teacher(
    training: Pretraining,
    out: Path,
    data: dict[str, int],
    measured: dict[str, float],
    level: int | None = None,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `out` (`.safetensors`) and the card beside it (`.json`), and return the card.

    `data` counts the files of each group, `measured` is from `Pretraining.finish`, `more` goes into the card as it is.
    """
    c = training.config
    level = shipped(c.student, level)
    state = {k: v.detach().cpu().contiguous() for k, v in teacher_state(training.student, c.student, level).items()}
    # The weights take their place first: a card says what lies there.
    with whole_file(out.with_suffix(".json")) as description, whole_file(out) as weights:
        save_file(state, weights)
        card = {
            "network": c.student,
            "levels": list(range(1, level + 1)),
            "parameters": sum(v.numel() for v in state.values()),
            "sha256": sha256(weights),
            "bytes": weights.stat().st_size,
            **training.origin(),
            "data": data,
            "images_in_memory": len(training.pixels),
            "recipe": dataclasses.asdict(c),
            "steps": training.step,
            "images_seen": training.views,
            "seconds": round(training.elapsed, 1),
            "held_out": {name: round(value, 4) for name, value in measured.items()},
            "environment": environment(training.device),  # commit, versions, device, time
            "log": training.log[:: 1 + len(training.log) // 100],
            **(more or {}),
        }
        description.write_text(json.dumps(card, indent=1) + "\n")
    return json.loads(json.dumps(card))
