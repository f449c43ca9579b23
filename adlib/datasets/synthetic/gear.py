"""Machined spur gear: twenty teeth, a turned rim and hub, a cast web with six holes, a keyway."""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from adlib.datasets.synthetic.bench import disc, lathe, mat, polar, pose
from adlib.datasets.synthetic.defects import (
    Flaw,
    Point,
    Scene,
    polygon,
    rust,
    scratch,
    wear,
)
from adlib.datasets.synthetic.noise import GRID, Field, fractal, linear, pebbles, tint
from adlib.datasets.synthetic.surface import Surface

DEFECTS = ("missing_tooth", "chipped_tooth", "missing_hole", "rust", "scratch")
TEETH, HOLES = 20, 6
TIP, ROOT, RIM, WEB, HUB, BORE, HOLE = 206.0, 178.0, 148.0, 109.0, 68.0, 34.0, 19.0
FLANK = ((-0.34, ROOT), (-0.27, 184.0), (-0.2, 195.0), (-0.13, TIP))  # (pitches, radius)


def _at(centre: Point, radius: float, angle: float) -> Point:
    return (
        centre[0] + radius * float(np.cos(angle)),
        centre[1] + radius * float(np.sin(angle)),
    )


def _outline(centre: Point, turn: float, missing: int | None, stump: float) -> list[Point]:
    """The toothed rim; a missing tooth is broken off, jagged, at the radius `stump`."""
    pitch = 2 * np.pi / TEETH
    half = [*FLANK, *((-share, radius) for share, radius in FLANK[::-1])]
    points = []
    for tooth in range(TEETH):
        for share, radius in half:
            height = min(radius, stump + 2 * np.cos(share * 40)) if tooth == missing else radius
            points.append(_at(centre, height, turn + (tooth + share) * pitch))
    return points


def _blank(centre: Point, turn: float, flaw: Flaw | None) -> Field:
    """Coverage of the metal."""
    kind = flaw.kind if flaw else ""
    missing = int(flaw.rng.integers(TEETH)) if flaw and kind == "missing_tooth" else None
    stump = TIP - flaw.length(9, 27) if flaw and kind == "missing_tooth" else TIP
    blind = int(flaw.rng.integers(HOLES)) if flaw and kind == "missing_hole" else None
    metal, drilled = (Image.new("L", (2 * GRID, 2 * GRID)) for _ in range(2))
    pen, drill = ImageDraw.Draw(metal), ImageDraw.Draw(drilled)
    pen.polygon([(2 * x, 2 * y) for x, y in _outline(centre, turn, missing, stump)], fill=255)

    def hole(at: Point, radius: float) -> None:
        box = (*(2 * (c - radius) for c in at), *(2 * (c + radius) for c in at))
        drill.ellipse(box, fill=255)

    hole(centre, BORE)
    key = [(BORE * 0.8, -9), (BORE + 13, -9), (BORE + 13, 9), (BORE * 0.8, 9)]
    c, s = np.cos(turn), np.sin(turn)
    drill.polygon(
        [(2 * (centre[0] + c * x - s * y), 2 * (centre[1] + s * x + c * y)) for x, y in key],
        fill=255,
    )
    for number in range(HOLES):
        if number != blind:
            hole(_at(centre, WEB, turn + (number + 0.5) * 2 * np.pi / HOLES), HOLE)
    covers = [np.asarray(image.reduce(2), np.float32) / 255 for image in (metal, drilled)]
    return covers[0] * (1 - covers[1])


def _chip(surface_cover: Field, flaw: Flaw, centre: Point, turn: float) -> tuple[Field, Field]:
    """Break a corner off one tooth: what is left of the metal, and the fracture beside it."""
    rng, pitch = flaw.rng, 2 * np.pi / TEETH
    middle = turn + (int(rng.integers(TEETH)) + rng.choice((-1, 1)) * 0.11) * pitch
    size = flaw.length(9, 24)
    at = _at(centre, TIP - 3, middle)
    angles = np.linspace(0, 2 * np.pi, 11)[:-1]
    reach = size * rng.uniform(0.65, 1.15, 10)
    bite = polygon([_at(at, r, a) for r, a in zip(reach, angles, strict=True)], 0.8)
    scar = polygon([_at(at, r + 5, a) for r, a in zip(reach, angles, strict=True)], 1.5)
    left = surface_cover * (1 - bite)
    return left, scar * left


def render(scene: Scene) -> Surface:
    """Draw the gear on its mat, turned anyhow."""
    rng = scene.rng
    surface = mat(rng, linear(60, 66, 74))
    centre, turn = pose(rng, 14), float(rng.uniform(0, 2 * np.pi))
    cover = _blank(centre, turn, scene.flaw)
    scar = np.zeros_like(cover)
    if flaw := scene.has("chipped_tooth"):
        cover, scar = _chip(cover, flaw, centre, turn)
    _machine(surface, scene, cover, centre)
    if flaw:
        rough = pebbles(flaw.rng, 1.0)
        surface.height = surface.height - scar * (4 + 2.5 * rough)
        surface.paint(0.6 * scar, linear(128, 126, 124))
    if flaw := scene.has("rust"):
        rust(surface, flaw, cover)
    if flaw := scene.has("scratch"):
        scratch(surface, flaw, cover, linear(226, 226, 224))
    return surface


def _machine(surface: Surface, scene: Scene, cover: Field, centre: Point) -> None:
    """Turn the faces of the blank and lay it on the table."""
    rng = scene.rng
    radius, angle = polar(centre)
    web = disc(radius, RIM, 5) - disc(radius, HUB, 5)
    cast = pebbles(rng, 1.3)
    marks = lathe(rng, radius, 0.8)
    top = 15 - 5 * web + 0.16 * (1 - web) * marks + 1.0 * web * cast
    solid = np.asarray(ndimage.gaussian_filter(cover, 1.9), np.float32)
    surface.height = surface.height * (1 - cover) + solid * top
    # Turning marks throw the lamp back along the two radii that face it: the bow tie on a lathe cut.
    facing = 0.5 + 0.5 * np.cos(2 * (angle - np.float32(scene.light.azimuth)))
    glint = np.cos(2 * angle - np.float32(scene.light.azimuth + 1.1)) ** 2
    bow = facing * facing * facing + 0.35 * (glint * glint) ** 2
    shine = (1 - web) * (0.25 + 1.1 * bow + 0.10 * marks) + web * 0.25
    steel = linear(150, 151, 153) * tint(rng, 0.012)
    tone = 1 + 0.05 * marks * (1 - web) + web * (0.10 * cast - 0.12) + 0.05 * fractal(rng, 4, 4)
    surface.paint(cover, tone * steel)
    surface.gloss = surface.gloss * (1 - cover) + cover * np.maximum(shine, 0)
    surface.roughness, surface.metal = (0.42, 0.42), 1.0
    oil = np.clip(fractal(rng, 5, 4) - 0.9, 0, 1) * cover
    surface.albedo *= 1 - 0.25 * oil * (1 - linear(190, 160, 110))
    wear(surface, rng, int(rng.integers(3, 10)), 0.25)
