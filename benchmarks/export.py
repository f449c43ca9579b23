"""How fast an exported method is: onnxruntime beside PyTorch, on the same images and threads.

    python benchmarks/export.py [--out FILE] [--only METHOD ...] [--size 256] [--batch 1 4]

Both are `adlib.inference.optimised`, as a module and as the ONNX file that `adlib.export_onnx` writes and compares
with PyTorch. They take turns (`adlib.speed.alternating`), from a host array (uint8 RGB) to a host map and score;
`speedup` is against PyTorch. `difference_map` and `difference_score` are the largest ones in parts of the largest
value. Weights are random, which changes no time. A method that cannot be exported has a row that says why.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, parse_options

from adlib import speed
from adlib.export import OPSET, ExportError, differences, export_onnx, session
from adlib.inference import optimised
from adlib.methods import METHODS, Method, build


def main() -> None:
    """Measure all methods, print each row and write them to one file."""
    options = _options()
    rows = kept_rows(options.out, ["method"], options.only)
    for name in options.only or METHODS:
        method = build(name, teacher="random").eval()
        kind = {"method": name, "recipe": "paper", "backbone": method.config.backbone, "size": options.size}
        for row in measure(method, options):
            rows.append(kind | row | speed.conditions())
            print(name, *(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
        speed.write(rows, options.out)


def measure(method: Method, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each runtime and batch size, or the reason why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            path = export_onnx(method, Path(folder) / "method.onnx", options.size)
        except ExportError as error:
            yield {"note": str(error)}
            return
        export_s, mib = time.perf_counter() - start, path.stat().st_size / 2**20
        fast, opened = optimised(method), session(path, torch.get_num_threads())
        for batch in options.batch:
            pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, options.size, options.size), dtype=np.uint8)
            found = differences(method, path, torch.from_numpy(pixels))
            calls: dict[str, Callable[[], Any]] = {
                "pytorch": lambda pixels=pixels: [part.numpy() for part in fast(torch.from_numpy(pixels))],
                "onnxruntime": partial(opened.run, ["map", "score"], {"image": pixels}),
            }
            timings = speed.alternating(calls, options.repeats)
            for runtime, timing in timings.items():
                exported = {
                    "opset": OPSET,
                    "file_mib": mib,
                    "export_s": export_s,
                    "difference_map": found["map"],
                    "difference_score": found["score"],
                }
                yield {
                    "runtime": runtime,
                    "batch": batch,
                    "repeats": options.repeats,
                    **speed.figures(timing, batch, timings["pytorch"]),
                    **(exported if runtime == "onnxruntime" else {}),
                }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="METHOD", help="measure these anew")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeats", type=int, default=10)
    return parse_options(parser, "export")


if __name__ == "__main__":
    main()
