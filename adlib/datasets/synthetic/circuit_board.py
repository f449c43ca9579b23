"""Small circuit board: a fixed layout of chips, resistors, capacitors and a header."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

from adlib.datasets.synthetic.bench import mat, pose
from adlib.datasets.synthetic.components import Part, place
from adlib.datasets.synthetic.defects import Flaw, Point, Scene, blob, scratch, stroke, wear
from adlib.datasets.synthetic.noise import GRID, Field, fractal, linear, pebbles, tint
from adlib.datasets.synthetic.surface import Surface

DEFECTS = (
    "missing_part",
    "shifted_part",
    "rotated_part",
    "wrong_part",
    "solder_bridge",
    "scratch",
)
HALF = (222.0, 214.0)  # render pixels: half the board's width and height
# kind, x, y from the board's centre, turn in degrees
LAYOUT = (
    ("soic", -78, -70, 0),
    ("soic", 92, 62, 90),
    ("can", 112, -126, 0),
    ("can", 34, -142, 0),
    ("crystal", -128, 52, 0),
    ("resistor", -178, -126, 90),
    ("resistor", -178, -48, 90),
    ("resistor", 30, -58, 0),
    ("resistor", 30, -24, 0),
    ("resistor", -44, 68, 90),
    ("resistor", 170, -30, 0),
    ("capacitor", -100, -158, 0),
    ("capacitor", -24, 10, 0),
    ("capacitor", 98, -50, 90),
    ("capacitor", -128, 112, 0),
    ("capacitor", -4, 84, 90),
    ("led", 186, -130, 90),
    ("led", 182, 20, 90),
    ("header", -40, 172, 0),
)
TRACES = (  # polylines in board coordinates
    ((-150, -158), (-190, -158), (-190, 150), (-130, 150)),
    ((-48, -158), (-10, -158), (-10, -60)),
    ((-30, -96), (40, -96), (60, -76), (160, -76), (160, -40)),
    ((-30, -70), (-6, -70)),
    ((-30, -44), (-16, -30), (-6, -20)),
    ((30, -52), (66, -52), (76, -42), (76, -30)),
    ((30, -20), (56, 6), (56, 30)),
    ((-126, -96), (-160, -96), (-160, -10), (-128, 20)),
    ((-126, -44), (-140, -30), (-90, 20), (-40, 40)),
    ((-40, 76), (-40, 110), (-70, 140), (-70, 160)),
    ((-94, 52), (-60, 52)),
    ((-4, 102), (-10, 130), (-10, 160)),
    ((140, 40), (200, 40), (200, 150), (60, 150), (20, 166)),
    ((140, 80), (170, 80), (170, 190), (40, 190)),
    ((118, -90), (118, -50), (92, -44)),
    ((60, -140), (80, -140)),
    ((92, 110), (92, 130), (-20, 130)),
    ((182, -150), (182, -60), (174, -50)),
    ((-178, -30), (-178, 60), (-162, 60)),
)
VIAS = ((-190, 60), (-160, -10), (76, -90), (56, 30), (200, 110), (-90, 20), (20, 130), (160, -110))
SILK = ((-156, -128), (0, -4), (30, 10), (176, 96), (-186, 26), (-84, 96), (140, -176), (70, 176))


@dataclass(frozen=True)
class Frame:
    """Where the board lies: board coordinates to render pixels."""

    centre: Point
    turn: float

    def __call__(self, x: float, y: float) -> Point:
        """Render pixel of a point of the board."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return (
            float(self.centre[0] + c * x - s * y),
            float(self.centre[1] + s * x + c * y),
        )


def render(scene: Scene) -> Surface:
    """Draw the populated board on its mat."""
    rng = scene.rng
    surface = mat(rng, linear(120, 120, 122))
    frame = Frame(pose(rng, 8), float(rng.normal(0, 0.018)))
    board = _bare(surface, rng, frame)
    parts = [_placed(rng, frame, kind, x, y, turn) for kind, x, y, turn in LAYOUT]
    for part in parts:
        place(surface, part, pads=True)
    for drawn in _spoiled(surface, scene, parts):
        if drawn is not None:
            place(surface, drawn, pads=False)
    if flaw := scene.has("solder_bridge"):
        _bridge(surface, flaw, parts)
    if flaw := scene.has("scratch"):
        scratch(surface, flaw, board, linear(206, 160, 96))
    wear(surface, rng, int(rng.integers(2, 8)), 0.15)
    return surface


def _placed(rng: Generator, frame: Frame, kind: str, x: float, y: float, turn: float) -> Part:
    """Pick-and-place is good to about half a pixel and one degree."""
    at = frame(x, y)
    slip, skew = rng.normal(0, 0.8, 2), rng.normal(0, 0.012)
    return Part(
        kind,
        (at[0], at[1]),
        (at[0] + float(slip[0]), at[1] + float(slip[1])),
        frame.turn + np.deg2rad(turn),
        float(skew),
        int(rng.integers(2**31)),
    )


def _spoiled(surface: Surface, scene: Scene, parts: list[Part]) -> list[Part | None]:
    """The parts as they were put on, with the flaw's victim missing, moved, turned or swapped."""
    drawn: list[Part | None] = list(parts)
    flaw = scene.has("missing_part", "shifted_part", "rotated_part", "wrong_part")
    if flaw is None:
        return drawn
    kinds = {
        "wrong_part": ("resistor", "capacitor", "led", "can"),
        "rotated_part": ("soic", "resistor", "capacitor", "led", "crystal"),
    }.get(flaw.kind, ("soic", "resistor", "capacitor", "led", "crystal", "can"))
    able = [number for number, part in enumerate(parts) if part.kind in kinds]
    victim = able[int(flaw.rng.integers(len(able)))]
    drawn[victim] = new = _victim(flaw, parts[victim])
    if flaw.kind in ("missing_part", "shifted_part", "rotated_part"):
        surface.claim(parts[victim].footprint())
    if new is not None and flaw.kind in ("shifted_part", "rotated_part"):
        surface.claim(new.footprint())
    return drawn


