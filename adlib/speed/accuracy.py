"""Does a speed-up cost accuracy: what `results/speed/accuracy.csv` has with and without it, beside what it gives."""

import math

import pandas as pd

METRICS = ["image_auroc", "pixel_auroc", "aupro"]
# Of each variant of `benchmarks/accuracy.py` the variant of `benchmarks/training.py` that measures the same alone.
TRAINING = {
    "teacher not cached": "+ teacher cached",
    "NCHW": "+ channels_last",
    "optimiser not fused": "ours",  # over the step before
    "bf16": "ours, bf16",
}
CASES = {
    "stpm": "stpm",
    "rd": "rd resnet18",
    "reduced_student": "reduced_student paper",
    "destseg": "destseg stage 1",
}
STEPWISE = "+ memory kept"  # a case that has this variant adds one speed-up at a time


def paired(accuracy: pd.DataFrame, training: pd.DataFrame, inference: pd.DataFrame) -> pd.DataFrame:
    """Compare each variant with `ours` of the same method, teacher and seed: a line a method, metric and variant.

    Columns: seeds; mean, difference (mean of variant less `ours`), largest (of their absolute values) and noise (the
    standard deviation of `ours` from seed to seed), in percent points; beyond (the mean difference exceeds the noise);
    gives (how many times as fast the speed-up alone makes training, or one image; NaN where that was not measured).
    """
    values = accuracy.melt(["method", "teacher", "seed", "variant"], METRICS, "metric")
    ours = values[values["variant"] == "ours"].drop(columns="variant")
    both = values.merge(ours, on=["method", "teacher", "seed", "metric"], suffixes=("", "_ours"))
    both["difference"] = both["value"] - both["value_ours"]
    both["size"] = both["difference"].abs()
    found = both.groupby(["method", "metric", "variant"], sort=False).agg(
        seeds=("seed", "size"),
        mean=("value", "mean"),
        difference=("difference", "mean"),
        largest=("size", "max"),
        noise=("value_ours", "std"),
    )
    percent = ["mean", "difference", "largest", "noise"]
    found[percent] *= 100
    gives = [_gives(str(method), str(variant), training, inference) for method, _, variant in found.index]
    return found.assign(beyond=found["difference"].abs() > found["noise"], gives=gives)


def _gives(method: str, variant: str, training: pd.DataFrame, inference: pd.DataFrame) -> float:
    if variant == "fast inference" and len(inference):
        rows = inference[(inference["variant"] == "optimised") & (inference["batch"] == 1)]
        rows = rows[(rows["method"] == method) & (rows["recipe"] == "paper") & (rows["backbone"] == "resnet18")]
        return float(rows["speedup"].iloc[0]) if len(rows) else math.nan
    if variant not in TRAINING or training.empty:
        return math.nan
    case = training[training["case"] == CASES[method]].set_index("variant")["speedup_of_step"]
    alone = variant == "bf16" or STEPWISE in case
    return float(case.get(TRAINING[variant], math.nan)) if alone else math.nan
