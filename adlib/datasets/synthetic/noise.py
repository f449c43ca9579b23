"""Random fields that real surfaces are made of, all on the square render grid.

Lengths are in render pixels: the pictures are drawn at `GRID` x `GRID` and halved at the end.
"""

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

SIZE = 256
GRID = 2 * SIZE

Field = NDArray[np.floating]
"""(GRID, GRID) float32, or (3, GRID, GRID) for colour: in planes, so that NumPy works on long rows."""

Window = tuple[slice, slice]


@lru_cache(maxsize=1)
def axes() -> tuple[Field, Field]:
    """x and y of every render pixel, from 0 to GRID - 1; shared, so never write into them."""
    y, x = np.mgrid[:GRID, :GRID].astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def enlarge(small: Field, side: int = GRID) -> Field:
    """Blow a small (rows, columns) field up to `side` x `side`, smoothly."""
    image = Image.fromarray(np.ascontiguousarray(small, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def smooth_noise(rng: Generator, rows: int, columns: int) -> Field:
    """Noise with that many independent values down and across: unequal numbers make streaks."""
    return enlarge(rng.standard_normal((rows, columns), dtype=np.float32))


def fractal(rng: Generator, base: int = 4, octaves: int = 5, decay: float = 0.6) -> Field:
    """Cloudy noise of unit variance."""
    side = min(GRID, base * 2**octaves)  # twice the finest octave; the rest of the way is smooth
    total = np.zeros((side, side), np.float32)
    power = 0.0
    for octave in range(octaves):
        count = min(GRID, base * 2**octave)
        cells = rng.standard_normal((count, count), dtype=np.float32)
        total += np.float32(decay**octave) * enlarge(cells, side)
        power += 0.6 * decay ** (2 * octave)  # bicubic interpolation keeps about 0.6 of the variance
    return enlarge(total / np.float32(np.sqrt(power)))


def grain(rng: Generator) -> Field:
    """White noise, one value a render pixel."""
    return rng.standard_normal((GRID, GRID), dtype=np.float32)


def pebbles(rng: Generator, spread: float) -> Field:
    """What a Gaussian blur of that spread leaves of white noise, made cheaply."""
    cells = round(GRID / (1.8 * spread))
    return np.float32(0.37 / spread) * smooth_noise(rng, cells, cells)


def shear(field: Field, slope: float) -> Field:
    """Slide each column by `slope` per pixel: turns streaks by a small angle, wrapping at the edge."""
    columns = np.arange(GRID)
    shift = np.round(slope * columns).astype(np.int64)
    rows = (np.arange(GRID)[:, None] + shift[None, :]) % GRID
    return field[rows, columns[None, :]]


def step(value: Field, low: float, high: float) -> Field:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def linear(*srgb: int) -> NDArray[np.float32]:
    """An 8-bit display colour as the linear reflectance the shading works in, (3, 1, 1)."""
    return np.asarray((np.asarray(srgb) / 255).reshape(3, 1, 1) ** 2.2, np.float32)


def tint(rng: Generator, spread: float) -> NDArray[np.float32]:
    """How far one batch's colour is off, as a factor (3, 1, 1)."""
    return np.exp(rng.normal(0, spread, (3, 1, 1))).astype(np.float32)


def around(centre: tuple[float, float], reach: int) -> Window:
    """The square of half side `reach` about a point, cut at the edge of the grid."""
    x, y = round(centre[0]), round(centre[1])
    rows = slice(min(GRID, max(0, y - reach)), max(0, min(GRID, y + reach)))
    return rows, slice(min(GRID, max(0, x - reach)), max(0, min(GRID, x + reach)))
