"""Pseudo-anomalies and rotations: batched, on the device, from one generator, without a loop over samples.

The recipe is that of apple/ml-destseg at commit f6ea31f: Perlin noise, rotated and thresholded, decides where a texture
is blended in. All images here are floats in [0, 1], before normalisation.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

MAX_EXPONENT = 5  # lattice of 2^0 .. 2^5 = 1 .. 32 cells a side, drawn for each axis on its own
MAX_ANGLE = 90.0  # degrees, either way
GREY = 114 / 255  # what the official rotation fills corners with

# The official code rotates the base image by category. Categories that it does not name are not rotated.
ROTATION = {
    **dict.fromkeys(("capsule", "metal_nut", "pill", "toothbrush", "transistor"), "none"),
    **dict.fromkeys(("wood", "zipper", "cable"), "slight"),
    **dict.fromkeys(("bottle", "grid", "hazelnut", "leather", "tile", "carpet", "screw"), "full"),
}
ROTATIONS = ("none", "slight", "full")


def rotation_of(category: str) -> str:
    """Return the official rotation group: none, slight (within 5 degrees) or full (plus quarter turns)."""
    return ROTATION.get(category, "none")


def perlin_noise(count: int, size: int, generator: Generator, exponents: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Draw rotated Perlin noise, (count, size, size), range about [-1, 1].

    Gradients of uniform angle on a lattice of 2^a x 2^b cells, quintic fade, times sqrt(2). The field is then turned
    about its centre by up to 90 degrees either way, bilinear; what lies outside of it is 0. `exponents` fixes a and b,
    (count,) each.
    """
    device = generator.device
    if exponents is None:
        drawn = torch.randint(0, MAX_EXPONENT + 1, (2, count), generator=generator, device=device)
        exponents = (drawn[0], drawn[1])
    cells_y, cells_x = (2.0 ** e.to(device).float().view(-1, 1) for e in exponents)
    lattice = 2**MAX_EXPONENT + 1
    angle = 2 * math.pi * torch.rand(count, lattice**2, generator=generator, device=device)
    gradients = torch.stack([angle.cos(), angle.sin()], dim=-1)
    position = torch.arange(size, device=device) / size
    y, x = position * cells_y, position * cells_x  # in cells, (count, size)
    row, column = y.floor().long(), x.floor().long()
    fy, fx = (y - row).unsqueeze(2), (x - column).unsqueeze(1)

    def corner(dy: int, dx: int) -> Tensor:
        node = ((row + dy) * lattice).unsqueeze(2) + (column + dx).unsqueeze(1)
        at = gradients.gather(1, node.view(count, -1, 1).expand(-1, -1, 2)).view(count, size, size, 2)
        return at[..., 0] * (fy - dy) + at[..., 1] * (fx - dx)

    ty, tx = (t**3 * (t * (6 * t - 15) + 10) for t in (fy, fx))
    top = torch.lerp(corner(0, 0), corner(0, 1), tx)
    bottom = torch.lerp(corner(1, 0), corner(1, 1), tx)
    noise = math.sqrt(2) * torch.lerp(top, bottom, ty)
    turn = MAX_ANGLE * (2 * torch.rand(count, generator=generator, device=device) - 1)
    return _turn(noise.unsqueeze(1), turn).squeeze(1)


def _turn(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn (N, C, S, S) about the centres, counter-clockwise, bilinear, 0 outside."""
    size = images.shape[-1]
    axis = torch.arange(size, device=images.device, dtype=torch.float32) - (size - 1) / 2
    radians = torch.deg2rad(degrees).view(-1, 1, 1)
    cos, sin = radians.cos(), radians.sin()
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    source = torch.stack([cos * x - sin * y, cos * y + sin * x], dim=-1)
    # grid_sample without align_corners has the outer edges of the outer pixels at -1 and 1.
    return F.grid_sample(images, 2 * source / size, padding_mode="zeros", align_corners=False)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn images (N, C, S, S) about their centres, bilinear; corners become grey (114 / 255)."""
    return _turn(images - GREY, degrees) + GREY


def random_rotation(images: Tensor, group: str, generator: Generator) -> Tensor:
    """Turn each image (N, 3, S, S) by its group: within 5 degrees, for `full` after a random quarter turn."""
    if group not in ROTATIONS:
        raise ValueError(f"rotation must be one of {ROTATIONS}, got {group!r}")
    if group == "none":
        return images
    device = images.device
    degrees = 10 * torch.rand(len(images), generator=generator, device=device) - 5
    if group == "full":
        degrees += 90.0 * torch.randint(0, 4, (len(images),), generator=generator, device=device)
    return rotate(images, degrees)


@dataclass(frozen=True)
class Corruption:
    """How pseudo-anomalies are made; `textures` is uint8 (M, 3, S, S).

    `threshold` cuts the noise; 0 is the text's "mean binarization", as the noise has mean 0.
    """

    textures: Tensor
    rotation: str = "none"
    probability: float = 1.0
    threshold: float = 0.5
    max_original: float = 0.8  # b ~ U[0, 0.8): share of the original that shines through

    def __call__(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Make a batch from clean images (N, 3, S, S): base and corrupted images, masks (N, 1, S, S) in {0, 1}.

        base: the image, turned by its category's rotation. corrupted = (1 - M) base + M ((1 - b) A + b base).
        """
        count, _, size, _ = images.shape
        device = images.device
        base = random_rotation(images, self.rotation, generator)
        mask = (perlin_noise(count, size, generator) > self.threshold).float().unsqueeze(1)
        if self.probability < 1:
            applied = torch.rand(count, generator=generator, device=device) < self.probability
            mask = mask * applied.view(-1, 1, 1, 1)
        pick = torch.randint(0, len(self.textures), (count,), generator=generator, device=device)
        source = self.textures[pick].float() / 255
        b = self.max_original * torch.rand(count, 1, 1, 1, generator=generator, device=device)
        return base, torch.lerp(base, torch.lerp(source, base, b), mask), mask
