"""The loss falls, and the file that is written is one that a Teacher reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from adlib.backbones import Teacher
from adlib.pretrain.export import write_teacher
from tests.pretrain.conftest import run, start


def test_the_loss_falls_and_the_file_is_a_teacher(groups, tmp_path: Path):
    training = run(start(groups, steps=16))
    losses = [entry["loss"] for entry in training.log]
    assert len(losses) == 16
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    measured = training.finish()
    assert set(measured) == {"level 1", "level 2", "level 3", "level 4", "logits", "same class"}
    out = tmp_path / "resnet18.safetensors"
    card = write_teacher(training, out, {"procedural": 12}, measured)
    assert json.loads(out.with_suffix(".json").read_text()) == card
    assert card["images_seen"] == 128
    assert card["parameters"] == pytest.approx(2.78e6, rel=0.01)
    assert card["bytes"] < 5.7e6
    teacher = Teacher("resnet18", str(out), (1, 2, 3))
    whole = training.student.state_dict()["layer3.1.conv2.weight"]
    found = teacher.features.state_dict()["layer3.1.conv2.weight"]
    assert torch.equal(found, whole.half().float())
    assert teacher.provenance.sha256 == card["sha256"]
