"""A user's own folder: masks and defects optional.

Accepted, with images of any type in `table.EXTENSIONS`:

    (a) train/good (or images directly in train), test/good, test/<defect>
    (b) good, and any other folder holds one kind of defect
    (c) images directly inside whose names begin with their kind: good_01.jpg, scratch_07.jpg
    (d) images directly inside, all normal

`good` may also be called ok or normal; the case of these names, and of train and test, is free. Masks, where there are
any: <stem>.png, <stem>_mask.png or <stem>-mask.png in ground_truth/<defect>, masks/<defect> or mask/<defect>.
An image that lies anywhere else is a ValueError, as no label can be told: none is left out unsaid. Folders may be
symbolic links. Pictures that adlib drew (`files.is_overlay`) are no images of parts.

Where no normal test image lies in `test`, every fifth normal image of a seeded shuffle is held out for testing; with
fewer than five none is.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from adlib.files import is_overlay

from . import table as listing
from .table import EXTENSIONS, GOOD, NOT_READ, Sample, folders_in, found_in, table

HOLD_OUT = 5
SEED = 0
MASKS = ("ground_truth", "masks", "mask")
NORMAL = (GOOD, "ok", "normal")  # names of the folder, or first words of the files, that hold normal parts
# Names of folders beside that of the normal parts that are no kind of defect.
NO_KIND = re.compile(r"(?:tests?|val|valid|validation)(?:[^a-z].*)?|train.*|(?:good|ok|normal)[^a-z].*", re.IGNORECASE)
# Words that no name of a normal part has: (d) must not train on defects because nobody called the others good.
DEFECTIVE = ("bad", "nok", "ng", "ko", "defect", "defective", "anomaly", "faulty")


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
    kinds = _kinds(home)
    if _named("train", home):
        return table(_complete(_train_and_test(home), home, "train/good, test/good or test/<defect>"))
    if good := _normal(kinds, home):
        _check_kinds(kinds, home)
        rows = [*_held_out(_normal_images(home / good)), *_defects(home, home, kinds)]
        return table(_complete(rows, home, f"{good}/ or a folder named after their defect"))
    if images_in(home) and not any(images_in(home / name) for name in kinds):
        return table(_complete(_by_name(home), home, "the folder itself"))
    raise FileNotFoundError(
        f"{home}: expected train/good and test/<defect>, or good/ beside a folder a defect, or "
        f"images directly inside, all of normal parts or named good_... and <defect>_... "
        f"({' '.join(sorted(EXTENSIONS))}); found {found_in(home)}"
    )


def images_in(folder: Path) -> list[Path]:
    """Image files directly inside a folder, sorted, but for what adlib drew; none if there is no such folder."""
    return [path for path in listing.images_in(folder, EXTENSIONS | NOT_READ) if not is_overlay(path)]


def images_below(home: Path) -> list[Path]:
    """All images in a folder and its sub-folders, sorted, but for masks, hidden ones and what adlib drew."""
    return [path for path in _all_below(home) if not _is_mask(path, home) and not is_overlay(path)]


def masks_below(home: Path) -> list[Path]:
    """All that lies in the folders of masks, sorted."""
    return [path for path in _all_below(home) if _is_mask(path, home)]


def _all_below(home: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """All image files; `above` are the folders that this one lies in, so that a link to one of them has an end."""
    here = home.resolve()
    if here in above:
        return []
    found = []
    for path in sorted(home.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():  # also through a symbolic link, as `folders_in` reads them
            found += _all_below(path, (*above, here))
        elif path.suffix.lower() in EXTENSIONS | NOT_READ:
            found.append(path)
    return found


def _is_mask(path: Path, home: Path) -> bool:
    return any(part.lower() in MASKS for part in path.relative_to(home).parts[:-1])


def _complete(rows: list[Sample], home: Path, places: str) -> list[Sample]:
    """The rows unchanged; ValueError if `home` has an image that is not among them, or one that is another's mask."""
    listed = {row.image for row in rows}
    stems = {(path.parent, path.stem) for path in listed}
    for path in sorted(listed):
        if (stem := _without_mask(path.stem)) != path.stem and (path.parent, stem) in stems:
            raise ValueError(
                f"{path} looks like the mask of the image beside it, and would be taken for a part: move masks to "
                f"{home / 'masks'}/<defect>/"
            )
    if stray := [path for path in images_below(home) if path not in listed]:
        others = f" and {len(stray) - 1} more" if len(stray) > 1 else ""
        raise ValueError(
            f"{stray[0]}{others} would be left out, as nothing says whether it is normal: in {home} images lie "
            f"directly in {places}; move it there, or out of {home}"
        )
    return rows


def _kinds(folder: Path) -> list[str]:
    return [name for name in folders_in(folder) if name.lower() not in MASKS]


def _normal(names: list[str], home: Path) -> str | None:
    """The name that means normal parts; ValueError for several, as none may be left out."""
    found = [name for name in names if name.lower() in NORMAL]
    if len(found) > 1:
        raise ValueError(f"{home} has {' and '.join(found)}: put all images of normal parts into one of them")
    return found[0] if found else None


def _check_kinds(names: list[str], home: Path) -> None:
    """Raise ValueError where a folder of `home`, each of which holds a kind of defect, is named otherwise."""
    for name in names:
        if NO_KIND.fullmatch(name) and images_below(home / name):
            raise ValueError(
                f"{home / name} would be taken for a kind of defect: name it after its defect, or move what is good to "
                f"{home / GOOD}; parts to test on lie in test/good and test/<defect> beside train/good"
            )


