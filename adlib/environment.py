"""Where a number was made: the commit, the versions, the device. For a row's provenance."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("adlib", "torch", "timm", "numpy", "scipy", "pillow")
CODE = ("adlib", "benchmarks", "pyproject.toml")  # what the numbers of rows and of benchmarks depend on, for '+dirty'


def environment(device: str = "cpu") -> dict[str, Any]:
    """The fields of a row that describe the machine: commit, versions, device, threads, created."""
    return {
        "commit": commit(),
        "versions": versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit(folder: Path = PROJECT) -> str:
    """The git commit of the project, '+dirty' if its code was changed; 'unknown' if no checkout."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    # An installed copy may lie inside some other repository, whose commit says nothing.
    if not top or Path(top).resolve() != folder.resolve():
        return "unknown"
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return "unknown"
    return head + ("+dirty" if _git(folder, "status", "--porcelain", "--", *CODE) else "")


def versions() -> dict[str, str]:
    """Python's and the packages' versions that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def device_name(device: str = "cpu") -> str:
    """The device as a row names it: 'cuda: NVIDIA H100', 'cpu: <model>'."""
    kind = torch.device(device).type
    if kind == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{kind}: {_processor()}"


def peak_memory(device: str = "cpu") -> float:
    """Return the peak so far in MiB: of the GPU's allocations since training began, else of this whole process.

    On a CPU it is therefore that of the largest run of a process that makes several; `notebooks/run.ipynb`, and so each
    row of a study, has a process of its own.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _processor(information: Path = Path("/proc/cpuinfo")) -> str:
    """Name the processor, with the numbers of its generation: clouds hide it behind a bare 'AMD EPYC'."""
    found: dict[str, str] = {}
    if information.is_file():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())  # of the first core
    if "model name" not in found:
        return platform.processor() or platform.machine() or "unknown"
    generation = " ".join(f"{key.split()[-1]} {found[key]}" for key in ("cpu family", "model") if key in found)
    return found["model name"] + (f" ({generation})" if generation else "")


def _git(folder: Path, *words: str) -> str:
    """What git prints, empty if it fails or is not there."""
    # Settings of a calling git (a hook) would point it at another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, env=clean)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
