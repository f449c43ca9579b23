"""The state of an unfinished training as one file, from which the training goes on; read without executing code.

Where it waits, where nobody names a folder: in the cache of the user's home, for a month.
"""

import shutil
import time
import warnings
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from adlib.files import check_writable, whole_file

UNFINISHED = Path("~/.cache/adlib/unfinished")
KEPT = 30 * 86400  # seconds


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of an unfinished training: tensors, numbers, strings, lists and dictionaries only."""
    with whole_file(path) as temporary:
        torch.save(state, temporary)


def read_state(path: Path, identity: str, device: str) -> dict[str, Any]:
    """Read the state of an unfinished training, without executing anything in it.

    `identity`: what the training is of, a line a part ("images: ..."). Raises ValueError if the file is damaged or
    belongs to another training. What is no fault of the file goes through: OSError where it cannot be read,
    torch.OutOfMemoryError.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        found = state["identity"]
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch raises half a dozen types for a truncated file
        raise ValueError(
            f"{path} is not a complete training state ({path.stat().st_size} bytes: {type(error).__name__}); "
            "delete it to train from the beginning"
        ) from error
    if found != identity:
        lines = zip_longest(str(found).splitlines(), identity.splitlines(), fillvalue="")
        theirs, ours = next(((a, b) for a, b in lines if a != b), (str(found), identity))
        same = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), 0)
        expected, other = (text[max(0, same - 60) : same + 60] for text in (ours, theirs))
        part = f"other {ours.split(':')[0]}: " if ":" in ours else ""
        raise ValueError(
            f"{path} belongs to another training: {part}expected {expected!r}, found {other!r}; delete it to train "
            "anew, or choose another folder"
        )
    return state


def waiting_folder(data_sha256: str) -> Path | None:
    """Return where a training on these images waits once it is interrupted; None, with a warning, where nothing can."""
    try:
        home = UNFINISHED.expanduser()
        _forget_old(home)
        folder = home / data_sha256[:12]
        check_writable(folder)
    except (OSError, RuntimeError) as error:  # the latter: a user without a home
        warnings.warn(f"an interrupted training will not be kept, unless you name an out_dir: {error}", stacklevel=3)
        return None
    return folder


def _forget_old(folder: Path) -> None:
    """Delete the trainings in the cache that nobody went on with or saved."""
    for kept in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # another process may be at it
            newest = max(path.stat().st_mtime for path in (kept, *kept.rglob("*")))
            if time.time() - newest > KEPT:
                shutil.rmtree(kept)
