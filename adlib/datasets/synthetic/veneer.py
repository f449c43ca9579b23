"""Lacquered oak veneer: growth rings, pores and rays along one grain."""

import numpy as np
from scipy import ndimage

from adlib.datasets.synthetic.defects import (
    Flaw,
    Scene,
    blob,
    distance,
    scratch,
    speckle,
    spot,
    stroke,
    wander,
)
from adlib.datasets.synthetic.noise import (
    GRID,
    Field,
    axes,
    fractal,
    grain,
    linear,
    smooth_noise,
    step,
    tint,
)
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("split", "gouge", "wormholes", "glue_spot", "burn")


def _rings(rng: np.random.Generator) -> Field:
    """Growth rings cut nearly lengthwise, grain along y: 0 early wood, 1 late wood."""
    x, y = axes()
    turn = np.float32(rng.normal(0, 0.03))
    across = x + turn * y + 16 * smooth_noise(rng, 3, 4) + 2.0 * smooth_noise(rng, 6, 18)
    heart = np.float32(rng.uniform(-0.3, 1.3) * GRID)
    top = np.float32(rng.uniform(-0.8, 1.8) * GRID)
    # A board cuts the cone of a ring: arches near the heart, straight lines away from it.
    cone = np.hypot(across - heart, np.float32(rng.uniform(0.04, 0.16)) * (y - top))
    phase = cone / np.float32(rng.uniform(17, 26)) + 0.8 * smooth_noise(rng, 2, 5)
    phase = phase + 0.06 * smooth_noise(rng, 12, 90)
    part = phase - np.floor(phase)
    return np.clip(part**2.2 * step(1 - part, 0.0, 0.12), 0, 1)


def render(scene: Scene) -> Surface:
    """Draw the sheet."""
    rng = scene.rng
    rings = _rings(rng)
    fibres = 0.6 * smooth_noise(rng, 10, 512) + 0.5 * smooth_noise(rng, 40, 512)
    pores = step(smooth_noise(rng, 44, 400) + 0.5 * (1 - rings), 1.05, 1.7)
    rays = step(smooth_noise(rng, 70, 150), 1.35, 1.9)
    pale = linear(206, 165, 114) * tint(rng, 0.015)
    dark = linear(158, 110, 66) * tint(rng, 0.025)
    blend = np.clip(0.75 * rings + 0.1 * fibres + 0.12 * fractal(rng, 3, 4), 0, 1)
    albedo = (1 - blend) * pale + blend * dark
    albedo = albedo * (1 + 0.06 * fibres + 0.03 * grain(rng) + 0.1 * rays)
    height = 0.35 * fibres - 1.3 * pores
    height = np.asarray(ndimage.gaussian_filter(height, 0.7), np.float32) + smooth_noise(rng, 3, 3)
    surface = Surface(height, albedo, np.full_like(rings, 0.10), (0.3, 0.3))
    surface.paint(0.6 * pores, linear(92, 58, 34))
    surface.relief_shadow = 0.5
    speckle(surface, rng, 30, linear(230, 222, 210))
    _spoil(surface, scene)
    return surface


def _spoil(surface: Surface, scene: Scene) -> None:
    if flaw := scene.has("split"):
        _split(surface, flaw)
    if flaw := scene.has("gouge"):
        scratch(surface, flaw, None, linear(226, 198, 156))
    if flaw := scene.has("wormholes"):
        _wormholes(surface, flaw)
    if flaw := scene.has("glue_spot"):
        _glue(surface, flaw)
    if flaw := scene.has("burn"):
        _burn(surface, flaw)


def _split(surface: Surface, flaw: Flaw) -> None:
    """A crack that follows the grain and tapers to nothing."""
    rng, length = flaw.rng, flaw.length(60, 400)
    x, y = spot(rng)
    width = flaw.length(1.8, 5.5)
    path = wander(rng, (x, y - length / 2), np.pi / 2, length, 0.03)
    cover = np.zeros((GRID, GRID), np.float32)
    for share in (1.0, 0.75, 0.45):
        trim = int(len(path) * (1 - share) / 2)
        inner = path[trim : len(path) - trim]
        cover = np.maximum(cover, stroke([inner], width * (1.25 - share), 0.6))
    cover = cover * np.clip(1 + 0.25 * fractal(rng, 24, 3), 0.5, 1)
    surface.height = surface.height - flaw.strength(1.5, 6) * cover
    surface.paint(cover * np.float32(flaw.strength(0.45, 0.95)), linear(48, 28, 16))
    surface.gloss = surface.gloss * (1 - cover)


def _wormholes(surface: Surface, flaw: Flaw) -> None:
    """A cluster of round exit holes with a pale rim of frass."""
    rng, spread = flaw.rng, flaw.length(20, 120)
    centre = spot(rng, margin=110)
    for _ in range(1 + round(flaw.length(1, 9))):
        radius = rng.uniform(2.6, 6.0)
        at = (centre[0] + rng.normal(0, 0.5) * spread, centre[1] + rng.normal(0, 0.5) * spread)
        far = distance(at, rng.uniform(1, 1.35), rng.uniform(0, np.pi))
        hole = step(np.float32(radius) - far, -0.8, 0.8)
        rim = step(np.float32(radius + 2.2) - far, -1.2, 1.2) * (1 - hole)
        surface.height = surface.height - 7 * hole + 0.8 * rim
        surface.paint(rim * np.float32(0.55), linear(224, 196, 150))
        surface.paint(hole * np.float32(flaw.strength(0.6, 0.97)), linear(34, 20, 12))
        surface.gloss = surface.gloss * (1 - hole)


def _glue(surface: Surface, flaw: Flaw) -> None:
    """Squeezed-out adhesive: seals the pores, so darker, glossy and slightly raised."""
    rng = flaw.rng
    cover = blob(rng, spot(rng), flaw.length(12, 70), 0.22, 0.1)
    drop = np.asarray(ndimage.gaussian_filter(cover, 4), np.float32) * cover
    smooth = np.asarray(ndimage.gaussian_filter(surface.height, 3), np.float32)
    surface.height = surface.height + cover * (smooth - surface.height) + flaw.length(2, 5) * drop
    surface.paint(cover * np.float32(flaw.strength(0.14, 0.6)), linear(216, 186, 128))
    surface.albedo *= 1 - 0.18 * cover
    surface.gloss = surface.gloss + 0.35 * cover


def _burn(surface: Surface, flaw: Flaw) -> None:
    """Scorch left by a blade that stood still: soft, brown, across the grain."""
    rng, radius = flaw.rng, flaw.length(14, 60)
    far = distance(spot(rng), rng.uniform(1.4, 3.2), rng.normal(0, 0.3)) / np.float32(radius)
    heat = step(1.2 - far + 0.12 * fractal(rng, 10, 4), 0, 1.0)
    dose = heat * np.float32(flaw.strength(0.22, 1.2))
    surface.albedo *= np.exp(dose * np.log(linear(150, 112, 84)))
