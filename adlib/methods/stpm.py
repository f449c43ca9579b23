"""STPM: student-teacher feature pyramid matching.

Wang, Han, Ding, Huang, "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021. Facts of the
code: gdwang08/STFPM at commit 2598a5e. The student is the teacher's network with random weights; it learns the
teacher's features on good images, and an anomaly is where it fails to. Figures of the text that the code does not
carry (factor 1/2, fusion at image size) are from the paper's public version.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adlib.backbones import Provenance, Teacher, feature_network
from adlib.layers import fuse_levels, resize, squared_distance
from adlib.methods.base import SETTLED, Batch, Deviation, Method, MethodConfig, Recipes, Stage, check_choices


@dataclass(frozen=True)
class STPMConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    backbone: str = "resnet18"
    levels: tuple[int, ...] = (
        1,
        2,
        3,
    )  # matched maps: layer1..layer3; ablated in MixedTeacher, table 1
    loss_factor: float = 0.5  # Eq. 1: 1/2 squared distance of unit vectors; code: 1
    fusion: str = "product"  # Eq. 4; option: sum
    fusion_size: str = (
        "image"  # Sec. 3.3: every level upsampled to the image; code: to 64 x 64, a quarter, whatever the levels
    )
    epochs: int = 100  # Sec. 4: 100; code: its README trains 200
    batch: int = 32
    lr: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 1e-4
    settle: bool = False  # ours, for few steps: when the student is done its BatchNorms take their statistics anew
    validation: float = 0.2  # share of the training images held out; the epoch with the lowest mean map is kept

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"fusion": ("product", "sum"), "fusion_size": ("image", "level")})


class STPM(Method):
    """Student and teacher of one shape, matched at several levels."""

    Config: ClassVar = STPMConfig
    RECIPES: ClassVar[Recipes] = {
        "paper": {},
        "code": {"loss_factor": 1.0, "fusion_size": "level", "epochs": 200},
    }
    # So few steps at the source's learning rate leave BatchNorm with the running means of networks long gone.
    SMALL: ClassVar = {"epochs": 4, "batch": 8, "settle": True}

    def __init__(self, config: STPMConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, config.levels)
        # The same random initialisation as torchvision's: no zero-initialised BatchNorm.
        self.student = feature_network(config.backbone, config.levels)

    def stages(self) -> list[Stage]:
        """Return the single stage: SGD on the student, best epoch by validation map."""
        c = self.config
        sgd = torch.optim.SGD(self.student.parameters(), c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
        return [
            Stage(
                name="student",
                trains=(self.student,),
                optimiser=sgd,
                loss=self.loss,
                batch=c.batch,
                epochs=c.epochs,
                select=self.selection_score,
                validation=c.validation,
                settle=(lambda batch: batch.image) if c.settle else None,
            )
        ]

    def distances(self, batch: Batch) -> list[Tensor]:
        """Compute the squared distance of unit features at each level: (N, h_l, w_l) in [0, 4]."""
        pairs = zip(self.targets_of(batch), self.student(batch.image), strict=True)
        return [squared_distance(t, s) for t, s in pairs]

    def selection_score(self, batch: Batch) -> Tensor:
        """Average the anomaly map of each image: (B,)."""
        return self.fuse(self.distances(batch), batch.image).mean(dim=(1, 2))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Sum over levels of the distance averaged over batch and positions (Eq. 1 to 3), one term a level."""
        distances = self.distances(batch)
        return {
            f"level{level}": self.config.loss_factor * d.mean()
            for level, d in zip(self.config.levels, distances, strict=True)
        }

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Fuse the upsampled distances (Eq. 4): (N, H, W)."""
        return self.fuse(self.distances(Batch(images)), images)

    def fuse(self, distances: list[Tensor], images: Tensor) -> Tensor:
        """Combine the levels' distances to one map of the images' size."""
        c = self.config
        height, width = images.shape[-2:]
        size = (height, width) if c.fusion_size == "image" else (-(-height // 4), -(-width // 4))
        fused = fuse_levels([c.loss_factor * d for d in distances], size, c.fusion)
        return resize(fused, images.shape[-2:])

    DEVIATIONS = (
        Deviation("loss factor", "1/2 squared distance", "no factor", "as each recipe says"),
        Deviation(
            "fusion resolution",
            "levels upsampled to the image, then multiplied",
            "levels upsampled to 64 x 64, multiplied, resized to 256 x 256",
            "as each recipe says",
        ),
        Deviation("epochs", "100", "default 100, README command 200", "100 / 200"),
        Deviation(
            "validation split",
            "20 % of the training images",
            "scikit-learn split with random_state 0",
            "20 % drawn from the run's seed; with a single image there is none and the last epoch stays",
        ),
        Deviation(
            "masks",
            "not stated",
            "any non-zero pixel of the resized mask counts",
            "common protocol: bilinear, >= 0.5",
        ),
        SETTLED,
        Deviation("PRO", "per region", "axes min-max rescaled", "exact AUPRO; theirs in legacy"),
    )
