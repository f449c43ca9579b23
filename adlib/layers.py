"""Blocks and formulas that more than one method uses."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit(features: Tensor) -> Tensor:
    """Scale every pixel's channel vector of (N, C, H, W) to length 1, in fp32 whatever the network ran in."""
    return F.normalize(features.float(), dim=1)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Compute 1 - cos of the channel vectors of two (N, C, H, W) maps, pixel by pixel: (N, H, W) in [0, 2]."""
    a, b = a.float(), b.float()
    lengths = [torch.linalg.vector_norm(x, dim=1).clamp_min(1e-12) for x in (a, b)]
    return 1 - (a * b).sum(dim=1) / (lengths[0] * lengths[1])  # no copy of a or b is made, unlike by unit()


def flat_cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Compute 1 - cos of two maps (N, C, H, W), each image's map flattened to one vector: (N,) in [0, 2]."""
    a, b, whole = a.float(), b.float(), (1, 2, 3)
    lengths = torch.linalg.vector_norm(a, dim=whole) * torch.linalg.vector_norm(b, dim=whole)
    return 1 - (a * b).sum(dim=whole) / lengths.clamp_min(1e-12)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Compute the squared distance of unit channel vectors, pixel by pixel: (N, H, W), twice the cosine distance.

    Unlike 2 - 2 cos it is exact for vectors that are nearly equal. A vector of length 0 stays 0.
    """
    return _SquaredDistance.apply(a, b)


class _SquaredDistance(torch.autograd.Function):
    """`squared_distance` with its gradient in closed form.

    Autograd would hold both unit vectors and their difference, and pass over them again for each step of the formula:
    of a shallow network's training that is a third.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.float(), b.float()
        lengths = [torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12) for x in (a, b)]
        distance = (a / lengths[0]).sub_(b / lengths[1]).square_().sum(dim=1)
        ctx.save_for_backward(a, b, *lengths, distance)
        return distance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b, length_a, length_b, distance = ctx.saved_tensors
        twice = 2 * gradient.unsqueeze(1)
        known = (length_a > 1e-12) & (length_b > 1e-12)  # beside a vector of length 0 the distance says nothing of it
        cosines = (1 - distance.unsqueeze(1) / 2) * known
        sides = ((a, b, length_a, length_b), (b, a, length_b, length_a))
        # d |a/|a| - b/|b||^2 / d a = 2 (cos a/|a| - b/|b|) / |a|
        both = [
            (own * (twice * cosines / length.square())).addcmul_(other, twice / (length * of_other), value=-1)
            if needed
            else None
            for (own, other, length, of_other), needed in zip(sides, ctx.needs_input_grad, strict=True)
        ]
        return both[0], both[1]


