"""Classification: a network learns to name classes, without a source, for comparison with distillation."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adlib.pretrain.config import Config
from adlib.pretrain.data import HELD_OUT
from adlib.pretrain.networks import Student
from adlib.pretrain.training import Pretraining, begin_from


class Classification(Pretraining):
    """Learn to name classes, with cross-entropy: the comparison that needs no source network.

    Args as of `Pretraining`; `labels` holds the class of every image of each group, int64 (N,), counted from 0 over
    all groups. Mixing views would need mixed labels: the augmentation must not.

    Raises ValueError where groups and labels do not fit, or the augmentation mixes.
    """

    def __init__(
        self,
        config: Config,
        groups: dict[str, Tensor],
        labels: dict[str, Tensor],
        device: str = "cpu",
        started: float | None = None,
        start: Path | None = None,
    ) -> None:
        if config.augmentation.mixup or config.augmentation.cutmix:
            raise ValueError("mixed views have no single class: set mixup=0 and cutmix=0 in the augmentation")
        if wrong := [name for name in groups if len(groups[name]) != len(labels.get(name, ()))]:
            raise ValueError(f"the images of {', '.join(wrong)} have no label each")
        self.classes = 1 + max(int(part.max()) for part in labels.values())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = Student(config.student, (), (), self.classes)
        begin_from(start, network.pyramid.network)
        super().__init__(config, network, groups, device, started, start)
        trained = [name for name in groups if name != HELD_OUT and config.mix[name] > 0]
        self.labels = torch.cat([labels[name] for name in trained]).to(device)
        self.held_out_labels = labels.get(HELD_OUT, torch.empty(0)).to(device)

    def origin(self) -> dict[str, Any]:
        """Name the number of classes."""
        return {"source": {"classes": self.classes}}

    def compare(self, network: Any, images: Tensor, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the cross-entropy, and for the log the share of images named rightly."""
        logits = network(images).logits.float()
        loss = F.cross_entropy(logits, self.labels[index], label_smoothing=0.1)
        right = (logits.argmax(1) == self.labels[index]).float().mean()
        return {"cross-entropy": loss.detach(), "accuracy": right}, loss

    def measure(self) -> dict[str, float]:
        """Return the share of the images held out that are named rightly; empty without such images."""
        if not len(self.held_out):
            return {}
        parts = [self.averaged(p.float() / 255).logits.argmax(1) for p in self.held_out.split(self.config.batch)]
        return {"accuracy": float((torch.cat(parts) == self.held_out_labels).float().mean())}
