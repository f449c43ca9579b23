"""AITEX fabrics (Silvestre-Blanes et al., AUTEX 2019), cut into the tiles of `aitex/fabric`, laid out as MVTec AD.

    python -m adlib.datasets.aitex FOLDER --root ~/data

FOLDER holds what AITEX publishes, however unpacked: photographs of 4096 x 256 pixels, `0001_000_00.png` (number, kind
of defect, fabric), and of those with a defect `0001_002_00_mask.png`. Tile `0001_000_00_05` is the sixth of 16, from
left to right. The committed `aitex_tiles.csv` says which tiles there are, which of them train and which test, and has
a hash of the pixels of each, so that what is cut is known to be what our rows are of. The choice and the split are
ours: tiles of one photograph are on one side. (The hashes are of our tiles; AITEX's own files were not at hand to try
this.)
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from .table import GOOD, data_root, found_in

TILES = Path(__file__).with_name("aitex_tiles.csv")
SIDE = 256


def cut(published: str | Path, root: str | Path | None = None) -> Path:
    """Cut all tiles and their masks into `<data root>/aitex/fabric`, whole or not at all, and return it.

    Args:
        published: the folder, which is searched with its sub-folders.
        root: see `data_root`.

    Raises FileExistsError where the tiles are there, FileNotFoundError, before anything is cut, for photographs or
    masks that are missing, ValueError for a tile of other pixels than ours.
    """
    source, base = Path(published).expanduser(), data_root(root)
    home = base / "aitex" / "fabric"
    if home.exists():
        raise FileExistsError(f"{home} is there: move it away to have the tiles cut anew")
    files = sorted(source.rglob("*.png"))
    tiles = pd.read_csv(TILES, dtype=str, keep_default_na=False)
    tiles["photograph"] = tiles["tile"].str.rsplit("_", n=1).str[0]
    wanted = {f"{name}.png" for name in tiles["photograph"]}
    wanted |= {f"{name}_mask" for name in tiles.loc[tiles["defect"] != GOOD, "photograph"]}
    found: dict[str, list[Path]] = {name: [] for name in wanted}
    for file in files:  # of some there are several masks: ..._mask1.png
        for name in {file.name, file.stem.rstrip("0123456789")} & wanted:
            found[name].append(file)
    if missing := sorted(name for name, of in found.items() if not of):
        raise FileNotFoundError(
            f"{source} lacks {len(missing)} of {len(wanted)} photographs and masks, the first is {missing[0]}; "
            f"it holds: {found_in(source)}"
        )
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix=".aitex.") as folder:
        made = Path(folder) / home.name  # the folder around it is for this user's eyes alone
        for line in tiles.to_dict("records"):
            tile, defect, number = line["tile"], line["defect"], int(line["tile"].rsplit("_", 1)[1])
            photograph = _crop(found[f"{line['photograph']}.png"][0], number)
            _write(photograph, line["pixels"], made / line["split"] / defect / f"{tile}.png")
            if defect != GOOD:
                mask = Image.new("L", (SIDE, SIDE))
                for file in found[f"{line['photograph']}_mask"]:
                    mask.paste(255, mask=_crop(file, number).point(lambda value: 255 * (value > 0)))
                _write(mask, line["mask"], made / "ground_truth" / defect / f"{tile}_mask.png")
        home.parent.mkdir(exist_ok=True)
        made.rename(home)
    return home


def _crop(file: Path, number: int) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("L").crop((number * SIDE, 0, (number + 1) * SIDE, SIDE))


def _write(tile: Image.Image, expected: str, target: Path) -> None:
    if digest(tile) != expected:
        raise ValueError(f"{target.name} has other pixels than ours: are these AITEX's files as published?")
    target.parent.mkdir(parents=True, exist_ok=True)
    tile.save(target)


def digest(tile: Image.Image) -> str:
    """Hash the pixels of a grey tile: the first 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(tile.convert("L").tobytes()).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """Cut, and say where the tiles lie; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what AITEX publishes, unpacked")
    parser.add_argument("--root", help="data root; else ADLIB_DATA, else the cache")
    options = parser.parse_args(arguments)
    try:
        print(f"ready: {cut(options.folder, options.root)}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
