"""Images to distil on: packed into one zip that travels, and read into one uint8 tensor a group.

A group is a top folder: `photographs/`, `tiny/`, `textures/` or any other. Images whose shorter side is at least half
the canvas become squares of the canvas' size, as many as cover the longer side; smaller ones are laid out as mosaics,
so that a crop shows several of them at their own resolution instead of one that is blurred.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from adlib.files import whole_file
from adlib.textures import procedural_textures

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LITTER = "__MACOSX"  # a folder that macOS puts into zips, of files that are called as the images
HELD_OUT_EVERY = 20  # of the group `photographs`, one file in so many is never trained on
HELD_OUT = "held out"

File = tuple[str, Callable[[], bytes]]  # name within its folder or zip, and how to read it


def pack(groups: dict[str, Sequence[Path]], out: Path, quality: int = 80, size: int = 256) -> dict[str, int]:
    """Write the images below each group's paths (folders or zips) into one zip, and return how many of each.

    An image whose shorter side exceeds `size` is reduced to it. Everything becomes WebP of `quality`, except what
    already is WebP and small enough, which is copied byte for byte. Raises FileNotFoundError for a path that is not
    there and ValueError for a file that is no image, before anything is left at `out`.
    """
    listed = {group: [file for path in paths for file in _files(path)] for group, paths in groups.items()}
    with whole_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
        for group, files in listed.items():
            with ThreadPoolExecutor() as pool:
                for i, content in enumerate(pool.map(lambda file: _encode(file, quality, size), files)):
                    name = f"{group}/{i:06d}_{Path(files[i][0]).stem}.webp"
                    target.writestr(zipfile.ZipInfo(name), content)  # without the time: the same bytes again
    return {group: len(files) for group, files in listed.items()}


def read(
    paths: Sequence[Path], canvas: int = 256, procedural: int = 256, rounds: int = 2, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Read folders and zips of groups: uint8 (N, 3, canvas, canvas) a group, and the number of files of each.

    Adds the groups `procedural` (our own textures, see `adlib.textures`) and `plain` (linear colour gradients, such as
    product photographs have behind the object), and splits `held out` from `photographs`. Small images are laid out
    `rounds` times, in different neighbourhoods. Raises ValueError where there is no image, or a
    group has the name of one of these.
    """
    files = [file for path in paths for file in _files(path)]
    by_group: dict[str, list[File]] = {}
    for name, content in files:
        parts = Path(name).parts
        by_group.setdefault(parts[0] if len(parts) > 1 else "images", []).append((name, content))
    if not by_group:
        raise ValueError(
            f"no image in {', '.join(map(str, paths)) or 'no folder'}; expected <group>/*.webp, .jpg or .png"
        )
    if clash := sorted(by_group.keys() & {"procedural", "plain", HELD_OUT}):
        raise ValueError(f"a group may not be called {clash[0]!r}, which is one that is made here: rename its folder")
    counts = {group: len(members) for group, members in by_group.items()}
    if "photographs" in by_group:
        members = by_group.pop("photographs")
        by_group[HELD_OUT] = members[::HELD_OUT_EVERY]
        by_group["photographs"] = [m for i, m in enumerate(members) if i % HELD_OUT_EVERY] or members
    generator = torch.Generator().manual_seed(seed)
    with ThreadPoolExecutor(1) as aside:  # drawing takes about as long as decoding
        drawn = aside.submit(procedural_textures, procedural, canvas, seed) if procedural else None
        groups = {group: _tensor(members, canvas, rounds, generator) for group, members in by_group.items()}
    if drawn is not None:
        groups["procedural"] = drawn.result()
        groups["plain"] = gradients(max(procedural // 4, 1), canvas, generator)
        counts |= {"procedural": procedural, "plain": len(groups["plain"])}
    return groups, counts


def read_classes(
    paths: Sequence[Path], canvas: int = 96, procedural: int = 0, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, int]]:
    """Read images with their classes: uint8 (N, 3, canvas, canvas) and int64 (N,) a group, and how many of each.

    The class of a file is the folder it lies in, or at the top the beginning of its name up to `_` (an ImageNet
    number). One file in 20 of `labelled` is `held out`. Each of `procedural` textures is a class of its own: a formula
    with its parameters, whose crops are the examples (Kataoka et al., "Pre-training without natural images", 2022).
    """
    files = [file for path in paths for file in _files(path)]
    names = [Path(name).parent.name or Path(name).stem.split("_")[0] for name, _ in files]
    classes = {name: i for i, name in enumerate(sorted(set(names)))}
    groups, labels = {}, {}
    if files:
        with ThreadPoolExecutor() as pool:
            pixels = torch.stack(list(pool.map(lambda file: _middle(file, canvas), files)))
        label, position = torch.tensor([classes[name] for name in names]), torch.arange(len(files))
        held = position % HELD_OUT_EVERY == 0
        groups = {"labelled": pixels[~held], HELD_OUT: pixels[held]}
        labels = {"labelled": label[~held], HELD_OUT: label[held]}
    if procedural:
        groups["procedural"] = procedural_textures(procedural, canvas, seed)
        labels["procedural"] = len(classes) + torch.arange(procedural)
    if not groups:
        raise ValueError(
            f"no image in {', '.join(map(str, paths)) or 'no folder'}, and no procedural texture asked for"
        )
    return groups, labels, {"labelled": len(files), "classes": len(classes), "procedural": procedural}


def _middle(file: File, canvas: int) -> Tensor:
    image = ImageOps.fit(_opened(*file).convert("RGB"), (canvas, canvas), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def gradients(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw plain backgrounds: a colour that drifts a little across the image, uint8 (count, 3, size, size)."""
    colour = 255 * torch.rand(count, 3, 1, 1, generator=generator)
    gray = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    colour = torch.where(gray, colour[:, :1], colour)
    axis = torch.linspace(-1, 1, size)
    slope = 40 * torch.randn(count, 2, 1, 1, generator=generator)
    drift = slope[:, :1] * axis.view(1, 1, 1, -1) + slope[:, 1:] * axis.view(1, 1, -1, 1)
    return (colour + drift).clamp(0, 255).to(torch.uint8)


def _files(path: Path) -> list[File]:
    """List the images of a folder or a zip, sorted: name within it, and a call that reads the bytes."""
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if _is_image(p.relative_to(path)) and p.is_file())
        return [(p.relative_to(path).as_posix(), p.read_bytes) for p in found]
    if not path.is_file():
        raise FileNotFoundError(f"no such folder or zip of images: {path}")
    try:
        archive = zipfile.ZipFile(path)  # open as long as its images may be read
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is neither a folder nor a whole zip of images ({error}): copy it again") from error
    names = sorted(n for n in archive.namelist() if _is_image(Path(n)))
    return [(name, lambda name=name: archive.read(name)) for name in names]  # type: ignore[misc]


def _is_image(name: Path) -> bool:
    """Whether a file is to be an image by its name; hidden ones, such as macOS leaves on foreign disks, are none."""
    return name.suffix.lower() in EXTENSIONS and not name.name.startswith(".") and LITTER not in name.parts


def _opened(name: str, content: Callable[[], bytes]) -> Image.Image:
    """Decode an image; raises ValueError, naming it, for what is not a whole one."""
    try:
        image: Image.Image = Image.open(io.BytesIO(content()))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name} is not a whole image ({error}): mend it or leave it out") from error
    return image


def _encode(file: File, quality: int, size: int) -> bytes:
    name, raw = file[0], file[1]()
    image = _opened(name, lambda: raw)
    if name.lower().endswith(".webp") and min(image.size) <= size:
        return raw
    if min(image.size) > size:
        image = _shorter_side(image, size)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def _shorter_side(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _decode(file: File, canvas: int) -> np.ndarray:
    """Decode to (k, canvas, canvas, 3) squares, or to one (1, h, h, 3) small square."""
    image: Image.Image = _opened(*file).convert("RGB")
    small = min(image.size) < canvas // 2
    if not small:
        image = _shorter_side(image, canvas)
    side = min(image.size)
    squares = 1 if small else -(-max(image.size) // side)
    offsets = np.linspace(0, max(image.size) - side, squares) if squares > 1 else [(max(image.size) - side) / 2]
    pixels = np.asarray(image)
    wide = image.size[0] >= image.size[1]
    return np.stack([pixels[:, int(o) : int(o) + side] if wide else pixels[int(o) : int(o) + side] for o in offsets])


def _tensor(members: Sequence[File], canvas: int, rounds: int, generator: torch.Generator) -> Tensor:
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda member: _decode(member, canvas), members))
    squares = [torch.from_numpy(d) for d in decoded if d.shape[1] == canvas]
    parts = [torch.cat(squares).permute(0, 3, 1, 2)] if squares else []
    sides = sorted({d.shape[1] for d in decoded} - {canvas})
    for side in sides:
        small = torch.from_numpy(np.concatenate([d for d in decoded if d.shape[1] == side])).permute(0, 3, 1, 2)
        parts.extend(_mosaics(small, canvas, generator) for _ in range(rounds))
    return torch.cat(parts).contiguous()


def _mosaics(small: Tensor, canvas: int, generator: torch.Generator) -> Tensor:
    """Lay out small squares (n, 3, s, s) side by side in random order; what overhangs the canvas is cut off."""
    side = small.shape[-1]
    across = -(-canvas // side)
    count = -(-len(small) // across**2)
    order = torch.randperm(len(small), generator=generator).repeat(1 + count * across**2 // len(small))
    tiles = small[order[: count * across**2]].reshape(count, across, across, 3, side, side)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, across * side, across * side)[..., :canvas, :canvas]
