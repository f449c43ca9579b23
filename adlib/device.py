"""Which GPU a process takes where there are several, and what it says when memory runs out."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from adlib.lease import claim

_held: dict[str, IO[bytes]] = {}  # the device of this process and its lease, kept until the process ends


def lease(names: Sequence[str] | None = None, folder: Path | None = None, poll: float = 1.0) -> str:
    """Take a GPU that no other process has leased, and return it as torch names it: 'cuda:1'.

    A process takes one, once. Where only one is visible there is nothing to choose, because the machine has no other
    or because the scheduler or CUDA_VISIBLE_DEVICES has chosen: 'cuda', and no lease. Waits while all are leased.

    Args:
        names: one for each visible GPU, the same in every process; by default their UUIDs.
        folder: where the lock files lie, by default the folder for temporary files.
    """
    if _held:
        return next(iter(_held))
    if names is None:
        count = torch.cuda.device_count()
        names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)] if count > 1 else [""]
    if len(names) == 1:
        return "cuda"
    folder = folder or Path(tempfile.gettempdir())
    said = False
    while True:
        for index, name in enumerate(names):
            if file := claim(folder / f"adlib-gpu-{name}.lock"):
                _held[f"cuda:{index}"] = file
                return f"cuda:{index}"
        if not said:
            print(f"all {len(names)} GPUs are leased ({folder}/adlib-gpu-*.lock): waiting. device='cuda:0' never waits")
            said = True
        time.sleep(poll)


@contextmanager
def memory_explained(doing: str) -> Iterator[None]:
    """Turn what torch, numpy and Python raise where memory runs out into one MemoryError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch raises a bare RuntimeError.
        ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not ran_out:
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MemoryError(
            f"out of memory while {doing}: set a smaller `batch` (or memory) in the overrides, or take a device with "
            f"more. {first}"
        ) from error