def _named(name: str, home: Path) -> str | None:
    """The sub-folder of this name, in any case."""
    return next((found for found in folders_in(home) if found.lower() == name), None)


def _normal_images(folder: Path) -> list[Path]:
    """The images of a folder of normal parts; ValueError if they lie deeper, or there are none."""
    if found := images_in(folder):
        return found
    raise ValueError(
        f"no training image: expected images of normal parts ({' '.join(sorted(EXTENSIONS))}) directly in {folder}, "
        f"found {found_in(folder)}"
    )


def _train_and_test(home: Path) -> list[Sample]:
    inside, outside = home / str(_named("train", home)), home / (_named("test", home) or "test")
    good = _normal(folders_in(inside), inside)
    if others := [name for name in folders_in(inside) if name != good and images_in(inside / name)]:
        raise ValueError(
            f"{inside / others[0]}: only normal parts are trained on, in {inside / GOOD}; move it to {outside}"
        )
    train = _normal_images(inside / good if good else inside)
    kinds = _kinds(outside)
    _check_kinds(kinds, outside)
    normal = images_in(outside / (_normal(kinds, outside) or GOOD))
    rows = [Sample(image, "train") for image in train] if normal else _held_out(train)
    return rows + [Sample(image, "test") for image in normal] + _defects(home, outside, kinds)


def _by_name(home: Path) -> list[Sample]:
    """Images directly inside: by the first word of their names if any says good, else all are normal."""
    kinds = {path: _first_word(path) for path in images_in(home)}
    if any(kind in NORMAL for kind in kinds.values()):
        if unknown := [path for path, kind in kinds.items() if not kind]:
            raise ValueError(
                f"{unknown[0]}: names in {home} begin with their kind (good_..., scratch_...), this one does not: "
                "rename it, or sort the images into folders"
            )
        if unsaid := [path for path, kind in kinds.items() if kind not in NORMAL and _is_no_kind(kind)]:
            raise ValueError(
                f"{unsaid[0]}: its name begins with no kind of defect, and not with one of {', '.join(NORMAL)} either: "
                "rename it, or sort the images into folders"
            )
        normal = [path for path, kind in kinds.items() if kind in NORMAL]
        defects = [
            sample
            for kind in sorted(set(kinds.values()) - {*NORMAL})
            for sample in _of_a_kind(home, kind, [path for path, of in kinds.items() if of == kind])
        ]
        return _held_out(normal) + defects
    if wrong := [path for path in kinds if _words(path) & {*DEFECTIVE}]:
        raise ValueError(
            f"{wrong[0]} sounds like a defect, but no name in {home} begins with one of {', '.join(NORMAL)}, so all "
            "would be taken for normal parts: rename the normal ones to good_..., or sort the images into folders"
        )
    if unsaid := _unlike_good(list(kinds)):
        raise ValueError(
            f"names in {home} say of some parts that they are normal, but not of {unsaid[0]}: begin each name with its "
            "kind (good_..., scratch_...), or sort the images into folders"
        )
    return _held_out(list(kinds))


def _is_no_kind(word: str) -> bool:
    """Say whether a file's first word is no kind of defect: train, test, goodpart."""
    return bool(NO_KIND.fullmatch(word)) or word.startswith((GOOD, "normal"))


def _unlike_good(images: list[Path]) -> list[Path]:
    """The images whose names do not say that a part is normal, where those of others do: part_good_1, goodpart_1."""
    said = {path: bool(_words(path) & {*NORMAL}) or _first_word(path).startswith((GOOD, "normal")) for path in images}
    return [path for path, good in said.items() if not good] if any(said.values()) else []


def _words(path: Path) -> set[str]:
    return set(re.findall("[a-z]+", path.stem.lower()))


def _first_word(path: Path) -> str:
    found = re.match("[a-z]+", path.stem.lower())
    return found[0] if found else ""


def _held_out(images: list[Path]) -> list[Sample]:
    order = np.random.default_rng(SEED).permutation(len(images)).tolist()
    test = set(order[HOLD_OUT - 1 :: HOLD_OUT])
    return [Sample(path, "test" if i in test else "train") for i, path in enumerate(images)]


def _masks(home: Path, defect: str) -> dict[str, Path]:
    """The masks of a kind of defect, by the stem of their image."""
    parents = [home / name for name in folders_in(home) if name.lower() in MASKS]
    folders = [parent / name for parent in parents for name in folders_in(parent) if name.lower() == defect.lower()]
    return {_without_mask(path.stem): path for folder in folders for path in images_in(folder)}


def _without_mask(stem: str) -> str:
    return re.sub("[-_]mask$", "", stem, flags=re.IGNORECASE)


def _defects(home: Path, parent: Path, names: list[str]) -> list[Sample]:
    rows = []
    for name in names:
        if name.lower() in NORMAL:
            continue
        rows += _of_a_kind(home, name, images_in(parent / name))
    return rows


def _of_a_kind(home: Path, defect: str, images: list[Path]) -> list[Sample]:
    """Defects of one kind with their masks; ValueError where one mask would be that of several images."""
    masks = _masks(home, defect)
    of_stem: dict[str, Path] = {}
    for image in images:
        first = of_stem.setdefault(image.stem, image)
        if first != image and image.stem in masks:
            raise ValueError(f"{masks[image.stem]} would be the mask of {first} and of {image}: give one another name")
    return [Sample(image, "test", defect, masks.get(image.stem)) for image in images]
