"""Memory-guided DeSTSeg: memories in the student's encoder, attention in its decoder and in the segmentation network.

"Memory Guided Denoising Student-Teacher Segmentation Model for Anomaly Detection"; equation numbers are its own. Facts
of the code: SZU-AdvTech-2023/131-DeSTSeg at commit 7eb5bb7, a fork of apple/ml-destseg. Memories learn to rebuild the
teacher's features of good images and replace the encoder's features by what they rebuild; coordinate attention weighs
the features to be distilled, squeeze-excitation the products to be segmented. The rest is DeSTSeg.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance
from adlib.layers import CoordinateAttention, Memory, SqueezeExcitation, cosine_distance, kaiming_fan_out
from adlib.methods.base import Batch, Deviation, Recipes, Stage, check_choices, check_levels
from adlib.methods.destseg import BATCH_REDUCTION, LEVELS, DeSTSeg, DeSTSegConfig


@dataclass(frozen=True)
class MemoryDeSTSegConfig(DeSTSegConfig):
    """Hyper-parameters beside DeSTSeg's; the defaults are the recipe `paper`."""

    memory: bool = True  # Sec. 4.1.1; False: no memories
    memory_levels: tuple[int, ...] = LEVELS  # code: after the encoder's layer1..layer3; "modules increased"
    items: int = 50  # code, each memory; "memory vectors reduced"
    similarity: str = "cosine"  # Eq. 9; code: dot
    shrink: float = 0.0  # Eq. 10 has none; code: 0.0025, smaller weights become 0
    combine: str = "replace"  # code: the rebuilt feature alone; options: residual, concat (a 1x1 convolution follows)
    memory_loss: str = "cosine"  # Sec. 4.1.1: cosine; its first trial: mse
    memory_weight: float = 0.1  # lambda of Eq. 12
    memory_lr: float = 0.4  # Sec. 4.2; code: 0.04
    memory_steps: int = 0  # Figs. 13 and 14 may mean that memories train first; code: with the student from step 0
    values_from_cosine: bool = True  # code: L_cos trains the items as values, not as addresses; False: not at all
    attention: bool = True  # Sec. 4.1.2: coordinate attention on the features to be distilled
    squeeze: bool = True  # Sec. 4.1.3: squeeze-excitation before the segmentation network
    extra_clean_forward: bool = False  # code: the student also sees the clean batch, which only moves its statistics

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "similarity": ("cosine", "dot"),
            "combine": ("replace", "residual", "concat"),
            "memory_loss": ("cosine", "mse"),
        }
        check_choices(self, allowed)
        check_levels(self, "memory_levels", LEVELS)
        if self.memory and self.items < 1:
            raise ValueError(f"items must be at least 1 in each memory, got {self.items}: memory=False has none")
        if self.attention and not self.decoder:
            raise ValueError("attention works on the decoder: with decoder=False set attention=False too")
        if self.memory and not self.memory_weight and (self.memory_steps or not self.values_from_cosine):
            raise ValueError(
                "memory_weight=0 leaves L_cos to train the memories: set values_from_cosine, memory_steps=0"
            )
        if self.extra_clean_forward and self.settle:
            raise ValueError(
                "extra_clean_forward does nothing but move the BatchNorm statistics, which settle takes anew: set one "
                "of them to false"
            )


