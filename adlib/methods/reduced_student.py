"""Reduced student: a ResNet-18 teacher's shallow maps, pooled, learned by a student of half the depth.

Thomine, Snoussi, Soua, "MixedTeacher: Knowledge Distillation for Fast Inference Textural Anomaly Detection", VISAPP
2023, Sec. 3. Facts of the code: SimonThomine/MixedTeacher at commit a99e28f. Each stage of the student has one basic
block, which halves the size, so that its maps are half as large as the teacher's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from adlib.backbones import Provenance, Teacher
from adlib.images import PREPROCESS
from adlib.layers import ResidualBlock, fuse_levels, kaiming_fan_out, smooth, squared_distance
from adlib.methods.base import Batch, Deviation, Method, MethodConfig, Recipes, Stage, check_choices, check_levels


@dataclass(frozen=True)
class ReducedStudentConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    backbone: str = "resnet18"
    levels: tuple[int, ...] = (0, 1, 2, 3)  # Sec. 5.2: the layer before the first block (0), blocks 1..3; code: 1, 2
    stem: str = "pooled"  # level 0 after its max pooling, 64 x 64 (our reading); option: convolution, 128 x 128
    squared: bool = True  # Eq. 2 prints the distance without the square; its source STPM and the code have it
    batch_reduction: str = "mean"  # paper: mean over the batch (not stated); code: sum
    level_reduction: str = "sum"  # Eq. 4; code: mean
    optimiser: str = "sgd"  # Sec. 5.2; code: adam
    lr: float = 0.4  # Sec. 5.2; code: 4e-4
    momentum: float = 0.9  # not stated: STPM's; unused by adam
    weight_decay: float = 1e-4  # not stated: STPM's; code: 0
    one_cycle: bool = False  # code: one cycle up to ten times `lr`, a step a batch
    epochs: int = 100  # Sec. 5.2; code: 10
    batch: int = 16  # Sec. 5.2; code: 8
    validation: float = 0.2  # Sec. 5.2: share held out, the epoch with the lowest loss is kept
    freeze_statistics: bool = False  # code: from epoch 2 on BatchNorm runs on its running statistics
    divide_by_area: bool = False  # code: each level's map is divided by its number of pixels
    sigma: float = 0.0  # Gaussian on the map, in pixels: the text has none; code: 4
    rows_only: bool = False  # code: its blur runs along rows alone; mended: False
    image_score: str = "sum"  # Eq. 12; code: max
    preprocess: str = "resize"  # Sec. 5.2; code: resize_nearest

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "stem": ("pooled", "convolution"),
            "batch_reduction": ("mean", "sum"),
            "level_reduction": ("sum", "mean"),
            "optimiser": ("sgd", "adam"),
            "image_score": ("sum", "max"),
            "preprocess": PREPROCESS,
        }
        check_choices(self, allowed)
        check_levels(self, "levels", range(5))  # 0 is the stem


class ReducedNetwork(nn.Module):
    """A ResNet stem and one basic block of stride 2 a stage: images -> the maps of the chosen levels, finest first."""

    def __init__(self, channels: Sequence[int], levels: Sequence[int], stem: str = "pooled") -> None:
        super().__init__()
        self.levels, self.stem = tuple(levels), stem
        self.convolution = nn.Sequential(
            nn.Conv2d(3, channels[0], 7, 2, 3, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)
        )
        self.blocks = nn.ModuleList(ResidualBlock(a, b, "down") for a, b in pairwise(channels))
        kaiming_fan_out(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """ResNet-18 widths at 256 x 256: 64 @ 64 x 64, 64 @ 32 x 32, 128 @ 16 x 16, 256 @ 8 x 8."""
        x = self.convolution(images)
        maps = [x]
        x = F.max_pool2d(x, 3, 2, 1)
        if self.stem == "pooled":
            maps = [x]
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return [maps[level] for level in self.levels]


def pooled(maps: list[Tensor], config: ReducedStudentConfig) -> list[Tensor]:
    """Choose the teacher's maps and average 2 x 2 pixels of each (Eq. 1), but for the stem's."""
    stem = F.max_pool2d(maps[0], 3, 2, 1) if config.stem == "pooled" else maps[0]
    return [F.avg_pool2d(maps[k], 2, ceil_mode=True) if k else stem for k in config.levels]


def pixel_terms(targets: Sequence[Tensor], outputs: Sequence[Tensor], is_squared: bool) -> list[Tensor]:
    """Compute half the (squared) distance of unit features at each level (Eq. 2, 5): (N, h_l, w_l)."""
    squares = [squared_distance(t, s) for t, s in zip(targets, outputs, strict=True)]
    return [0.5 * (d if is_squared else (d + 1e-12).sqrt()) for d in squares]


def level_losses(distances: list[Tensor], names: list[str], config: ReducedStudentConfig) -> dict[str, Tensor]:
    """Reduce pixel terms to one named loss a level; their sum is the loss (Eq. 4, 7)."""
    share = 1 / len(distances) if config.level_reduction == "mean" else 1.0
    images = [d.mean(dim=(1, 2)) for d in distances]
    return {
        n: share * (d.sum() if config.batch_reduction == "sum" else d.mean())
        for n, d in zip(names, images, strict=True)
    }


def image_losses(distances: list[Tensor], config: ReducedStudentConfig) -> Tensor:
    """Reduce the levels' means over pixels as the loss does: (N,)."""
    levels = torch.stack([d.mean(dim=(1, 2)) for d in distances])
    return levels.mean(dim=0) if config.level_reduction == "mean" else levels.sum(dim=0)


