"""Electronic components as seen from above, each drawn in a window around its place."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adlib.datasets.synthetic.defects import Point
from adlib.datasets.synthetic.noise import GRID, Field, Window, around, axes, linear
from adlib.datasets.synthetic.surface import Surface

TABLE = 10.0  # height of the bare board
TIN = linear(190, 190, 186)
REACH = {  # half the window a component needs, half its body's width and height (render pixels)
    "soic": (92, 72.0, 46.0),
    "resistor": (36, 24.0, 12.0),
    "capacitor": (36, 22.0, 13.0),
    "led": (36, 20.0, 13.0),
    "crystal": (56, 40.0, 18.0),
    "can": (50, 32.0, 32.0),
    "blue_can": (50, 32.0, 32.0),
    "header": (110, 78.0, 17.0),
}
PINS = 6  # of a chip, a side
PIN_PITCH, PIN_AT = 21.0, 45.0
LANDS = {  # along, across, half width, half height of the soldered lands
    "soic": (0.0, PIN_AT - 1, 5.5, 9.0),
    "resistor": (22.0, 0.0, 9.0, 13.0),
    "capacitor": (22.0, 0.0, 9.0, 13.0),
    "led": (22.0, 0.0, 9.0, 13.0),
    "crystal": (40.0, 0.0, 9.0, 9.0),
    "can": (24.0, 0.0, 14.0, 8.0),
}


@dataclass(frozen=True)
class Part:
    """A component: its land on the board, where it really sits, and its own small differences."""

    kind: str
    land: Point
    at: Point
    turn: float
    skew: float
    seed: int

    def local(self, window: Window, pads: bool) -> tuple[Field, Field]:
        """Coordinates of the window's pixels along and across the component."""
        x, y = axes()
        at, turn = (self.land, self.turn) if pads else (self.at, self.turn + self.skew)
        dx, dy = x[window] - np.float32(at[0]), y[window] - np.float32(at[1])
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return c * dx + s * dy, c * dy - s * dx

    def footprint(self) -> NDArray[np.bool_]:
        """(GRID, GRID) bool: where the component sits, pins included."""
        place = np.zeros((GRID, GRID), bool)
        window = around(self.at, REACH[self.kind][0])
        u, v = self.local(window, pads=False)
        _, w, h = REACH[self.kind]
        round_ = self.kind in ("can", "blue_can")
        place[window] = np.hypot(u, v) < w if round_ else (abs(u) < w) & (abs(v) < h)
        return place

    def pins(self) -> list[Point]:
        """Where a chip's pins meet the board, one row after the other."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        ends = [
            (PIN_PITCH * (number - (PINS - 1) / 2), side * (PIN_AT - 1)) for side in (-1, 1) for number in range(PINS)
        ]
        return [(self.land[0] + float(c * u - s * v), self.land[1] + float(s * u + c * v)) for u, v in ends]


def box(u: Field, v: Field, w: float, h: float, corner: float = 1.5) -> Field:
    """Coverage of a rounded rectangle of half sides `w`, `h`."""
    du, dv = np.abs(u) - np.float32(w - corner), np.abs(v) - np.float32(h - corner)
    outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0)
    return np.clip(np.float32(corner + 0.5) - outside, 0, 1)


def row(u: Field, pitch: float, count: int) -> Field:
    """Coordinate along a row of `count` equal things, measured from the nearest one."""
    number = np.clip(np.rint(u / pitch + (count - 1) / 2), 0, count - 1)
    return u - np.float32(pitch) * (number - np.float32((count - 1) / 2)).astype(np.float32)


def place(surface: Surface, part: Part, pads: bool) -> None:
    """Draw a component, or (`pads`) only its soldered lands."""
    window = around(part.land if pads else part.at, REACH[part.kind][0])
    u, v = part.local(window, pads)
    patch = surface.crop(window)
    if not pads:
        BODIES[part.kind](patch, u, v, np.random.default_rng(part.seed))
    elif part.kind in LANDS:
        at_u, at_v, w, h = LANDS[part.kind]
        du = row(u, PIN_PITCH, PINS) if part.kind == "soic" else np.abs(u) - np.float32(at_u)
        dv = np.abs(v) - np.float32(at_v) if at_v else v
        hump = 1.5 + 2.5 * np.exp(-((du / np.float32(w)) ** 2) - (dv / np.float32(h)) ** 2)
        _add(patch, box(du, dv, w, h, 2.5), TIN, hump, 0.45)


def _add(
    patch: Surface,
    cover: Field,
    colour: NDArray[np.float32],
    height: Field | float | None = None,
    gloss: float = 0.05,
) -> None:
    """Lay a body of that colour; without a height it is only printed."""
    patch.paint(cover, colour)
    if height is not None:
        patch.build(cover, height + TABLE, gloss)


def _text(u: Field, v: Field, pitch: float, count: int, size: float) -> Field:
    """A row of boxy characters `size` tall about v = 0."""
    number = np.rint(u / np.float32(pitch) + np.float32((count - 1) / 2))
    du = row(u, pitch, count)
    hole = box(du, v + (number % 3 - 1) * np.float32(1.8), 0.18 * size, 0.25 * size, 0.4)
    return box(du, v, 0.33 * size, 0.5 * size, 0.8) * (1 - hole)


def _soic(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    du, dv = row(u, PIN_PITCH, PINS), np.abs(v) - np.float32(36)
    _add(patch, box(du, dv, 3.2, 11, 1), TIN, np.clip(6 - 0.35 * (dv + 6), 2, 8), 0.55)
    edge = np.minimum((31 - np.abs(v)) / 4, (68 - np.abs(u)) / 4)
    mould = 1 + 0.10 * rng.standard_normal(u.shape, dtype=np.float32)
    top = 14 + 5 * np.clip(edge, 0, 1)
    _add(patch, box(u, v, 68, 31, 3), mould * linear(38, 38, 40), top, 0.05)
    _add(patch, np.clip(5.5 - np.hypot(u + 54, v - 18), 0, 1), linear(24, 24, 26), 17.5)
    ink = np.maximum(_text(u, v + 8, 10, 9, 11), _text(u + 15, v - 9, 10, 6, 11))
    _add(patch, ink * np.float32(0.55), linear(150, 150, 148))


def _chip(patch: Surface, u: Field, v: Field, w: float, h: float, body: NDArray[np.float32]) -> None:
    """A two-terminal chip with tinned ends."""
    bevel = 3 * np.clip(np.minimum(h - np.abs(v), w - np.abs(u)) / 3, 0, 1)
    _add(patch, box(u, v, w, h, 2), TIN, 8 + bevel, 0.5)
    _add(patch, box(u, v, w - 7, h, 0.8), body, 8.4 + bevel, 0.08)


def _resistor(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    _chip(patch, u, v, 24, 12, linear(36, 36, 40))
    _add(patch, _text(u, v, 9, 3, 11) * np.float32(0.8), linear(206, 206, 200))


def _capacitor(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    tone = np.float32(np.exp(rng.normal(0, 0.06)))
    _chip(patch, u, v, 22, 13, linear(164, 124, 84) * tone)


def _led(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    _chip(patch, u, v, 20, 13, linear(226, 224, 212))
    lens = np.clip(9.5 - np.hypot(u, v), 0, 1)
    _add(patch, lens, linear(226, 204, 120), 12 + 3 * lens, 0.4)
    _add(patch, box(u + 11, v, 1.5, 12, 0.5), linear(60, 140, 70))


def _crystal(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    edge = np.float32(18) - np.hypot(np.maximum(np.abs(u) - 22, 0), v)
    top = 10 + 8 * np.clip(edge / 5, 0, 1)
    _add(patch, np.clip(edge + 0.5, 0, 1), linear(168, 168, 166), top, 0.5)
    _add(patch, _text(u, v, 9, 5, 10) * np.float32(0.6), linear(70, 70, 72))


def _electrolytic(sleeve: NDArray[np.float32]) -> Callable[..., None]:
    def draw(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
        far = np.hypot(u, v)
        _add(patch, box(u, v, 33, 33, 8), linear(30, 30, 32), 5.0, 0.05)
        rim = 22 + 2.2 * np.exp(-(((far - 26) / np.float32(2.5)) ** 2))
        can = np.clip(30.5 - far, 0, 1)
        _add(patch, can, linear(176, 178, 180), rim, 0.5)
        _add(patch, can * np.clip(u - 13, 0, 1) * (far < 26), sleeve)

    return draw


def _header(patch: Surface, u: Field, v: Field, rng: np.random.Generator) -> None:
    _add(patch, box(u, v, 78, 17, 3), linear(32, 32, 34), 12.0, 0.06)
    du = row(u, 26, 6)
    _add(patch, box(du, v, 11, 13, 2), linear(24, 24, 26), 9.5, 0.05)
    _add(patch, box(du, v, 4, 4, 1), linear(206, 172, 92), 24.0, 0.6)


BODIES: dict[str, Callable[..., None]] = {
    "soic": _soic,
    "resistor": _resistor,
    "capacitor": _capacitor,
    "led": _led,
    "crystal": _crystal,
    "can": _electrolytic(linear(38, 40, 46)),
    "blue_can": _electrolytic(linear(40, 70, 160)),
    "header": _header,
}
