"""How near inference comes to what the machine can do: arithmetic and bytes of each method against measured peaks.

    python benchmarks/roofline.py [--out FILE] [--smoke] [--device cpu]

The roof has two parts, both measured here: the best rate of an fp32 matrix product or convolution, and the best rate of
a copy that is larger than the caches (bytes read and written). FLOP is counted by torch, a multiply-add as two,
convolutions and matrix products alone. Bytes are those of each layer's weights, inputs and outputs, once each: a lower
bound of what moves if every layer reads its input from memory and writes its output there. Functions without a module
(resizing, distances, the map) and work space are left out. `attainable` is the lower of the two roofs at a method's
intensity; a method may pass it where its activations stay in a cache. Recipe `paper`, 256 x 256, untrained networks.
About three minutes with two threads.
"""

import argparse
from typing import Any

import torch
from common import parse_options
from torch import Tensor, nn

from adlib import speed
from adlib.device import use_true_fp32
from adlib.methods import METHODS, build
from adlib.methods.base import Method

SIZE = 256


def copy_peak(device: str, mib: int) -> float:
    """The best GB/s of a copy; a byte copied is one read and one written."""
    source = torch.rand(mib << 18, device=device)
    target = torch.empty_like(source)
    seconds = min(speed.timed(lambda: target.copy_(source), 7, 2, device).seconds)
    return 2e-9 * source.nbytes / seconds


def moved(method: Method, images: Tensor) -> int:
    """Bytes of the weights, inputs and outputs of all leaf modules in one forward pass."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        tensors = [*inputs, *module.parameters(recurse=False), *module.buffers(recurse=False), *_flat(output)]
        total += sum(t.nbytes for t in tensors if isinstance(t, Tensor))

    # timm's BatchNormAct2d has children, and weights of its own.
    layers = [m for m in method.modules() if not [*m.children()] or [*m.parameters(recurse=False)]]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        method.anomaly_map(images)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _flat(output: Any) -> list[Any]:
    return list(output) if isinstance(output, list | tuple) else [output]


@torch.inference_mode()
def measure(name: str, batch: int, roof: dict[str, float], device: str, repeats: int) -> dict[str, Any]:
    """Make the row of one method at one batch size."""
    method = build(name, teacher="random").to(device, memory_format=torch.channels_last).eval()
    images = torch.rand(batch, 3, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)
    gflop = speed.flops(lambda: method.anomaly_map(images)) / 1e9
    gbyte = moved(method, images) / 1e9
    timing = speed.timed(lambda: method.anomaly_map(images), repeats, 1, device)
    attainable = min(roof["peak_gflops"], roof["peak_gbytes_per_s"] * gflop / gbyte)
    return {
        "method": name,
        "batch": batch,
        "gflop": gflop,
        "gbyte": gbyte,
        "intensity": gflop / gbyte,
        "seconds": timing.p50,
        "spread": timing.spread,
        "gflops": gflop / timing.p50,
        "attainable_gflops": attainable,
        "share": gflop / timing.p50 / attainable,
        **roof,
    }


def main() -> None:
    """Write a row a method and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="batch 1 and 2, one repetition, small peaks")
    parser.add_argument("--device", default="cpu")
    options = parse_options(parser, "roofline")
    use_true_fp32()
    sizes, mib = ((512,), 64) if options.smoke else ((1024, 2048, 4096), 512)
    roof = {
        "peak_gflops": speed.arithmetic_peak(options.device, sizes=sizes),
        "peak_gbytes_per_s": copy_peak(options.device, mib),
    }
    print(f"roof: {roof['peak_gflops']:.0f} GFLOP/s, {roof['peak_gbytes_per_s']:.1f} GB/s")
    place, rows = speed.conditions(options.device), []
    for name in METHODS:
        for batch in (1, 2) if options.smoke else (1, 16):
            repeats = 1 if options.smoke else 10 if batch == 1 else 3
            rows.append({**measure(name, batch, roof, options.device, repeats), **place})
            speed.write(rows, options.out)
            row = rows[-1]
            print(f"{name:16s} {batch:3d} {row['intensity']:6.1f} FLOP/B {row['share']:5.0%} of the roof", flush=True)


if __name__ == "__main__":
    main()
