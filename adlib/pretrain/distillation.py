"""Distillation: a student learns the features and the logits of a frozen source network."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adlib.pretrain.config import Config
from adlib.pretrain.inherit import inherit
from adlib.pretrain.networks import STRIDE, Source, Student, channel_statistics, feature_loss, inner, logit_loss
from adlib.pretrain.training import Pretraining, begin_from


class Distillation(Pretraining):
    """Learn the features and the logits of a frozen source network.

    Args as of `Pretraining`, with `source`: the frozen network, moved to the device; `start`: a network's file, by
    timm's names, that the student begins from as far as it goes.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        groups: dict[str, Tensor],
        device: str = "cpu",
        started: float | None = None,
        start: Path | None = None,
    ) -> None:
        self.source: Any = source.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            example = source(torch.zeros(1, 3, 2 * STRIDE, 2 * STRIDE, device=device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            channels = [m.shape[1] for m in example.maps]
            classes = 0 if example.logits is None else example.logits.shape[1]
            student = Student(config.student, config.levels, channels, classes)
        begin_from(start, student.pyramid.network)
        super().__init__(config, student, groups, device, started, start)
        self.statistics = self._measure_source()
        if config.inherit:
            views = self._views(config.sizes[-1], -1)[0]
            inherit(student.pyramid.network, self.source.pyramid.network, (views - student.mean) / student.std)
            for projection, (mean, deviation) in zip(student.projections, self.statistics, strict=True):
                _pass_on(projection, mean.flatten(), deviation.flatten())  # type: ignore[arg-type]
            self.averaged.load_state_dict(student.state_dict())
        if config.compile:
            self.source.pyramid.compile()
            self.live.pyramid.compile()

    def origin(self) -> dict[str, Any]:
        """Name the source network and its weights."""
        return {"source": {"network": self.source.name, "sha256": self.source.sha256}}

    def compare(self, network: Any, images: Tensor, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Weigh one feature term a level and the difference of the logits."""
        c = self.config
        return self._compare(network, images, c.feature_loss, self.statistics, c.margin)

    def measure(self) -> dict[str, float]:
        """Return the share of the source's variance that is not explained, by level, and how often both name one class.

        Of photographs without augmentation that were never trained on, and of the variance among them; empty without
        such images.
        """
        found: dict[str, float] = {}
        parts = self.held_out.split(min(64, self.config.batch)) if len(self.held_out) else ()
        with self._autocast():
            statistics = channel_statistics([self.source(pixels.float() / 255) for pixels in parts]) if parts else []
        for pixels in parts:
            with self._autocast():
                terms, _ = self._compare(self.averaged, pixels.float() / 255, "standardised", statistics)
            for name, value in terms.items():
                found[name] = found.get(name, 0.0) + float(value) * len(pixels) / len(self.held_out)
        return found

    def _compare(
        self, student: Any, images: Tensor, kind: str, statistics: list[tuple[Tensor, Tensor]], margin: int = 0
    ) -> tuple[dict[str, Tensor], Tensor]:
        c = self.config
        target, made = self.source(images), student(images)
        maps = self.source.crop_student(made.maps)
        terms, total = {}, torch.zeros((), device=self.device)
        for i, level in enumerate(c.levels):
            cells = math.ceil(margin / 2 ** (level + 1))
            term = feature_loss(kind, inner(maps[i], cells), inner(target.maps[i], cells), statistics[i])
            terms[f"level {level}"], total = term.detach(), total + c.level_weights[i] * term
        if target.logits is None:
            return terms, total
        logits = logit_loss(made.logits, target.logits, c.temperature)
        agree = (made.logits.argmax(1) == target.logits.argmax(1)).float().mean()
        terms |= {"logits": logits.detach(), "same class": agree}
        return terms, total + c.logit_weight * logits

    @torch.no_grad()
    def _measure_source(self, batches: int = 4) -> list[tuple[Tensor, Tensor]]:
        """Measure the source's channels on views of a training size, drawn apart from the training's."""
        size = self.config.sizes[-1]
        with self._autocast():
            return channel_statistics([self.source(self._views(size, -1 - i)[0]) for i in range(batches)])


@torch.no_grad()
def _pass_on(projection: nn.Conv2d, mean: Tensor, deviation: Tensor) -> None:
    """Let a projection begin by standardising the first channels, which an inherited network has from the source."""
    nn.init.dirac_(projection.weight)
    projection.weight /= deviation.view(-1, 1, 1, 1)
    projection.bias.copy_(-mean / deviation)  # type: ignore[union-attr]