def added(distances: list[Tensor], size: Sequence[int], divide_by_area: bool) -> Tensor:
    """Upsample pixel terms to `size` and add the levels (Eq. 9, 10): (N, H, W)."""
    areas = [d[0].numel() if divide_by_area else 1 for d in distances]
    return fuse_levels([d / a for d, a in zip(distances, areas, strict=True)], size)


def reduced(maps: Tensor, image_score: str) -> Tensor:
    """Reduce maps (N, H, W) to their sums or maxima: (N,)."""
    return maps.sum(dim=(1, 2)) if image_score == "sum" else maps.amax(dim=(1, 2))


def matching_stage(
    name: str,
    trains: Sequence[nn.Module],
    loss: Callable[[Batch], dict[str, Tensor]],
    selection_score: Callable[[Batch], Tensor],
    config: ReducedStudentConfig,
    targets: Callable[[Tensor], list[Tensor]] | None = None,
) -> Stage:
    """Make the stage that trains students by the config's optimiser and schedule and keeps the best epoch."""
    parameters = [p for module in trains for p in module.parameters()]
    if config.optimiser == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(parameters, config.lr, weight_decay=config.weight_decay)
    else:
        optimiser = torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)
    return Stage(
        name=name,
        trains=tuple(trains),
        optimiser=optimiser,
        loss=loss,
        batch=config.batch,
        epochs=config.epochs,
        schedule=partial(_one_cycle, 10 * config.lr) if config.one_cycle else None,
        frozen_statistics_from=1 if config.freeze_statistics else None,
        select=selection_score,
        validation=config.validation,
        targets=targets,
    )


def _one_cycle(peak: float, optimiser: torch.optim.Optimizer, steps: int) -> OneCycleLR:
    return OneCycleLR(optimiser, max_lr=peak, total_steps=steps)


