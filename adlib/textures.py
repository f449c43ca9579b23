"""Procedural textures: what pseudo-anomalies are made of where DTD is not there, and images to pretrain on."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

PROCEDURAL_TEXTURES = 128  # as many as rows say that they were trained with


def procedural_textures(count: int = PROCEDURAL_TEXTURES, size: int = 256, seed: int = 0) -> Tensor:
    """Draw texture images for machines without DTD: uint8 (count, 3, size, size), the same for the same seed.

    Four families in turn: clouds (noise of a power law), stripes bent by clouds, cells around random
    points, and speckles; each between two or three random colours. They are no photographs: rows say which source was
    used.
    """
    families = (_clouds, _stripes, _cells, _speckles)
    return torch.stack(
        [
            torch.from_numpy(_coloured(families[i % len(families)], size, np.random.default_rng([seed, i])))
            for i in range(count)
        ]
    )


def _coloured(family, size: int, rng: np.random.Generator) -> np.ndarray:
    """Spread random colours over a field in [0, 1]: uint8 (3, size, size)."""
    field = family(size, rng)
    stops = np.sort(np.r_[0, rng.random(1), 1])
    colours = rng.integers(0, 256, (3, 3))
    return np.stack([np.interp(field, stops, c) for c in colours]).astype(np.uint8)


def _unit_range(field: np.ndarray) -> np.ndarray:
    return (field - field.min()) / max(float(np.ptp(field)), 1e-12)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    return _unit_range(np.fft.irfft2(spectrum / frequency ** rng.uniform(0.5, 2.0), s=(size, size)))


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    angle, waves = rng.uniform(0, np.pi), 2 ** rng.uniform(1.5, 5.5)
    bend = rng.uniform(0, 1.5) * _clouds(size, rng) / 4
    wave = np.sin(2 * np.pi * waves * (np.cos(angle) * x + np.sin(angle) * y + bend))
    if rng.random() < 0.5:  # a second direction makes a weave
        wave = wave * np.sin(2 * np.pi * waves * (np.cos(angle) * y - np.sin(angle) * x + bend))
    return _unit_range(np.tanh(rng.uniform(0.5, 4) * wave))


def _cells(size: int, rng: np.random.Generator) -> np.ndarray:
    seeds = np.ones((size, size), dtype=bool)
    points = rng.integers(0, size, (int(2 ** rng.uniform(4, 9)), 2))
    seeds[points[:, 0], points[:, 1]] = False
    return _unit_range(ndimage.distance_transform_edt(seeds))


def _speckles(size: int, rng: np.random.Generator) -> np.ndarray:
    grain = ndimage.gaussian_filter(rng.standard_normal((size, size)), rng.uniform(0.7, 5), mode="wrap")
    return _unit_range(np.tanh(rng.uniform(1, 4) * grain / grain.std()))
