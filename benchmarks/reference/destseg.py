"""DeSTSeg as apple/ml-destseg trains it (commit f6ea31f): pseudo-anomalies sample by sample, all networks in each step.

Both stages run the same forward pass: the teacher on the clean image, student, teacher and segmentation network on the
corrupted one, and all three losses. Stage 1 learns from the cosine loss alone, stage 2 from focal and L1; in stage 2
gradients also pass through the student, although its optimiser makes no step.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from adlib.methods import DeSTSeg

from .data import SIZE, decode, tensor

GREY = (114, 114, 114)
Sample = tuple[Tensor, Tensor, Tensor]


def perlin(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Draw Perlin noise of `cells` lattice cells a side: (256, 256), range about [-1, 1]."""
    angle = 2 * np.pi * rng.random((cells[0] + 1, cells[1] + 1))
    gradient = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    y, x = (np.arange(SIZE) * n / SIZE for n in cells)
    row, column = y.astype(int), x.astype(int)
    fy, fx = np.meshgrid(y - row, x - column, indexing="ij")

    def corner(dy: int, dx: int) -> np.ndarray:
        at = gradient[np.ix_(row + dy, column + dx)]
        return at[..., 0] * (fy - dy) + at[..., 1] * (fx - dx)

    def fade(t: np.ndarray) -> np.ndarray:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    top = corner(0, 0) + fade(fx) * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade(fx) * (corner(1, 1) - corner(1, 0))
    return np.sqrt(2) * (top + fade(fy) * (bottom - top))


class Corrupted(torch.utils.data.Dataset[Sample]):
    """Clean image, corrupted image, mask: decoded, rotated and blended anew each time a sample is drawn."""

    def __init__(self, paths: Sequence[Path], textures: Sequence[Path], rotation: str = "full", seed: int = 0) -> None:
        self.paths, self.textures, self.rotation = paths, textures, rotation
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Sample:
        rng, bilinear = self.rng, Image.Resampling.BILINEAR
        image = decode(self.paths[number])
        if self.rotation == "full":
            image = image.rotate(90 * int(rng.integers(4)), bilinear, fillcolor=GREY)
        if self.rotation != "none":
            image = image.rotate(rng.uniform(-5, 5), bilinear, fillcolor=GREY)
        texture = decode(self.textures[rng.integers(len(self.textures))])
        base, source = (np.asarray(i, dtype=np.float32) / 255 for i in (image, texture))
        y, x = (2 ** rng.integers(0, 6, 2)).tolist()
        noise = Image.fromarray(perlin(rng, (y, x)).astype(np.float32)).rotate(rng.uniform(-90, 90), bilinear)
        mask = (np.asarray(noise) > 0.5).astype(np.float32)[..., None]
        b = np.float32(rng.uniform(0, 0.8))
        corrupted = (1 - mask) * base + mask * ((1 - b) * source + b * base)
        return tensor(base), tensor(corrupted), torch.from_numpy(mask.transpose(2, 0, 1))


class Reference:
    """A step of either stage on the networks of a `DeSTSeg` of recipe `code`."""

    def __init__(self, method: DeSTSeg, stage: int) -> None:
        self.method, self.stage, c = method, stage, method.config
        self.teacher, self.student, self.segmentation = method.teacher, method.student, method.segmentation
        for network in (self.student, self.segmentation):
            network.requires_grad_(True)  # the code freezes neither
        self.student.train(stage == 0)
        self.segmentation.train(stage == 1)
        groups = [
            {"params": self.segmentation.residual.parameters(), "lr": c.residual_lr},
            {"params": self.segmentation.head.parameters(), "lr": c.head_lr},
        ]
        self.optimisers = [
            torch.optim.SGD(p, c.student_lr if n == 0 else c.head_lr, c.momentum, weight_decay=c.weight_decay)
            for n, p in enumerate((self.student.parameters(), groups))
        ]

    def step(self, sample: Sample) -> float:
        """Learn from one batch: the loss of the stage."""
        clean, corrupted, mask = sample
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        with torch.no_grad():
            targets = [F.normalize(t, dim=1) for t in self.teacher(clean)]
        outputs = [F.normalize(s, dim=1) for s in self.student(corrupted)]
        with torch.no_grad():
            seen = [F.normalize(t, dim=1) for t in self.teacher(corrupted)]
        products = [-t * s for t, s in zip(seen, outputs, strict=True)]
        size = products[0].shape[-2:]
        stacked = torch.cat([F.interpolate(p, size, mode="bilinear") for p in products], dim=1)
        probability = self.segmentation(stacked).unsqueeze(1).sigmoid()
        # The map of the student-teacher pair alone, which the forward pass returns too.
        torch.cat([F.interpolate(p.sum(1, keepdim=True) + 1, size, mode="bilinear") for p in products], 1).prod(1)
        cosine = torch.stack([(1 - (t * s).sum(1)).mean((1, 2)).sum() for t, s in zip(targets, outputs, strict=True)])
        small = (F.interpolate(mask, size, mode="bilinear") >= 0.5).float()
        right = small * probability + (1 - small) * (1 - probability)
        focal = -((1 - right) ** self.method.config.focal_gamma * right.clamp_min(1e-12).log()).mean()
        l1 = (small - probability).abs().mean()
        loss = cosine.sum() if self.stage == 0 else focal + l1
        loss.backward()
        self.optimisers[self.stage].step()
        return loss.item()
