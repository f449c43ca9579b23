"""Views of images: crops, colours, blur, noise and mixing, for a whole batch at once on the images' device.

Distillation needs no labels, so nothing has to stay recognisable: source and student see the same view, and every view
is a valid example (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022). With
views as strong as these even the crops of a single image carry a classifier over (Asano and Saeed, "The augmented image
prior", ICLR 2023). Every draw comes from one generator, and no step waits for the device.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

BLUR_TAPS = 4  # either side of the centre
SUPERSAMPLED_BELOW = 192  # crops of fewer pixels are sampled at twice the resolution, against aliasing


@dataclass(frozen=True)
class Augmentation:
    """How strong the views are: probabilities, and ranges of what is drawn uniformly unless said otherwise."""

    area_min: float = 0.1  # share of the canvas that a crop shows, log-uniform up to area_max
    area_max: float = 1.0
    aspect: float = 4 / 3  # log-uniform in [1 / aspect, aspect]
    turn: float = 0.3  # probability of a rotation by any angle
    colour: float = 0.8  # probability of the next four
    brightness: float = 0.4
    contrast: float = 0.5
    saturation: float = 0.6
    tint: float = 0.2  # gain of each channel
    gray: float = 0.15
    invert: float = 0.03
    blur: float = 0.2
    blur_sigma: float = 2.0  # pixels
    noise: float = 0.25
    noise_sigma: float = 0.08
    mixup: float = 0.2
    cutmix: float = 0.35


def views(pixels: Tensor, size: int, settings: Augmentation, generator: Generator) -> Tensor:
    """Turn a batch of images, uint8 (B, 3, S, S), into views, float32 (B, 3, size, size) in [0, 1]."""
    images = crops(pixels.float() / 255, size, settings, generator)
    images = colours(images, settings, generator)
    images = blurred(images, settings, generator)
    noisy, sigma = _some(settings.noise, images, generator), settings.noise_sigma
    if len(noisy):
        grain = torch.randn(images[noisy].shape, generator=generator, device=images.device)
        images = images.index_add(0, noisy, grain * _uniform(0, sigma, (len(noisy), 1, 1, 1), generator))
    return mixed(images.clamp(0, 1), settings, generator)


def crops(images: Tensor, size: int, settings: Augmentation, generator: Generator) -> Tensor:
    """Cut one window a (B, 3, S, S) image, of random area, aspect, place, mirroring and, some of them, rotation."""
    count = (len(images),)
    area = _uniform(math.log(settings.area_min), math.log(settings.area_max), count, generator).exp()
    stretch = (_uniform(-0.5, 0.5, count, generator) * math.log(settings.aspect)).exp()
    half_x = (area.sqrt() * stretch).clamp(max=1)
    half_y = (area.sqrt() / stretch).clamp(max=1)
    centre_x = (1 - half_x) * _uniform(-1, 1, count, generator)
    centre_y = (1 - half_y) * _uniform(-1, 1, count, generator)
    angle = _uniform(-math.pi, math.pi, count, generator) * _coin(settings.turn, count, generator)
    mirror = 1 - 2 * _coin(0.5, count, generator)
    cos, sin = angle.cos(), angle.sin()
    rows = [mirror * half_x * cos, -half_y * sin, centre_x, mirror * half_x * sin, half_y * cos, centre_y]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    factor = 2 if size < SUPERSAMPLED_BELOW else 1
    grid = F.affine_grid(theta, [len(images), 3, size * factor, size * factor], align_corners=False)
    sampled = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(sampled, factor) if factor > 1 else sampled


def colours(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and the channels' gains; gray out or invert some images."""
    count = (len(images), 1, 1, 1)
    applied = _coin(settings.colour, count, generator)

    def factor(strength: float, shape: tuple[int, ...] = count) -> Tensor:
        return 1 + applied * _uniform(-strength, strength, shape, generator)

    brightness, contrast, saturation = (
        factor(s) for s in (settings.brightness, settings.contrast, settings.saturation)
    )
    tint = factor(settings.tint, (len(images), 3, 1, 1))
    saturation = saturation * (1 - _coin(settings.gray, count, generator))
    red, green, blue = images.split(1, dim=1)
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    middle = gray.mean((2, 3), keepdim=True)
    images = torch.lerp(gray, images * tint, saturation)
    images = (brightness * (contrast * (images - middle) + middle)).clamp(0, 1)
    inverted = _coin(settings.invert, count, generator)
    return images + inverted * (1 - 2 * images)


def blurred(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Blur some images, each by a Gaussian of its own width."""
    chosen = _some(settings.blur, images, generator)
    if len(chosen) == 0:
        return images
    sigma = _uniform(0.3, settings.blur_sigma, (len(chosen), 1), generator)
    offsets = torch.arange(-BLUR_TAPS, BLUR_TAPS + 1, device=images.device)
    kernel = F.normalize((-0.5 * (offsets / sigma) ** 2).exp(), p=1, dim=1).view(len(chosen), -1, 1, 1, 1)
    some = images[chosen]
    for axis in (2, 3):
        length = some.shape[axis]
        padding = (0, 0, BLUR_TAPS, BLUR_TAPS) if axis == 2 else (BLUR_TAPS, BLUR_TAPS, 0, 0)
        padded = F.pad(some, padding, mode="reflect")
        some = sum(kernel[:, k] * padded.narrow(axis, k, length) for k in range(2 * BLUR_TAPS + 1))  # type: ignore[assignment]
    return images.index_copy(0, chosen, some)


def mixed(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Blend some images with their neighbour in the batch, whole (mixup) or within a rectangle (CutMix)."""
    batch, _, height, width = images.shape
    draw = torch.rand((batch, 1, 1), generator=generator, device=images.device)
    share = _uniform(0.1, 0.9, (batch, 1, 1), generator)
    whole = (draw < settings.mixup).float() * share
    half = share.sqrt() / 2
    y, x = (_uniform(0, 1, (batch, 1, 1), generator) for _ in range(2))
    rows = ((torch.arange(height, device=images.device).view(1, -1, 1) + 0.5) / height - y).abs() < half
    columns = ((torch.arange(width, device=images.device).view(1, 1, -1) + 0.5) / width - x).abs() < half
    cut = (draw >= settings.mixup) & (draw < settings.mixup + settings.cutmix)
    weight = (whole + (rows & columns & cut).float()).unsqueeze(1)
    return torch.lerp(images, images.roll(1, 0), weight)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _coin(probability: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw 1.0 with `probability`, else 0.0."""
    return (torch.rand(shape, generator=generator, device=generator.device) < probability).float()


def _some(share: float, images: Tensor, generator: Generator) -> Tensor:
    """Choose a fixed number of the batch's positions, so that no step has to ask the device how many."""
    return torch.randperm(len(images), generator=generator, device=generator.device)[: round(share * len(images))]
