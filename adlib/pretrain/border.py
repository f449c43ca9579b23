"""How a network sees the border of its view: a pattern without a border should look there as it does inside."""

import torch
from torch import Tensor

from adlib import datasets, images


def borderless(count: int = 16) -> Tensor:
    """Return good images of a pattern without a border, the generated fabric `canvas`: normalised (count, 3, h, w)."""
    fabric = datasets.load("synthetic", "canvas").query("split == 'train'").head(count)
    return images.load(fabric).normalised(torch.arange(len(fabric)))


def border_distance(maps: Tensor) -> dict[str, float]:
    """Return for each edge the cosine distance of the mean feature of its outermost cells to that of the inner half.

    `maps` is (B, C, h, w) with h, w >= 4, of images whose pattern is the same everywhere; each cell counts as a vector
    of length 1.
    """
    cells = torch.nn.functional.normalize(maps.float(), dim=1)
    high, wide = cells.shape[-2] // 4, cells.shape[-1] // 4
    inside = cells[..., high:-high, wide:-wide].mean((0, 2, 3))
    edges = {"left": cells[..., 0], "right": cells[..., -1], "top": cells[..., 0, :], "bottom": cells[..., -1, :]}
    return {edge: 1 - float(torch.cosine_similarity(part.mean((0, 2)), inside, dim=0)) for edge, part in edges.items()}
