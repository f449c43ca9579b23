"""A user's own folder: masks and defects optional.

Accepted, with images of any type in `table.EXTENSIONS`:

    (a) train/good (or images directly in train), test/good, test/<defect>
    (b) good, and any other folder holds one kind of defect
    (c) images directly inside, all normal

Masks, where there are any: <stem>.png or <stem>_mask.png in ground_truth/<defect> or
masks/<defect>. An image that lies where no label can be told is a ValueError.

Where no test folder says otherwise, that is in (b), in (c) and in (a) without `test`, every fifth
normal image of a seeded shuffle is held out for testing; with fewer than five none is.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from .table import EXTENSIONS, GOOD, Sample, folders_in, found_in, images_in, table

HOLD_OUT = 5
SEED = 0
MASKS = ("ground_truth", "masks")


def categories(root: Path) -> list[str]:
    """Sub-folders that could be one; the root itself is the category '.'."""
    return folders_in(root)


def samples(root: Path, category: str) -> pd.DataFrame:
    """Table of the folder `<root>/<category>`; an absolute category stands for itself."""
    home = Path(root, Path(category).expanduser())
    if not home.is_dir():
        raise FileNotFoundError(
            f"no folder {home}; give your images' folder as the category, absolute or relative to "
            f"the data root {root}, which holds: {found_in(Path(root))}"
        )
    kinds = [name for name in folders_in(home) if name not in MASKS]
    if "train" in kinds:
        return table(_train_and_test(home))
    if GOOD in kinds:
        _no_image_in(home)
        return table([*_held_out(images_in(home / GOOD)), *_defects(home, home, kinds)])
    if images_in(home) and not any(images_in(home / name) for name in kinds):
        return table(_held_out(images_in(home)))
    raise FileNotFoundError(
        f"{home}: expected train/good and test/<defect>, or good/ beside a folder a defect, or "
        f"images of normal parts directly inside ({' '.join(sorted(EXTENSIONS))}); "
        f"found {found_in(home)}"
    )


def _train_and_test(home: Path) -> list[Sample]:
    train = images_in(home / "train" / GOOD) or images_in(home / "train")
    if not (home / "test").is_dir():
        return _held_out(train)
    _no_image_in(home / "test")
    rows = [Sample(image, "train") for image in train]
    rows += [Sample(image, "test") for image in images_in(home / "test" / GOOD)]
    return rows + _defects(home, home / "test", folders_in(home / "test"))


def _no_image_in(parent: Path) -> None:
    if stray := images_in(parent):
        raise ValueError(
            f"{stray[0]} is neither normal nor a defect: move the images that lie directly in "
            f"{parent} into {parent / GOOD} or into a folder named after their defect"
        )


def _held_out(images: list[Path]) -> list[Sample]:
    order = np.random.default_rng(SEED).permutation(len(images)).tolist()
    test = set(order[HOLD_OUT - 1 :: HOLD_OUT])
    return [Sample(path, "test" if i in test else "train") for i, path in enumerate(images)]


def _defects(home: Path, parent: Path, names: list[str]) -> list[Sample]:
    rows = []
    for name in names:
        if name == GOOD:
            continue
        masks = {path.stem.removesuffix("_mask"): path for folder in MASKS for path in images_in(home / folder / name)}
        rows += [Sample(image, "test", name, masks.get(image.stem)) for image in images_in(parent / name)]
    return rows
