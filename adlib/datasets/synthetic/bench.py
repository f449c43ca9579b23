"""The inspection table that objects lie on."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from adlib.datasets.synthetic.defects import speckle
from adlib.datasets.synthetic.noise import GRID, Field, axes, fractal, linear, pebbles
from adlib.datasets.synthetic.surface import Surface


def mat(rng: Generator, colour: NDArray[np.float32]) -> Surface:
    """A matt rubber mat with dust on it."""
    pimples = pebbles(rng, 1.1)
    tone = 1 + 0.16 * pimples + 0.05 * fractal(rng, 3, 4)
    gloss = np.full((GRID, GRID), 0.02, np.float32)
    surface = Surface(0.9 * pimples, tone * colour, gloss, (0.4, 0.4))
    speckle(surface, rng, 40, linear(190, 186, 180))
    return surface


def pose(rng: Generator, shift: float) -> tuple[float, float]:
    """Centre of an object that a hand put down, within `shift` render pixels of the middle."""
    x, y = GRID / 2 + rng.uniform(-shift, shift, 2)
    return float(x), float(y)


def polar(centre: tuple[float, float]) -> tuple[Field, Field]:
    """Radius and angle about `centre`."""
    x, y = axes()
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def disc(radius: Field, outer: float | Field, soft: float = 1.0) -> Field:
    """Coverage of the pixels nearer than `outer`."""
    return np.clip((outer - radius) / np.float32(soft) + np.float32(0.5), 0, 1)


def lathe(rng: Generator, radius: Field, spread: float = 1.0) -> Field:
    """Concentric tool marks of unit size: one value a ring."""
    rings = ndimage.gaussian_filter1d(rng.standard_normal(GRID), spread) * np.sqrt(1 + spread)
    return np.interp(radius, np.arange(GRID), rings).astype(np.float32)
