"""Brushed stainless sheet: streaks one way, a band of light across them."""

import numpy as np

from adlib.datasets.synthetic.defects import (
    Flaw,
    Scene,
    dent,
    distance,
    rust,
    scratch,
    speckle,
    spot,
    wear,
)
from adlib.datasets.synthetic.noise import Field, axes, fractal, grain, linear, shear, smooth_noise, tint
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("scratch", "dent", "rust", "fingerprint", "heat_tint")


def _streaks(rng: np.random.Generator) -> Field:
    """Brush marks along x: fine, with a few deep strokes that begin and end."""
    fine = smooth_noise(rng, 512, 3) + 0.9 * smooth_noise(rng, 512, 14) + 0.5 * smooth_noise(rng, 256, 40)
    broad = smooth_noise(rng, 40, 2)
    lit = 0.75 * fine + 0.35 * broad + 0.22 * grain(rng)
    return shear(lit, rng.normal(0, 0.012))


def render(scene: Scene) -> Surface:
    """Draw the sheet."""
    rng = scene.rng
    streaks = _streaks(rng)
    tone = np.clip(1 + 0.085 * streaks, 0.4, 1.7)
    waves = 0.9 * smooth_noise(rng, 3, 4)  # rolled sheet is never quite flat
    height = waves + 0.05 * streaks
    hue = linear(168, 170, 172) * tint(rng, 0.012)
    surface = Surface(height, tone * hue, np.full_like(tone, 1.05), (0.17, 0.9), 1.0)
    surface.relief_shadow = 0.3
    wear(surface, rng, int(rng.integers(4, 14)), 0.12)
    speckle(surface, rng, 25, linear(70, 68, 66))
    _spoil(surface, scene)
    return surface


def _spoil(surface: Surface, scene: Scene) -> None:
    if flaw := scene.has("scratch"):
        bright = flaw.rng.uniform() < 0.6
        scratch(surface, flaw, None, linear(236, 238, 240) if bright else linear(60, 60, 62))
    if flaw := scene.has("dent"):
        dent(surface, flaw, None, 0.8)
    if flaw := scene.has("rust"):
        rust(surface, flaw, None)
    if flaw := scene.has("fingerprint"):
        _fingerprint(surface, flaw)
    if flaw := scene.has("heat_tint"):
        _heat_tint(surface, flaw)


def _fingerprint(surface: Surface, flaw: Flaw) -> None:
    """Greasy ridges: whorls about a core, with gaps where the finger did not touch."""
    rng, radius = flaw.rng, flaw.length(34, 78)
    centre, angle = spot(rng), rng.uniform(0, np.pi)
    core = (centre[0] + rng.normal(0, 0.2) * radius, centre[1] + rng.normal(0, 0.2) * radius)
    far = distance(core, 1.35, angle) + 5 * smooth_noise(rng, 10, 10)
    x, _ = axes()
    ridges = np.sin(2 * np.pi * far / np.float32(9.5) + (x - core[0]) * np.float32(0.02))
    inside = np.clip((1 - distance(centre, 1.35, angle) / radius) * 3, 0, 1)
    touch = inside * np.clip(0.75 + 0.4 * fractal(rng, 14, 4), 0, 1.2)
    grease = touch * np.clip(0.45 + 0.75 * ridges, 0, 1) * np.float32(flaw.strength(0.4, 0.8))
    surface.gloss = surface.gloss * (1 - grease)
    surface.paint(0.25 * grease, linear(120, 116, 108))
    surface.claim(touch > 0.5)


def _heat_tint(surface: Surface, flaw: Flaw) -> None:
    """Oxide colours of overheated steel, from straw at the rim to blue at the core."""
    rng, radius = flaw.rng, flaw.length(24, 110)
    far = distance(spot(rng), rng.uniform(1, 2.2), rng.uniform(0, np.pi)) / np.float32(radius)
    heat = np.clip(1 - far + 0.09 * fractal(rng, 5, 4), 0, 1)
    stops = np.asarray([0, 0.25, 0.45, 0.65, 1.0], np.float32)
    colours = np.stack(
        [
            np.ones(3, np.float32),
            np.asarray([1.0, 0.86, 0.58], np.float32),
            np.asarray([0.86, 0.6, 0.42], np.float32),
            np.asarray([0.62, 0.5, 0.72], np.float32),
            np.asarray([0.5, 0.66, 0.98], np.float32),
        ]
    )
    film = np.stack([np.interp(heat, stops, colours[:, c]) for c in range(3)])
    dose = np.float32(flaw.strength(0.3, 1.0))
    surface.albedo *= 1 + dose * (film.astype(np.float32) - 1)
