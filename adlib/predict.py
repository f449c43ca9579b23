"""Anomaly maps and image scores of a test set."""

from dataclasses import dataclass

import numpy as np
import torch

from adlib.device import autocast, resolve_device, resolve_precision, use_true_fp32
from adlib.images import Images
from adlib.methods.base import Method


@dataclass(frozen=True)
class Prediction:
    """`maps` float32 (N, H, W) and `scores` float32 (N,); higher is worse. Units are the method's own."""

    maps: np.ndarray
    scores: np.ndarray


def predict(
    method: Method, images: Images, *, device: str = "auto", precision: str = "fp32", batch: int = 16
) -> Prediction:
    """Compute the maps and scores of all images; the method stays in eval mode.

    Raises FloatingPointError if a map holds NaN or infinity, naming the first image.
    """
    device = resolve_device(device)
    precision = resolve_precision(precision, device)
    use_true_fp32()
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.eval()
    images = images.to(device)
    maps, scores = [], []
    for index in torch.arange(len(images), device=device).split(batch):
        with torch.inference_mode(), autocast(device, precision):  # the weights moved above can train again
            part = method.anomaly_map(images.normalised(index)).float()
            score = method.score(part)
        maps.append(part.cpu())
        scores.append(score.cpu())
    all_maps = torch.cat(maps).numpy()
    finite = np.isfinite(all_maps).all(axis=(1, 2))
    if not finite.all():
        first = images.table.image.iloc[int(np.argmin(finite))]
        raise FloatingPointError(
            f"the anomaly map of {first} and {int((~finite).sum()) - 1} more is not finite; the training has diverged"
        )
    return Prediction(maps=all_maps, scores=torch.cat(scores).numpy())
