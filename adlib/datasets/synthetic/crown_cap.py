"""Crown cap from above: lacquered red, printed, twenty-one flutes on the skirt."""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from adlib.datasets.synthetic.bench import disc, mat, polar, pose
from adlib.datasets.synthetic.defects import (
    Flaw,
    Point,
    Scene,
    blob,
    dent,
    scratch,
    spot,
    wear,
)
from adlib.datasets.synthetic.noise import GRID, Field, fractal, linear, pebbles, smooth_noise, step, tint
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("print_shift", "smeared_print", "paint_loss", "dent", "bent_flute", "scratch")
FLUTES = 21
OUTER, TOP = 208.0, 158.0  # render pixels: the skirt's edge, the flat top
LETTERS = ("147", "253", "617", "346", "12", "3567")  # segments of the ring's pseudo-letters
SEGMENTS = {
    "1": ((0, 0), (0, 2)),
    "2": ((0, 2), (1, 2)),
    "3": ((1, 0), (1, 2)),
    "4": ((0, 1), (1, 1)),
    "5": ((0, 0), (1, 0)),
    "6": ((0, 0), (1, 2)),
    "7": ((0, 2), (1, 0)),
}


def _print(centre: Point, turn: float) -> tuple[Field, Field]:
    """Coverage of the cream and of the gold ink."""
    cream, gold = (Image.new("L", (2 * GRID, 2 * GRID)) for _ in range(2))
    pens = ImageDraw.Draw(cream), ImageDraw.Draw(gold)

    def at(radius: float, angle: float) -> Point:
        a = turn + angle
        return (
            2 * (centre[0] + radius * float(np.cos(a))),
            2 * (centre[1] + radius * float(np.sin(a))),
        )

    def ring(pen: ImageDraw.ImageDraw, radius: float, width: float) -> None:
        x, y = 2 * centre[0], 2 * centre[1]
        box = (x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius)
        pen.ellipse(box, outline=255, width=round(2 * width))

    ring(pens[0], 142, 4)
    ring(pens[1], 96, 3)
    star = [at(84 if k % 2 == 0 else 36, k * np.pi / 5) for k in range(10)]
    pens[0].polygon(star, fill=255)
    pens[1].polygon([at(34 if k % 2 == 0 else 15, k * np.pi / 5) for k in range(10)], fill=255)
    for number in range(26):
        middle = number * 2 * np.pi / 26
        for key in LETTERS[(number * number + number // 3) % len(LETTERS)]:
            (x0, y0), (x1, y1) = SEGMENTS[key]
            ends = [at(106 + 12 * y, middle + 0.13 * (x - 0.5)) for x, y in ((x0, y0), (x1, y1))]
            pens[0].line(ends, fill=255, width=10)
    covers = [np.asarray(image.reduce(2), np.float32) / 255 for image in (cream, gold)]
    return covers[0] * (1 - covers[1]), covers[1]


def _inks(scene: Scene, centre: Point) -> tuple[Field, Field]:
    """The print as it came out: never quite in register, sometimes far off or smeared."""
    rng = scene.rng
    turn = float(rng.uniform(0, 2 * np.pi))
    x, y = centre + rng.normal(0, 1.3, 2)
    if flaw := scene.has("print_shift"):
        away, heading = flaw.length(7, 34), flaw.rng.uniform(0, 2 * np.pi)
        x, y = x + away * np.cos(heading), y + away * np.sin(heading)
    cream, gold = _print((float(x), float(y)), turn)
    if flaw := scene.has("smeared_print"):
        angle = turn + flaw.rng.uniform(0, 2 * np.pi)
        reach = flaw.rng.uniform(60, 130)
        at = (float(x + reach * np.cos(angle)), float(y + reach * np.sin(angle)))
        place = blob(flaw.rng, at, flaw.length(18, 80), 0.3, 0.2)
        drag = flaw.strength(6, 26)
        cream, gold = (_drag(ink, place, drag, angle, flaw.rng) for ink in (cream, gold))
    return cream, gold


def _drag(ink: Field, place: Field, drag: float, angle: float, rng: np.random.Generator) -> Field:
    """Pull wet ink along `angle` inside `place`."""
    pulled = np.zeros_like(ink)
    for part in np.linspace(0, 1, 7):
        offset = (drag * part * np.sin(angle), drag * part * np.cos(angle))
        moved = ndimage.shift(ink, offset, order=1, mode="nearest")
        pulled = np.maximum(pulled, (1 - 0.75 * part) * moved)
    patchy = np.clip(0.85 + 0.2 * fractal(rng, 40, 3), 0, 1)
    return ink + place * (pulled * patchy - ink)


def render(scene: Scene) -> Surface:
    """Draw the cap on its mat, turned anyhow."""
    rng = scene.rng
    surface = mat(rng, linear(150, 152, 150))
    centre = pose(rng, 12)
    radius, angle = polar(centre)
    turn = np.float32(rng.uniform(0, 2 * np.pi))
    wobble = rng.normal(0, 0.06, 2)  # crimping leaves the flutes a little uneven
    phase = FLUTES * (angle - turn) + wobble[0] * np.cos(angle) + wobble[1] * np.sin(2 * angle)
    pushed = radius
    if flaw := scene.has("bent_flute"):
        pushed = _bend(radius, angle, flaw)
    wave = np.cos(phase.astype(np.float32))
    cover = disc(pushed, OUTER - 7 + 7 * wave, 1.4)
    fall = np.clip((pushed - TOP) / (OUTER - TOP), 0, 1.2)
    height = 34 - 24 * fall**1.6 + 5.5 * wave * step(fall, 0.15, 0.9) + 1.6 * step(-fall, -0.12, 0)
    height = height + 0.5 * smooth_noise(rng, 4, 4)
    solid = np.asarray(ndimage.gaussian_filter(cover, 1.4), np.float32)
    surface.height = surface.height * (1 - cover) + solid * height
    inks = _inks(scene, centre)
    _lacquer(surface, rng, cover, inks)
    _spoil(surface, scene, cover, disc(radius, TOP))
    return surface


def _bend(radius: Field, angle: Field, flaw: Flaw) -> Field:
    """Push the skirt in over a few flutes."""
    span = flaw.length(0.1, 0.42)
    off = np.angle(np.exp(1j * (angle - flaw.rng.uniform(-np.pi, np.pi)))).astype(np.float32)
    inward = np.exp(-((off / np.float32(span)) ** 2)) * step(radius, 140, 200)
    return radius + np.float32(flaw.strength(6, 26)) * inward


def _lacquer(surface: Surface, rng: np.random.Generator, cover: Field, inks: tuple[Field, Field]) -> None:
    batch = tint(rng, 0.02)
    peel = pebbles(rng, 3)
    surface.paint(cover, linear(168, 30, 34) * batch * (1 + 0.04 * fractal(rng, 5, 4)))
    surface.paint(cover * inks[0] * np.float32(0.96), linear(232, 224, 204) * batch)
    surface.paint(cover * inks[1] * np.float32(0.96), linear(196, 158, 78) * batch)
    surface.height = surface.height + 0.5 * peel * cover
    surface.gloss = surface.gloss * (1 - cover) + 0.42 * cover
    surface.roughness = (0.2, 0.2)
    wear(surface, rng, int(rng.integers(3, 12)), 0.2)


def _spoil(surface: Surface, scene: Scene, cover: Field, top: Field) -> None:
    if flaw := scene.has("scratch"):
        scratch(surface, flaw, top * cover, linear(206, 206, 204))
    if flaw := scene.has("dent"):
        dent(surface, flaw, top, 1.5)
    if flaw := scene.has("paint_loss"):
        rng = flaw.rng
        bare = blob(rng, spot(rng, cover), flaw.length(7, 48), 0.8, 0.05) * cover
        tin = linear(170, 170, 168) * (1 + 0.1 * fractal(rng, 60, 3))
        surface.paint(bare * np.float32(flaw.strength(0.5, 1)), tin)
        surface.height = surface.height - 1.2 * bare
