"""Where and how a process computes: the device, one of several GPUs, the precision, and its memory."""

import ctypes
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from adlib.errors import check_known, first_line
from adlib.lease import take

PRECISIONS = ("fp32", "bf16", "auto")
ASSIGNED = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES")  # who was given a GPU finds it named here
HIDDEN = ("", "-1", "NoDevFiles")  # what CUDA_VISIBLE_DEVICES says where none is meant; the last is Slurm's
# What memory that runs out is called where torch has no error of its own for it: by torch on a CPU, by CUDA itself and
# by cuBLAS, which allocate beside torch.
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")

_held: dict[str, IO[bytes]] = {}  # the device of this process and its lease, kept until the process ends


def resolve_device(device: str = "auto") -> str:
    """Return a free GPU where there is one and `device` is 'auto' (`lease`); else `device`, checked to exist.

    Raises ValueError for another name, and where 'auto' would take the processor though a GPU was given to the process.
    """
    device = str(device)  # a torch.device says its name
    if device == "auto":
        if torch.cuda.is_available():
            return lease_gpu()
        _check_none_assigned()
        return "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        expected = "'auto', 'cpu', 'cuda' or, of several GPUs, 'cuda:1'"
        raise ValueError(f"unknown device {device!r}; expected {expected}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but torch sees no CUDA device; use 'cpu' or 'auto'")
    if device != "cpu" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA device(s)")
    return device


def _check_none_assigned() -> None:
    """Raise ValueError where a GPU was given to this process: to train on the processor beside it is not meant."""
    given = [f"{name}={os.environ[name]}" for name in ASSIGNED if os.environ.get(name)]
    if not given or os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        return
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    raise ValueError(
        f"{given[0]} says that this process was given a GPU, but torch {torch.__version__}, built {built}, sees none "
        f"on {platform.node()}: look there at what nvidia-smi says, and whether the driver is as new as that CUDA. If "
        "the processor is meant, set device='cpu', or CUDA_VISIBLE_DEVICES=-1"
    )


def lease_gpu(names: Sequence[str] | None = None, folder: Path | None = None, poll: float = 1.0) -> str:
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
            if file := take(folder / f"adlib-gpu-{name}.lock"):
                _held[f"cuda:{index}"] = file
                return f"cuda:{index}"
        if not said:
            waits = (
                f"all {len(names)} GPUs are leased ({folder}/adlib-gpu-*.lock): waiting. device='cuda:0' never waits"
            )
            print(waits, file=sys.stderr, flush=True)
            said = True
        time.sleep(poll)


def resolve_precision(precision: str, device: str) -> str:
    """Return 'fp32' or 'bf16'; 'auto' is bf16 where the processor multiplies it faster (AMX, AVX512-BF16, from Ampere).

    Raises ValueError for another name.
    """
    check_known("precision", precision, PRECISIONS)
    if precision == "auto":
        if device.startswith("cuda"):
            fast = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return "bf16" if fast else "fp32"
    return precision


def use_true_fp32() -> None:
    """Keep TF32 out of this process: on a GPU PyTorch lets convolutions round fp32 inputs to 10 bits by default."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def autocast(device: str, precision: str) -> torch.autocast:
    """Run convolutions in bf16 if asked to; distances, normalisation and losses stay in fp32 in the methods."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def keep_memory() -> None:
    """Let the process keep the memory that a step frees for the next step: glibc hands large buffers back at once.

    Each step would then ask the system for zeroed pages again, page by page. Holds for the rest of the process; does
    nothing where the C library is another, or where the environment variable GLIBC_TUNABLES already chose.
    """
    if platform.libc_ver()[0] != "glibc" or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, -1)  # never


def affordable(budget: int, device: str) -> int:
    """Return `budget` bytes, on a GPU at most a quarter of its memory: a training needs the rest.

    Not of what is free there: what is kept changes how sums are rounded, and should not depend on a neighbour.
    """
    return min(budget, torch.cuda.mem_get_info(device)[1] // 4) if device.startswith("cuda") else budget


@contextmanager
def memory_explained(doing: str) -> Iterator[None]:
    """Turn what torch, numpy and Python raise where memory runs out into one MemoryError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        named = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not named and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise MemoryError(
            f"out of memory while {doing}: set a smaller `batch` (or memory) in the overrides, or take a device with "
            f"more. {first_line(error)}"
        ) from error
