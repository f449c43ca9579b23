"""Small batches and methods that several files of this folder need."""

import torch

from adlib.methods import build
from adlib.methods.base import Batch

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def shapes(tensors):
    return [tuple(t.shape[1:]) for t in tensors]


def memae(**overrides):
    return build("rd_memae", teacher="random", **({"backbone": "resnet18", "batch": 4, "items": (6, 5, 4)} | overrides))


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(2, 3, 64, 64, generator=generator), exemplars=torch.randn(3, 3, 64, 64, generator=generator)
    )


def terms(method, seed: int = 0) -> dict[str, torch.Tensor]:
    stage = method.stages()[0]
    for module in stage.trains:
        module.train()
    return stage.loss(batch(seed))
