"""MixedTeacher: a reduced student of ResNet-18, its map confirmed by a student of EfficientNet-b0.

Thomine, Snoussi, Soua, "MixedTeacher: Knowledge Distillation for Fast Inference Textural Anomaly Detection", VISAPP
2023, Sec. 4. Facts of the code: SimonThomine/MixedTeacher at commit a99e28f. The ResNet pair localises; the
EfficientNet pair, deeper and coarser, multiplies its map and so cancels the noise that both do not share. Text and
code differ in nearly everything; each is a recipe.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher, sources
from adlib.layers import kaiming_fan_out, resize, smooth
from adlib.methods.base import Batch, Deviation, Method, Recipes, Stage, check_choices, check_levels
from adlib.methods.reduced_student import (
    ReducedNetwork,
    ReducedStudent,
    ReducedStudentConfig,
    added,
    image_losses,
    level_losses,
    matching_stage,
    pixel_terms,
    pooled,
    reduced,
)

PARTS = ("both", "resnet", "efficientnet")


@dataclass(frozen=True)
class MixedTeacherConfig(ReducedStudentConfig):
    """Hyper-parameters beside those of the reduced student; the defaults are the recipe `paper`."""

    levels: tuple[int, ...] = (0, 1, 2)  # Eq. 7: the layer before the first block, blocks 1 and 2; code: 1, 2
    efficient_backbone: str = "efficientnet_b0"
    efficient_stages: tuple[int, ...] = (5, 6)  # Eq. 5, counted from 1: 112 @ 16 x 16, 192 @ 8 x 8; code: 5 and 7
    efficient_student: str = "thin"  # Sec. 4.2: a convolution a stage, random; code: copy, the pretrained teacher again
    joint: bool = True  # Eq. 8: one loss; code: two trainings, one after the other
    alpha: float = 0.1  # Eq. 8: weight of the EfficientNet levels; the two trainings of the code have none
    epochs: int = 200  # Sec. 5.2; code: 100 each
    fusion: str = "equation"  # Eq. 11; options: prose (normalised, times its extent), code (columns of unit length)
    parts: str = "both"  # option: resnet or efficientnet, one pair and its map alone

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "efficient_student": ("thin", "copy"),
            "fusion": ("equation", "prose", "code"),
            "parts": PARTS,
        }
        check_choices(self, allowed)
        check_levels(self, "efficient_stages", range(1, 8))


class EfficientStages(nn.Module):
    """An EfficientNet that ends at the last chosen stage: images -> the outputs of `stages`, counted from 1."""

    def __init__(self, network: nn.Module, stages: Sequence[int]) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.conv_stem = network.get_submodule("conv_stem")
        self.bn1 = network.get_submodule("bn1")
        self.blocks = network.blocks[: max(stages)]  # type: ignore[index]

    def forward(self, images: Tensor) -> list[Tensor]:
        """EfficientNet-b0 at 256 x 256: stage 5 gives 112 @ 16 x 16, 6 gives 192 @ 8 x 8, 7 gives 320 @ 8 x 8."""
        x = self.bn1(self.conv_stem(images))
        maps = []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self.stages:
                maps.append(x)
        return maps


class ThinStudent(nn.Module):
    """One 3x3 convolution for the stem and for each stage of an EfficientNet, with its strides and channels."""

    def __init__(self, network: EfficientStages) -> None:
        super().__init__()
        self.stages = network.stages
        convolutions = []
        channels = 3
        for part in (network.conv_stem, *network.blocks):
            own = [m for m in part.modules() if isinstance(m, nn.Conv2d)]
            stride, width = max(m.stride[0] for m in own), own[-1].out_channels
            convolutions.append(
                nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width))
            )
            channels = width
        self.convolutions = nn.ModuleList(convolutions)
        kaiming_fan_out(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of `stages`, before the activation: an EfficientNet's are linear as well."""
        x, maps = images, []
        for number, convolution in enumerate(self.convolutions):
            x = convolution(x if number == 0 else F.silu(x))
            if number in self.stages:
                maps.append(x)
        return maps


