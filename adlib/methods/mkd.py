"""MKD and MemMKD: forward distillation to a plain ResNet, without and with memories.

Table 5 of MemKD (Gu et al., ICCV 2023), which takes the paradigm of Salehi et al., "Multiresolution Knowledge
Distillation for Anomaly Detection", CVPR 2021 (MKD; code: rohban-lab/Knowledge_Distillation_AD). Teacher and student
both see the image; the architecture is in a supplement that we do not have, and is read off a re-implementation by
others that follows it, SimonThomine/RememberingNormality at commit b851e06 ('unofficial').
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher, feature_network
from adlib.layers import NRMemory
from adlib.methods.base import Deviation, Recipes
from adlib.methods.memkd import NRConfig, NRDistillation, check_items
from adlib.methods.rd import LEVELS, CosineDistillation, RDConfig


@dataclass(frozen=True)
class MKDConfig(RDConfig):
    """Hyper-parameters; the defaults are the recipe `paper`. The teacher is a Wide ResNet-50-2 (Sec. 5.4)."""

    student: str = "resnet50"  # "vanilla ResNet50"; any ResNet of the teacher's widths
    cosine: str = "flat"  # MemKD, Eq. 1; option: pixel
    epochs: int = 100  # MemKD, Sec. 5.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (self.backbone, self.student):
            if "resnet" not in name:
                raise ValueError(f"forward distillation here takes ResNets, got {name!r}")


@dataclass(frozen=True)
class MemMKDConfig(NRConfig, MKDConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    items: tuple[int, ...] = (50, 50)  # L of the memories after layer1 and layer2; 0: no such memory

    def __post_init__(self) -> None:
        super().__post_init__()
        check_items(self.items, memories=2)


def take_twice(block: nn.Module) -> None:
    """Exchange the two convolutions that read a ResNet block's input for ones of twice the input channels."""
    for owner, name in ((block, "conv1"), (block.downsample, "0")):
        old = getattr(owner, name)
        wide = nn.Conv2d(
            2 * old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None
        )
        nn.init.kaiming_normal_(wide.weight, mode="fan_out", nonlinearity="relu")
        setattr(owner, name, wide)


class MKD(CosineDistillation):
    """Teacher and a student of another depth but the same widths."""

    Config: ClassVar = MKDConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}}

    def __init__(self, config: Any, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, LEVELS)
        self.student = feature_network(config.student, LEVELS)
        widths: list[int] = self.student.feature_info.channels()  # type: ignore[union-attr, operator, assignment]
        if widths != self.teacher.channels:
            raise ValueError(
                f"student {config.student!r} has {widths} channels, teacher {config.backbone!r} "
                f"{self.teacher.channels}; choose a student of the teacher's widths"
            )

    @classmethod
    def with_bundled(cls, config: Any) -> Any:
        """Exchange a teacher that does not ship, and then the default student, too: their widths have to agree."""
        found = super().with_bundled(config)
        goes_along = found.backbone != config.backbone and config.student == type(config)().student
        return replace(found, student=found.backbone) if goes_along else found

    def learners(self) -> tuple[nn.Module, ...]:
        """Return the student."""
        return (self.student,)

    def student_maps(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute the student's maps of the images, finest first."""
        return self.student(images)

    DEVIATIONS: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "what is called MKD",
            "forward distillation [28] with WideResNet-50 and a plain ResNet-50",
            "the original: VGG-16 and a thin clone, 128 x 128, mean squared error beside the cosine, maps by gradients",
            "MemKD's own: its networks, its loss (Eq. 1, 2), its map (Eq. 3, 4)",
        ),
        Deviation("training", "not stated apart", "-", "as MemKD: 100 epochs, batch 16, Adam 0.005, (0.5, 0.999)"),
        Deviation("student's initial weights", "not stated", "-", "random: Kaiming normal, fan out"),
        Deviation("recipe `code`", "-", "none published by the authors", "no such recipe"),
        Deviation(
            "everything else",
            "not stated",
            "-",
            "as MemKD's list: sigma 4, align_corners True, masks; no validation, the last epoch",
        ),
    )


class MemMKD(NRDistillation, MKD):
    """MKD whose student recalls normality after layer1 and layer2."""

    Config: ClassVar = MemMKDConfig

    def __init__(self, config: MemMKDConfig, teacher: str | Provenance) -> None:
        super().__init__(config, teacher)
        pairs = zip(("layer1", "layer2"), config.items, self.teacher.channels[:2], strict=True)
        held = {after: (items, channels) for after, items, channels in pairs if items > 0}
        for after in held:
            take_twice(self.student.get_submodule("layer2.0" if after == "layer1" else "layer3.0"))
        self.memories = nn.ModuleDict({k: NRMemory(n, c, config.temperature) for k, (n, c) in held.items()})

    def learners(self) -> tuple[nn.Module, ...]:
        """Return student and memories."""
        return self.student, self.memories

    def student_maps(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute the student's maps, each but the last one joined by what it recalls before the next layer."""
        maps: list[Tensor] = []
        x = images
        for name, module in self.student.named_children():
            x = module(x)
            if name.startswith("layer"):
                maps.append(x)
            if name in self.memories:
                x = torch.cat([x, self.memories[name](x)], dim=1)
        return maps

    def normality(self, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the teacher's map of the same layer for each memory."""
        return {"layer1": targets[0], "layer2": targets[1]}

    DEVIATIONS = (
        *MKD.DEVIATIONS,
        Deviation(
            "places of the memories",
            "in the supplement",
            "unofficial: two, after the student's layer1 and layer2, none before layer1",
            "the same; layer2's and layer3's first convolution and shortcut take 2C",
        ),
        Deviation(
            "L_NM, L_orth, keys and values", "as MemKD", "-", "as MemKD's list; normal features are layer1 and layer2"
        ),
    )
