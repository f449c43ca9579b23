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
    """Cut all tiles and their masks into `<data root>/aitex`, whole or not at all; return `<data root>/aitex/fabric`.

    Raises FileExistsError where that is there, FileNotFoundError for photographs that are missing, ValueError for one
    of other pixels than ours.
    """
    source, base = Path(published).expanduser(), data_root(root)
    home = base / "aitex" / "fabric"
    if home.exists():
        raise FileExistsError(f"{home} is there: move it away to have the tiles cut anew")
    files = {path.name: path for path in source.rglob("*.png")}
    tiles = pd.read_csv(TILES, dtype=str, keep_default_na=False)[["tile", "split", "defect", "pixels", "mask"]]
    photographs = {tile.rsplit("_", 1)[0] for tile in tiles["tile"]}
    if missing := sorted(photographs - {Path(name).stem for name in files}):
        raise FileNotFoundError(
            f"{source} lacks {len(missing)} of {len(photographs)} photographs, the first is {missing[0]}.png; "
            f"it holds: {found_in(source)}"
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".fabric.") as folder:
        made = Path(folder) / "fabric"
        for tile, split, defect, pixels, mask in tiles.to_numpy().tolist():
            photograph, number = tile.rsplit("_", 1)
            _tile([files[f"{photograph}.png"]], int(number), pixels, made / split / defect / tile)
            if defect != GOOD:
                masks = sorted(path for name, path in files.items() if name.startswith(f"{photograph}_mask"))
                _tile(masks, int(number), mask, made / "ground_truth" / defect / f"{tile}_mask")
        made.replace(home)
    return home


def _tile(files: list[Path], number: int, expected: str, target: Path) -> None:
    """Cut one tile, of several masks their union, and write it if its pixels are those that are expected."""
    box = (number * SIDE, 0, (number + 1) * SIDE, SIDE)
    tile = Image.new("L", (SIDE, SIDE))
    for file in files:
        with Image.open(file) as image:
            part = image.convert("L").crop(box)
        if len(files) == 1 and not target.name.endswith("_mask"):
            tile = part
        else:
            tile.paste(255, mask=part.point(lambda value: 255 * (value > 0)))
    if digest(tile) != expected:
        raise ValueError(f"tile {target.name} of {', '.join(map(str, files)) or 'no mask'} has other pixels than ours")
    target.parent.mkdir(parents=True, exist_ok=True)
    tile.save(target.with_name(f"{target.name}.png"))


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
