"""The networks of reverse distillation, which RD, MemKD and DSKD share: the one-class bottleneck and the decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.layers import kaiming_fan_out

# Channels over inner width of a block (0: basic blocks) and blocks of layer1..layer4, by backbone.
_RESNETS = {
    "resnet18": (0, (2, 2, 2, 2)),
    "resnet34": (0, (3, 4, 6, 3)),
    "resnet50": (4, (3, 4, 6, 3)),
    "wide_resnet50_2": (2, (3, 4, 6, 3)),
}


def _resnet(backbone: str) -> tuple[list[int], int, tuple[int, ...]]:
    """Return the channels of layer1..layer4, the squeeze and the blocks of a ResNet."""
    if backbone not in _RESNETS:
        raise ValueError(f"no reverse distillation for backbone {backbone!r}; known: {', '.join(_RESNETS)}")
    squeeze, blocks = _RESNETS[backbone]
    return [(256 if squeeze else 64) * 2**level for level in range(4)], squeeze, blocks


def _conv_bn(channels_in: int, channels_out: int, kernel: int, change: str = "same") -> list[nn.Module]:
    """Convolve and normalise; 'down' halves the size by stride 2, 'up' doubles it by a 2x2 transposed convolution."""
    if change == "up":
        conv: nn.Module = nn.ConvTranspose2d(channels_in, channels_out, 2, 2, bias=False)
    else:
        stride = 2 if change == "down" else 1
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(channels_out)]


class ResidualBlock(nn.Module):
    """A ResNet block that keeps, halves or doubles its input's size: `change` is 'same', 'down' or 'up'.

    With `squeeze` 0 a basic block (two 3x3 convolutions, the first one changes the size), else a bottleneck (1x1, 3x3,
    1x1, the second one changes the size) of inner width `channels_out / squeeze`.
    """

    def __init__(self, channels_in: int, channels_out: int, squeeze: int, change: str = "same") -> None:
        super().__init__()
        if squeeze:
            inner = channels_out // squeeze
            layers = [*_conv_bn(channels_in, inner, 1), nn.ReLU(), *_conv_bn(inner, inner, 3, change)]
            last = _conv_bn(inner, channels_out, 1)
        else:
            layers, last = _conv_bn(channels_in, channels_out, 3, change), _conv_bn(channels_out, channels_out, 3)
        self.body = nn.Sequential(*layers, nn.ReLU(), *last)
        same = change == "same" and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv_bn(channels_in, channels_out, 1, change))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H', W')."""
        return F.relu(self.body(x) + self.shortcut(x))


def _residual_stage(channels_in: int, channels_out: int, squeeze: int, blocks: int, change: str) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels_out, squeeze, change)
    return nn.Sequential(first, *(ResidualBlock(channels_out, channels_out, squeeze) for _ in range(blocks - 1)))


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
            *_conv_bn(fine, middle, 3, "down"), nn.ReLU(), *_conv_bn(middle, coarse, 3, "down"), nn.ReLU()
        )
        self.middle = nn.Sequential(*_conv_bn(middle, coarse, 3, "down"), nn.ReLU())
        self.embed = _residual_stage(3 * coarse, deepest, squeeze, blocks[3], "down")
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
            _residual_stage((1 + twice) * a, b, squeeze, count, "up")
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
