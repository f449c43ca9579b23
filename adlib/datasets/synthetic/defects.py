"""Defects that many materials share: each changes a `Surface` where it lies and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from adlib.datasets.synthetic.noise import (
    GRID,
    Field,
    Window,
    axes,
    fractal,
    linear,
    pebbles,
    step,
)
from adlib.datasets.synthetic.surface import Light, Surface

Point = tuple[float, float]
EVERYWHERE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Flaw:
    """One defect to draw; `size` and `contrast` are uniform in 0 to 1 and used as exponents."""

    kind: str
    size: float
    contrast: float
    rng: Generator

    def length(self, small: float, large: float) -> float:
        """Log-uniform between the two, by the defect's size (render pixels)."""
        return float(small * (large / small) ** self.size)

    def strength(self, subtle: float, obvious: float) -> float:
        """Log-uniform between the two, by the defect's contrast."""
        return float(subtle * (obvious / subtle) ** self.contrast)


@dataclass(frozen=True)
class Scene:
    """What a category is drawn from; only `flaw.rng` may serve the defect.

    The same `rng` state must give the same part with and without a flaw.
    """

    rng: Generator
    light: Light
    flaw: Flaw | None = None

    def has(self, *kinds: str) -> Flaw | None:
        """The flaw, if it is one of these kinds."""
        return self.flaw if self.flaw is not None and self.flaw.kind in kinds else None