class Recall(nn.Module):
    """What follows an encoder layer: its features rebuilt from a memory, (N, C, H, W) -> the same shape."""

    def __init__(self, memory: Memory, combine: str, values_train: bool) -> None:
        super().__init__()
        self.memory, self.combine, self.values_train = memory, combine, values_train
        channels = memory.items.shape[1]
        if combine == "concat":
            self.mix = kaiming_fan_out(nn.Conv2d(2 * channels, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Read the memory; addresses give it no gradient."""
        rebuilt = self.memory(x, addressing_trains=False, values_train=self.values_train)
        if self.combine == "residual":
            return x + rebuilt
        return self.mix(torch.cat([x, rebuilt], dim=1)) if self.combine == "concat" else rebuilt


class MemoryDeSTSeg(DeSTSeg):
    """DeSTSeg with memories, coordinate attention and squeeze-excitation, each of them optional."""

    Config: ClassVar = MemoryDeSTSegConfig
    RECIPES: ClassVar[Recipes] = {
        "paper": {},
        "code": {"cosine_reduction": "sum", "similarity": "dot", "shrink": 0.0025, "memory_lr": 0.04},
    }

    config: MemoryDeSTSegConfig

    def __init__(self, config: MemoryDeSTSegConfig, teacher: str | Provenance) -> None:
        super().__init__(config, teacher)
        channels = self.teacher.channels
        if config.memory:
            # What a memory rebuilds hardly differs from pixel to pixel (its items' mean and a few percent): rounded to
            # bf16 little of that is left, and the next BatchNorm makes the rounding as large as features are.
            self.student.encoder_in_fp32 = True
            names = self.student.encoder.feature_info.module_name()  # type: ignore[union-attr, operator]
            for k in config.memory_levels:
                memory = Memory(config.items, channels[k - 1], config.similarity, config.shrink)
                layer = self.student.encoder.get_submodule(names[k - 1])
                recall = Recall(memory, config.combine, config.values_from_cosine)
                self.student.encoder.set_submodule(names[k - 1], nn.Sequential(layer, recall))
        if config.attention:
            for number, width in enumerate(reversed(channels), 1):
                gate = kaiming_fan_out(CoordinateAttention(width))
                self.student.decoder[number] = nn.Sequential(self.student.decoder[number], gate)
        if config.squeeze and config.map == "segmentation":
            gate = SqueezeExcitation(sum(channels))
            self.segmentation.residual = nn.Sequential(gate, self.segmentation.residual)

    @property
    def memories(self) -> dict[int, Memory]:
        """The memory of each level that has one; its `items` are (L, C)."""
        found = [m for m in self.student.encoder.modules() if isinstance(m, Memory)]
        return dict(zip(self.config.memory_levels, found, strict=True)) if found else {}

    def stages(self) -> list[Stage]:
        """Return DeSTSeg's stages, before them one for the memories alone where `memory_steps` asks for it."""
        c = self.config
        if not (c.memory and c.memory_steps):
            return super().stages()
        memories = tuple(self.memories.values())
        items = [p for memory in memories for p in memory.parameters()]
        first = Stage(
            name="memory",
            trains=memories,
            optimiser=torch.optim.SGD(items, c.memory_lr, c.momentum, weight_decay=c.weight_decay),
            loss=lambda batch: self.memory_terms(self.targets_of(batch)),
            batch=c.batch,
            steps=c.memory_steps,
            drop_last=True,
            corrupted=True,  # the clean images are turned as in the stages that follow
        )
        return [first, *super().stages()]

    def student_groups(self) -> list[dict[str, Any]]:
        """Give the memories a learning rate of their own."""
        items = [p for memory in self.memories.values() for p in memory.parameters()]
        rest = [p for p in self.student.parameters() if all(p is not item for item in items)]
        groups: list[dict[str, Any]] = [{"params": rest}]
        return groups + ([{"params": items, "lr": self.config.memory_lr}] if items else [])

    def student_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_KD = L_cos + lambda L_mem (Eq. 12)."""
        c = self.config
        targets = self.targets_of(batch)
        terms = super().student_loss(replace(batch, targets=targets))
        if c.memory and c.memory_weight:
            terms |= self.memory_terms(targets)
        if c.extra_clean_forward and self.student.training:
            with torch.no_grad():
                self.student(batch.image)
        return terms

    def memory_terms(self, targets: list[Tensor]) -> dict[str, Tensor]:
        """lambda L_mem: distance of the teacher's features to what the memories rebuild, reduced as L_cos, by level.

        The gradient reaches the items as addresses and as values.
        """
        c = self.config
        terms = {}
        for k, memory in self.memories.items():
            target = targets[k - 1].float()
            rebuilt = memory(target)
            if c.memory_loss == "cosine":
                distance = cosine_distance(rebuilt, target).mean(dim=(1, 2))
            else:
                distance = (rebuilt - target).square().mean(dim=(1, 2, 3))
            reduced = distance.sum() if c.cosine_reduction == "sum" else distance.mean()
            terms[f"memory{k}"] = c.memory_weight * reduced
        return terms

    DEVIATIONS: ClassVar[tuple[Deviation, ...]] = (
        Deviation("similarity", "cosine (Eq. 9)", "dot product", "as each recipe says: similarity"),
        Deviation("weights", "softmax (Eq. 10)", "softmax, hard shrinkage 0.0025, renormalised", "as each recipe says"),
        Deviation(
            "learning rate of the memories",
            "0.4",
            "0.04",
            "as each recipe says; decay applies to them too. The code's is for losses summed over the batch: of a mean "
            "over 32 images it would be 0.04 x 32 = 1.28, so that at full scale the memories of the recipe paper, with "
            "its mean, move 3.2 times slower than the code's",
        ),
        Deviation("items, memories", "'reduced', 'increased', no numbers", "50, three", "50, three; overrides"),
        Deviation(
            "training of the memories",
            "perhaps first, then fixed",
            "joint",
            "joint; memory_steps=N trains them alone first, and they go on with the student: fixed they cannot be",
        ),
        Deviation(
            "gradient into the memories",
            "-",
            "L_mem in full, L_cos through the values only",
            "as the code; values_from_cosine=False leaves L_cos out",
        ),
        Deviation("combination", "'recombined'", "replaces the feature", "replaces; overrides residual, concat"),
        Deviation(
            "saved memories",
            "-",
            "memories lie in a plain list: no file holds them, evaluation from one runs on fresh random memories",
            "mended: parameters of the student, saved and restored",
        ),
        Deviation(
            "second student pass",
            "-",
            "on the clean batch, thrown away, but every other update of the BatchNorm statistics comes from it",
            "mended: not done; extra_clean_forward=True is faithful (without gradients)",
        ),
        Deviation("L_cos, L_mem", *BATCH_REDUCTION),
        Deviation("sign of the product", "+", "+, unlike apple/ml-destseg", "+"),
        Deviation(
            "position of the attention",
            "the features to be distilled; reduction not stated",
            "after each of the last three decoder stages, fed onward; 8 inner channels",
            "as the code",
        ),
        Deviation(
            "input of squeeze-excitation",
            "three cosine maps",
            "448 product channels, 28 inner ones",
            "as the code: three maps leave nothing to squeeze by 16",
        ),
        Deviation("caption of Fig. 16", "coordinate attention", "the figure shows squeeze-excitation", "as the code"),
        Deviation(
            "first trial",
            "MSE, one memory of more items: worse",
            "not there",
            "memory_loss='mse', memory_levels=(2,), attention=False, squeeze=False: the level, 50 items and the mean "
            "over channels are ours",
        ),
        Deviation("ablation dest=False", "-", "cannot run: an argument is missing", "student_input='clean' runs"),
        *(d for d in DeSTSeg.DEVIATIONS if d.topic not in ("L_cos", "sign of the product", "ablation dest=False")),
    )
