"""Classes are learnt, and where a distillation may begin."""

from pathlib import Path

import pytest
import torch

from adlib.pretrain import Classification, Distillation, data
from adlib.pretrain.export import write_teacher
from adlib.pretrain.networks import Source
from tests.pretrain.conftest import QUIET, config, run


def test_classes_are_learnt_and_their_file_starts_a_distillation(tmp_path: Path):
    textures = data.procedural_textures(4, 64)
    recipe = config(steps=40, ema=0.8, augmentation=QUIET)
    labels = {"procedural": torch.arange(4)}
    training = Classification(recipe, {"procedural": textures}, labels)
    run(training)
    assert training.log[-1]["accuracy"] == 1
    out = tmp_path / "resnet18.safetensors"
    card = write_teacher(training, out, {"procedural": 4}, training.finish())
    assert card["source"] == {"classes": 4}
    source = Source("resnet18", "random", (1, 2, 3, 4))
    begun = Distillation(config(), source, {"procedural": textures}, start=out)
    kernel = "layer2.0.conv1.weight"
    assert torch.equal(begun.student.state_dict()[kernel], training.student.state_dict()[kernel].half().float())
    with pytest.raises(ValueError, match="another network"):
        Distillation(config(student="efficientnet_b0"), source, {"procedural": textures}, start=out)
    with pytest.raises(ValueError, match="mixup=0"):
        Classification(config(), {"procedural": textures}, labels)
    with pytest.raises(ValueError, match="no label each"):
        Classification(recipe, {"procedural": textures, "tiny": textures}, labels)