def spot(rng: Generator, where: Field | None = None, margin: int = 60) -> Point:
    """A random point, inside `where` (coverage) if given, else `margin` pixels from the edge."""
    if where is None:
        return float(rng.uniform(margin, GRID - margin)), float(rng.uniform(margin, GRID - margin))
    inside = np.flatnonzero(where[::4, ::4] > 0.95)
    row, column = divmod(int(rng.choice(inside)), GRID // 4)
    return 4.0 * column, 4.0 * row


def wander(
    rng: Generator, start: Point, heading: float, length: float, wobble: float, pace: float = 4.0
) -> list[Point]:
    """A path that starts at `start` and turns by about `wobble` radians a pace."""
    count = max(2, round(length / pace))
    angles = heading + np.cumsum(rng.normal(0, wobble, count))
    x = start[0] + np.concatenate([[0], np.cumsum(pace * np.cos(angles))])
    y = start[1] + np.concatenate([[0], np.cumsum(pace * np.sin(angles))])
    return list(zip(x.tolist(), y.tolist(), strict=True))


def stroke(paths: Sequence[Sequence[Point]], width: float, soft: float = 0.7) -> Field:
    """Coverage of lines of that width, drawn at twice the grid so that hairlines stay thin."""
    image = Image.new("L", (2 * GRID, 2 * GRID))
    pen = ImageDraw.Draw(image)
    for path in paths:
        points = [(2 * x, 2 * y) for x, y in path]
        pen.line(points, fill=255, width=max(1, round(2 * width)), joint="curve")
    half = np.asarray(image.reduce(2), np.float32) / 255
    return np.asarray(ndimage.gaussian_filter(half, soft), np.float32)


def polygon(points: Sequence[Point], soft: float = 0.7) -> Field:
    """Coverage of a filled polygon."""
    image = Image.new("L", (GRID, GRID))
    ImageDraw.Draw(image).polygon(list(points), fill=255)
    filled = np.asarray(image, np.float32) / 255
    return np.asarray(ndimage.gaussian_filter(filled, soft), np.float32) if soft else filled


def distance(centre: Point, aspect: float = 1.0, angle: float = 0.0, window: Window = EVERYWHERE) -> Field:
    """Distance from `centre`, shrunk by `aspect` along `angle` so that discs become ellipses."""
    x, y = axes()
    dx, dy = x[window] - np.float32(centre[0]), y[window] - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.hypot((c * dx + s * dy) / np.float32(aspect), c * dy - s * dx)


def blob(rng: Generator, centre: Point, radius: float, ragged: float = 0.3, edge: float = 0.15) -> Field:
    """Coverage of an irregular patch; `ragged` is the edge's roughness, `edge` its softness."""
    stretch, angle = float(np.exp(rng.uniform(0, 0.6))), rng.uniform(0, np.pi)
    inside = 1 - distance(centre, stretch, angle) / np.float32(radius)
    cells = int(np.clip(GRID / radius * 1.2, 3, 48))
    return step(inside + ragged * 0.6 * fractal(rng, cells, 4, 0.55), -edge, edge)


def scratch(surface: Surface, flaw: Flaw, where: Field | None, colour: NDArray[np.float32]) -> None:
    """A nearly straight groove that bares `colour`; sometimes a few in parallel."""
    rng, length = flaw.rng, flaw.length(50, 420)
    x, y = spot(rng, where)
    heading = rng.uniform(0, 2 * np.pi)
    start = (x - length / 2 * np.cos(heading), y - length / 2 * np.sin(heading))
    paths = [wander(rng, start, heading, length, 0.012)]
    for _ in range(int(rng.integers(0, 3))):
        aside = (start[0] + rng.normal(0, 9), start[1] + rng.normal(0, 9))
        paths.append(wander(rng, aside, heading, length * rng.uniform(0.3, 0.9), 0.012))
    cover = stroke(paths, flaw.length(1.2, 2.8))
    # The pressure changes along the way, so the groove comes and goes.
    cover *= np.clip(1 + 0.4 * fractal(rng, 8, 2), 0.25, 1.2)
    if where is not None:
        cover *= where
    surface.height = surface.height - flaw.strength(0.5, 2.2) * cover
    surface.paint(np.minimum(cover, 1) * np.float32(flaw.strength(0.3, 0.95)), colour)


def _jagged(rng: Generator, path: list[Point], amount: float) -> list[Point]:
    """The path with each point knocked aside, but the first, where a branch meets its trunk."""
    aside = rng.normal(0, amount, (len(path), 2))
    aside[0] = 0
    return [(x + float(dx), y + float(dy)) for (x, y), (dx, dy) in zip(path, aside, strict=True)]


def crack(surface: Surface, flaw: Flaw, where: Field | None, colour: NDArray[np.float32]) -> None:
    """A jagged dark line with branches."""
    rng, length = flaw.rng, flaw.length(60, 430)
    x, y = spot(rng, where)
    heading = rng.uniform(0, 2 * np.pi)
    start = (x - length / 2 * np.cos(heading), y - length / 2 * np.sin(heading))
    trunk = _jagged(rng, wander(rng, start, heading, length, 0.09, 6), 1.5)
    branches = []
    for _ in range(int(rng.integers(1, 4))):
        at = trunk[int(rng.integers(len(trunk) // 4, len(trunk)))]
        side = heading + rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)
        branch = wander(rng, at, side, length * rng.uniform(0.12, 0.35), 0.12, 6)
        branches.append(_jagged(rng, branch, 1.3))
    cover = np.maximum(stroke([trunk], flaw.length(1.4, 3.2), 0.6), 0.8 * stroke(branches, 1.2, 0.6))
    cover *= np.clip(0.9 + 0.35 * fractal(rng, 12, 3), 0.3, 1)
    if where is not None:
        cover *= where
    surface.height = surface.height - flaw.strength(1.5, 5) * cover
    surface.paint(cover * np.float32(flaw.strength(0.4, 0.95)), colour)
    surface.gloss = surface.gloss * (1 - cover)


def dent(surface: Surface, flaw: Flaw, where: Field | None, depth: float = 1.0) -> None:
    """A smooth hollow: nothing but the relief changes, only light shows it."""
    rng, radius = flaw.rng, flaw.length(14, 70)
    where_at = spot(rng, where)
    far = distance(where_at, rng.uniform(1, 1.8), rng.uniform(0, np.pi)) / np.float32(radius)
    slope = flaw.strength(0.12, 0.45) * depth
    hollow = np.float32(radius * slope) * np.exp(-(far**2) * 2) - np.float32(0.25 * radius * slope) * np.exp(
        -(((far - 1.1) * 3) ** 2)
    )
    surface.height = surface.height - (hollow if where is None else hollow * where)
    # Where the hollow happens to face the lamp as the sheet does it looks sound, but is not.
    surface.claim(far < 0.85 if where is None else (far < 0.85) & (where > 0.5))


def stain(
    surface: Surface, flaw: Flaw, where: Field | None, colour: NDArray[np.float32], rim: float = 0.5, edge: float = 0.12
) -> None:
    """A dried liquid: filters the paint by `colour`, darker towards a rim."""
    rng = flaw.rng
    cover = blob(rng, spot(rng, where), flaw.length(14, 90), 0.25, edge)
    inner = np.asarray(ndimage.gaussian_filter(cover, flaw.length(3, 9)), np.float32)
    dose = cover * (1 - rim * inner) * np.clip(1 + 0.2 * fractal(rng, 8, 4), 0.4, 1.5)
    if where is not None:
        dose *= where
    surface.albedo *= np.exp(dose * np.float32(flaw.strength(0.35, 1.6)) * np.log(colour))


def rust(surface: Surface, flaw: Flaw, where: Field | None) -> None:
    """Corrosion: brown, matt and rough, eating in from a spotty edge."""
    rng = flaw.rng
    cover = blob(rng, spot(rng, where), flaw.length(12, 75), 0.75, 0.25)
    spots = step(fractal(rng, 48, 4, 0.75) + 2 * cover, 0.6, 1.9) * step(cover, 0.05, 0.4)
    if where is not None:
        spots *= where
    tone = np.clip(0.5 + 0.35 * fractal(rng, 40, 4, 0.8), 0, 1)
    brown = tone * linear(176, 98, 48) + (1 - tone) * linear(74, 38, 24)
    surface.paint(spots * np.float32(flaw.strength(0.4, 0.97)), brown)
    surface.gloss = surface.gloss * (1 - 0.9 * spots)
    bumps = pebbles(rng, 1.5)
    surface.height = surface.height + spots * (0.4 + 2.2 * bumps)


def fibre(surface: Surface, flaw: Flaw, where: Field | None, colour: NDArray[np.float32]) -> None:
    """A hair or thread lying on top, with its shadow."""
    rng = flaw.rng
    path = wander(rng, spot(rng, where), rng.uniform(0, 2 * np.pi), flaw.length(60, 420), 0.16)
    width = flaw.strength(1.4, 3.6)
    cover = stroke([path], width, 0.6)
    lift = np.asarray(ndimage.gaussian_filter(cover, 0.8), np.float32)
    surface.height = surface.height + np.float32(1.6 * width) * lift
    surface.paint(cover * np.float32(flaw.strength(0.6, 0.97)), colour)
    surface.gloss = surface.gloss * (1 - 0.7 * cover)


def speckle(surface: Surface, rng: Generator, count: int, colour: NDArray[np.float32]) -> None:
    """Dust that every part carries: a few tiny faint grains and lint."""
    image = Image.new("L", (GRID, GRID))
    pen = ImageDraw.Draw(image)
    for x, y, r, k in rng.uniform((0, 0, 0.4, 25), (GRID, GRID, 1.6, 120), (count, 4)).tolist():
        pen.ellipse((x - r, y - r, x + r, y + r), fill=int(k))
    for x, y, a, r in rng.uniform((0, 0, 0, 4), (GRID, GRID, 6.3, 16), (count // 6, 4)).tolist():
        pen.line((x, y, x + r * np.cos(a), y + r * np.sin(a)), fill=45)
    surface.paint(np.asarray(image, np.float32) / 255, colour)


def wear(surface: Surface, rng: Generator, count: int, depth: float) -> None:
    """Hairline marks of handling, faint enough to be normal."""
    image = Image.new("L", (GRID, GRID))
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.uniform(0, GRID, 2)
        path = wander(rng, (x, y), rng.uniform(0, 6.3), rng.uniform(20, 120), 0.02, 8)
        pen.line(path, fill=int(rng.integers(40, 160)))
    surface.height = surface.height - np.float32(depth) * np.asarray(image, np.float32) / 255
