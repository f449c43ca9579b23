"""The networks of reverse distillation, which RD, MemKD and DSKD share: the one-class bottleneck and the decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from adlib.layers import conv_bn, kaiming_fan_out, residual_stage

# Channels over inner width of a block (0: basic blocks) and blocks of layer1..layer4, by backbone.
_RESNETS = {
    "resnet18": (0, (2, 2, 2, 2)),
    "resnet34": (0, (3, 4, 6, 3)),
    "resnet50": (4, (3, 4, 6, 3)),
    "wide_resnet50_2": (2, (3, 4, 6, 3)),
}


def check_sides(images: Tensor) -> None:
    """Raise ValueError for images (N, 3, H, W) on which halving and doubling would not meet again."""
    if images.shape[-2] % 32 or images.shape[-1] % 32:
        raise ValueError(f"reverse distillation needs images of sides divisible by 32, got {tuple(images.shape[-2:])}")


def _resnet(backbone: str) -> tuple[list[int], int, tuple[int, ...]]:
    """Return the channels of layer1..layer4, the squeeze and the blocks of a ResNet."""
    if backbone not in _RESNETS:
        raise ValueError(f"no reverse distillation for backbone {backbone!r}; known: {', '.join(_RESNETS)}")
    squeeze, blocks = _RESNETS[backbone]
    return [(256 if squeeze else 64) * 2**level for level in range(4)], squeeze, blocks


class OneClassBottleneck(nn.Module):
    """RD's OCBE: fuses the maps of layer1..layer3 of a ResNet (MFF) and embeds them in layer4's shape (OCE).

    ResNet-18: (N, 64, H/4, W/4), (N, 128, H/8, W/8), (N, 256, H/16, W/16) -> (N, 512, H/32, W/32); four times the
    channels for ResNet-50 and Wide ResNet-50-2. H and W are multiples of 32. 11,680,000 parameters for ResNet-18,
    58,885,120 for Wide ResNet-50-2.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        (fine, middle, coarse, deepest), squeeze, blocks = _resnet(backbone)
        self.fine = nn.Sequential(
            *conv_bn(fine, middle, 3, "down"), nn.ReLU(), *conv_bn(middle, coarse, 3, "down"), nn.ReLU()
        )
        self.middle = nn.Sequential(*conv_bn(middle, coarse, 3, "down"), nn.ReLU())
        self.embed = residual_stage(3 * coarse, deepest, blocks[3], "down", squeeze)
        kaiming_fan_out(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Embed three maps, finest first."""
        fine, middle, coarse = features
        return self.embed(torch.cat([self.fine(fine), self.middle(middle), coarse], dim=1))


class ReverseDecoder(nn.Module):
    """RD's student: a ResNet run backwards, every stage doubling the size by 2x2 transposed convolutions.

    ResNet-18: (N, 512, h, w) -> `stages` give (N, 256, 2h, 2w), (N, 128, 4h, 4w), (N, 64, 8h, 8w). Stages `doubled`
    take twice the channels, e.g. a map and what a memory recalls for it. 3,703,168 parameters for ResNet-18,
    24,917,504 for Wide ResNet-50-2.
    """

    def __init__(self, backbone: str, doubled: Sequence[bool] = (False, False, False)) -> None:
        super().__init__()
        channels, squeeze, blocks = _resnet(backbone)
        self.widths = list(reversed(channels))  # of the input and of each stage's output
        # Block counts in decoding order, not mirrored: Wide ResNet-50-2 has 3, 4, 6, as in the authors' code.
        self.stages = nn.ModuleList(
            residual_stage((1 + twice) * a, b, count, "up", squeeze)
            for (a, b), count, twice in zip(pairwise(self.widths), blocks[:3], doubled, strict=True)
        )
        kaiming_fan_out(self)  # transposed convolutions keep PyTorch's default, as in the authors' code

    def forward(self, x: Tensor) -> list[Tensor]:
        """Decode; return one map a stage, finest first, to pair with layer1..layer3."""
        outputs: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            outputs.insert(0, x)
        return outputs
