"""Decoded images kept on disk: the second run of a category reads pixels where the first decoded files.

One `.safetensors` file for each list of samples, size and preprocessing, in the folder `ADLIB_CACHE`, else in the
user's cache folder; `ADLIB_CACHE=off` keeps nothing. Its name is a hash over the content of the image files and over
the code that reads them, so that what changed is decoded again; its checksum is compared before it is used. All files
may be deleted at any time.
"""

import hashlib
import os
import re
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pandas as pd
import PIL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adlib.files import whole_file

DAYS = 30  # after which a file that was not read goes: each change of a folder's images makes a new one
WORTH = 1.0  # seconds of decoding from which a file is written; images of 256 x 256 decode about as fast as it is read


def path(identity: str, samples: pd.DataFrame, size: int, preprocess: str) -> Path | None:
    """Where these samples are kept, or would be; None where keeping is turned off.

    `identity` stands for the content of the files: `datasets.fingerprint` of a table that holds the samples.
    """
    folder = os.environ.get("ADLIB_CACHE") or str(Path.home() / ".cache" / "adlib" / "decoded")
    if folder == "off":
        return None
    files = [*samples["image"].map(str), *samples["mask"].map(str)]
    code = Path(__file__).with_name("images.py").read_bytes()
    key = repr((identity, files, size, preprocess, PIL.__version__, hashlib.sha256(code).hexdigest()))
    return Path(folder).expanduser() / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def read(path: Path, count: int, size: int) -> tuple[Tensor, Tensor] | None:
    """Pixels (count, 3, size, size) uint8 and masks (count, size, size) bool; None if there is no such whole file."""
    try:
        with safe_open(path, "pt") as file:
            pixels, masks = file.get_tensor("pixels"), file.get_tensor("masks")
            expected = (file.metadata() or {}).get("crc32")
    except (OSError, SafetensorError):
        return None
    with suppress(OSError):
        os.utime(path)  # it is of use still
    fits = pixels.shape == (count, 3, size, size) and masks.shape == (count, size, size)
    return (pixels, masks) if fits and expected == _checksum(pixels, masks) else None


def write(path: Path, pixels: Tensor, masks: Tensor) -> None:
    """Keep decoded images, and forget those that nobody read for long.

    A folder that cannot be written is no error, as nothing depends on the file.
    """
    with suppress(OSError, SafetensorError), whole_file(path) as temporary:
        save_file({"pixels": pixels, "masks": masks}, temporary, {"crc32": _checksum(pixels, masks)})
    for file in path.parent.glob("*.safetensors"):
        with suppress(OSError):  # another process may have been faster
            ours = re.fullmatch("[0-9a-f]{64}", file.stem)  # a folder of the user's own may hold other files, too
            if ours and time.time() - file.stat().st_mtime > 24 * 3600 * DAYS:
                file.unlink()


def _checksum(pixels: Tensor, masks: Tensor) -> str:
    return str(zlib.crc32(masks.numpy().data, zlib.crc32(pixels.numpy().data)))
