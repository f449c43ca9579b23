"""One picture of one part: the same part with and without its defect, and the mask between them."""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from adlib.datasets.synthetic.defects import Flaw, Scene
from adlib.datasets.synthetic.noise import GRID, SIZE, Field
from adlib.datasets.synthetic.surface import Light, Surface, expose, sense, shade

Draw = Callable[[Scene], Surface]

VISIBLE = 6.0  # display levels of change that count as the defect: two to three noise sigmas
SMALLEST = 24  # pixels that a defect must change, else it is drawn again
LARGEST = 0.4  # share of the picture that a defect may change
ATTEMPTS = 12


@dataclass(frozen=True)
class Picture:
    """`image` (SIZE, SIZE, 3) uint8; `mask` (SIZE, SIZE) bool, or None for a good part.

    `clean` and `normal` are the part with and without its defect before the sensor's noise, display
    levels (SIZE, SIZE, 3); they are equal outside the mask grown by one pixel.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    clean: Field
    normal: Field


def stream(seed: int, *words: str | int) -> Generator:
    """An independent generator for these words, the same in every process."""
    keys = [word if isinstance(word, int) else crc32(word.encode()) for word in words]
    return np.random.default_rng([seed, *keys])


def picture(draw: Draw, category: str, seed: int, split: str, defect: str, index: int) -> Picture:
    """Draw picture `index` of `defect` ('good' for none) in `split`.

    Raises RuntimeError if no visible defect comes out of several attempts.
    """
    key = (category, split, defect, index)
    light = Light.draw(stream(seed, *key, "light"))

    def develop(flaw: Flaw | None) -> tuple[Field, NDArray[np.bool_] | None]:
        surface = draw(Scene(stream(seed, *key, "part"), light, flaw))
        return expose(shade(surface, light), light), surface.part

    normal, _ = develop(None)
    if defect == "good":
        return Picture(sense(normal, light, stream(seed, *key, "noise")), None, normal, normal)
    for attempt in range(ATTEMPTS):
        levels, part = develop(_flaw(seed, category, defect, index, attempt))
        mask = changed(normal, levels, part)
        if not SMALLEST <= mask.sum() <= LARGEST * mask.size:
            continue
        if np.abs(levels - normal).max(axis=2)[mask].mean() > VISIBLE:
            near = ndimage.binary_dilation(mask, np.ones((3, 3), bool))
            clean = np.where(near[..., None], levels, normal)
            return Picture(sense(clean, light, stream(seed, *key, "noise")), mask, clean, normal)
    raise RuntimeError(f"{category}/{defect} {index}: no visible defect in {ATTEMPTS} attempts")


def changed(normal: Field, levels: Field, part: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The pixels where the two differ visibly, with pinholes closed and stray pixels dropped.

    `part` (GRID, GRID) is in the mask wherever it covers at least half a pixel.
    """
    mask = np.abs(levels - normal).max(axis=2) > VISIBLE
    mask |= _holes(mask, 12)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count > 1:
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        mask = (areas >= 5)[labels]
    if part is not None:
        cover = part.reshape(SIZE, GRID // SIZE, SIZE, GRID // SIZE).mean(axis=(1, 3))
        mask = mask | (cover >= 0.5)
    return np.asarray(mask, bool)


def _holes(mask: NDArray[np.bool_], largest: int) -> NDArray[np.bool_]:
    """Enclosed gaps of at most `largest` pixels: where texture happens to match the defect."""
    labels, _ = ndimage.label(~mask)
    areas = np.bincount(labels.ravel())
    small = areas <= largest
    small[0] = False
    return np.asarray(small[labels], bool)


def _flaw(seed: int, category: str, defect: str, index: int, attempt: int) -> Flaw:
    """Sizes and contrasts spread evenly over a defect's pictures, however few there are."""
    offset = stream(seed, category, defect, "spread").uniform(size=2)
    rng = stream(seed, category, defect, index, "flaw", attempt)
    size = (offset[0] + 0.6180339887 * index) % 1
    contrast = (offset[1] + 0.7548776662 * index) % 1
    return Flaw(defect, float(size), float(min(1, contrast + 0.08 * attempt)), rng)
