"""Begin a larger network of inverted residuals from a smaller one, so that a distillation need not begin from nothing.

MobileNetV2 and EfficientNet-b0 are built alike, stage by stage: EfficientNet is wider and deeper, has 5x5 kernels in
places, SiLU for ReLU6, and squeeze-and-excitation. The smaller network fits into it (after Chen et al., "Net2Net:
accelerating learning via knowledge transfer", ICLR 2016): 3x3 kernels in the middle of 5x5, channels as the first of
more, blocks as the first of more, gates that begin as constants. What the smaller one lacks stays random, and nothing
reads it at first.
"""

from typing import Any

import torch
from torch import Tensor, nn

from adlib.images import MEAN, STD

SHARPNESS = 4.0  # SiLU(4 x) / 4 is within 0.07 of ReLU(x)
GATE = 0.5  # a gate with weight and bias 0


@torch.no_grad()
def inherit(network: Any, source: Any, images: Tensor) -> None:
    """Fill `network` (timm EfficientNet) so that its stages give about what those of `source` (MobileNetV2) do.

    Args:
        source: takes images scaled to [-1, 1]; `network` takes them with ImageNet's mean and deviation.
        images: (B, 3, H, W), as `network` takes them: the BatchNorms of `network` are set to their statistics, each
            with the scale and shift that undo it.

    Raises ValueError where the source does not fit into the network.
    """
    if len(network.blocks) != len(source.blocks):
        raise ValueError(f"the source has {len(source.blocks)} stages, the network {len(network.blocks)}")
    shifts: dict[nn.Module, Tensor] = {}
    std, mean = (torch.tensor(x, device=images.device).view(1, 3, 1, 1) for x in (STD, MEAN))
    kernel, shift = _fused(source.conv_stem, source.bn1)
    shift = shift + (kernel * (2 * mean - 1)).sum((1, 2, 3))  # 2 image - 1, of what the network takes
    _place(network.conv_stem, 2 * std * kernel, SHARPNESS)
    shifts[network.bn1] = SHARPNESS * shift
    for ours, theirs in zip(network.blocks, source.blocks, strict=True):
        for i, block in enumerate(ours):
            if i < len(theirs):
                _inherit_block(block, theirs[i], shifts)
            else:
                nn.init.zeros_(block.bn3.weight)  # the block begins as the identity
                shifts[block.bn3] = torch.zeros_like(block.bn3.bias)
    _calibrate(network, shifts, images)


def _inherit_block(block: Any, source: Any, shifts: dict[nn.Module, Tensor]) -> None:
    """Fill one block: [expansion,] depthwise convolution, gate, projection."""
    expanded = hasattr(block, "conv_pwl")
    depthwise, projection = ("bn2", "bn3") if expanded else ("bn1", "bn2")
    if expanded:
        kernel, shift = _fused(source.conv_pw, source.bn1)
        _place(block.conv_pw, kernel, SHARPNESS)  # what comes in is not scaled: the projections undo it
        shifts[block.bn1] = SHARPNESS * shift
    kernel, shift = _fused(source.conv_dw, getattr(source, depthwise))
    _place(block.conv_dw, kernel, 1.0)  # what comes in is scaled already
    shifts[getattr(block, depthwise)] = SHARPNESS * shift
    for parameter in (block.se.conv_expand.weight, block.se.conv_expand.bias):
        nn.init.zeros_(parameter)
    last = "conv_pwl" if expanded else "conv_pw"
    kernel, shift = _fused(getattr(source, last), getattr(source, projection))
    _place(getattr(block, last), kernel, 1 / (SHARPNESS * GATE))
    shifts[getattr(block, projection)] = shift


def _fused(convolution: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Return the kernel and the shift of a convolution together with its BatchNorm."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return convolution.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale


def _place(convolution: nn.Conv2d, kernel: Tensor, scale: float) -> None:
    """Put a kernel into the first channels and the middle of a larger one; these outputs read nothing else."""
    target = convolution.weight
    outputs, inputs, size, _ = kernel.shape
    around, odd = divmod(target.shape[-1] - size, 2)
    if odd or around < 0 or any(a < b for a, b in zip(target.shape, kernel.shape, strict=True)):
        raise ValueError(f"a kernel {tuple(kernel.shape)} does not fit into {tuple(target.shape)}")
    target[:outputs] = 0
    target[:outputs, :inputs, around : around + size, around : around + size] = scale * kernel


def _calibrate(network: Any, shifts: dict[nn.Module, Tensor], images: Tensor) -> None:
    """Set each BatchNorm to the statistics of what reaches it, with the scale and shift that give it back, shifted."""

    def set_norm(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        placed = len(shifts[norm])
        whole = slice(0, placed) if norm.weight.any() else slice(0, 0)  # a block that is the identity stays it
        norm.weight[whole] = (variance + norm.eps).sqrt()[whole]
        norm.bias[whole] = (mean[:placed] + shifts[norm])[whole]

    hooks = [norm.register_forward_pre_hook(set_norm) for norm in shifts]
    network.eval()
    x = network.bn1(network.conv_stem(images))
    for stage in network.blocks:
        x = stage(x)
    for hook in hooks:
        hook.remove()
