"""Polished terrazzo: angular marble chips in grey cement."""

import numpy as np
from PIL import Image, ImageDraw

from adlib.datasets.synthetic.defects import (
    Flaw,
    Point,
    Scene,
    blob,
    crack,
    polygon,
    speckle,
    spot,
    stain,
    wear,
)
from adlib.datasets.synthetic.noise import GRID, fractal, linear, pebbles, smooth_noise, step
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("crack", "pit", "stain", "foreign_chip", "etching")
MARBLE = np.stack(
    [
        linear(226, 222, 212),
        linear(198, 190, 178),
        linear(168, 158, 148),
        linear(122, 118, 116),
        linear(84, 82, 84),
        linear(186, 150, 124),
        linear(206, 178, 142),
    ]
).reshape(-1, 3)
ODDS = (0.24, 0.2, 0.17, 0.12, 0.07, 0.1, 0.1)


def _chip(rng: np.random.Generator, centre: Point, radius: float) -> list[Point]:
    """An angular fragment of broken stone."""
    corners = int(rng.integers(5, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners) * 0.35 + np.arange(corners) * 2 * np.pi / corners)
    reach = radius * rng.uniform(0.65, 1.15, corners)
    stretch, turn = np.exp(rng.normal(0, 0.2)), rng.uniform(0, np.pi)
    x, y = reach * np.cos(angles) * stretch, reach * np.sin(angles) / stretch
    c, s = np.cos(turn), np.sin(turn)
    return list(zip((centre[0] + c * x - s * y).tolist(), (centre[1] + s * x + c * y).tolist(), strict=True))


def _chips(rng: np.random.Generator) -> np.ndarray:
    """(GRID, GRID) number of the chip at each pixel, 0 for cement."""
    image = Image.new("I", (GRID, GRID))
    pen = ImageDraw.Draw(image)
    radii = np.sort(7 + 26 * rng.beta(0.9, 3.2, 620))[::-1]
    taken = np.zeros((len(radii), 3))
    placed = 0
    for number, radius in enumerate(radii.tolist(), 1):
        for _ in range(4):
            x, y = rng.uniform(-10, GRID + 10, 2)
            others = taken[:placed]
            apart = (others[:, 0] - x) ** 2 + (others[:, 1] - y) ** 2
            if (apart > (0.92 * (others[:, 2] + radius) + 1) ** 2).all():
                taken[placed] = x, y, radius
                placed += 1
                pen.polygon(_chip(rng, (x, y), radius), fill=number)
                break
    return np.asarray(image)


def render(scene: Scene) -> Surface:
    """Draw the slab."""
    rng = scene.rng
    chips = _chips(rng)
    count = int(chips.max()) + 1
    paints = MARBLE[rng.choice(len(MARBLE), count, p=ODDS)]
    paints = paints * np.exp(rng.normal(0, 0.09, (count, 1)) + rng.normal(0, 0.02, (count, 3)))
    paints[0] = linear(150, 147, 142).ravel() * np.exp(rng.normal(0, 0.04))
    cement = chips == 0
    veins = fractal(rng, 12, 5, 0.7)
    sand = pebbles(rng, 0.9)
    tone = 1 + np.where(cement, 0.22 * sand + 0.05 * veins, 0.09 * veins + 0.05 * sand)
    albedo = np.take(paints.T.astype(np.float32), chips, axis=1) * tone
    pores = step(smooth_noise(rng, 200, 200), 2.5, 3.0) * cement
    height = 0.5 * smooth_noise(rng, 3, 3) - 2 * pores + 0.06 * np.where(cement, sand, 0)
    gloss = np.where(cement, 0.10, 0.17).astype(np.float32)
    surface = Surface(height.astype(np.float32), albedo, gloss, (0.2, 0.2))
    surface.paint(0.7 * pores, linear(70, 68, 66))
    surface.relief_shadow = 0.5
    wear(surface, rng, int(rng.integers(2, 8)), 0.08)
    speckle(surface, rng, 20, linear(60, 58, 56))
    _spoil(surface, scene)
    return surface


def _spoil(surface: Surface, scene: Scene) -> None:
    if flaw := scene.has("crack"):
        crack(surface, flaw, None, linear(42, 40, 38))
    if flaw := scene.has("pit"):
        _pit(surface, flaw)
    if flaw := scene.has("stain"):
        stain(surface, flaw, None, linear(168, 128, 88), 0.55)
    if flaw := scene.has("foreign_chip"):
        _foreign_chip(surface, flaw)
    if flaw := scene.has("etching"):
        _etching(surface, flaw)


def _pit(surface: Surface, flaw: Flaw) -> None:
    """A chip that broke out: a rough hollow with one wall in shadow."""
    rng = flaw.rng
    radius = flaw.length(8, 42)
    place = polygon(_chip(rng, spot(rng), radius), 1.0)
    rough = fractal(rng, 30, 4, 0.7)
    surface.height = surface.height - place * (flaw.strength(3, 8) + 0.8 * rough)
    surface.paint(place, linear(122, 117, 110) * (1 + 0.18 * rough))
    surface.gloss = surface.gloss * (1 - place)


def _foreign_chip(surface: Surface, flaw: Flaw) -> None:
    """A fragment that is no marble: glass, brick, rusty iron or plastic."""
    rng = flaw.rng
    wrong = (linear(52, 110, 92), linear(150, 66, 44), linear(98, 62, 40), linear(60, 86, 142))
    place = polygon(_chip(rng, spot(rng), flaw.length(11, 46)))
    veins = 1 + 0.12 * fractal(rng, 20, 4)
    colour = wrong[int(rng.integers(len(wrong)))]
    surface.paint(place * np.float32(flaw.strength(0.4, 1.0)), colour * veins)


def _etching(surface: Surface, flaw: Flaw) -> None:
    """Acid on marble: the polish is gone and the stone looks chalky."""
    rng = flaw.rng
    cover = blob(rng, spot(rng), flaw.length(18, 100), 0.3, 0.12)
    dose = np.float32(flaw.strength(0.3, 0.85)) * cover * (0.8 + 0.12 * fractal(rng, 40, 3))
    surface.gloss = surface.gloss * (1 - dose)
    surface.paint(0.5 * dose, linear(218, 216, 210))
