"""MemKD: reverse distillation whose student recalls normality from memories.

Gu et al., "Remembering Normality: Memory-guided Knowledge Distillation for Unsupervised Anomaly Detection", ICCV 2023;
equation numbers are its own. The authors published no code. What the text leaves open was compared with a
re-implementation by others, SimonThomine/RememberingNormality at commit b851e06, called 'unofficial' below.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher
from adlib.layers import NRMemory
from adlib.methods.base import Batch, Deviation, MethodConfig, Recipes, Stage, check_choices
from adlib.methods.rd import LEVELS, CosineDistillation, RDConfig
from adlib.reverse import OneClassBottleneck, ReverseDecoder, check_sides


@dataclass(frozen=True)
class MemoryRDConfig(RDConfig):
    """Reverse distillation with memories; what MemKD's text does not state is RD's."""

    cosine: str = "flat"  # Eq. 1; option: pixel
    epochs: int = 100  # Sec. 5.2
    items: tuple[int, ...] = (50, 50, 50)  # L of m0, m1, m2, deepest first; 0: no such memory; Table 4(b)
    placement: str = "input"  # of each decoder stage (reading A); output: of each stage, 1x1 convolution (reading B)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"placement": ("input", "output")})
        check_items(self.items, memories=3)


@dataclass(frozen=True)
class NRConfig(MethodConfig):
    """What trains an NR memory."""

    LEAST: ClassVar = MethodConfig.LEAST | {"exemplars": 1}  # lambda_nm=0 draws none

    lambda_nm: float = 0.1  # lambda_1, Sec. 5.2; 0: no exemplars are drawn
    lambda_orth: float = 0.1  # lambda_2, Sec. 5.2; 0: off
    nm: str = "mse"  # mean over pixels and channels; options: literal (Eq. 10 as printed), normalised (unofficial)
    orth: str = "signed"  # Eq. 7 as printed; options: abs, square
    exemplars: int = 16  # N normal images a step, Sec. 5.2
    temperature: float = 1.0  # of the weights; Eq. 5 and 8: none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"nm": ("mse", "literal", "normalised"), "orth": ("signed", "abs", "square")})
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature!r}")


@dataclass(frozen=True)
class MemKDConfig(NRConfig, MemoryRDConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    deepest_target: str = "layer4"  # what m0 memorises: the only map of its shape; option: bottleneck

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"deepest_target": ("layer4", "bottleneck")})


def check_items(items: Sequence[int], memories: int) -> None:
    """Raise ValueError for anything but a number of items, at least 0, for each of the memories."""
    if len(items) != memories or min(items) < 0:
        raise ValueError(f"items must be {memories} numbers of at least 0, got {items!r}")


class NRDistillation(CosineDistillation):
    """What trains NR memories; a subclass holds `memories` and says which normal features each one memorises."""

    memories: nn.ModuleDict

    @abstractmethod
    def normality(self, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the feature that each memory learns, from the exemplars' `targets`, finest first."""

    def stages(self) -> list[Stage]:
        """Return the single stage, with exemplars where L_NM is on."""
        exemplars = self.config.exemplars if self.config.lambda_nm and self.memories else 0
        return [replace(stage, exemplars=exemplars) for stage in super().stages()]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_KD by level, lambda_1 L_NM and lambda_2 L_orth (Eq. 11)."""
        c, terms = self.config, super().loss(batch)
        if c.lambda_nm and self.memories:
            assert batch.exemplars is not None
            cached = batch.exemplar_targets
            normal = self.normality(self.targets(batch.exemplars) if cached is None else cached)
            errors = [m.memorisation(normal[k], c.nm) for k, m in self.memories.items()]  # type: ignore[operator]
            total = torch.stack(errors)
            terms["nm"] = c.lambda_nm * (total.mean() if c.nm == "normalised" else total.sum())
        if c.lambda_orth and self.memories:
            cosines = [m.orthogonality(c.orth) for m in self.memories.values()]  # type: ignore[operator]
            terms["orth"] = c.lambda_orth * torch.stack(cosines).sum()
        return terms


class MemoryRD(CosineDistillation):
    """RD with a memory beside each decoder stage; a subclass says which memory and what else is learned."""

    def __init__(self, config: Any, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, self.teacher_levels())
        self.bottleneck = OneClassBottleneck(config.backbone)
        reading_a = config.placement == "input"
        self.decoder = ReverseDecoder(config.backbone, [reading_a and n > 0 for n in config.items])
        widths = self.decoder.widths[:3] if reading_a else self.decoder.widths[1:]
        held = [(f"m{i}", n, c) for i, (n, c) in enumerate(zip(config.items, widths, strict=True)) if n > 0]
        self.memories = nn.ModuleDict({name: self.memory(n, c) for name, n, c in held})
        self.fuse = nn.ModuleDict({} if reading_a else {name: nn.Conv2d(2 * c, c, 1) for name, _, c in held})

    def teacher_levels(self) -> tuple[int, ...]:
        """Return the levels that the teacher computes."""
        return LEVELS

    @abstractmethod
    def memory(self, items: int, channels: int) -> nn.Module:
        """Make one memory."""

    def learners(self) -> tuple[nn.Module, ...]:
        """Return bottleneck, decoder, memories and the convolutions that fuse what they recall."""
        return self.bottleneck, self.decoder, self.memories, self.fuse

    def student_maps(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Rebuild the teacher's maps from their embedding and the memories."""
        check_sides(images)
        return self.decode(features)[0]

    def decode(self, features: Sequence[Tensor]) -> tuple[list[Tensor], dict[str, tuple[Tensor, Tensor]]]:
        """Return the student's maps, finest first, and for each memory its query and what it recalled."""
        maps: list[Tensor] = []
        recalls = {}
        reading_a = self.config.placement == "input"
        x = self.bottleneck(features)
        for i, stage in enumerate(self.decoder.stages):
            name = f"m{i}"
            x = x if reading_a else stage(x)
            if name in self.memories:
                recalls[name] = x, self.memories[name](x)
                x = torch.cat(recalls[name], dim=1)
                x = x if reading_a else self.fuse[name](x)
            x = stage(x) if reading_a else x
            maps.insert(0, x)
        return maps, recalls

    @torch.no_grad()
    def recall_distances(self, images: Tensor, normal: Tensor) -> dict[str, dict[str, Tensor]]:
        """Fig. 6: how far each pixel's student feature is from the mean normal one, before and after recall.

        For each memory `before` and `after`, (N, h, w): l2 distance of the query, and of what is recalled for it, to
        their own mean over all pixels of `normal` (test images without a defect).
        """
        found, reference = (self.decode(self.features(part))[1] for part in (images, normal))
        means = {k: [x.float().mean(dim=(0, 2, 3), keepdim=True) for x in pair] for k, pair in reference.items()}
        return {
            k: {
                side: torch.linalg.vector_norm(x.float() - mean, dim=1)
                for side, x, mean in zip(("before", "after"), pair, means[k], strict=True)
            }
            for k, pair in found.items()
        }


