"""DeSTSeg: a denoising student-teacher pair and a segmentation network on their product.

Zhang et al., "DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly Detection", CVPR 2023. Facts of the
code: apple/ml-destseg at commit f6ea31f; of the text: Memory-guided DeSTSeg's description of it, whose equation
numbers are used here. The student sees images with pseudo-anomalies and learns the teacher's features of the clean
images; then a segmentation network learns to find the pseudo-anomalies in the product of both networks' features.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher, feature_network
from adlib.corrupt import ROTATIONS
from adlib.layers import cosine_distance, fuse_levels, kaiming_fan_out, residual_stage, resize, top_mean, unit
from adlib.methods.base import (
    SETTLED,
    Batch,
    Deviation,
    Method,
    MethodConfig,
    Recipes,
    Stage,
    check_choices,
    check_shares,
)

LEVELS = (1, 2, 3)
# How the student's losses are reduced over the batch: the text's word, the code's, and what we do.
BATCH_REDUCTION = (
    "of one image (Eq. 4); the batch is not mentioned",
    "sum over the batch, to which its student_lr 0.4 belongs",
    "paper: mean (our reading), so at the same rate a step is smaller by the batch size, and weight decay counts more "
    "by it; code: sum, so a smaller batch makes smaller steps; override cosine_reduction=sum",
)


@dataclass(frozen=True)
class DeSTSegConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    LEAST: ClassVar = MethodConfig.LEAST | {"student_steps": 1, "segmentation_steps": 1, "top": 1, "product_sign": -1}

    backbone: str = "resnet18"
    cosine_reduction: str = "mean"  # Eq. 4 is of one image: over the batch our reading; code: sum over the batch
    product_sign: int = 1  # Eq. 2: + ; code: -
    student_input: str = "corrupted"  # code's ablation `dest=False`: clean
    decoder: bool = True  # code's ablation `ed=False`: a plain encoder is the student
    map: str = "segmentation"  # option: dest, the student-teacher map alone
    focal_gamma: float = 4.0  # code; "as the original paper"
    top: int = 100  # code: image score is the mean of the 100 largest pixels
    student_steps: int = 1000  # code, as the texts' 1,000 + 4,000
    segmentation_steps: int = 4000
    batch: int = 32  # code, as all down to weight_decay
    student_lr: float = 0.4
    residual_lr: float = 0.1  # segmentation network, residual blocks
    head_lr: float = 0.01  # segmentation network, ASPP head
    momentum: float = 0.9
    weight_decay: float = 1e-4
    rotation: str = "auto"  # none, slight, full; auto: by the category's group in the code
    corruption_probability: float = 1.0  # code: every sample
    perlin_threshold: float = 0.5  # code; the text's "mean binarization" would cover half of the image
    settle: bool = False  # ours, for few steps: when a network is done its BatchNorms take their statistics anew
    log_both_modes: bool = False  # also log L_cos in both BatchNorm modes, at one to three more passes a step

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "cosine_reduction": ("mean", "sum"),
            "product_sign": (1, -1),
            "student_input": ("corrupted", "clean"),
            "map": ("segmentation", "dest"),
            "rotation": ("auto", *ROTATIONS),
        }
        check_choices(self, allowed)
        check_shares(self, "corruption_probability")
        if self.batch < 2 and self.map == "segmentation":
            raise ValueError(
                "batch must be at least 2: the pooled branch of the segmentation network normalises over the batch"
            )


class Student(nn.Module):
    """A complete ResNet encoder and a decoder without skip connections: (N, 3, H, W) -> maps as the teacher's.

    Without `decoder` the student is a plain encoder up to the last level. With `encoder_in_fp32` the encoder stays in
    fp32 also where autocast is on.
    """

    encoder_in_fp32 = False

    def __init__(self, backbone: str, channels: Sequence[int], decoder: bool = True) -> None:
        super().__init__()
        # timm's own initialisation: the last BatchNorm of every encoder block starts at zero, as in the code.
        zero = {"zero_init_last": True} if "resnet" in backbone else {}
        self.encoder = feature_network(backbone, (*LEVELS, 4) if decoder else LEVELS, **zero)
        self.decoder = nn.ModuleList()
        if decoder:
            deepest = self.encoder.feature_info.channels()[-1]  # type: ignore[union-attr, operator]
            widths = [deepest, deepest, *reversed(channels)]
            stages = [residual_stage(a, b) for a, b in pairwise(widths)]
            self.decoder = nn.ModuleList(kaiming_fan_out(stage) for stage in stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return features at the teacher's levels, finest first."""
        with torch.autocast(images.device.type, enabled=False) if self.encoder_in_fp32 else nullcontext():
            *finer, x = self.encoder(images)
        if not self.decoder:
            return [*finer, x]
        x = self.decoder[0](x)
        outputs: list[Tensor] = []
        for stage, sized in zip(self.decoder[1:], reversed(finer), strict=True):
            x = stage(resize(x, sized.shape[-2:]))
            outputs.insert(0, x)
        return outputs


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a pooled and three dilated branches, no plain 1x1 branch."""

    def __init__(self, channels: int, rates: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_conv(channels, channels, 1))
        self.dilated = nn.ModuleList(_conv(channels, channels, 3, rate) for rate in rates)
        self.project = _conv((1 + len(rates)) * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches and project them back to the input's channels."""
        # One pixel has no memory format that the concatenation could follow: it would copy all branches to NCHW.
        pooled = self.pooled(x).expand_as(x).contiguous(memory_format=torch.channels_last)
        return self.project(torch.cat([pooled, *(branch(x) for branch in self.dilated)], dim=1))


