"""Files that are whole or not there: written under another name, then renamed; and what one holds."""

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final
from uuid import uuid4

from PIL import Image

UNPRINTABLE: Final = "backslashreplace"  # a file's name may hold what no text can: it is shown as \\udcXX
LONGEST = 200  # bytes of a name beside which a temporary one, 38 longer, can be made on any file system
OVERLAY = ("Software", "adlib overlay")  # key and text in the PNG files that `plots.save_overlay` writes


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_bare(name: str) -> bool:
    """Tell whether a text is a name alone, as a row has it, and not a path, which says where something lies."""
    return not {"/", os.sep} & set(name) and not name.startswith((".", "~"))


def is_overlay(path: Path) -> bool:
    """Tell whether a file is a picture that `plots.save_overlay` wrote, not one that somebody took."""
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as picture:
            return picture.info.get(OVERLAY[0]) == OVERLAY[1]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # reading will say what is wrong with it


def replace_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands in a text file between the line `begin` and the next `end`; both lines stay.

    Raises ValueError, naming them, where they are not there.
    """
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path} has to hold the lines {begin} and, below it, {end}: what is generated goes between")
    with whole_file(path) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Raise OSError, saying what to do, where no file can be made in a folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            error.errno, f"{folder} cannot be written to ({error.strerror}); choose another folder"
        ) from error


def printable(text: str) -> str:
    """Return a text as standard output can print it, whatever its encoding and whatever file names are in it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, UNPRINTABLE).decode(encoding)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it on success, remove it on failure.

    A link stays one: what it names is replaced. A device or a pipe cannot be, and is an OSError.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, f"{path} is a device or a pipe, which cannot be replaced; name a file")
    name = path.name if len(os.fsencode(path.name)) <= LONGEST else path.name[: LONGEST // 4]
    temporary = path.with_name(f".{name}.{uuid4().hex}.tmp")  # no other process's, on no other machine either
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # a file lies where the folder would
            raise OSError(
                error.errno, f"{path} could not be written ({error.strerror}); choose another folder, then run again"
            ) from error
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)) or isinstance(error.__cause__, OSError):
            raise  # an error of another file, or one that is worded already
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror}); make room or choose another folder, then run again",
        ) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()
