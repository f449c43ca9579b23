"""Arithmetic: the floating-point operations of a call, the peak rate of a machine, what one image costs a method."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from adlib.methods.base import Method
from adlib.speed.timing import Call, timed


def flops(call: Call) -> int:
    """Count the floating-point operations of the convolutions and matrix products in a call; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def arithmetic_peak(device: str = "cpu", precision: str = "fp32", sizes: Sequence[int] = (1024, 2048, 4096)) -> float:
    """Measure the best GFLOP/s of a square matrix product, or of a 3 x 3 convolution with 512 channels.

    Two libraries: on some processors the one behind matmul reaches half of what convolutions do.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rates = []
    for n in sizes:
        a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
        rates.append(2e-9 * n**3 / min(timed(partial(torch.matmul, a, b), 7, 2, device).seconds))
    for batch in (1, 16):
        images = torch.rand(batch, 512, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        weights = torch.rand(512, 512, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        call = partial(conv2d, images, weights, padding=1)
        rates.append(1e-9 * flops(call) / min(timed(call, 7, 2, device).seconds))
    return max(rates)


@torch.inference_mode()
def cost(method: Method, size: int = 256) -> dict[str, Any]:
    """Return what one image of `size` pixels costs: parameters, FLOP (G, forward) and the shapes that come out."""
    method.eval()
    device = next(method.parameters()).device
    image = torch.zeros(1, 3, size, size, device=device)
    maps = method.anomaly_map(image)
    return {
        "trainable": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "frozen": sum(p.numel() for p in method.parameters() if not p.requires_grad),
        "gflop": flops(lambda: method.anomaly_map(image)) / 1e9,
        "map": "x".join(map(str, maps.shape[1:])),
        "score": "x".join(map(str, method.score(maps).shape[1:])) or "scalar",
    }