def resize(maps: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize maps (N, H, W) or features (N, C, H, W) bilinearly, without antialiasing."""
    squeeze = maps.dim() == 3
    four = maps.unsqueeze(1) if squeeze else maps
    out = F.interpolate(four, size=tuple(size), mode="bilinear", align_corners=align_corners)
    return out.squeeze(1) if squeeze else out


def fuse_levels(
    distances: Sequence[Tensor], size: Sequence[int], fusion: str = "sum", align_corners: bool = False
) -> Tensor:
    """Resize the levels' distances (N, h_l, w_l) to `size` and take their 'sum' or 'product': (N, H, W)."""
    levels = torch.stack([resize(d, size, align_corners) for d in distances])
    return levels.sum(dim=0) if fusion == "sum" else levels.prod(dim=0)


def top_mean(maps: Tensor, count: int) -> Tensor:
    """Average the `count` largest pixels of each map (N, H, W): (N,)."""
    flat = maps.flatten(1)
    return flat.topk(min(count, flat.shape[1]), dim=1).values.mean(dim=1)


def kaiming_fan_out(module: nn.Module) -> nn.Module:
    """Initialise convolutions Kaiming-normal (fan out, ReLU) and BatchNorm 1 / 0, as torchvision's ResNets."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    return module


def conv_bn(channels_in: int, channels_out: int, kernel: int, change: str = "same") -> list[nn.Module]:
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
    1x1, the second one changes the size) of inner width `channels_out / squeeze`. The shortcut is the identity where
    neither size nor channels change.
    """

    def __init__(self, channels_in: int, channels_out: int, change: str = "same", squeeze: int = 0) -> None:
        super().__init__()
        if squeeze:
            inner = channels_out // squeeze
            layers = [*conv_bn(channels_in, inner, 1), nn.ReLU(inplace=True), *conv_bn(inner, inner, 3, change)]
            last = conv_bn(inner, channels_out, 1)
        else:
            layers, last = conv_bn(channels_in, channels_out, 3, change), conv_bn(channels_out, channels_out, 3)
        self.body = nn.Sequential(*layers, nn.ReLU(inplace=True), *last)
        same = change == "same" and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(channels_in, channels_out, 1, change))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H', W')."""
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


def residual_stage(
    channels_in: int, channels_out: int, blocks: int = 2, change: str = "same", squeeze: int = 0
) -> nn.Sequential:
    """Stack residual blocks, the first one changing channels and size."""
    first = ResidualBlock(channels_in, channels_out, change, squeeze)
    return nn.Sequential(
        first, *(ResidualBlock(channels_out, channels_out, squeeze=squeeze) for _ in range(blocks - 1))
    )


def smooth(maps: Tensor, sigma: float, rows_only: bool = False) -> Tensor:
    """Blur maps (N, H, W) with a Gaussian, in fp32: the same numbers as `scipy.ndimage.gaussian_filter` map by map.

    `sigma` in pixels, the kernel cut at four sigmas; beyond the border the map goes on mirrored, its edge pixel
    repeated (scipy's 'reflect'). `rows_only` blurs each row along its width, but no column. Sigma 0 changes nothing.
    """
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return maps
    with torch.autocast(maps.device.type, enabled=False):
        height, width = maps.shape[-2:]
        rows = maps.float() @ _gaussian(width, sigma, radius, maps.device).T
        return rows if rows_only else _gaussian(height, sigma, radius, maps.device) @ rows


def _gaussian(size: int, sigma: float, radius: int, device: torch.device) -> Tensor:
    """Write the mirrored Gaussian filter of `size` pixels as a matrix: convolving one channel is far slower."""
    offsets = torch.arange(-radius, radius + 1, device=device)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    source = (torch.arange(size, device=device)[:, None] + offsets) % (2 * size)
    source = torch.minimum(source, 2 * size - 1 - source)
    matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
    return matrix.scatter_add_(1, source, (kernel / kernel.sum()).expand(size, -1)).float()


def cosine_weights(queries: Tensor, items: Tensor, temperature: float = 1.0) -> Tensor:
    """Address a memory: softmax over the items of cos(query, item) / temperature, in fp32.

    Queries (N, C, H, W), items (L, C) -> weights (N, H, W, L), of sum 1 over the last dimension.
    """
    cosines = _product(unit(queries).permute(0, 2, 3, 1), unit(items).T)
    return torch.softmax(cosines / temperature, dim=-1)


def read_memory(weights: Tensor, items: Tensor) -> Tensor:
    """Sum the items (L, C) by weights (N, H, W, L): (N, C, H, W), in fp32."""
    return _product(weights, items).permute(0, 3, 1, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices in fp32, also where the networks run in bf16."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


class NRMemory(nn.Module):
    """MemKD's normality recall memory: L pairs of a key and a value in R^C, both learned (MemKD, Eqs. 5 to 10)."""

    def __init__(self, items: int, channels: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(items, channels))
        self.values = nn.Parameter(torch.randn(items, channels))
        self.temperature = temperature

    def forward(self, queries: Tensor) -> Tensor:
        """Recall (Eq. 5, 6): the values, weighted by how near their keys are to each pixel of (N, C, H, W)."""
        return read_memory(cosine_weights(queries, self.keys, self.temperature), self.values)

    def orthogonality(self, form: str = "signed") -> Tensor:
        """L_orth (Eq. 7): mean over all pairs of cos(key, value), or of its absolute value ('abs') or 'square'."""
        cosines = _product(unit(self.keys), unit(self.values).T)
        return {"signed": cosines, "abs": cosines.abs(), "square": cosines.square()}[form].mean()

    def memorisation(self, features: Tensor, form: str = "mse") -> Tensor:
        """L_NM (Eqs. 8 to 10): error of rebuilding normal features (N, C, H, W) from the values they address.

        'mse': mean over images, pixels and channels. 'literal': summed over pixels and channels, mean over images, as
        printed. 'normalised': 1/2 squared distance of unit vectors, mean over pixels, summed over images. The keys take
        no part.
        """
        features = features.float()
        rebuilt = read_memory(cosine_weights(features, self.values, self.temperature), self.values)
        if form == "normalised":
            return 0.5 * squared_distance(features, rebuilt).mean(dim=(1, 2)).sum()
        errors = (features - rebuilt).square()
        return errors.mean() if form == "mse" else errors.sum() / len(features)


class Memory(nn.Module):
    """A matrix of items that features are addressed by and rebuilt from, as in MemAE: (N, C, H, W) -> the same shape.

    Each pixel becomes a convex combination of the items: softmax of its cosines with them, or its dot products; then,
    with `shrink` > 0, weights up to it become 0 and the rest, if any is left, again sums to 1. In fp32 whatever the
    network runs in.

    Raises ValueError for a `shrink` that would leave next to no weight of so many items addressed by cosine: softmax
    of cosines is nearly uniform.
    """

    def __init__(self, items: int, channels: int, addressing: str = "cosine", shrink: float = 0.0) -> None:
        super().__init__()
        if addressing not in ("cosine", "dot"):
            raise ValueError(f"addressing must be 'cosine' or 'dot', got {addressing!r}")
        if addressing == "cosine" and items * shrink >= 1:
            raise ValueError(
                f"shrink {shrink} removes what does not exceed it, and {items} items addressed by cosine have weights "
                f"of about {1 / items:.2g}: take fewer items than {1 / shrink:.0f}, a smaller shrink, or dot products"
            )
        self.addressing, self.shrink = addressing, shrink
        bound = channels**-0.5
        self.items = nn.Parameter(torch.empty(items, channels).uniform_(-bound, bound))

    def weights(self, queries: Tensor, items: Tensor) -> Tensor:
        """Address (..., C) queries: weights over the items, (..., L), that sum to 1, or to 0 where none is left."""
        if self.addressing == "cosine":
            queries, items = F.normalize(queries, dim=-1), F.normalize(items, dim=-1)
        weights = (queries @ items.T).softmax(dim=-1)
        if self.shrink:
            over = weights - self.shrink
            weights = F.normalize(F.relu(over) * weights / (over.abs() + 1e-12), p=1, dim=-1)
        return weights

    def forward(self, x: Tensor, addressing_trains: bool = True, values_train: bool = True) -> Tensor:
        """Rebuild features; the flags say through which use of the items gradients reach them."""
        with torch.autocast(x.device.type, enabled=False):
            keys = self.items if addressing_trains else self.items.detach()
            values = self.items if values_train else self.items.detach()
            queries = x.float().permute(0, 2, 3, 1)
            return (self.weights(queries, keys) @ values).permute(0, 3, 1, 2)


class CoordinateAttention(nn.Module):
    """Gates from the means of rows and of columns (Hou et al., CVPR 2021): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int = 32, least: int = 8) -> None:
        super().__init__()
        width = max(least, channels // reduction)
        self.squeeze = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.Hardswish())
        self.rows = nn.Conv2d(width, channels, 1)
        self.columns = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the gates of each pixel's row and column."""
        by_row, by_column = x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True)
        y = self.squeeze(torch.cat([by_row, by_column.transpose(2, 3)], dim=2))
        rows, columns = y.split([x.shape[2], x.shape[3]], dim=2)
        return x * self.rows(rows).sigmoid() * self.columns(columns.transpose(2, 3)).sigmoid()


class SqueezeExcitation(nn.Module):
    """Gates from the mean of each channel (Hu et al., CVPR 2018): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every channel by its gate."""
        return x * self.gate(x.mean(dim=(2, 3)))[:, :, None, None]