class SegmentationNetwork(nn.Module):
    """Two residual blocks and an ASPP head: products (N, C, h, w) -> logits (N, h, w)."""

    def __init__(self, channels: int, width: int = 256) -> None:
        super().__init__()
        self.residual = kaiming_fan_out(residual_stage(channels, width))
        self.head = nn.Sequential(
            ASPP(width), _conv(width, width, 3), nn.Conv2d(width, 1, 1)
        )  # PyTorch's default initialisation, as in the code

    def forward(self, products: Tensor) -> Tensor:
        """Compute logits of the pseudo-anomaly mask."""
        return self.head(self.residual(products)).squeeze(1)


def _conv(channels_in: int, channels_out: int, kernel: int, rate: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            padding=rate * (kernel // 2),
            dilation=rate,
            bias=False,
        ),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def focal_and_l1(logits: Tensor, mask: Tensor, gamma: float) -> dict[str, Tensor]:
    """Compute both terms of L_seg from logits and a {0, 1} mask of one shape: means over batch and pixels.

    focal = mean(-(1 - p)^gamma log p) with p the probability given to the true class; l1 = mean(|sigmoid - mask|) =
    mean(1 - p).
    """
    signed = logits * (2 * mask - 1)  # log p = logsigmoid of the logit towards the true class
    wrong = torch.sigmoid(-signed)
    return {"focal": -(wrong.pow(gamma) * F.logsigmoid(signed)).mean(), "l1": wrong.mean()}


@contextmanager
def batch_norm_mode(network: nn.Module, training: bool) -> Iterator[None]:
    """Let BatchNorm run on the batch's statistics, or on the running ones, and change none; modes return afterwards."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.training, m.track_running_stats) for m in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = training, not training
    try:
        yield
    finally:
        for norm, (mode, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = mode, tracked


class DeSTSeg(Method):
    """Teacher, denoising student, segmentation network; trained one after the other."""

    Config: ClassVar = DeSTSegConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}, "code": {"cosine_reduction": "sum", "product_sign": -1}}
    # The source's 1 : 4 proportion of the stages, at a hundredth of its images: with a quarter of that the segmentation
    # network is a matter of chance. After so few steps running means are of networks long gone, above all behind
    # memories, whose features hardly differ.
    SMALL: ClassVar = {"student_steps": 40, "segmentation_steps": 160, "batch": 8, "settle": True}

    config: DeSTSegConfig

    def __init__(self, config: DeSTSegConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        self.teacher = Teacher(config.backbone, teacher, LEVELS)
        self.student = Student(config.backbone, self.teacher.channels, config.decoder)
        if config.map == "segmentation":
            self.segmentation = SegmentationNetwork(sum(self.teacher.channels))

    def stages(self) -> list[Stage]:
        """Return the two stages: the student, then the segmentation network on the frozen student."""
        c = self.config
        sgd = partial(torch.optim.SGD, momentum=c.momentum, weight_decay=c.weight_decay)
        student = Stage(
            name="student",
            trains=(self.student,),
            optimiser=sgd(self.student_groups(), lr=c.student_lr),
            loss=self.student_loss,
            batch=c.batch,
            steps=c.student_steps,
            drop_last=True,
            corrupted=True,  # a clean input is turned, too
            settle=self.seen if c.settle else None,
        )
        if c.map == "dest":
            return [student]
        groups = [
            {"params": self.segmentation.residual.parameters(), "lr": c.residual_lr},
            {"params": self.segmentation.head.parameters(), "lr": c.head_lr},
        ]
        segmentation = Stage(
            name="segmentation",
            trains=(self.segmentation,),
            optimiser=sgd(groups, lr=c.head_lr),
            loss=self.segmentation_loss,
            batch=c.batch,
            steps=c.segmentation_steps,
            drop_last=True,
            corrupted=True,
            settle=self.seen_products if c.settle else None,
        )
        return [student, segmentation]

    def student_groups(self) -> list[dict[str, Any]]:
        """Group the student's parameters for its optimiser."""
        return [{"params": list(self.student.parameters())}]

    def student_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_cos (Eq. 4): cosine distance of S(corrupted) to T(clean), averaged over positions, summed over levels."""
        seen = self.seen(batch)
        targets = self.targets_of(batch)
        terms = self.cosine_terms(targets, self.student(seen))
        if self.config.log_both_modes:
            now = torch.stack([*terms.values()]).sum().detach()
            terms |= {"_cos_train": now} | self.cosine_in_modes(seen, targets, False)
        return terms

    def seen(self, batch: Batch) -> Tensor:
        """Give what the student sees of a batch."""
        assert batch.corrupted is not None
        return batch.corrupted if self.config.student_input == "corrupted" else batch.image

    def cosine_terms(self, targets: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Average the cosine distance over positions and reduce it over the batch: one term a level."""
        distances = [cosine_distance(t, s).mean(dim=(1, 2)) for t, s in zip(targets, outputs, strict=True)]
        reduce = torch.sum if self.config.cosine_reduction == "sum" else torch.mean
        return {f"level{k}": reduce(d) for k, d in zip(LEVELS, distances, strict=True)}

    @torch.no_grad()
    def cosine_in_modes(self, seen: Tensor, targets: Sequence[Tensor], *modes: bool) -> dict[str, Tensor]:
        """Compute L_cos with BatchNorm on the batch's statistics (True) or its own (False), to log: nothing changes."""
        found = {}
        for training in modes:
            with batch_norm_mode(self.student, training):
                terms = self.cosine_terms(targets, self.student(seen))
            found["_cos_train" if training else "_cos_eval"] = torch.stack([*terms.values()]).sum()
        return found

    def segmentation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_seg: focal loss (gamma 4, no class weight) + L1 against the mask at the resolution of the logits."""
        assert batch.corrupted is not None
        assert batch.mask is not None
        logits = self.segmentation(self.seen_products(batch)).float()
        mask = (resize(batch.mask, logits.shape[-2:]).squeeze(1) >= 0.5).float()
        terms = focal_and_l1(logits, mask, self.config.focal_gamma)
        if self.config.log_both_modes:
            terms |= self.cosine_in_modes(self.seen(batch), self.targets(batch.image), True, False)
        return terms

    def seen_products(self, batch: Batch) -> Tensor:
        """Give what the segmentation network sees of a batch."""
        assert batch.corrupted is not None
        return self.products(batch.corrupted)

    def products(self, images: Tensor) -> Tensor:
        """Multiply teacher's and student's unit features (Eq. 2), at the finest level's size: (N, 448, H/4, W/4)."""
        pairs = list(zip(self.teacher(images), self.student(images), strict=True))
        size = pairs[0][0].shape[-2:]
        levels = [resize(unit(t) * unit(s), size) for t, s in pairs]
        return self.config.product_sign * torch.cat(levels, dim=1)

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Return the segmentation network's probability, or with `map='dest'` the product of the levels' distances."""
        if self.config.map == "dest":
            pairs = list(zip(self.teacher(images), self.student(images), strict=True))
            size = pairs[0][0].shape[-2:]
            maps = fuse_levels([cosine_distance(t, s) for t, s in pairs], size, "product")
        else:
            maps = self.segmentation(self.products(images)).float().sigmoid()
        return resize(maps, images.shape[-2:])

    def score(self, maps: Tensor) -> Tensor:
        """Average the 100 largest pixels of each map at image size: (N,)."""
        return top_mean(maps, self.config.top)

    DEVIATIONS: ClassVar[tuple[Deviation, ...]] = (
        Deviation("L_cos", *BATCH_REDUCTION),
        Deviation("sign of the product", "+", "-", "as each recipe says"),
        Deviation(
            "ablation dest=False",
            "-",
            "before that it also sees the corrupted ones, which moves its BatchNorm statistics",
            "student_input='clean' sees clean ones alone",
        ),
        Deviation(
            "blend",
            "beta weights the anomaly source",
            "b in [0, 0.8) weights the original",
            "b; the same with beta = 1 - b",
        ),
        Deviation(
            "binarisation of the noise",
            "mean binarization",
            "threshold 0.5",
            "0.5 in both recipes: the mean would corrupt half of every image; override perlin_threshold",
        ),
        Deviation(
            "noise: frequencies, turning",
            "not stated",
            "2^0 to 2^5 on each axis; turned by up to 90 degrees",
            "as the code",
        ),
        Deviation(
            "share of corrupted images", "not stated", "all", "all in both recipes; override corruption_probability"
        ),
        Deviation(
            "gamma, T, rates, momentum, batch",
            "'as the original paper'",
            "4; 100; 0.4, 0.1, 0.01; 0.9; 32",
            "as the code",
        ),
        Deviation(
            "size at which L_seg is taken",
            "that of the largest map",
            "64 x 64, the mask made binary again",
            "as the code",
        ),
        Deviation(
            "image score", "not stated", "mean of the 100 largest pixels at 256 x 256", "as the code; override top"
        ),
        Deviation(
            "length of the stages",
            "until convergence; the memory paper: 1,000 and 4,000 steps",
            "1,000 and 4,000 steps",
            "1,000 and 4,000 steps",
        ),
        Deviation("image label", "not stated", "the largest value of the mask", "common protocol: the folder"),
        Deviation("PRO", "per region", "a curve a region, averaged by position", "exact AUPRO; theirs in legacy"),
        Deviation(
            "input of the segmentation network",
            "three cosine maps",
            "448 channels, products before the sum",
            "448 channels: Eq. 2 writes the product",
        ),
        Deviation(
            "unused work",
            "-",
            "stage 1 runs the segmentation network and the teacher on the corrupted image, "
            "stage 2 the teacher on the clean one, with gradients through the student",
            "not done; the losses are the same",
        ),
        Deviation(
            "rotation",
            "not stated",
            "by category, PIL on the CPU",
            "the same groups, on the device",
        ),
        Deviation(
            "fewer images than a batch",
            "-",
            "no step is ever made",
            "images repeat within a batch, each corrupted anew",
        ),
        SETTLED,
        Deviation("seeds", "-", "none set", "one seed a run; at least three wherever a verdict is given"),
    )
