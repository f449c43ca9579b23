"""Toy: a student that sees colour alone learns a teacher's first map; the smallest method that there can be.

It is step 1 of "Add a method in five steps" in CONTRIBUTING.md, kept here so that the steps are known to suffice.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher
from adlib.layers import cosine_distance, resize
from adlib.methods import Batch, Deviation, Method, MethodConfig, Recipes, Stage


@dataclass(frozen=True)
class ToyConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    backbone: str = "resnet18"
    epochs: int = 20
    batch: int = 8
    lr: float = 0.05


class Toy(Method):
    """Teacher and student of one level."""

    Config: ClassVar = ToyConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}, "code": {"lr": 0.02}}
    SMALL: ClassVar = {"epochs": 2}

    def __init__(self, config: ToyConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, (1,))
        (width,) = self.teacher.channels
        self.student = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, width, 1))

    def stages(self) -> list[Stage]:
        """Return the single stage: Adam on the student."""
        c = self.config
        adam = torch.optim.Adam(self.student.parameters(), c.lr)
        return [Stage("student", (self.student,), adam, self.loss, batch=c.batch, epochs=c.epochs)]

    def distance(self, images: Tensor, targets: list[Tensor] | None = None) -> Tensor:
        """Compute 1 - cos of teacher's and student's features: (N, H/4, W/4)."""
        (target,) = self.targets(images) if targets is None else targets
        return cosine_distance(target, self.student(images))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Average the distance over batch and positions."""
        return {"level1": self.distance(batch.image, batch.targets).mean()}

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Upsample the distance: (N, H, W)."""
        return resize(self.distance(images), images.shape[-2:])

    DEVIATIONS: ClassVar = (Deviation("learning rate", "0.05", "0.02", "as each recipe says"),)
