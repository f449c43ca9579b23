"""Seconds and peak memory of the metrics on an average MVTec AD test set: ours beside scikit-learn's, one thread.

    python benchmarks/metrics.py [--out FILE] [--smoke] [--legacy]

115 float32 maps with 147 regions, at 256 x 256 and at 1024 x 1024. The implementations take turns on the small maps; on
the large ones `evaluate` runs alone. `longer` is how many times as long as all seven of ours together one takes, the
median over turns with its 10 and 90 % quantiles. Peak memory is that of a process of its own: `extra_mib` is what the
evaluation adds to a process that holds the maps and the masks. `--legacy` adds the papers' own variants, in minutes.
About one minute without.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any

# Before numpy is imported, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from common import in_own_process, parse_options
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from adlib import legacy_metrics, metrics, speed
from adlib.environment import peak_memory

SIZE = 256
ALL = "evaluate (all seven)"


def smooth_maps(scale: int = 1, count: int = 115, regions: int = 147, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise with a bump on each disc of the masks, at `scale` times 256 x 256; image by image, to hold little.

    The discs lie in the last 72 % of the images, two in one image in opposite halves, so that they stay two.
    """
    random = np.random.default_rng(seed)
    maps = np.empty((count, SIZE * scale, SIZE * scale), np.float32)
    masks = np.zeros(maps.shape, bool)
    first = count - round(0.72 * count)
    rows, columns = np.ogrid[:SIZE, :SIZE]
    for image in range(count):
        mask = np.zeros((SIZE, SIZE), bool)
        for region in range(image - first, regions, count - first) if image >= first else ():
            half = region // (count - first) % 2
            y, x, radius = *random.integers((40, 40), (216, 88)), random.integers(8, 36)
            mask |= (rows - y) ** 2 + (columns - x - 128 * half) ** 2 < radius**2
        noise = ndimage.gaussian_filter(random.normal(size=mask.shape), 4) * 14
        small = noise + 1.5 * ndimage.gaussian_filter(mask.astype(float), 6)
        maps[image] = small.repeat(scale, axis=0).repeat(scale, axis=1)
        if scale > 1:  # no ties that full resolution would not have
            maps[image] += random.random(maps[image].shape, dtype=np.float32) * np.float32(0.01)
        masks[image] = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    return maps, masks


def measure(scale: int, count: int, repeats: int) -> dict[str, Any]:
    """Time `evaluate`, and measure what it adds to the memory of this process."""
    maps, masks = smooth_maps(scale, count)
    labels, scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))
    before = peak_memory()
    timing = speed.timed(lambda: metrics.evaluate(maps, masks, scores, labels), repeats, warmup=min(1, repeats - 1))
    peak = peak_memory()
    value, _ = metrics.evaluate(maps, masks, scores, labels)
    return {
        "implementation": "evaluate, alone",
        "maps": count,
        "size": SIZE * scale,
        "input_mib": (maps.nbytes + masks.nbytes) / 2**20,
        "peak_mib": peak,
        "extra_mib": peak - before,
        "seconds": timing.p50,
        "p95": timing.p95,
        "value": value["aupro"],
    }


def calls(maps: np.ndarray, masks: np.ndarray, legacy: bool) -> Mapping[str, Callable[[], float]]:
    """Name what is compared; each call returns the value that it computes last."""
    labels, scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))
    found: dict[str, Callable[[], float]] = {
        ALL: lambda: metrics.evaluate(maps, masks, scores, labels)[0]["aupro"],
        "aupro": lambda: metrics.aupro(maps, masks),
        "pixel auroc": lambda: metrics.pixel_auroc(maps, masks),
        "pixel ap": lambda: metrics.pixel_ap(maps, masks),
        "iap": lambda: metrics.iap(maps, masks),
        "scikit-learn pixel auroc": lambda: float(roc_auc_score(masks.ravel(), maps.ravel())),
        "scikit-learn pixel ap": lambda: float(average_precision_score(masks.ravel(), maps.ravel())),
    }
    if legacy:
        for metric in (legacy_metrics.rd_pro, legacy_metrics.stpm_pro, legacy_metrics.destseg_pro):
            found[metric.__name__] = lambda metric=metric: metric(maps, masks)
    return found


def main() -> None:
    """Write one row an implementation and one a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="16 maps, one repetition")
    parser.add_argument("--legacy", action="store_true", help="time the papers' variants too")
    options = parse_options(parser, "metrics")
    count, repeats = (16, 1) if options.smoke else (115, 5)
    # First the memory, while this process is small; no thread count reaches a number that is counted on one core.
    rows = [in_own_process(measure, scale, count, 1 if scale > 1 else repeats) for scale in (1, 4)]
    maps, masks = smooth_maps(1, count)
    compared = calls(maps, masks, options.legacy)
    timings = speed.alternating(compared, repeats, warmup=min(1, repeats - 1))
    for name, timing in timings.items():
        ratio = speed.speedup(timing, timings[ALL])
        rows.append(
            {
                "implementation": name,
                "maps": count,
                "size": SIZE,
                "seconds": timing.p50,
                "p95": timing.p95,
                "value": compared[name](),
                **{key.replace("speedup", "longer"): value for key, value in ratio.items()},
            }
        )
    place = {**speed.conditions(), "threads": 1}
    speed.write([{**row, "regions": metrics.count_regions(masks), **place} for row in rows], options.out)
    for row in rows:
        print(
            f"{row['implementation']:26s} {row['size']:5d} {row['seconds']:8.3f} s  {row.get('extra_mib', 0):6.0f} MiB"
        )


if __name__ == "__main__":
    main()
