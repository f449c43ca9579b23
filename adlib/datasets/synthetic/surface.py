"""A part under a lab camera: relief, paint and gloss, lit by one lamp and developed to 8 bits.

Every category draws a `Surface`; a defect changes its relief, paint or gloss, never the picture,
so that highlights and shadows follow by themselves.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from adlib.datasets.synthetic.noise import GRID, SIZE, Field, Window, axes

SHADOW_STEPS = (2, 4, 6, 9, 13, 18, 24)  # render pixels towards the lamp


@dataclass
class Surface:
    """What the lamp shines on.

    `height` is in render pixels above the table, `albedo` linear RGB, `gloss` the strength of the
    highlight, `roughness` its width in slope along x and y, `metal` how far the highlight takes the
    colour of the surface (0 to 1), `relief_shadow` how dark a cast shadow is. `coat` is
    the relief of a clear film above it all, with a highlight of its own. `part`, where a defect
    sets it, is the place that belongs in the mask whether or not the pixels there changed.
    """

    height: Field
    albedo: Field
    gloss: Field
    roughness: tuple[float, float] = (0.25, 0.25)
    metal: float = 0.0
    relief_shadow: float = 0.7
    coat: Field | None = None
    coat_gloss: float = 0.0
    part: NDArray[np.bool_] | None = None

    def paint(self, cover: Field, colour: NDArray[np.float32]) -> None:
        """Mix `colour` (3, 1, 1) or (3, GRID, GRID) in, as far as `cover` says."""
        for plane, value in zip(self.albedo, colour, strict=True):  # a plane fits the cache, three do not
            plane += cover * (value - plane)

    def build(self, cover: Field, height: Field | float, gloss: float) -> None:
        """Bring what `cover` covers to that height above the table and that gloss."""
        self.height += cover * (height - self.height)
        self.gloss += cover * (np.float32(gloss) - self.gloss)

    def crop(self, window: Window) -> "Surface":
        """A window that paints and builds on this surface."""
        return replace(
            self,
            height=self.height[window],
            albedo=self.albedo[(slice(None), *window)],
            gloss=self.gloss[window],
        )

    def claim(self, place: NDArray[np.bool_]) -> None:
        """Add `place` to the mask."""
        self.part = place if self.part is None else self.part | place


@dataclass(frozen=True)
class Light:
    """One image's lamp and lens: direction, evenness, colour and sharpness."""

    azimuth: float
    elevation: float
    gain: float
    tilt: tuple[float, float]
    vignette: float
    balance: tuple[float, float, float]
    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: Generator) -> "Light":
        """A lamp near the upper left, never twice quite the same."""
        warm = rng.normal(0, 0.02)
        return cls(
            azimuth=np.deg2rad(-125) + rng.normal(0, 0.22),
            elevation=np.deg2rad(rng.uniform(46, 58)),
            gain=float(np.exp(rng.normal(0, 0.07))),
            tilt=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
            vignette=rng.uniform(0.03, 0.16),
            balance=(1 + warm, 1 + rng.normal(0, 0.006), 1 - warm),
            blur=rng.uniform(0.35, 0.75),
            noise=rng.uniform(0.7, 1.3),
        )

    @property
    def towards(self) -> tuple[float, float, float]:
        """Unit vector to the lamp; x right, y down, z to the camera."""
        flat = np.cos(self.elevation)
        return (
            float(flat * np.cos(self.azimuth)),
            float(flat * np.sin(self.azimuth)),
            float(np.sin(self.elevation)),
        )

    @cached_property
    def field(self) -> Field:
        """Brightness over the frame, (3, SIZE, SIZE)."""
        y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
        even = 1 + self.tilt[0] * x + self.tilt[1] * y - self.vignette * (x * x + y * y) / 2
        balance = np.asarray(self.balance, np.float32).reshape(3, 1, 1)
        return np.asarray(np.float32(self.gain) * even * balance, np.float32)


