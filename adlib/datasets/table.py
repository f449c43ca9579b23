"""What every reader shares: the table of samples, its check, file listings and clear errors."""

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

COLUMNS = ["image", "mask", "label", "defect", "split"]
EXTENSIONS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".tga"}
EXTENSIONS |= {".jp2", ".j2k", ".pbm", ".pgm", ".ppm", ".pnm"}
# Images that this package cannot read: listed with the others, so that decoding names them and none is left out unsaid.
NOT_READ = {".heic", ".heif", ".avif", ".jxl", ".psd", ".dng", ".raw", ".cr2", ".nef", ".arw"}
GOOD = "good"


class Sample(NamedTuple):
    """One row: mask is None for every normal image and for a defect nobody outlined."""

    image: Path
    split: str
    defect: str = GOOD
    mask: Path | None = None


def data_root(path: str | Path | None = None) -> Path:
    """Folder that holds one sub-folder a dataset: the parameter, else ADLIB_DATA, else a cache."""
    if path is None:
        path = os.environ.get("ADLIB_DATA") or Path.home() / ".cache" / "adlib" / "datasets"
    # absolute but not resolved: a symbolic link is often how a user names a data disk
    return Path(path).expanduser().absolute()


def table(samples: Iterable[Sample]) -> pd.DataFrame:
    """Rows sorted by image path, with the columns of `COLUMNS`; label is 0 normal, 1 defect."""
    rows = sorted(samples, key=lambda sample: str(sample.image))
    # object columns: pandas' string type would turn a mask of None into NaN
    frame = pd.DataFrame(
        {
            "image": [str(row.image) for row in rows],
            "mask": [None if row.mask is None else str(row.mask) for row in rows],
            "label": [int(row.defect != GOOD) for row in rows],
            "defect": [row.defect for row in rows],
            "split": [row.split for row in rows],
        },
        columns=COLUMNS,
        dtype=object,
    )
    return frame.astype({"label": "int64"})


def check(samples: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the table unchanged if it can train a detector, else raise ValueError.

    One training image is enough. No defect in the test set is allowed too: the metrics that need
    one are then undefined, which is theirs to say.
    """
    train = samples[samples["split"] == "train"]
    if train.empty:
        raise ValueError(f"{where}: no training image; at least one normal image is needed")
    if train["label"].any():
        raise ValueError(f"{where}: a training image is labelled as a defect: {_first_bad(train)}")
    if not samples["split"].isin(["train", "test"]).all():
        raise ValueError(f"{where}: split must be 'train' or 'test'")
    if samples["image"].duplicated().any():
        twice = samples.loc[samples["image"].duplicated(), "image"].iloc[0]
        raise ValueError(f"{where}: image listed twice: {twice}")
    return samples


def _first_bad(train: pd.DataFrame) -> str:
    return str(train.loc[train["label"] == 1, "image"].iloc[0])


def images_in(folder: Path, extensions: Collection[str] = EXTENSIONS) -> list[Path]:
    """Image files directly inside a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    # hidden files are left out: macOS writes a '._000.png' beside '000.png' on foreign disks
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in extensions and not path.name.startswith(".") and not path.is_dir()
    )


def folders_in(folder: Path) -> list[str]:
    """Names of the visible sub-folders, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def mask_of(image: Path, folder: Path, names: Sequence[str]) -> Path:
    """First of `names` that is a file in `folder`, or FileNotFoundError naming image and masks.

    For the published datasets, where each defect has a mask and a missing one means a broken copy.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    expected = " or ".join(str(folder / name) for name in names)
    raise FileNotFoundError(f"defect image {image} has no mask: expected {expected}")


def require(folder: Path, expected: Sequence[str], layout: str) -> None:
    """Raise FileNotFoundError, with what was found, unless `folder` holds all of `expected`."""
    missing = [name for name in expected if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is not in the {layout} layout: expected {', '.join(expected)}; "
            f"missing {', '.join(missing)}; found {found_in(folder)}"
        )


def found_in(folder: Path, most: int = 8) -> str:
    """What a folder holds, in a few words, for an error message."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "an empty folder"


def fingerprint(samples: pd.DataFrame) -> str:
    """SHA-256 that identifies the data of a run, wherever their root lies.

    Over each row's image and mask paths relative to their common folder, label, defect, split, and
    the size and bytes of both files.
    """
    paths = [*samples["image"], *samples["mask"].dropna()]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    digest = hashlib.sha256()
    rows = samples.sort_values("image")[["image", "mask", "label", "defect", "split"]]
    for image, mask, label, defect, split in rows.itertuples(index=False):
        digest.update(os.fsencode(f"{label}\t{defect}\t{split}\n"))  # a name need not be UTF-8
        for path in (image, mask):
            if not isinstance(path, str):
                digest.update(b"-\n")
                continue
            content = Path(path).read_bytes()
            name = Path(path).relative_to(common).as_posix()
            digest.update(os.fsencode(f"{name}\t{len(content)}\n") + content)
    return digest.hexdigest()