@dataclass(frozen=True)
class Pair:
    """A student and how its teacher's targets are made; `names` of its levels, as the losses are logged."""

    name: str
    student: nn.Module
    targets: Callable[[Tensor], list[Tensor]]
    names: list[str]
    config: MixedTeacherConfig

    def distances(self, batch: Batch) -> list[Tensor]:
        """Compute the pixel term (Eq. 5) of each level: (N, h_l, w_l) in [0, 2]."""
        targets = self.targets(batch.image) if batch.targets is None else batch.targets
        return pixel_terms(targets, self.student(batch.image), self.config.squared)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Reduce the pixel terms (Eq. 6, 7), one term a level."""
        return level_losses(self.distances(batch), self.names, self.config)

    def selection_score(self, batch: Batch) -> Tensor:
        """Reduce the levels for each image as in the loss: (B,)."""
        return image_losses(self.distances(batch), self.config)


def fuse(resnet: Tensor, efficient: Tensor, fusion: str) -> Tensor:
    """Multiply the maps (N, H, W) of both pairs and the extent, maximum - minimum, of the second (Eq. 11)."""
    low, high = efficient.amin(dim=(1, 2), keepdim=True), efficient.amax(dim=(1, 2), keepdim=True)
    if fusion == "prose":
        return resnet * (efficient - low)  # ((A - low) / extent) * extent
    if fusion == "code":
        efficient = F.normalize(efficient, dim=1)
    return resnet * (high - low) * efficient


def two_sources(teacher: str | Provenance, both: bool = True) -> tuple[str | Provenance, str | Provenance]:
    """Split 'a.safetensors+b.safetensors' into the ResNet's and the EfficientNet's source; one word serves both.

    Raises ValueError for more than two, and for a single file where `both` networks are wanted.
    """
    if isinstance(teacher, Provenance):  # of a checkpoint: `_joined` named both
        parts = sources(teacher.source)
        return replace(teacher, source=parts[0]), replace(teacher, source=parts[-1])
    parts = sources(teacher)
    if len(parts) > 2:
        raise ValueError(f"teacher takes one source or two joined by one '+', got {teacher!r}")
    if both and len(parts) == 1 and parts[0].endswith(".safetensors"):
        raise ValueError(
            f"a file has the weights of one network, and two teachers are needed: give '{teacher}+bundled', or a "
            "second file after the '+', the ResNet's first"
        )
    return parts[0], parts[-1]


def _joined(found: list[Provenance]) -> Provenance:
    """Describe one or two weight sets as one."""
    if len(found) == 1:
        return found[0]
    names = dict.fromkeys(p.source for p in found)
    digest = hashlib.sha256("".join(p.sha256 for p in found).encode()).hexdigest()
    return Provenance("+".join(names), "+".join(p.name for p in found), digest)


class MixedTeacher(Method):
    """Two teachers and a student of each; the product of their maps."""

    FROZEN: ClassVar = ("backbone", "efficient_backbone")
    Config: ClassVar = MixedTeacherConfig
    RECIPES: ClassVar[Recipes] = {
        "paper": {},
        "code": ReducedStudent.RECIPES["code"]
        | {"efficient_stages": (5, 7), "efficient_student": "copy", "joint": False, "epochs": 100, "fusion": "code"},
    }
    SMALL: ClassVar = {"epochs": 6, "batch": 8}  # as the reduced student

    config: MixedTeacherConfig

    def __init__(self, config: MixedTeacherConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        first, second = two_sources(teacher, config.parts == "both")
        loaded = []
        if config.parts != "efficientnet":
            self.teacher = Teacher(config.backbone, first, range(max(config.levels) + 1))
            self.student = ReducedNetwork(self.teacher.channels, config.levels, config.stem)
            loaded.append(self.teacher.provenance)
        if config.parts != "resnet":
            self.teacher_efficient = Teacher(config.efficient_backbone, second, range(5))
            network = EfficientStages(self.teacher_efficient.features, config.efficient_stages)
            copied = config.efficient_student == "copy"
            if copied and self.teacher_efficient.tensorflow:
                raise ValueError(
                    "efficient_student='copy' begins as its teacher, but would not see what these weights of "
                    f"{config.efficient_backbone} expect, TensorFlow's range of pixels: take 'thin' or another teacher"
                )
            self.student_efficient = copy.deepcopy(network).requires_grad_(True) if copied else ThinStudent(network)
            self.teacher_efficient.features = network
            loaded.append(self.teacher_efficient.provenance)
        self._provenance = teacher if isinstance(teacher, Provenance) else _joined(loaded)

    @property
    def provenance(self) -> Provenance:
        """The weights of both teachers, ResNet first: names joined by '+', the SHA-256 of both SHA-256."""
        return self._provenance

    @property
    def pairs(self) -> list[Pair]:
        """The ResNet pair and the EfficientNet pair, or the one that `parts` names."""
        c, found = self.config, []
        if c.parts != "efficientnet":
            names = [f"level{k}" for k in c.levels]
            found.append(Pair("resnet", self.student, lambda x: pooled(self.teacher(x), c), names, c))
        if c.parts != "resnet":
            names = [f"stage{k}" for k in c.efficient_stages]
            found.append(Pair("efficientnet", self.student_efficient, self.teacher_efficient, names, c))
        return found

    def stages(self) -> list[Stage]:
        """Return one stage that trains both students (Eq. 8), or one for each."""
        c, pairs = self.config, self.pairs
        if c.joint and len(pairs) == 2:
            students = [pair.student for pair in pairs]
            return [matching_stage("students", students, self.loss, self.selection_score, c)]
        return [matching_stage(p.name, [p.student], p.loss, p.selection_score, c, p.targets) for p in pairs]

    def targets(self, images: Tensor) -> list[Tensor]:
        """Compute the ResNet levels, then the EfficientNet stages."""
        return [target for pair in self.pairs for target in pair.targets(images)]

    def distances(self, batch: Batch) -> list[list[Tensor]]:
        """Compute the pixel terms of each of two pairs."""
        targets, split = self.targets_of(batch), len(self.config.levels)
        parts = (targets[:split], targets[split:])
        return [pair.distances(replace(batch, targets=part)) for pair, part in zip(self.pairs, parts, strict=True)]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Add both pairs' losses, the second one weighted by alpha (Eq. 8); `_ratio` is second to first, unweighted."""
        resnet, efficient = (
            level_losses(distances, pair.names, self.config)
            for distances, pair in zip(self.distances(batch), self.pairs, strict=True)
        )
        ratio = torch.stack([*efficient.values()]).sum() / torch.stack([*resnet.values()]).sum()
        weighted = {name: self.config.alpha * term for name, term in efficient.items()}
        return resnet | weighted | {"_ratio": ratio.detach()}

    def selection_score(self, batch: Batch) -> Tensor:
        """Reduce both pairs' levels for each image, weighted as in the loss: (B,)."""
        resnet, efficient = (image_losses(distances, self.config) for distances in self.distances(batch))
        return resnet + self.config.alpha * efficient

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Multiply the pairs' maps (Eq. 9 to 11): (N, H, W)."""
        c = self.config
        maps = [added(pair.distances(Batch(images)), images.shape[-2:], c.divide_by_area) for pair in self.pairs]
        fused = maps[0] if len(maps) == 1 else fuse(maps[0], maps[1], c.fusion)
        return smooth(fused, c.sigma, rows_only=c.rows_only)

    def score(self, maps: Tensor) -> Tensor:
        """Sum all pixels (Eq. 12), or take their maximum: (N,)."""
        return reduced(maps, self.config.image_score)

    def efficient_level_map(self, images: Tensor, level: int) -> Tensor:
        """Compute the map of one level of the EfficientNet pair alone (Sec. 4.1, Fig. 2): (N, H, W).

        `level` counts `efficient_stages` from 0. Blurred as the fused map is, so by the recipe `paper` not at all.
        """
        pair = next(pair for pair in self.pairs if pair.name == "efficientnet")
        maps = resize(pair.distances(Batch(images))[level], images.shape[-2:])
        return smooth(maps, pair.config.sigma, rows_only=pair.config.rows_only)

    DEVIATIONS = (
        *(d for d in ReducedStudent.DEVIATIONS if d.topic not in ("levels", "epochs")),
        Deviation("levels", "stem, two blocks; stages 5, 6", "layer1, layer2; stages 5, 7", "as each recipe says"),
        Deviation("stages of EfficientNet", "'block 5 and 6', not said from where", "from 1", "counted from 1"),
        Deviation(
            "student of EfficientNet",
            "one convolution a block; kernel and activation not stated",
            "a second pretrained EfficientNet: its distance to the teacher begins at 0",
            "3x3 convolution, BatchNorm, SiLU between stages / the copy, of whatever teacher was asked for",
        ),
        Deviation("training", "one loss, alpha 0.1, 200 epochs", "two trainings, 100 epochs", "as each recipe says"),
        Deviation(
            "fusion",
            "Eq. 11: A_res * extent * A_eff; the text says A_eff is normalised first, not how",
            "A_res * extent * A_eff with each column of A_eff at unit length",
            "Eq. 11 as printed / faithful; fusion='prose' scales A_eff to [0, 1] of its image first",
        ),
        Deviation("unused work", "-", "-", "each training runs its own teacher only, up to the last stage it needs"),
    )
