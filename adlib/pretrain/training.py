"""The pretraining loop: everything on the device, a schedule that fits the time, and a state to go on from.

Every random draw of a step follows from (seed, step), so that a training that was killed goes on as if nothing had
happened; where the schedule follows the clock, it goes on at the time it had reached.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from adlib.backbones import read_weights
from adlib.device import autocast
from adlib.files import sha256
from adlib.pretrain.augment import views
from adlib.pretrain.config import Config
from adlib.pretrain.data import HELD_OUT
from adlib.training_state import read_state, write_state

CLEAN_BATCHES = 30  # at most, for the final BatchNorm statistics


class Pretraining(ABC):
    """One training of a network; `run` it, `finish` it, then `student` is the averaged network.

    A subclass says what is learnt, by `compare`, and may measure it, by `measure`.

    Args:
        live: the network with what is thrown away afterwards; moved to the device.
        groups: uint8 (N, 3, S, S) images by group, from `data.read`; moved to the device.
        started: `time.monotonic()` of the beginning that `seconds` counts from; by default now.
        start: the file that `live` began from, if any.

    Raises ValueError for a group of the data without a share in `mix`.
    """

    def __init__(
        self,
        config: Config,
        live: nn.Module,
        groups: dict[str, Tensor],
        device: str,
        started: float | None = None,
        start: Path | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.started = time.monotonic() if started is None else started
        self.held_out = groups.get(HELD_OUT, torch.empty(0)).to(device)
        self.pixels, self.first, self.count, self.edges = _gathered(groups, config.mix, device)
        begun = "" if start is None else sha256(Path(start).expanduser())
        data = {name: (len(part), int(part.sum(dtype=torch.int64))) for name, part in groups.items()}
        self.identity = f"{config.identity()} {self.origin()} start {begun or 'none'} images and their sum {data}"
        self.step, self.views, self.earlier = 0, 0, 0.0
        self.log: list[dict[str, float]] = []
        self.live: Any = live.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = deepcopy(self.live).requires_grad_(False)
        decayed = [p for p in self.live.parameters() if p.ndim > 1]
        others = [p for p in self.live.parameters() if p.ndim <= 1]
        parameters: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others},
        ]
        self.optimiser = torch.optim.AdamW(parameters, config.lr, weight_decay=0.0, fused=True)

    @abstractmethod
    def compare(self, network: nn.Module, images: Tensor, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Name the terms of the loss for images in [0, 1] made from `pixels[index]`, and add up what they weigh."""

    def measure(self) -> dict[str, float]:
        """Measure the averaged network on the images held out; empty where there is nothing to measure."""
        return {}

    def origin(self) -> dict[str, Any]:
        """Say for the card what the network learnt from."""
        return {}

    @property
    def student(self) -> nn.Module:
        """The averaged network under its timm names, without the projections."""
        return self.averaged.pyramid.network

    @property
    def elapsed(self) -> float:
        """Seconds of all sessions, from each one's `started` on."""
        return self.earlier + time.monotonic() - self.started

    @property
    def reserve(self) -> float:
        """Seconds kept free for `finish` and for writing."""
        return 0.0 if self.config.seconds is None else min(12.0, 0.1 * self.config.seconds)

    @property
    def fraction(self) -> float:
        """How much of the schedule has passed, by steps or by the clock, whichever is further; 1 ends it."""
        c = self.config
        by_steps = 0.0 if c.steps is None else self.step / c.steps
        by_clock = 0.0 if c.seconds is None else self.elapsed / max(c.seconds - self.reserve, 1e-9)
        return min(1.0, max(by_steps, by_clock))

    def run(
        self,
        resume: Path | None = None,
        save_every: float = 120.0,
        report_every: float = 10.0,
        report: Callable[[str], None] = print,
    ) -> None:
        """Train to the end of the schedule; with `resume`, go on from that file and keep it up to date.

        Raises FloatingPointError when a loss stops being finite, ValueError for a state of another recipe,
        other images, another source or another start.
        """
        if resume is not None and resume.exists():
            self._restore(read_state(resume, self.identity, self.device))
        reported = saved = time.monotonic()
        sums: dict[str, Tensor] = {}
        since, images = 0, self.views
        self.live.train()
        while (fraction := self.fraction) < 1:
            for name, value in self._train_step(fraction).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            since += 1
            now = time.monotonic()
            if now - reported >= report_every or self.fraction >= 1:
                self._report(sums, since, self.views - images, reported, report)
                reported, sums, since, images = time.monotonic(), {}, 0, self.views
            if resume is not None and now - saved >= save_every:
                write_state(resume, self.state())
                saved = time.monotonic()
        if resume is not None:
            write_state(resume, self.state())

    def state(self) -> dict[str, Any]:
        """Everything that a later session needs to go on."""
        return {
            "identity": self.identity,
            "step": self.step,
            "views": self.views,
            "elapsed": self.elapsed,
            "log": self.log,
            "live": self.live.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    @torch.no_grad()
    def finish(self) -> dict[str, float]:
        """Re-estimate the averaged network's BatchNorm on plain images, and return what `measure` finds."""
        generator = Generator(self.device).manual_seed(self.config.seed)
        count = min(CLEAN_BATCHES, max(1, 4 * len(self.pixels) // self.config.batch))
        batches = (self.pixels[self._draw(self.config.batch, generator)].float() / 255 for _ in range(count))
        with self._autocast():
            torch.optim.swa_utils.update_bn(batches, self.averaged)
        self.averaged.eval()
        return self.measure()

    def _train_step(self, fraction: float) -> dict[str, Tensor]:
        c = self.config
        size = c.sizes[min(int(fraction * len(c.sizes)), len(c.sizes) - 1)]
        rate = c.lr * min(1.0, (self.step + 1) / max(c.warmup, 1)) * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images, index = self._views(size, self.step)
        self.views += len(images)
        with self._autocast():
            terms, loss = self.compare(self.live, images, index)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._average(min(c.ema, (1 + self.step) / (10 + self.step)))
        return {"loss": loss.detach(), **terms}

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        ours, theirs = ([*m.parameters(), *m.buffers()] for m in (self.averaged, self.live))
        floating = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)

    def _views(self, size: int, step: int) -> tuple[Tensor, Tensor]:
        generator = Generator(self.device).manual_seed((self.config.seed << 32) + step + (1 << 20))
        index = self._draw(self.config.batch_of(size), generator)
        return views(self.pixels[index], size, self.config.augmentation, generator), index

    def _draw(self, count: int, generator: Generator) -> Tensor:
        """Draw positions in `pixels`: the group by its share, then the image."""
        group, image = torch.rand(2, count, generator=generator, device=self.device)
        which = torch.bucketize(group, self.edges).clamp(max=len(self.count) - 1)
        return self.first[which] + (image * self.count[which]).long().clamp(max=self.count[which] - 1)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.config.precision)

    def _report(self, sums: dict[str, Tensor], steps: int, images: int, since: float, report: Callable) -> None:
        means = {name: float(value) / steps for name, value in sums.items()}  # waits for the device
        if not math.isfinite(means["loss"]):
            raise FloatingPointError(f"the loss became {means['loss']} before step {self.step}; lower `lr`")
        speed = images / max(time.monotonic() - since, 1e-9)
        entry = {"step": self.step, "seconds": round(self.elapsed, 1), "images_per_second": round(speed, 1)}
        self.log.append(entry | {name: round(value, 4) for name, value in means.items()})
        words = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        report(f"step {self.step} ({self.fraction:.0%}, {self.elapsed:.0f} s, {speed:.0f} images/s): {words}")

    def _restore(self, state: dict[str, Any]) -> None:
        self.live.load_state_dict(state["live"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.views, self.earlier, self.log = (state[k] for k in ("step", "views", "elapsed", "log"))


def begin_from(start: Path | None, network: nn.Module) -> None:
    """Fill the network from a teacher's file as far as that goes; what lies beyond it stays as it is.

    Raises ValueError for a file of another network.
    """
    if start is None:
        return
    own, found = network.state_dict(), read_weights(Path(start).expanduser())
    if misfit := [k for k, v in found.items() if k not in own or own[k].shape != v.shape]:
        raise ValueError(f"{start} is of another network: {misfit[0]!r} and {len(misfit) - 1} more do not fit")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in found.items()}, strict=False)


def _gathered(groups: dict[str, Tensor], mix: dict[str, float], device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Join the groups that are trained on: all images, each group's first position and size, cumulative shares."""
    trained = {name: pixels for name, pixels in groups.items() if name != HELD_OUT}
    if unknown := sorted(set(trained) - set(mix)):
        raise ValueError(f"no share is given for the images of {', '.join(unknown)}; `mix` has: {', '.join(mix)}")
    names = [name for name in trained if mix[name] > 0 and len(trained[name])]
    if not names:
        raise ValueError(f"no group of images has a share above 0: the data hold {', '.join(trained)}")
    pixels = torch.cat([trained[name] for name in names]).to(device)
    count = torch.tensor([len(trained[name]) for name in names], device=device)
    share = torch.tensor([mix[name] for name in names], dtype=torch.float32, device=device)
    return pixels, count.cumsum(0) - count, count, (share / share.sum()).cumsum(0)
