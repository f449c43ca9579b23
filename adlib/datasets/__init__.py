"""Datasets: one reader a layout, all giving the same table of samples.

    samples = load("mvtec", "bottle", root="~/data")    # reads ~/data/mvtec/bottle

Columns: image (absolute path), mask (path or None), label (0 normal, 1 defect), defect ('good' for
normal images), split ('train' or 'test'). Nothing is decoded here, and nothing is downloaded:
`python -m adlib.datasets.download` does that.
"""

from pathlib import Path
from types import ModuleType

import pandas as pd

from adlib.errors import check_known

from . import btad, eyecandies, folder, mtd, mvtec, mvtec3d, synthetic, visa
from .table import check, data_root, fingerprint, found_in

__all__ = ["DATASETS", "categories", "data_root", "fingerprint", "kind", "load", "origin"]

DATASETS: dict[str, ModuleType] = {
    "mvtec": mvtec,
    "mpdd": mvtec,
    "visa": visa,
    "btad": btad,
    "mvtec3d": mvtec3d,
    "eyecandies": eyecandies,
    "mtd": mtd,
    "aitex": mvtec,
    "folder": folder,
    "synthetic": synthetic,
}

# what each dataset is published with, so that a category that is merely absent from this disk is
# told apart from one that does not exist
PUBLISHED: dict[str, tuple[str, ...]] = {
    "mvtec": mvtec.MVTEC,
    "mpdd": mvtec.MPDD,
    "visa": visa.CATEGORIES,
    "btad": btad.CATEGORIES,
    "mvtec3d": mvtec3d.CATEGORIES,
    "eyecandies": eyecandies.CATEGORIES,
    "mtd": mtd.CATEGORIES,
    "aitex": mvtec.AITEX,
    "synthetic": tuple(synthetic.CATEGORIES),
}


# Published categories whose images are one texture without an outline; the others show an object.
TEXTURES = {
    "mvtec": ("carpet", "grid", "leather", "tile", "wood"),
    "btad": ("02",),  # wood
    "mtd": mtd.CATEGORIES,
    "aitex": mvtec.AITEX,
    "synthetic": ("canvas", "brushed_steel", "veneer", "terrazzo"),
}


def kind(dataset: str, category: str) -> str:
    """Return 'texture' or 'object'; 'part' of a folder of one's own, of which it is not known."""
    if dataset == "folder":
        return "part"
    return "texture" if category in TEXTURES.get(dataset, ()) else "object"


def origin(dataset: str) -> str:
    """Return 'generated' for the images that this package draws, 'real' for all that others have published."""
    return "generated" if dataset == "synthetic" else "real"


def load(dataset: str, category: str, root: str | Path | None = None) -> pd.DataFrame:
    """Table of samples of one category, sorted by path.

    `root` is the data root (see `data_root`), which holds one sub-folder a dataset; for 'folder'
    the category is the user's folder, relative to the root or absolute. Raises ValueError for an
    unknown name or a table without a training image, FileNotFoundError where data are missing or
    lie in another layout.
    """
    check_known("dataset", dataset, DATASETS)
    home = _home(dataset, root)
    if dataset not in ("folder", "synthetic"):  # one is named by a path, one makes itself
        _present(dataset, home)
    if dataset != "folder":
        check_known(f"{dataset} category", category, [*PUBLISHED[dataset], *_on_disk(dataset, home)])
    if dataset not in ("folder", "synthetic", "mtd"):  # of mtd the categories are splits
        _present(dataset, home, category)
    return check(DATASETS[dataset].samples(home, category), f"{dataset}/{category}")


def categories(dataset: str, root: str | Path | None = None) -> list[str]:
    """Categories of a dataset that this disk holds; for 'synthetic' all, as it makes them."""
    check_known("dataset", dataset, DATASETS)
    return _on_disk(dataset, _home(dataset, root))


def _home(dataset: str, root: str | Path | None) -> Path:
    return data_root(root) if dataset == "folder" else data_root(root) / dataset


def _on_disk(dataset: str, home: Path) -> list[str]:
    return list(DATASETS[dataset].categories(home))


def _present(dataset: str, home: Path, category: str = "") -> None:
    """Raise FileNotFoundError, with what to do, where a dataset is not on this disk, or a category of it is not."""
    if (home / category).is_dir():
        return
    fetch = f"`python -m adlib.datasets.download {dataset} --root {home.parent}`"
    if home.is_dir():
        raise FileNotFoundError(
            f"{dataset}/{category}: no folder {home / category}; {home} holds: {found_in(home)}.\n"
            f"To go on, put it there; or move {home} away and have all of {dataset} by {fetch}, which fetches it or "
            "says how to get it."
        )
    raise FileNotFoundError(
        f"{dataset}: no folder {home}; {home.parent} holds: {found_in(home.parent)}.\n"
        f"To go on, either fetch it with {fetch}, or set "
        f"the data root (parameter or environment variable ADLIB_DATA) to the folder that holds "
        f"{dataset}/, or use dataset='synthetic', which needs no download."
    )