class ReducedStudent(Method):
    """A teacher whose maps are pooled to half their size, and a thin student of them."""

    Config: ClassVar = ReducedStudentConfig
    RECIPES: ClassVar[Recipes] = {
        "paper": {},
        "code": {
            "levels": (1, 2),
            "batch_reduction": "sum",
            "level_reduction": "mean",
            "optimiser": "adam",
            "lr": 4e-4,
            "weight_decay": 0.0,
            "one_cycle": True,
            "batch": 8,
            "epochs": 10,
            "freeze_statistics": True,
            "divide_by_area": True,
            "sigma": 4.0,
            "rows_only": True,
            "image_score": "max",
            "preprocess": "resize_nearest",
        },
    }
    SMALL: ClassVar = {"epochs": 6, "batch": 8}

    config: ReducedStudentConfig

    def __init__(self, config: ReducedStudentConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, range(max(config.levels) + 1))
        self.student = ReducedNetwork(self.teacher.channels, config.levels, config.stem)

    def targets(self, images: Tensor) -> list[Tensor]:
        """Compute the teacher's maps as the student learns them."""
        return pooled(self.teacher(images), self.config)

    def distances(self, batch: Batch) -> list[Tensor]:
        """Compute the pixel term (Eq. 2) of each level: (N, h_l, w_l) in [0, 2]."""
        return pixel_terms(self.targets_of(batch), self.student(batch.image), self.config.squared)

    def stages(self) -> list[Stage]:
        """Return the single stage: the student, best epoch by the loss of the held-out images."""
        return [matching_stage("student", [self.student], self.loss, self.selection_score, self.config)]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Reduce the pixel terms (Eq. 3, 4), one term a level."""
        return level_losses(self.distances(batch), [f"level{k}" for k in self.config.levels], self.config)

    def selection_score(self, batch: Batch) -> Tensor:
        """Reduce the levels for each image as in the loss: (B,)."""
        return image_losses(self.distances(batch), self.config)

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Add the levels' upsampled distances (Eq. 10): (N, H, W)."""
        c = self.config
        maps = added(self.distances(Batch(images)), images.shape[-2:], c.divide_by_area)
        return smooth(maps, c.sigma, rows_only=c.rows_only)

    def score(self, maps: Tensor) -> Tensor:
        """Sum all pixels (Eq. 12), or take their maximum: (N,)."""
        return reduced(maps, self.config.image_score)

    DEVIATIONS = (
        Deviation(
            "levels", "stem and three blocks", "layer1 and layer2", "as each recipe says; the stem after its pooling"
        ),
        Deviation("size of the maps", "w/2 x h/2 x c/2", "w/2 x h/2 x c", "c: a loss needs equal channels"),
        Deviation(
            "one layer a block", "one layer instead of two", "one basic block a stage", "one basic block a stage"
        ),
        Deviation("Eq. 2", "a distance without the square", "squared", "squared; override squared=False"),
        Deviation("loss", "sum of the levels", "sum over the batch, mean of the levels", "as each recipe says"),
        Deviation(
            "optimiser",
            "SGD 0.4, batch 16; momentum and decay not stated",
            "Adam 4e-4, one cycle to 4e-3, batch 8",
            "as each recipe says; STPM's momentum 0.9 and decay 1e-4 with SGD",
        ),
        Deviation("epochs", "100", "10 alone, 100 within MixedTeacher", "as each recipe says"),
        Deviation(
            "weights of the ResNet-18",
            "trained on ImageNet",
            "timm's default of the day: torchvision's before timm 0.9, a1_in1k since",
            "torchvision's (tv_in1k) in both recipes; others by their path",
        ),
        Deviation(
            "BatchNorm",
            "-",
            "the first validation leaves the student in eval mode: statistics stand still from epoch 2",
            "faithful in the recipe code; mended by freeze_statistics=False, as in the recipe paper",
        ),
        Deviation(
            "validation split",
            "80 / 20",
            "80 / 20, the fifth rounded down, drawn without a seed",
            "80 / 20, rounded up as STPM's, from the run's seed",
        ),
        Deviation(
            "area of the levels",
            "-",
            "each map is divided by its number of pixels, so that small maps weigh more",
            "as each recipe says: divide_by_area",
        ),
        Deviation(
            "smoothing",
            "none",
            "sigma 4, meant for the map, applied to each of its rows alone",
            "faithful in the recipe code; mended by rows_only=False. None in the recipe paper; override sigma=4.0",
        ),
        Deviation(
            "map of a level",
            "the difference of the features, without a norm (Eq. 9, 10)",
            "the loss's term of each pixel",
            "the loss's term of each pixel, in both recipes",
        ),
        Deviation(
            "image score",
            "sum of the map (Eq. 12; said of MixedTeacher, and of the student alone it is our reading)",
            "maximum",
            "as each recipe says: image_score",
        ),
        Deviation(
            "choice of the epoch",
            "the least loss of the held-out fifth",
            "a mean over batches in which an image of the last, smaller one counts less",
            "a mean over images",
        ),
        Deviation(
            "preprocessing",
            "resize",
            "shorter side to 256, centre crop, masks by the nearest pixel",
            "resize, masks as each recipe says: the crop cuts nothing of square images, and defects of oblong ones",
        ),
        Deviation("normalisation of maps", "-", "minimum and maximum of the test set", "not done: no rank changes"),
    )
