"""Seconds of the pixel metrics on an average MVTec AD test set: ours beside scikit-learn.

115 maps of 256 x 256 with about 147 regions, float32, one thread; median of `--repeats`. Prints
CSV. Run: `python benchmarks/metrics.py [--repeats 5] [--legacy]`.
"""

import argparse
import os
import statistics
import time

# Before numpy is imported, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from adlib import legacy_metrics, metrics

IMAGES, REGIONS, SIZE = 115, 147, 256


def smooth_maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise with a bump on each of 147 discs, spread over the last 83 images."""
    random = np.random.default_rng(seed)
    masks = np.zeros((IMAGES, SIZE, SIZE), dtype=bool)
    rows, columns = np.ogrid[:SIZE, :SIZE]
    for region in range(REGIONS):
        # Two regions of one image lie in opposite halves, so that they stay two.
        image, half = 32 + region % 83, region // 83
        y, x, radius = *random.integers((40, 40), (216, 88)), random.integers(8, 36)
        masks[image] |= (rows - y) ** 2 + (columns - x - 128 * half) ** 2 < radius**2
    noise = ndimage.gaussian_filter(random.normal(size=masks.shape), (0, 4, 4)) * 14
    bumps = ndimage.gaussian_filter(masks.astype(float), (0, 6, 6))
    return (noise + 1.5 * bumps).astype(np.float32), masks


def main() -> None:
    """Print one CSV line an implementation: name, median seconds, value."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--legacy", action="store_true", help="time the papers' variants too")
    arguments = parser.parse_args()
    maps, masks = smooth_maps()
    labels, scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))

    def both() -> float:
        # The two that every study reports, sharing the one sort.
        pixels = metrics.split_pixels(maps, masks)
        metrics._auroc(pixels)
        return metrics._aupro(pixels, 0.3)

    timed = {
        "aupro + pixel auroc": both,
        "aupro": lambda: metrics.aupro(maps, masks),
        "pixel auroc": lambda: metrics.pixel_auroc(maps, masks),
        "all seven (evaluate)": lambda: metrics.evaluate(maps, masks, scores, labels)[0]["aupro"],
        "scikit-learn pixel auroc": lambda: roc_auc_score(masks.ravel(), maps.ravel()),
        "scikit-learn pixel ap": lambda: average_precision_score(masks.ravel(), maps.ravel()),
    }
    if arguments.legacy:
        for metric in (legacy_metrics.rd_pro, legacy_metrics.stpm_pro, legacy_metrics.destseg_pro):
            timed[metric.__name__] = lambda metric=metric: metric(maps, masks)
    print(
        f"# {IMAGES} maps of {SIZE} x {SIZE}, {metrics.split_pixels(maps, masks).region.max() + 1}"
        f" regions, {masks.mean():.1%} defect pixels, median of {arguments.repeats}, one thread"
    )
    print("implementation,seconds,value")
    for name, run in timed.items():
        seconds = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            value = run()
            seconds.append(time.perf_counter() - start)
        print(f"{name},{statistics.median(seconds):.3f},{value:.6f}", flush=True)


if __name__ == "__main__":
    main()
