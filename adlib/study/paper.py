"""The papers' numbers as printed, by our names: `results/paper/*.csv`, never typed into a cell.

Long tables have the columns `COLUMNS`; other files of the folder are left alone. `aliases.csv`
says which method of ours a printed name means: it depends on the table ('Ours').
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from adlib import metrics
from adlib.datasets import PUBLISHED
from adlib.environment import PROJECT

FOLDER = PROJECT / "results" / "paper"
COLUMNS = ("source", "table", "dataset", "category", "method", "metric", "value")

# The papers by their source: name, and the notebook that has their tables.
PAPERS = {
    "seed000": ("Memory-guided DeSTSeg", "memory_destseg"),
    "seed001": ("MixedTeacher and the reduced student", "mixed_teacher"),
    "seed002": ("MemKD", "memkd"),
    "seed003": ("DSKD", "dskd"),
}
# Printed name -> ours.
PRINTED_DATASETS = {
    "MVTec AD": "mvtec",
    "MVTec AD textures": "mvtec",
    "VisA": "visa",
    "MPDD": "mpdd",
    # As captioned; its values are those of VisA in Table 1(b) of the same paper.
    "MPDD (as captioned)": "visa",
    "MVTec 3D-AD (RGB)": "mvtec3d",
    "Eyecandies (RGB)": "eyecandies",
    "Eyecandies": "eyecandies",
    "BTAD": "btad",
}
# What pseudo-anomalies are made of under the papers' conditions, as a row notes it: where there are any, all of DTD.
ALL_OF_DTD = ("", "DTD, 5640 images")
# Printed name -> (ours, divisor that makes a fraction of it). PRO is the exact AUPRO's neighbour only:
# which variant the paper of MemKD computed is not said, the other one is STPM's own.
PRINTED_METRICS = {
    "image_auroc_pct": ("image_auroc", 100),
    "image_ap_pct": ("image_ap", 100),
    "pixel_auroc_pct": ("pixel_auroc", 100),
    "pixel_ap_pct": ("pixel_ap", 100),
    "pixel_pro_pct": ("aupro", 100),
    "image_auroc_fraction": ("image_auroc", 1),
    "auc_fraction": ("image_auroc", 1),  # of the layers' table: image or pixel is not said
    "pixel_auroc_fraction": ("pixel_auroc", 1),
    "pro_fraction_officialSTFPM": ("stpm_pro", 1),
    "Image-Level AUC": ("image_auroc", 1),
    "Pixel-Level AUC": ("pixel_auroc", 1),
}
PRINTED_MEMORY = "memory_size_M_as_printed"  # no metric: the size of what a method keeps of the training images
# Printed (dataset, category) -> our category. A mean over the textures is no mean over MVTec AD; class '1' counts from
# 0: folder 02; Eyecandies' folders are called CandyCane where tables have candy_cane.
PRINTED_CATEGORIES = {
    **{
        (dataset, re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()): name
        for name in PUBLISHED["eyecandies"]
        for dataset in ("Eyecandies", "Eyecandies (RGB)")
    },
    ("MVTec AD textures", "mean"): "mean_textures",
    ("BTAD", "1 (wood from btad)"): "02",
    ("MPDD (as captioned)", "all"): "mean",
}


def paper(folder: str | Path = FOLDER) -> pd.DataFrame:
    """All long tables as printed: `COLUMNS`, `printed` (the text of `value`), `page`, `file`."""
    tables = []
    for path in sorted(Path(folder).glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if set(COLUMNS) <= set(table.columns):
            tables.append(table.assign(file=path.name))
    if not tables:
        raise FileNotFoundError(f"no table with the columns {list(COLUMNS)} in {folder}")
    numbers = pd.concat(tables, ignore_index=True)
    numbers["printed"] = numbers["value"]
    numbers["value"] = pd.to_numeric(numbers["value"])
    page = numbers["page"].fillna("") if "page" in numbers else ""
    return numbers.assign(page=page)[[*COLUMNS, "printed", "page", "file"]]


def aliases() -> pd.DataFrame:
    """Which method of ours a printed name means, by source and table: source, table, paper_method, method, note."""
    return pd.read_csv(FOLDER / "aliases.csv", dtype=str, keep_default_na=False)


def paper_numbers(dataset: str | None = None, category: str | None = None, method: str | None = None) -> pd.DataFrame:
    """Printed numbers of our methods by our names, as fractions; None takes all.

    Columns source, table, dataset, category ('mean', 'mean_textures' for printed means), method,
    metric, value, printed, paper_method, note. What has no name here (other methods, frames a
    second) stands in `paper` only. No match is an empty table.
    """
    numbers = paper()
    numbers = numbers.rename(columns={"method": "paper_method"})
    numbers = numbers.merge(aliases(), on=["source", "table", "paper_method"], how="inner", validate="many_to_one")
    known = numbers["dataset"].isin(list(PRINTED_DATASETS)) & numbers["metric"].isin(list(PRINTED_METRICS))
    numbers = numbers[known].copy()
    pairs = zip(numbers["dataset"], numbers["category"], strict=True)
    numbers["category"] = [PRINTED_CATEGORIES.get(pair, pair[1]) for pair in pairs]
    numbers["dataset"] = numbers["dataset"].map(PRINTED_DATASETS)
    numbers["value"] /= numbers["metric"].map(lambda name: PRINTED_METRICS[name][1])
    numbers["metric"] = numbers["metric"].map(lambda name: PRINTED_METRICS[name][0])
    for column, wanted in (("dataset", dataset), ("category", category), ("method", method)):
        if wanted is not None:
            numbers = numbers[numbers[column] == wanted]
    columns = ["source", "table", "dataset", "category", "method", "metric", "value", "printed"]
    return numbers[[*columns, "paper_method", "note"]].reset_index(drop=True)


def departures(
    teacher: str, scale: str, recipe: str, overrides: str, precision: str = "fp32", textures: str = ""
) -> str:
    """Say in what a run differs from the papers' conditions, `overrides` in these words; empty where it does not."""
    parts = [f"teacher {teacher}"] if teacher != "imagenet" else []
    parts += [f"{scale} scale"] if scale != "full" else []
    parts += [f"recipe {recipe}"] if recipe != "paper" else []
    parts += [precision] if precision != "fp32" else []
    parts += [f"pseudo-anomalies of {textures}"] if textures not in ALL_OF_DTD else []
    return ", ".join([*parts, overrides] if overrides else parts)


