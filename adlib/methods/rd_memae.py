"""Reverse distillation with MemAE's memory: row 'MemAE' of Table 3 of MemKD (Gu et al., ICCV 2023).

The memory is that of Gong et al., "Memorizing Normality to Detect Anomaly", ICCV 2019; facts of its code:
donggong1/memae-anomaly-detection. One matrix instead of keys and values, and nothing but the distillation trains it.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from adlib.layers import Memory
from adlib.methods.base import Batch, Deviation, Recipes, check_choices
from adlib.methods.memkd import MemoryRD, MemoryRDConfig


@dataclass(frozen=True)
class RDMemAEConfig(MemoryRDConfig):
    """Hyper-parameters; the defaults are the recipe `paper`."""

    addressing: str = "cosine"  # MemKD, Fig. 4(b); MemAE's code: dot
    shrink: float = 0.0  # MemKD: none drawn; MemAE's code: 0.0025
    lambda_entropy: float = 0.0  # MemKD: none named; MemAE's code: 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"addressing": ("cosine", "dot")})


class RDMemAE(MemoryRD):
    """Reverse distillation with one matrix of items before each decoder stage."""

    Config: ClassVar = RDMemAEConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}}

    config: RDMemAEConfig

    def memory(self, items: int, channels: int) -> Memory:
        """Make one memory."""
        return Memory(items, channels, self.config.addressing, self.config.shrink)

    def memory_values(self) -> dict[str, Tensor]:
        """Fig. 7(a): the items of each memory, (L, C)."""
        return {name: memory.items.detach().clone() for name, memory in self.memories.items()}  # type: ignore[union-attr, operator]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_KD by level and, where asked for, the entropy of the weights summed over memories."""
        if not self.config.lambda_entropy or not self.memories:
            return super().loss(batch)
        features = self.targets_of(batch)
        maps, recalls = self.decode(features)
        entropies = torch.stack([self.entropy(name, query) for name, (query, _) in recalls.items()])
        return self.distillation(features, maps) | {"entropy": self.config.lambda_entropy * entropies.sum()}

    def entropy(self, name: str, queries: Tensor) -> Tensor:
        """Average the entropy of the weights that queries (N, C, H, W) get over images and pixels, in nats."""
        memory = cast(Memory, self.memories[name])
        with torch.autocast(queries.device.type, enabled=False):
            weights = memory.weights(queries.float().permute(0, 2, 3, 1), memory.items)
        # Not torch.special.entr: the gradient of shrunk weights, exactly 0, must stay finite.
        return -(weights * (weights + 1e-12).log()).sum(dim=-1).mean()

    DEVIATIONS = (
        Deviation("recipe `code`", "-", "MemKD published none; MemAE's code is a video autoencoder", "no such recipe"),
        Deviation(
            "places and concatenation",
            "an NR memory is exchanged for MemAE's",
            "MemAE replaces the latent map by what is recalled",
            "as MemKD's, concatenated: one matrix at those places gives Table 3's 0.2M (0.17 in 2^20 numbers)",
        ),
        Deviation("items", "not stated", "2,000 (MemAE, video)", "50 as MemKD; override items"),
        Deviation(
            "addressing",
            "cosine, softmax (MemKD, Fig. 4b)",
            "dot product, softmax, hard shrink 0.0025, renormalised",
            "cosine; addressing='dot', shrink=0.0025 (with cosines of 50 items it would never remove a weight)",
        ),
        Deviation("entropy of the weights", "not named", "2e-4", "off; lambda_entropy=2e-4"),
        Deviation(
            "initial items",
            "not stated",
            "uniform, +-1 / sqrt(C)",
            "MemAE's: sqrt(3 C) times smaller than MemKD's N(0, 1), 20 to 39 times with a ResNet-18, 39 to 78 with a "
            "Wide ResNet-50-2, so one step turns them further",
        ),
        Deviation("everything else", "not stated", "-", "as MemKD's list"),
    )
