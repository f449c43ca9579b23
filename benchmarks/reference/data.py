"""What the authors' loaders do for one sample, with PIL and numpy, on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
SIZE = 256


def decode(path: Path) -> Image.Image:
    """Decode a file and resize it to 256 x 256, bilinear."""
    return Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def tensor(pixels: np.ndarray) -> Tensor:
    """Normalise an image (H, W, 3) in [0, 1] by ImageNet's statistics: (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)))


class Files(torch.utils.data.Dataset[Tensor]):
    """Images that are decoded each time they are drawn."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        return tensor(np.asarray(decode(self.paths[number]), dtype=np.float32) / 255)