class MemKD(NRDistillation, MemoryRD):
    """Reverse distillation with key-value memories that also learn from exemplars of normality."""

    Config: ClassVar = MemKDConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}}

    @classmethod
    def with_bundled(cls, config: Any) -> Any:
        """No layer4 ships, as no other method reads it: the deepest memory then learns from the bottleneck."""
        return replace(super().with_bundled(config), deepest_target="bottleneck")

    def memory(self, items: int, channels: int) -> NRMemory:
        """Make one NR memory."""
        return NRMemory(items, channels, self.config.temperature)

    def memory_values(self) -> dict[str, Tensor]:
        """Fig. 7(b): the values of each memory, (L, C)."""
        return {name: memory.values.detach().clone() for name, memory in self.memories.items()}  # type: ignore[operator]

    def teacher_levels(self) -> tuple[int, ...]:
        """Return layer4 too where m0 memorises it."""
        c = self.config
        deep = c.lambda_nm and c.items[0] and c.placement == "input" and c.deepest_target == "layer4"
        return (*LEVELS, 4) if deep else LEVELS

    @torch.no_grad()
    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of layer1..layer3 without layer4, which only the exemplars need."""
        maps: list[Tensor] = []
        x = images
        for name, module in self.teacher.features.named_children():
            if name == "layer4":
                break
            x = module(x)
            if name.startswith("layer"):
                maps.append(x)
        return maps

    def normality(self, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the feature of each memory's shape: layer4, 3, 2 in reading A, layer3, 2, 1 in reading B."""
        fine, middle, coarse, *deepest = targets
        if self.config.placement == "output":
            return {"m0": coarse, "m1": middle, "m2": fine}
        if "m0" in self.memories and not deepest:
            with torch.no_grad():
                deepest = [self.bottleneck(targets)]
        return dict(zip(("m2", "m1", "m0"), (middle, coarse, *deepest), strict=False))

    DEVIATIONS = (
        Deviation(
            "recipe `code`",
            "-",
            "none published; the unofficial one trains a ResNet-18 for 50 epochs with OneCycle (0.05), on 80 % of the "
            "images, with the student in eval mode after the first validation, lambda_2 read from lambda_1's key and "
            "maps blurred by rows",
            "no such recipe: nobody's published numbers come from it. backbone, epochs, lr and cosine are overrides",
        ),
        Deviation(
            "what absorbs the doubled channels",
            "the student network of the next stage encodes the concatenation",
            "unofficial: the next decoder stage's first block takes 2C",
            "the same, a memory before each of the three stages (reading A): only it gives Table 3's 0.3M and 0.2M "
            "(in 2^20 numbers: 0.34 and 0.17); placement='output' is reading B, fused by a 1x1 convolution 2C -> C",
        ),
        Deviation(
            "keys and values",
            "randomly initialised, learned",
            "unofficial: N(0, 1), not registered, so neither trained nor saved",
            "N(0, 1) parameters, trained and saved",
        ),
        Deviation(
            "L_orth",
            "signed mean cosine: least at -1, values opposite to keys",
            "unofficial: as printed",
            "as printed; orth='abs' or 'square' is least where they are orthogonal",
        ),
        Deviation(
            "L_NM",
            "sum of up to 10^6 squares, which 0.1 of it would drown L_KD <= 3 in",
            "unofficial: 1/2 squared distance of unit vectors, batch sum / (h w), mean over modules",
            "mean squared error over pixels and channels, summed over modules; nm='literal' or 'normalised'",
        ),
        Deviation(
            "what the deepest memory memorises",
            "teacher features at the module's level; three levels are distilled",
            "unofficial: layer4",
            "layer4, run on the exemplars only; its queries never learn to live there. deepest_target='bottleneck' "
            "takes the bottleneck's output for the exemplars, which then also enter its BatchNorm statistics; "
            "with the bundled teacher, which has no layer4, always",
        ),
        Deviation("temperature of Eq. 5", "none", "unofficial: none", "1: with 50 items no weight exceeds 0.13"),
        Deviation("betas, smoothing, align_corners", "not stated", "-", "RD's: (0.5, 0.999), sigma 4, True"),
        Deviation(
            "training of the row RD",
            "whether it is as long as MemKD's is not said",
            "-",
            "rd: its own text's 200 epochs; the claims have lines against it, and against memkd with items=0, of "
            "MemKD's 100",
        ),
        Deviation("masks, image label", "not stated", "-", "common protocol: bilinear, >= 0.5; the folder"),
        Deviation("validation, schedule, choice of the epoch", "not stated", "-", "none; all images, the last epoch"),
        Deviation(
            "no items in Table 4(b)",
            "98.9 / 97.9 / 94.0, though Table 4(a)'s baseline has 98.4 / 97.8 / 93.9",
            "-",
            "one network: items=(0, 0, 0) is RD with the flattened cosine and this training",
        ),
        Deviation("exemplars", "N sampled at random", "unofficial: without repetition", "drawn anew, some may repeat"),
        Deviation("order of L1, L2, L3", "not defined", "-", "items[0] is the deepest memory"),
        Deviation(
            "Figure 6",
            "l2 distance to the averaged normal features of the test set",
            "-",
            "by pixel, of anomalies those inside defects, to the mean over images and pixels, of queries and of "
            "recalled features each to their own; what recall takes off it in parts of what normal pixels had, mean "
            "over memories",
        ),
    )
