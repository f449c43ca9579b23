"""Images of which nobody says what they show: found in a folder, decoded some at a time, broken ones named."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from adlib import images
from adlib.datasets.folder import images_below
from adlib.datasets.table import EXTENSIONS
from adlib.images import IMAGE_SIZE, Images

AT_ONCE = 256  # images decoded at a time: a folder may hold more than memory does


def images_at(folder: Path) -> list[Path]:
    """All images in a folder and its sub-folders but for masks, hidden ones and overlays; or the one image itself."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder or image {folder}")
    found = images_below(folder)
    if not found:
        raise FileNotFoundError(f"no image in {folder} or below; expected {' '.join(sorted(EXTENSIONS))}")
    return found


def decode(paths: Sequence[Path], preprocess: str) -> Iterator[tuple[Images | None, dict[Path, str]]]:
    """Decode `AT_ONCE` images at a time (None: there is none that can be), and say of each that cannot be read why."""
    load = partial(images.load, size=IMAGE_SIZE, preprocess=preprocess, progress=False)
    for start in range(0, len(paths), AT_ONCE):
        part = paths[start : start + AT_ONCE]
        try:
            yield load(_table(part)), {}
            continue
        except (ValueError, OSError):  # which of them are broken, each will say for itself
            broken = {}
        for path in part:
            try:
                load(_table([path]))
            except (ValueError, OSError) as error:
                broken[path] = str(error)
        whole = [path for path in part if path not in broken]
        yield (load(_table(whole)) if whole else None), broken


def _table(paths: Sequence[Path]) -> pd.DataFrame:
    texts = [str(path) for path in paths]
    return pd.DataFrame({"image": texts, "mask": None, "label": 0, "defect": "", "split": "test"})
