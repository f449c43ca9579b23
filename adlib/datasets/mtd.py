"""Magnetic Tile Defects (Huang et al., 'Surface defect saliency of magnetic tile', 2020).

    MT_Free/Imgs/exp1_num_10181.jpg        normal, beside an empty mask of the same name (.png)
    MT_Blowhole/Imgs/exp1_num_4727.jpg     defect, beside its mask exp1_num_4727.png

The authors publish no split. Ours is the committed `mtd_splits.csv`: of the 952 normal images 762
train and 190 test, drawn with three seeds (the categories split0, split1, split2), stratified by
the capture group E of `expE_num_N`; all 392 defects are test images. Whether two N can show the
same physical tile is not documented, so a leak between train and test cannot be excluded.
Four masks of `uneven` images are empty in the source: the table lists them as they are.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from .table import Sample, images_in, mask_of, require, table

CATEGORIES = ("split0", "split1", "split2")
DEFECTS = ("blowhole", "break", "crack", "fray", "uneven")
SPLITS = Path(__file__).with_name("mtd_splits.csv")
TEST_SHARE = 0.2


def categories(root: Path) -> list[str]:
    """Names of our three split seeds, where the images are there."""
    return list(CATEGORIES) if (root / "MT_Free").is_dir() else []


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of one split seed; images that the committed split does not know are a ValueError."""
    require(root, ["MT_Free/Imgs", *(f"MT_{d.capitalize()}/Imgs" for d in DEFECTS)], "MTD")
    splits = pd.read_csv(SPLITS, index_col="image")[category]
    free = {path.name: path for path in _photographs(root / "MT_Free")}
    if unknown := sorted(free.keys() ^ set(splits.index)):
        raise ValueError(
            f"{root / 'MT_Free'}: {len(free)} images found, {len(splits)} in our split; "
            f"{len(unknown)} differ, the first is {unknown[0]}"
        )
    rows = [Sample(path, str(splits[name])) for name, path in free.items()]
    for defect in DEFECTS:
        for image in _photographs(root / f"MT_{defect.capitalize()}"):
            mask = mask_of(image, image.parent, [f"{image.stem}.png"])
            rows.append(Sample(image, "test", defect, mask))
    return table(rows)


def make_splits(names: Iterable[str]) -> pd.DataFrame:
    """Columns image, split0, split1, split2 for the normal images' file names: how `mtd_splits.csv` was made.

    Each capture group gives its share of the test set by largest remainder, so that the total is
    exactly the rounded share of all images, however small a group (E = 0 has one normal image).
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name.partition("_")[0], []).append(name)
    ordered = [name for group in groups.values() for name in group]
    counts = _apportion([len(group) for group in groups.values()])
    frame = pd.DataFrame({"image": ordered})
    for seed, column in enumerate(CATEGORIES):
        rng = np.random.default_rng(seed)
        test: set[str] = set()
        for group, count in zip(groups.values(), counts, strict=True):
            test.update(rng.permutation(group)[:count].tolist())
        frame[column] = ["test" if name in test else "train" for name in ordered]
    return frame


def _apportion(sizes: list[int]) -> list[int]:
    """Test images a group, summing to the rounded share of all."""
    quotas = np.array(sizes) * TEST_SHARE
    counts = np.floor(quotas).astype(int)
    missing = round(sum(sizes) * TEST_SHARE) - counts.sum()
    # stable: among equal remainders the earlier group is served first
    counts[np.argsort(counts - quotas, kind="stable")[:missing]] += 1
    return counts.tolist()


def _photographs(folder: Path) -> list[Path]:
    return [path for path in images_in(folder / "Imgs") if path.suffix.lower() == ".jpg"]
