"""RD: reverse distillation from a one-class embedding.

Deng, Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022. Facts of the code:
hq-deng/RD4AD at commit 6554076. The student is a decoder: it rebuilds the teacher's features from a compact embedding
of them, which good images teach it to do; an anomaly does not pass the embedding.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher
from adlib.layers import cosine_distance, flat_cosine_distance, fuse_levels, smooth
from adlib.methods.base import Batch, Deviation, Method, MethodConfig, Recipes, Stage, check_choices
from adlib.reverse import OneClassBottleneck, ReverseDecoder, check_sides

LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class RDConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    backbone: str = "wide_resnet50_2"  # code; also resnet18, resnet34, resnet50
    cosine: str = "pixel"  # text: per location, averaged over the map; code: flat, of the flattened map
    epochs: int = 200
    batch: int = 16
    lr: float = 0.005
    betas: tuple[float, ...] = (0.5, 0.999)
    fusion: str = "sum"  # of the levels' upsampled distances; code's option: product
    align_corners: bool = True  # code, of the upsampling
    sigma: float = 4.0  # pixels of the image, of the Gaussian over the map; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"cosine": ("pixel", "flat"), "fusion": ("sum", "product")})


class CosineDistillation(Method):
    """What RD, MemKD and MKD share: a student compared with the teacher level by level by cosine distance.

    A subclass builds `teacher`, says which modules learn (`learners`) and what the student makes of the images.
    """

    SMALL: ClassVar = {"epochs": 3, "batch": 8}  # alike, as they are compared with each other

    @abstractmethod
    def learners(self) -> tuple[nn.Module, ...]:
        """Return the modules that train."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the teacher's maps of layer1..layer3, finest first."""
        return self.teacher(images)

    @abstractmethod
    def student_maps(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute the student's version of `features`, the teacher's maps of `images`."""

    def stages(self) -> list[Stage]:
        """Return the single stage: Adam on everything but the teacher, no schedule, the last epoch is kept."""
        c = self.config
        learners = self.learners()
        adam = torch.optim.Adam([p for m in learners for p in m.parameters()], c.lr, (c.betas[0], c.betas[1]))
        return [
            Stage(
                name="student",
                trains=learners,
                optimiser=adam,
                loss=self.loss,
                batch=c.batch,
                epochs=c.epochs,
            )
        ]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_KD: the levels' distances, averaged over the batch, one term a level."""
        # Not `targets_of`: of a batch MemKD needs fewer levels than `targets` computes.
        features = self.features(batch.image) if batch.targets is None else batch.targets[: len(LEVELS)]
        return self.distillation(features, self.student_maps(batch.image, features))

    def distillation(self, features: Sequence[Tensor], maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compare teacher's and student's maps: the terms of L_KD by name."""
        distance = flat_cosine_distance if self.config.cosine == "flat" else cosine_distance
        return {f"level{k}": distance(f, s).mean() for k, f, s in zip(LEVELS, features, maps, strict=True)}

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Fuse the upsampled cosine distances of the three levels (`fusion`) and blur the result: (N, H, W)."""
        c, size = self.config, images.shape[-2:]
        features = self.features(images)
        pairs = zip(features, self.student_maps(images, features), strict=True)
        distances = [cosine_distance(f, s) for f, s in pairs]
        return smooth(fuse_levels(distances, size, c.fusion, c.align_corners), c.sigma)


class RD(CosineDistillation):
    """Teacher, one-class bottleneck, reverse decoder."""

    Config: ClassVar = RDConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}, "code": {"cosine": "flat"}}

    config: RDConfig

    def __init__(self, config: RDConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, LEVELS)
        self.bottleneck = OneClassBottleneck(config.backbone)
        self.decoder = ReverseDecoder(config.backbone)

    def learners(self) -> tuple[nn.Module, ...]:
        """Return bottleneck and decoder."""
        return self.bottleneck, self.decoder

    def student_maps(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Rebuild the teacher's maps from their embedding alone."""
        check_sides(images)
        return self.decoder(self.bottleneck(features))

    DEVIATIONS = (
        Deviation(
            "cosine of the loss",
            "per location, averaged over the map",
            "one cosine of the flattened C x H x W vectors an image",
            "as each recipe says; the map is per location in both",
        ),
        Deviation(
            "unused 1x1 convolution",
            "none",
            "a 1x1 convolution 4096 -> 2048 and its BatchNorm, 8,392,704 parameters that nothing calls",
            "left out in both recipes: 58,885,120 parameters in the bottleneck instead of 67,277,824",
        ),
        Deviation(
            "layer4 of the teacher",
            "not used",
            "computed for every image and dropped",
            "neither computed nor loaded; the features are the same",
        ),
        Deviation(
            "blocks of the decoder",
            "a mirrored WideResNet-50",
            "3, 4, 6 in decoding order, which is not mirrored",
            "3, 4, 6 in both recipes",
        ),
        Deviation(
            "initialisation of transposed convolutions",
            "not stated",
            "PyTorch's default: the Kaiming loop matches Conv2d only",
            "the same in both recipes",
        ),
        Deviation(
            "choice of the epoch",
            "not stated",
            "tested every 10 epochs, the last is reported",
            "the last; no test image is seen before",
        ),
        Deviation("upsampling of the maps", "not stated", "bilinear, align_corners True", "the same in both recipes"),
        Deviation("masks", "not stated", "bilinear, > 0.5", "common protocol: bilinear, >= 0.5"),
        Deviation("image label", "not stated", "the largest value of the mask", "common protocol: the folder"),
        Deviation("PRO", "per region", "averaged image by image", "exact AUPRO; theirs in legacy"),
        Deviation("rounding", "-", "metrics rounded to 3 decimals", "not rounded"),
        Deviation("seeds", "-", "111", "one seed a run; at least three wherever a verdict is given"),
    )
