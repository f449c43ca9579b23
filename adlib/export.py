"""A trained method as an ONNX file: uint8 RGB images in, anomaly maps and scores out, for any batch size.

The graph is that of `adlib.inference.optimised`: normalisation, networks, map and score. What comes before it is what
`adlib.images` does for training and scoring too: decode, RGB, PIL's antialiased bilinear resize. ONNX has an
antialiased resize too, but onnxruntime's rounds otherwise at some pixels: the graph takes images of their final size.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adlib.errors import first_line
from adlib.files import whole_file
from adlib.images import IMAGE_SIZE, normalise
from adlib.inference import Inference, optimised
from adlib.methods import name_of
from adlib.methods.base import Method

OPSET = 23  # the newest that torch 2.11 to 2.14 write
TOLERANCE = 1e-4  # largest difference to PyTorch, in parts of the largest value


class ExportError(RuntimeError):
    """A method that cannot be written as ONNX, or whose ONNX file computes something else; says why."""


def export_onnx(
    method: Method, path: str | Path, size: int = IMAGE_SIZE, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a method to an `.onnx` file and compare what it computes with PyTorch, for two batch sizes.

    Input `image`: uint8 (N, 3, size, size), RGB. Outputs `map`: float32 (N, size, size), `score`: float32 (N,). The
    file's metadata name the method, its config and the preprocessing before it, and what `metadata` adds.

    Raises:
        ImportError: the packages of the extra `export` are not installed.
        ExportError: an operation has no ONNX form, or maps or scores differ by more than `TOLERANCE`. No file is left.
        ValueError: a name that does not end in `.onnx`.
    """
    path = Path(path).expanduser()
    if path.suffix != ".onnx":
        raise ValueError(f"an ONNX file's name ends in .onnx, got {path.name!r}")
    _installed()
    own = copy.deepcopy(method).cpu().eval().requires_grad_(False)
    about = {
        "method": name_of(method) or type(method).__name__,
        "config": json.dumps(asdict(method.config)),
        "teacher": method.provenance.name,
        "preprocess": method.preprocess,  # how adlib.images makes the input
        "resize": f"to {size} x {size} pixels, bilinear with antialiasing, as Pillow's: others give other scores",
    }
    program = _program(own, size)
    program.model.metadata_props.update(about | dict(metadata or {}))
    with whole_file(path) as temporary:
        program.save(str(temporary), external_data=False)
        for count in (1, 3):
            _same(own, temporary, _noise(count, size))
    return path


def differences(method: Method, path: str | Path, pixels: Tensor) -> dict[str, float]:
    """Compare an ONNX file with the method on images: the largest difference of `map` and of `score`.

    In parts of the largest value; `pixels` is uint8 (N, 3, H, W). Both run in fp32 on the CPU.
    """
    found = session(path).run(["map", "score"], {"image": pixels.numpy()})
    with torch.inference_mode():
        maps = method.anomaly_map(normalise(pixels.float() / 255)).float()
        expected = maps.numpy(), method.score(maps).numpy()
    # A method whose maps are all 0, as untrained ones can be, has no scale: then 1 is.
    scales = [float(np.abs(values).max()) or 1.0 for values in expected]
    return {
        name: float(np.abs(ours - theirs).max()) / scale
        for name, ours, theirs, scale in zip(("map", "score"), expected, found, scales, strict=True)
    }


def session(path: str | Path, threads: int = 0) -> Any:
    """Open an ONNX file with onnxruntime on the CPU; `threads` 0 lets it choose."""
    _installed()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait do not spin: they would take the cores from whatever runs beside, PyTorch for one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Graph(nn.Module):
    """What is traced: the fast module without its inference mode, which a trace cannot enter."""

    def __init__(self, fast: Inference) -> None:
        super().__init__()
        self.fast = fast

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.fast.maps_and_scores(image)


def _program(method: Method, size: int) -> Any:
    """Trace a method in eval mode on the CPU with a batch of two, the batch size left open."""
    name = type(method).__name__
    graph = _Graph(optimised(method)).eval()
    try:
        program = torch.onnx.export(
            graph,
            (_noise(2, size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["map", "score"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    except Exception as error:  # torch raises its own types for each step of a failed export
        raise ExportError(f"{name} is not exportable to ONNX: {first_line(error.__cause__ or error)}") from error
    assert program is not None
    return program


def _same(method: Method, path: Path, pixels: Tensor) -> None:
    for output, difference in differences(method, path, pixels).items():
        if not difference <= TOLERANCE:  # NaN is a difference too
            raise ExportError(
                f"{type(method).__name__} is not exportable to ONNX: its {output} differs from PyTorch's by "
                f"{difference:.1e} of the largest value, more than {TOLERANCE:.0e}, for a batch of {len(pixels)}"
            )


def _noise(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def _installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"ONNX needs packages that are not installed: pip install -e '.[export]' in the project's folder ({error})"
        ) from error
