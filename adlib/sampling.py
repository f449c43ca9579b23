"""What each step of a training sees: everything follows from the seed, nothing from what ran before."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adlib.corrupt import Corruption
from adlib.images import Images, normalise
from adlib.methods.base import Batch, Stage

# What tells the independent random draws of one step or epoch apart, the last part of `derive`'s path; noise of the
# loss has none. A new kind of draw takes a new number: one that is taken would repeat its values.
CORRUPTION, ORDER, EXEMPLARS = 1, 2, 3
HOLD_OUT = -1  # in the place of the epoch: the order from which images are held out


class Plan:
    """Which images each step of a stage sees."""

    def __init__(self, stage: Stage, number: int, images: int, seed: int) -> None:
        order = torch.from_numpy(permutation(images, seed, number, HOLD_OUT))
        # One image at least trains; of a single one none is held out, and the last epoch stays.
        held = min(math.ceil(stage.validation * images), images - 1)
        self.held_out, self.train = order[:held].sort().values, order[held:].sort().values
        count = len(self.train)
        self.seed, self.number = seed, number
        self.batch = stage.batch if stage.drop_last else min(stage.batch, count)
        whole = count // self.batch if stage.drop_last else math.ceil(count / self.batch)
        self.per_epoch = max(1, whole)
        self.steps = stage.steps if stage.steps is not None else (stage.epochs or 0) * self.per_epoch

    def batches(self, start: int, device: str, further: int = 0) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (step, epoch, indices) to the end and `further` epochs.

        An epoch is a permutation of the images, repeated if fewer than a batch. It moves to the device once, and
        nothing waits for that.
        """
        drawn, order = -1, self.train
        for step in range(start, self.steps + further * self.per_epoch):
            epoch, position = divmod(step, self.per_epoch)
            if epoch != drawn:
                drawn, order = epoch, self.order(epoch).to(device, non_blocking=True)
            yield step, epoch, order[position * self.batch : (position + 1) * self.batch]

    def order(self, epoch: int) -> Tensor:
        """Return the indices of an epoch in order, repeated if there are fewer than a batch."""
        shuffled = self.train[permutation(len(self.train), self.seed, self.number, epoch)]
        return shuffled.repeat(math.ceil(self.batch / len(shuffled)))


@dataclass(frozen=True)
class Draws:
    """Make the batch of each step: images as a method takes them, pseudo-anomalies, exemplars and their targets."""

    images: Images
    seed: int
    corruption: Corruption | None
    device: str

    def batch(self, stage: Stage, number: int, step: int, index: Tensor, cache: list[Tensor] | None = None) -> Batch:
        """Make the batch of a step of the stage of this number from the images at `index`.

        With pseudo-anomalies and exemplars where the stage asks for them, and with the targets that `cache` has.
        """
        extra = self._exemplars(stage, number, step, cache)
        if not stage.corrupted:
            return Batch(self.images.normalised(index), targets=_take(cache, index), **extra)
        assert self.corruption is not None
        generator = torch.Generator(self.device)
        generator.manual_seed(derive(self.seed, number, step, CORRUPTION))
        clean = self.images.pixels[index].float() / 255
        base, corrupted, mask = self.corruption(clean, generator)
        return Batch(normalise(base), normalise(corrupted), mask, **extra)

    def _exemplars(self, stage: Stage, number: int, step: int, cache: list[Tensor] | None) -> dict[str, Any]:
        """Draw a step's exemplars with their targets: fields of a batch, none where the stage asks for none."""
        if not stage.exemplars:
            return {}
        rng = np.random.default_rng(derive(self.seed, number, step, EXEMPLARS))
        drawn = torch.from_numpy(rng.integers(len(self.images), size=stage.exemplars))
        index = drawn.to(self.device, non_blocking=True)
        return {"exemplars": self.images.normalised(index), "exemplar_targets": _take(cache, index)}


def derive(seed: int, *path: int) -> int:
    """Derive an independent 63-bit seed for one place of a run, e.g. (stage, step, CORRUPTION)."""
    entropy = [seed, *(p + 1 for p in path)]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def permutation(count: int, *path: int) -> np.ndarray:
    """Draw a permutation of 0 .. count - 1 for one place of a run."""
    return np.random.default_rng(derive(*path, ORDER)).permutation(count)


def _take(cache: list[Tensor] | None, index: Tensor) -> list[Tensor] | None:
    return None if cache is None else [level[index] for level in cache]