def slopes(height: Field) -> tuple[Field, Field]:
    """Surface normal's x and y before normalisation: minus the gradient."""
    sx, sy = np.empty_like(height), np.empty_like(height)
    sx[:, 1:-1] = 0.5 * (height[:, :-2] - height[:, 2:])
    sy[1:-1] = 0.5 * (height[:-2] - height[2:])
    sx[:, 0], sx[:, -1], sy[0], sy[-1] = sx[:, 1], sx[:, -2], sy[1], sy[-2]
    return sx, sy


def cast_shadow(height: Field, light: Light) -> Field:
    """How much of the lamp each pixel loses to higher ground, 0 to 1."""
    lx, ly, lz = light.towards
    flat = np.hypot(lx, ly)
    reach = max(SHADOW_STEPS)
    padded = np.pad(height, reach, mode="edge")
    deepest = np.zeros_like(height)
    for distance in SHADOW_STEPS:
        dx = reach + round(distance * lx / flat)
        dy = reach + round(distance * ly / flat)
        blocker = padded[dy : dy + GRID, dx : dx + GRID] - np.float32(distance * lz / flat)
        np.maximum(deepest, blocker - height, out=deepest)
    dark = np.clip(deepest / 4, 0, 1)
    return np.asarray(ndimage.uniform_filter(dark, 5), np.float32)


def _highlight(sx: Field, sy: Field, light: Light, roughness: tuple[float, float]) -> Field:
    """Share of the lamp that slopes `sx`, `sy` mirror to the camera, 0 to 1."""
    lx, ly, lz = light.towards
    x, y = axes()
    # The lamp is near, so the slope that mirrors it to the camera changes across the frame.
    hx = np.float32(lx / (1 + lz) + 0.25) - np.float32(0.5 / GRID) * x[:1]
    hy = np.float32(ly / (1 + lz) + 0.25) - np.float32(0.5 / GRID) * y[:, :1]
    off = ((sx - hx) / np.float32(roughness[0])) ** 2
    off += ((sy - hy) / np.float32(roughness[1])) ** 2
    return np.exp(-off)


def shade(surface: Surface, light: Light) -> Field:
    """Light the surface: linear RGB at half the grid, (3, SIZE, SIZE), before the lens."""
    lx, ly, lz = (np.float32(v) for v in light.towards)
    sx, sy = slopes(surface.height)
    diffuse = np.maximum(sx * lx + sy * ly + lz, 0) / (lz * np.sqrt(1 + sx * sx + sy * sy))
    lamp = 1 - surface.relief_shadow * cast_shadow(surface.height, light)
    shine = surface.gloss * _highlight(sx, sy, light, surface.roughness) * lamp
    metal = np.float32(surface.metal)
    body = 0.38 + 0.62 * diffuse * lamp + metal * shine
    white = (1 - metal) * shine
    if surface.coat is not None:
        sx, sy = slopes(surface.coat)
        film = (sx != 0) | (sy != 0)
        white = white + surface.coat_gloss * film * _highlight(sx, sy, light, (0.16, 0.16))
    half = np.empty((3, SIZE, SIZE), np.float32)
    for plane, albedo in zip(half, surface.albedo, strict=True):
        colour = albedo * body
        colour += white
        rows = colour[::2] + colour[1::2]
        plane[:] = np.float32(0.25) * (rows[:, ::2] + rows[:, 1::2])
    return half


def expose(linear_rgb: Field, light: Light) -> Field:
    """Lens and tone curve: (SIZE, SIZE, 3) in display levels 0 to 255, without noise."""
    lit = linear_rgb * light.field
    lit = np.asarray(ndimage.gaussian_filter(lit, (0, light.blur, light.blur)), np.float32)
    lit = np.ascontiguousarray(lit.transpose(1, 2, 0))
    soft = 1 - np.float32(0.2) * np.exp(np.minimum(4 - 5 * lit, 0))
    return np.float32(255) * np.where(lit > 0.8, soft, np.maximum(lit, 0)) ** np.float32(1 / 2.2)


def sense(levels: Field, light: Light, rng: Generator) -> NDArray[np.uint8]:
    """Add the sensor's shot and read noise and round to 8 bits."""
    luma = rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32)
    chroma = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
    spread = light.noise * (1.2 + 1.1 * np.sqrt(np.maximum(levels, 0) / 255))
    noisy = levels + spread * (0.8 * luma + 0.5 * chroma)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
