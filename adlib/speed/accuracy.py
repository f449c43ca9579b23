"""Does a speed-up cost accuracy: what `results/speed/accuracy.csv` has with and without it, beside what it gives."""

import math

import pandas as pd
from scipy import stats

METRICS = ["image_auroc", "pixel_auroc", "aupro"]
# Of each variant of `benchmarks/accuracy.py` the variant of `benchmarks/training.py` that measures the same alone.
TRAINING = {
    "teacher not cached": "+ teacher cached",
    "NCHW": "+ channels_last",
    "optimiser not fused": "ours",  # over the step before
    "bf16": "ours, bf16",
    "compiled": "ours, compiled",
}
# Of each whole method the one that `benchmarks/inference.py` measures: DeSTSeg's first stage is not one.
WHOLE = {
    "stpm": "stpm",
    "rd resnet18": "rd",
    "reduced_student paper": "reduced_student",
    "destseg stage 2": "destseg",
}
FEW = 3  # runs without which a mean difference has no interval
STEPWISE = "+ memory kept"  # a case that has this variant adds one speed-up at a time


def paired(accuracy: pd.DataFrame, training: pd.DataFrame, inference: pd.DataFrame) -> pd.DataFrame:
    """Compare each variant with `ours` of the same case, teacher, seed and device: a line a case, metric and variant.

    Another processor rounds otherwise, and a training goes another way by that alone.

    Columns: runs, of `seeds` different seeds; mean, and `ours`, that of the same runs; difference (mean of variant less
    `ours`), low and high (its 95 % interval over runs, Student's t; NaN of fewer than three, or where none differs),
    largest (of their absolute values) and noise (the standard deviation of `ours` from run to run, of one teacher on
    one device), in percent points; beyond (the mean difference exceeds the noise); gives (how many times as fast the
    speed-up alone makes training, or one image; NaN where that was not measured).
    """
    same = ["case", "teacher", "seed", "device"]
    values = accuracy.melt([*same, "variant"], METRICS, "metric")
    ours = values[values["variant"] == "ours"].drop(columns="variant")
    both = values.merge(ours, on=[*same, "metric"], suffixes=("", "_ours"))
    both["difference"] = both["value"] - both["value_ours"]
    both["size"] = both["difference"].abs()
    found = both.groupby(["case", "metric", "variant"], sort=False).agg(
        runs=("seed", "size"),
        seeds=("seed", "nunique"),
        mean=("value", "mean"),
        ours=("value_ours", "mean"),
        difference=("difference", "mean"),
        spread=("difference", "std"),
        largest=("size", "max"),
    )
    # Teachers and processors differ by more than seeds do, so each pair of them has a mean of its own.
    alike = ["case", "metric", "variant", "teacher", "device"]
    each = both.groupby(alike)["value_ours"].agg(["var", "size"])
    free = each["size"] - 1
    pooled = pd.DataFrame({"squares": each["var"] * free, "free": free}).groupby(alike[:3]).sum()
    found["noise"] = (pooled["squares"] / pooled["free"]) ** 0.5
    width = found.pop("spread") / found["runs"] ** 0.5 * stats.t.ppf(0.975, found["runs"] - 1)
    width = width.where((found["runs"] >= FEW) & (width > 0))
    found.insert(5, "low", found["difference"] - width)
    found.insert(6, "high", found["difference"] + width)
    percent = ["mean", "ours", "difference", "low", "high", "largest", "noise"]
    found[percent] *= 100
    gives = [_gives(str(case), str(variant), training, inference) for case, _, variant in found.index]
    return found.assign(beyond=found["difference"].abs() > found["noise"], gives=gives)


def _gives(case: str, variant: str, training: pd.DataFrame, inference: pd.DataFrame) -> float:
    if variant == "fast inference" and len(inference):
        rows = inference[(inference["method"] == WHOLE.get(case)) & (inference["recipe"] == "paper")]
        rows = rows[(rows["backbone"] == "resnet18") & (rows["batch"] == 1)]
        times = {str(line["variant"]): float(line["speedup"]) for line in rows.to_dict("records")}
        # Over what `adlib.predict` does without: the modules as they are, channels last.
        return times.get("optimised", math.nan) / times.get("channels_last", math.nan)
    if variant not in TRAINING or training.empty:
        return math.nan
    steps = training[training["case"] == case].set_index("variant")["speedup_of_step"]
    alone = variant in ("bf16", "compiled") or STEPWISE in steps
    return float(steps.get(TRAINING[variant], math.nan)) if alone else math.nan
