"""Undyed canvas: a plain weave of uneven yarns."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from adlib.datasets.synthetic.defects import (
    Flaw,
    Scene,
    blob,
    fibre,
    speckle,
    spot,
    stain,
)
from adlib.datasets.synthetic.noise import GRID, Field, axes, fractal, linear, pebbles, smooth_noise, step, tint
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("broken_yarn", "float", "tear", "oil_stain", "foreign_thread")
PITCH = 13.0  # render pixels between yarns
YARNS = 64  # more than fit in the frame, turned or not


@dataclass
class Yarns:
    """One of the two sets: where each pixel lies on its yarn."""

    index: np.ndarray  # which yarn
    across: Field  # -0.5 to 0.5 over the yarn
    along: Field  # in pitches
    lift: Field  # bends up (+1) and down (-1)
    width: Field  # 1 is touching the neighbour


def _yarns(rng: np.random.Generator, across: Field, along: Field, sign: int) -> Yarns:
    drift = rng.normal(0, 0.05, YARNS).astype(np.float32)
    index = np.clip(np.floor(across), 0, YARNS - 1).astype(np.int64)
    offset = across - np.floor(across) - np.float32(0.5) + drift[index]
    width = (0.95 + rng.normal(0, 0.05, YARNS)).astype(np.float32)[index]
    width = width * (1 + 0.05 * smooth_noise(rng, 24, 24))
    parity = 1 - 2 * (index % 2)
    lift = sign * parity * np.cos(np.float32(np.pi) * (along - 0.5))
    return Yarns(index, offset, along, np.asarray(lift, np.float32), width)


def _profile(yarns: Yarns, present: Field | float) -> Field:
    """Relief of one set of yarns, in half yarn thicknesses."""
    bulge = np.sqrt(np.maximum(1 - (2 * yarns.across / yarns.width) ** 2, 0))
    return 0.9 * bulge + 0.75 * yarns.lift - np.float32(2.5) * (bulge <= 0) - 3 * (1 - present)


def _twist(yarns: Yarns, shade: np.ndarray) -> Field:
    """Spun fibres: fine oblique stripes, each yarn with its own shade and twist."""
    phase = (shade * 37)[yarns.index]
    stripes = np.sin(2 * np.pi * (1.6 * yarns.along + 1.1 * yarns.across) + phase)
    return np.asarray((1 + 0.045 * shade[yarns.index]) * (1 + 0.1 * stripes), np.float32)


def _hit(flaw: Flaw, yarns: Yarns, span: tuple[float, float]) -> Field:
    """Coverage of a stretch of one or two neighbouring yarns."""
    rng = flaw.rng
    first = int(rng.integers(16, YARNS - 18))
    many = 1 if rng.uniform() < 0.7 else 2
    half = flaw.length(*span) / 2
    middle = rng.uniform(22, YARNS - 22)
    inside = step(half - np.abs(yarns.along - np.float32(middle)), -0.2, 0.2)
    return inside * ((yarns.index >= first) & (yarns.index < first + many))


def render(scene: Scene) -> Surface:
    """Draw the cloth."""
    rng = scene.rng
    x, y = axes()
    turn = rng.normal(0, 0.04)
    c, s = np.float32(np.cos(turn) / PITCH), np.float32(np.sin(turn) / PITCH)
    shift = rng.uniform(0, 1, 2) + (YARNS - GRID / PITCH) / 2
    u = c * x + s * y + np.float32(shift[0]) + 0.12 * smooth_noise(rng, 4, 4)
    v = c * y - s * x + np.float32(shift[1]) + 0.12 * smooth_noise(rng, 4, 4)
    warp, weft = _yarns(rng, u, v, 1), _yarns(rng, v, u, -1)
    shades = rng.standard_normal((2, YARNS)).astype(np.float32)
    present: list[Field | float] = [1.0, 1.0]
    if flaw := scene.has("broken_yarn"):
        side = int(flaw.rng.integers(2))
        present[side] = 1 - _hit(flaw, (warp, weft)[side], (3, 26))
    if flaw := scene.has("float"):
        yarns = (warp, weft)[int(flaw.rng.integers(2))]
        hit = _hit(flaw, yarns, (3, 16))
        yarns.lift = yarns.lift + hit * (flaw.strength(1.0, 1.5) - yarns.lift)
    over, under = _profile(warp, present[0]), _profile(weft, present[1])
    top = over > under
    relief = np.maximum(np.maximum(over, under), -1.6)
    return _cloth(scene, relief, np.where(top, _twist(warp, shades[0]), _twist(weft, shades[1])))


def _cloth(scene: Scene, relief: Field, tone: Field) -> Surface:
    rng = scene.rng
    fuzz = pebbles(rng, 0.8)
    tone = tone * (1 + 0.12 * fuzz + 0.03 * fractal(rng, 3, 3))
    # Light does not reach down between the yarns.
    tone = tone * np.clip(0.62 + 0.26 * relief, 0.12, 1.05)
    dye = linear(214, 201, 176) * tint(rng, 0.012)
    height = np.asarray(ndimage.gaussian_filter(2.4 * relief, 0.7), np.float32) + 0.5 * fuzz
    surface = Surface(height, tone * dye, np.full_like(relief, 0.015), (0.6, 0.6))
    surface.relief_shadow = 0.5
    speckle(surface, rng, 30, linear(96, 78, 60))
    _spoil(surface, scene)
    return surface


def _spoil(surface: Surface, scene: Scene) -> None:
    if flaw := scene.has("oil_stain"):
        stain(surface, flaw, None, linear(168, 148, 108), 0.3, 0.4)
    if flaw := scene.has("foreign_thread"):
        dyes = (linear(40, 62, 120), linear(150, 40, 38), linear(46, 44, 44), linear(70, 120, 80))
        fibre(surface, flaw, None, dyes[int(flaw.rng.integers(4))])
    if flaw := scene.has("tear"):
        _tear(surface, flaw)


def _tear(surface: Surface, flaw: Flaw) -> None:
    """A hole down to the dark table, its lips frayed and bent up."""
    rng = flaw.rng
    cover = blob(rng, spot(rng), flaw.length(8, 46), 0.35, 0.08)
    frayed = step(cover + 0.22 * fractal(rng, 90, 2), 0.45, 0.6) * step(cover, 0.02, 0.3)
    lips = np.asarray(ndimage.gaussian_filter(frayed, 5), np.float32) * (1 - frayed)
    surface.height = surface.height * (1 - frayed) - 9 * frayed + 7 * lips
    surface.paint(frayed, linear(44, 42, 42))
    surface.albedo *= 1 + 0.35 * lips
