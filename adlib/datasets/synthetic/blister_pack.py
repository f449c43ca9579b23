"""Blister pack: nine scored tablets under clear domes on knurled foil."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adlib.datasets.synthetic.bench import mat, pose
from adlib.datasets.synthetic.defects import (
    Flaw,
    Point,
    Scene,
    blob,
    distance,
    spot,
    stroke,
    wander,
    wear,
)
from adlib.datasets.synthetic.noise import GRID, Field, Window, around, axes, fractal, grain, linear, step
from adlib.datasets.synthetic.surface import Surface

DEFECTS = (
    "missing_tablet",
    "broken_tablet",
    "wrong_tablet",
    "crushed_dome",
    "foreign_body",
    "punctured_foil",
)
PITCH, DOME, TABLET, CARD = 146.0, 58.0, 43.0, 228.0
SUGAR = linear(226, 214, 206)


@dataclass
class Pocket:
    """One dome: where it is, and how its tablet lies in it."""

    centre: Point
    lie: Point
    score: float
    tone: float

    @property
    def window(self) -> Window:
        """Enough of the grid for everything in and around the pocket."""
        return around(self.centre, 74)

    def depth(self, angle: float) -> Field:
        """Distance beyond the tablet's middle towards `angle`, in the window."""
        x, y = axes()
        dx = x[self.window] - np.float32(self.lie[0])
        dy = y[self.window] - np.float32(self.lie[1])
        return dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))


def _pockets(rng: np.random.Generator, centre: Point, turn: float) -> list[Pocket]:
    c, s = np.cos(turn), np.sin(turn)
    pockets = []
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            x = centre[0] + PITCH * (c * column - s * row)
            y = centre[1] + PITCH * (s * column + c * row)
            slack = rng.normal(0, 3.0, 2)
            pockets.append(
                Pocket(
                    (float(x), float(y)),
                    (float(x + slack[0]), float(y + slack[1])),
                    float(rng.uniform(0, np.pi)),
                    float(np.exp(rng.normal(0, 0.025))),
                )
            )
    return pockets


def _foil(surface: Surface, rng: np.random.Generator, centre: Point, turn: float) -> Field:
    """The card: heat-sealed foil with a diamond knurl, rounded corners; returns its coverage."""
    x, y = axes()
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = c * (x - centre[0]) + s * (y - centre[1])
    v = c * (y - centre[1]) - s * (x - centre[0])
    corner = np.float32(CARD - 26)
    outside = np.hypot(np.maximum(np.abs(u) - corner, 0), np.maximum(np.abs(v) - corner, 0)) - 26
    card = np.clip(0.5 - outside, 0, 1)
    k = np.float32(2 * np.pi / 9.5)
    knurl = np.sin(k * (u + v)) * np.sin(k * (u - v))
    height = 9 + 0.55 * knurl + 1.2 * fractal(rng, 3, 3)
    solid = np.asarray(ndimage.gaussian_filter(card, 1.2), np.float32)
    surface.height = (surface.height * (1 - card) + solid * height).astype(np.float32)
    tone = 1 + 0.05 * knurl + 0.03 * grain(rng) + 0.04 * fractal(rng, 6, 3)
    surface.paint(card, tone * linear(158, 160, 163))
    surface.gloss = surface.gloss * (1 - card) + 0.5 * card
    surface.roughness = (0.2, 0.2)
    return card


def _tablet(patch: Surface, pocket: Pocket, cover: Field, colour: Field, score: bool) -> None:
    """Press one tablet: domed, with a score line across it."""
    far = distance(pocket.lie, window=pocket.window)
    bevel = np.asarray(ndimage.gaussian_filter(cover, 3), np.float32)
    height = 9 + 13 * bevel + 5 * np.clip(1 - (far / np.float32(TABLET)) ** 2, 0, 1)
    if score:
        height = height - 3.2 * np.exp(-((pocket.depth(pocket.score) / np.float32(2.4)) ** 2))
    patch.build(cover, height, 0.03)
    patch.paint(cover, colour * np.float32(pocket.tone))


def _wrong(flaw: Flaw, pocket: Pocket) -> tuple[Field, NDArray[np.float32], bool]:
    """Another product: other colour, other size, or oblong."""
    dyes = (
        linear(222, 190, 150),
        linear(196, 132, 128),
        linear(150, 172, 190),
        linear(214, 205, 150),
    )
    kind = int(flaw.rng.integers(3))
    colour = SUGAR + (dyes[int(flaw.rng.integers(4))] - SUGAR) * np.float32(flaw.strength(0.35, 1))
    if kind == 2:
        oblong = distance(pocket.lie, 1.7, pocket.score, pocket.window)
        return np.clip(np.float32(28.5) - oblong, 0, 1), colour, False
    shrink = flaw.length(0.08, 0.3) if kind == 1 else 0.0
    radius = np.float32(TABLET * (1 - shrink) + 0.5)
    far = distance(pocket.lie, window=pocket.window)
    return np.clip(radius - far, 0, 1), SUGAR if kind == 1 else colour, True


def _break(flaw: Flaw, pocket: Pocket, whole: Field) -> Field:
    """What is left after a piece broke off, and its crumbs."""
    rng = flaw.rng
    heading = rng.uniform(0, 2 * np.pi)
    rough = 3 * fractal(rng, 20, 4)[pocket.window]
    edge = np.float32(TABLET - flaw.length(9, 52)) + rough
    left = whole * np.clip(edge - pocket.depth(heading) + 0.5, 0, 1)
    for _ in range(int(rng.integers(2, 7))):
        reach, angle = rng.uniform(0.55, 1.1) * TABLET, heading + rng.normal(0, 0.5)
        at = (pocket.lie[0] + reach * np.cos(angle), pocket.lie[1] + reach * np.sin(angle))
        left = np.maximum(left, blob(rng, at, rng.uniform(2, 5), 0.3, 0.2)[pocket.window])
    return left


