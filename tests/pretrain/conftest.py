"""Trainings of a few steps on textures, shared by the tests of all modules."""

import pytest

from adlib.pretrain import Augmentation, Config, Distillation, data
from adlib.pretrain.data import HELD_OUT
from adlib.pretrain.networks import Source

QUIET = Augmentation(area_min=1.0, aspect=1.0, turn=0, colour=0, gray=0, invert=0, blur=0, noise=0, mixup=0, cutmix=0)


@pytest.fixture(scope="session")
def groups():
    textures = data.procedural_textures(16, 64)
    return {"procedural": textures[:12], HELD_OUT: textures[12:]}


def config(**changes) -> Config:
    base = {"sizes": (64,), "batch": 8, "lr": 3e-3, "warmup": 2, "precision": "fp32", "steps": 4, "ema": 0.5}
    return Config(**(base | changes))


def start(groups, **changes) -> Distillation:
    return Distillation(config(**changes), Source("resnet18", "random", (1, 2, 3, 4)), groups)


def run(training: Distillation, **options) -> Distillation:
    training.run(report=lambda line: None, report_every=0, **options)
    return training