def beside(row: Mapping[str, Any]) -> pd.DataFrame:
    """Set a row's metrics beside every printed number for its method and category, in percent.

    `difference` is ours less the printed; `unlike the paper` names the conditions of the row that are not the papers'
    (ImageNet teacher, full scale, recipe paper, fp32, all of DTD, no override). A metric that no paper prints has the
    words 'none printed'.
    """
    printed = paper_numbers(row["dataset"], row["category"], row["method"])
    differs = departures(
        row["teacher"],
        row["scale"],
        row["recipe"],
        "overrides" if row["overrides"] else "",
        row["precision"],
        row["notes"].get("textures", ""),
    )
    lines = []
    for metric in (*metrics.METRICS, *row["legacy"]):
        ours = 100 * row["legacy"].get(metric, row.get(metric, math.nan))
        found = printed[printed["metric"] == metric]
        for _, number in found.iterrows():
            value = 100 * number["value"]
            source = f"{number['source']}, {number['table']}, {number['paper_method']}"
            lines.append((metric, ours, value, source, ours - value, differs))
        if found.empty:
            lines.append((metric, ours, math.nan, "none printed", math.nan, ""))
    columns = ["metric", "ours", "paper", "printed in", "difference", "unlike the paper"]
    return pd.DataFrame(lines, columns=columns).set_index("metric")


def names_in(text: str) -> list[str]:
    """Split a cell that names several things: at commas outside brackets, which are not nested."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]