def render(scene: Scene) -> Surface:
    """Draw the pack on its mat."""
    rng = scene.rng
    surface = mat(rng, linear(58, 72, 92))
    centre, turn = pose(rng, 8), float(rng.normal(0, 0.025))
    card = _foil(surface, rng, centre, turn)
    pockets = _pockets(rng, centre, turn)
    shake = [float(value) for value in rng.normal(0, 0.04, len(pockets))]
    flaw = scene.flaw
    hit = int(flaw.rng.integers(len(pockets))) if flaw else -1
    powder = SUGAR * (1 + 0.035 * fractal(rng, 40, 4, 0.8) + 0.02 * grain(rng))
    coat = np.zeros((GRID, GRID), np.float32)
    for number, pocket in enumerate(pockets):
        struck = flaw if number == hit else None
        _fill(surface, pocket, powder, struck)
        coat[pocket.window] += _dome(pocket, shake[number], struck)
    surface.coat, surface.coat_gloss = coat, 0.75
    if flaw := scene.has("punctured_foil"):
        _puncture(surface, flaw, card, pockets)
    wear(surface, rng, int(rng.integers(2, 8)), 0.25)
    return surface


def _fill(surface: Surface, pocket: Pocket, powder: Field, flaw: Flaw | None) -> None:
    """Put the tablet into its pocket, or what the flaw makes of it."""
    window, kind = pocket.window, flaw.kind if flaw else ""
    patch, powder = surface.crop(window), powder[(slice(None), *window)]
    far = distance(pocket.centre, window=window)
    floor = step(np.float32(DOME) - far, -2, 4)
    patch.height += floor * (9 - patch.height) * np.float32(0.7)
    patch.albedo *= 1 - 0.24 * floor * step(far, 30, DOME)
    patch.gloss *= 1 - 0.6 * floor
    whole = np.clip(np.float32(TABLET + 0.5) - distance(pocket.lie, window=window), 0, 1)
    if kind == "missing_tablet":
        surface.claim(distance(pocket.lie) < TABLET)
    elif flaw and kind == "wrong_tablet":
        cover, colour, score = _wrong(flaw, pocket)
        _tablet(patch, pocket, cover, colour * powder / SUGAR, score)
    elif flaw and kind == "broken_tablet":
        _tablet(patch, pocket, _break(flaw, pocket, whole), powder, True)
    else:
        _tablet(patch, pocket, whole, powder, True)
    if flaw and kind == "foreign_body":
        _foreign(surface, flaw, pocket)


def _dome(pocket: Pocket, shake: float, flaw: Flaw | None) -> Field:
    """Relief of the clear film over one pocket."""
    far = distance(pocket.centre, 1 + shake, pocket.score, pocket.window) / np.float32(DOME)
    dome = 30 * np.clip(1 - (far * far) ** 2, 0, 1)
    if flaw and flaw.kind == "crushed_dome":
        rng, angle = flaw.rng, flaw.rng.uniform(0, 2 * np.pi)
        reach = flaw.rng.uniform(0.1, 0.7) * DOME
        x, y = pocket.centre
        at = (x + reach * float(np.cos(angle)), y + reach * float(np.sin(angle)))
        dip = np.exp(-((distance(at, window=pocket.window) / np.float32(flaw.length(12, 40))) ** 2))
        creases = 1 + 0.5 * fractal(rng, 20, 3)[pocket.window]
        dome = np.maximum(dome - flaw.strength(9, 28) * dip * creases, 0.1) * (far < 1)
    return np.asarray(dome, np.float32)


def _foreign(surface: Surface, flaw: Flaw, pocket: Pocket) -> None:
    """A hair, or a dark crumb, trapped under the film."""
    rng = flaw.rng
    start = (pocket.centre[0] + rng.uniform(-25, 25), pocket.centre[1] + rng.uniform(-25, 25))
    if rng.uniform() < 0.5:
        path = wander(rng, start, rng.uniform(0, 6.3), flaw.length(24, 90), 0.3, 3)
        cover = stroke([path], flaw.strength(1.2, 2.4), 0.6)
    else:
        cover = blob(rng, start, flaw.length(3.5, 12), 0.35, 0.1)
    cover = cover * (distance(pocket.centre) < DOME - 3)
    surface.height += 1.5 * cover
    surface.paint(cover * np.float32(flaw.strength(0.45, 0.95)), linear(52, 42, 36))


def _puncture(surface: Surface, flaw: Flaw, card: Field, pockets: list[Pocket]) -> None:
    """The foil torn open between the pockets."""
    rng = flaw.rng
    free = card * step(np.min([distance(p.centre) for p in pockets], axis=0), DOME, DOME + 6)
    tear = blob(rng, spot(rng, free), flaw.length(5, 26), 0.6, 0.08) * free
    lips = np.asarray(ndimage.gaussian_filter(tear, 3.5), np.float32) * (1 - tear) * card
    surface.height = surface.height - 8 * tear + 5 * lips
    surface.paint(tear * np.float32(flaw.strength(0.6, 0.97)), linear(52, 50, 50))
    surface.gloss = surface.gloss * (1 - tear)