def _victim(flaw: Flaw, part: Part) -> Part | None:
    rng = flaw.rng
    if flaw.kind == "shifted_part":
        away, heading = flaw.length(6, 26), rng.uniform(0, 2 * np.pi)
        x, y = part.at
        at = (x + away * float(np.cos(heading)), y + away * float(np.sin(heading)))
        return replace(part, at=at, skew=part.skew + float(rng.normal(0, 0.08)))
    if flaw.kind == "rotated_part":
        turns = (flaw.length(0.14, 0.8), np.pi / 2, flaw.length(0.14, 0.8))
        return replace(part, skew=part.skew + float(rng.choice((-1, 1)) * rng.choice(turns)))
    if flaw.kind == "wrong_part":
        other = {"resistor": "capacitor", "capacitor": "resistor", "led": "capacitor"}
        return replace(part, kind=other.get(part.kind, "blue_can"))
    return None


def _bare(surface: Surface, rng: Generator, frame: Frame) -> Field:
    """Etched and masked laminate: traces, vias, print; returns the board's coverage."""
    layers = [Image.new("L", (2 * GRID, 2 * GRID)) for _ in range(4)]
    outline, copper, tin, silk = (ImageDraw.Draw(layer) for layer in layers)

    def points(path: tuple[Point, ...]) -> list[Point]:
        return [(2 * x, 2 * y) for x, y in (frame(*point) for point in path)]

    w, h = HALF
    outline.polygon(points(((-w, -h), (w, -h), (w, h), (-w, h))), fill=255)
    for trace in TRACES:
        copper.line(points(trace), fill=255, width=11, joint="curve")
    for x, y in [*VIAS, *((sx * 204, sy * 196) for sx in (-1, 1) for sy in (-1, 1))]:
        big = abs(x) == 204
        for pen, radius, value in ((copper, 9, 255), (tin, 8, 255), (tin, 3.4, 0)):
            r = 2 * radius * (1.35 if big else 0.8)
            cx, cy = points(((x, y),))[0]
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=value)
    for number, (x, y) in enumerate(SILK):
        _label(silk, points, x, y, number)
    board, copper_, tin_, silk_ = (np.asarray(i.reduce(2), np.float32) / 255 for i in layers)
    _coat(surface, rng, board, copper_, tin_, silk_)
    return board


def _label(pen: ImageDraw.ImageDraw, points, x: float, y: float, number: int) -> None:  # type: ignore[no-untyped-def]
    """A reference designator: three pseudo-characters of straight strokes."""
    strokes = (
        ((0, 0), (0, 10)),
        ((0, 0), (6, 0)),
        ((6, 0), (6, 10)),
        ((0, 5), (6, 5)),
        ((0, 10), (6, 10)),
    )
    for letter in range(3):
        for bit, line in enumerate(strokes):
            if (number * 7 + letter * 11 + 5) >> bit & 1:
                path = tuple((x + 9 * letter + a, y + b) for a, b in line)
                pen.line(points(path), fill=235, width=3)


def _coat(surface: Surface, rng: Generator, board: Field, copper: Field, tin: Field, silk: Field) -> None:
    weave = 1 + 0.035 * fractal(rng, 5, 4) + 0.05 * pebbles(rng, 1.2)
    green = linear(22, 92, 58) * tint(rng, 0.025)
    surface.paint(board, weave.astype(np.float32) * green)
    surface.paint(board * copper * np.float32(0.8), linear(44, 128, 78))
    surface.paint(tin, linear(196, 194, 186))
    surface.paint(silk * board * np.float32(0.9), linear(226, 228, 222))
    solid = np.asarray(ndimage.gaussian_filter(board, 1.2), np.float32)
    raised = np.asarray(ndimage.gaussian_filter(copper + tin, 1.2), np.float32)
    surface.height = surface.height * (1 - board) + 10 * solid + 1.1 * raised
    surface.height = surface.height + 0.8 * fractal(rng, 3, 3) * board
    surface.gloss = surface.gloss * (1 - board) + board * (0.10 + 0.3 * tin)
    surface.roughness = (0.28, 0.28)


def _bridge(surface: Surface, flaw: Flaw, parts: list[Part]) -> None:
    """Solder that ran together between neighbouring pins of a chip."""
    chips = [part for part in parts if part.kind == "soic"]
    chip = chips[int(flaw.rng.integers(len(chips)))]
    pins = chip.pins()
    first = int(flaw.rng.integers(len(pins) - 1))
    if (first + 1) % (len(pins) // 2) == 0:
        first -= 1  # the last pin of one row has no neighbour in the other
    (x0, y0), (x1, y1) = pins[first], pins[first + 1]
    width = flaw.length(4, 13)
    cover = stroke([[(x0, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x1, y1)]], width, 0.8)
    drop = blob(flaw.rng, ((x0 + x1) / 2, (y0 + y1) / 2), 0.8 * width, 0.2, 0.2)
    cover = np.maximum(cover, drop)
    round_top = np.asarray(ndimage.gaussian_filter(cover, 2), np.float32)
    surface.height = surface.height + 6 * round_top * cover
    surface.paint(cover, linear(186, 186, 182))
    surface.gloss = surface.gloss * (1 - cover) + 0.6 * cover
