"""A trained method as one module that is made for speed alone: uint8 images in, anomaly maps and scores out.

What is computed stays the same, only how changes: every BatchNorm that follows a convolution goes into its weights,
preprocessing is one multiply-add, tensors lie in memory channels last, and no gradient is prepared. Maps agree with the
method's own up to rounding, some 1e-6 of their range.
"""

import copy
from collections import Counter, defaultdict
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adlib.device import use_true_fp32
from adlib.images import MEAN, STD
from adlib.methods.base import Method

PROBE = 64  # side of the image that is sent through the networks to see which layer follows which; a multiple of 32


class Inference(nn.Module):
    """A method in eval mode with its preprocessing: uint8 RGB (N, 3, H, W) -> maps (N, H, W) and scores (N,), float32.

    Made by `optimised`. With `compile`, a call with another batch or image size compiles anew.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, method: Method, compile: bool = False) -> None:
        super().__init__()
        self.method = method
        mean, std = (torch.tensor(v, device=next(method.parameters()).device).view(1, 3, 1, 1) for v in (MEAN, STD))
        # Not folded into the first convolution as well: the zeros it pads with are zeros of normalised images.
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self._copies = False
        self._run = self.maps_and_scores
        if compile:
            self._copies = self.scale.is_cuda  # a replayed graph writes to the same memory each time
            options: dict[str, Any] = {"triton.cudagraphs": True} if self._copies else {"freezing": True}
            self._run = torch.compile(self.maps_and_scores, dynamic=False, options=options)

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute maps and scores of images on the module's device; ValueError for what is no such tensor."""
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[1] != 3:
            found = f"{pixels.dtype} {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else type(pixels).__name__
            raise ValueError(f"expected RGB images as a tensor of uint8, (N, 3, H, W), from 0 to 255; found {found}")
        maps, scores = self._run(pixels)
        return (maps.clone(), scores.clone()) if self._copies else (maps, scores)

    def maps_and_scores(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the same as a call, without compilation and in the caller's mode: what an export traces."""
        pixels = pixels.to(torch.float32, memory_format=torch.channels_last)
        maps = self.method.anomaly_map(torch.addcmul(self.shift, pixels, self.scale)).float()
        return maps, self.method.score(maps)


def optimised(method: Method, compile: bool = False) -> Inference:
    """Copy a method into a fast module on the same device; the method itself stays as it is.

    `compile` hands the module to torch.compile, which takes a minute at the first call and, on a CPU, needs a C++
    compiler; on CUDA it replays the work as one graph. From then on the process computes without TF32
    (`use_true_fp32`), with which the maps would not agree with the method's own.
    """
    use_true_fp32()
    fast = copy.deepcopy(method).eval().requires_grad_(False)
    fold_batch_norms(fast)
    return Inference(fast.to(memory_format=torch.channels_last), compile).eval()  # type: ignore[call-overload]


def fold_batch_norms(method: Method) -> int:
    """Move each BatchNorm whose input is nothing but a convolution's output into that convolution; return how many.

    The method is changed in place and must be in eval mode. Which layer follows which is seen by computing one map:
    folded are those pairs of which each layer ran once and nothing else read what passed between them. What a BatchNorm
    does besides (timm's include the activation) stays in its place.
    """
    names: dict[nn.Module, list[str]] = defaultdict(list)
    for name, module in method.named_modules(remove_duplicate=False):
        names[module].append(name)
    pairs = _followers(method)
    for norm, convolution in pairs.items():
        transposed = isinstance(convolution, nn.ConvTranspose2d)
        folded = fuse_conv_bn_eval(convolution, norm, transposed)  # type: ignore[type-var, arg-type]
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        for module, successor in ((convolution, folded), (norm, rest)):
            for name in names[module]:
                method.set_submodule(name, successor)
    return len(pairs)


def _followers(method: Method) -> dict[nn.Module, nn.Module]:
    """Return the convolution whose output each BatchNorm, and nothing else, reads."""
    made: dict[
        int, tuple[nn.Module, Tensor]
    ] = {}  # by the output's id, which no other tensor gets as long as it is held
    pairs: dict[nn.Module, tuple[nn.Module, int]] = {}
    runs: Counter[nn.Module] = Counter()
    reads = _Reads()

    def after_convolution(module: nn.Module, inputs: Any, output: Tensor) -> None:
        runs[module] += 1
        made[id(output)] = module, output
        reads.count[id(output)] = 0

    def before_norm(module: nn.Module, inputs: tuple[Tensor]) -> None:
        runs[module] += 1
        if id(inputs[0]) in made:
            pairs[module] = made[id(inputs[0])][0], id(inputs[0])

    hooks = []
    for module in method.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            hooks.append(module.register_forward_hook(after_convolution))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(before_norm))
    image = torch.zeros(1, 3, PROBE, PROBE, device=next(method.parameters()).device)
    try:
        with torch.no_grad(), reads:
            reads.add(method.anomaly_map(image))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        norm: convolution
        for norm, (convolution, output) in pairs.items()
        if reads.count[output] == 1 and runs[norm] == runs[convolution] == 1
    }


class _Reads(TorchDispatchMode):
    """Counts how often each tensor, by its id, is the input of an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()

    def add(self, *values: Any) -> None:
        """Count the tensors in any nest of values."""
        self.count.update(id(value) for value in tree_leaves(values) if isinstance(value, Tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.add(args, kwargs)
        return func(*args, **(kwargs or {}))
