"""Which rows are compared with which: those of a method and a baseline that agree in all else, and how they differ.

A row belongs to a method or one of its variants (`adlib.study.variants`); what it was trained under is worded for a
line of `adlib.study.claims`.
"""

from typing import Any

import pandas as pd

from adlib.methods import METHODS
from adlib.study.claims.scope import counted
from adlib.study.claims.verdicts import rule_of
from adlib.study.filters import origins, places
from adlib.study.intervals import ENOUGH_SEEDS, chance_limit
from adlib.study.variants import select

PAIRED = (
    "dataset",
    "category",
    "seed",
    "recipe",
    "scale",
    "teacher",
    "precision",
    "overrides",
    "data_sha256",
    "textures",
)
SETTING = ("recipe", "scale", "teacher", "precision", "overrides", "images", "textures")  # what one verdict holds under


def paired(names: list[str], variant: str, metric: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Pair the rows of the variant with those of each baseline that agree: `variant`, and a column a baseline."""
    paired = chosen(rows, variant, metric).rename(columns={"value": "variant"})
    for name in names:
        other = chosen(rows, name, metric).rename(columns={"value": name})
        paired = paired.merge(other, on=list(PAIRED), suffixes=("", f" {name}"))
        paired = paired[_of_one_teacher(paired, f" {name}")]
    return paired.assign(images=origins(paired), category=places(paired))


def chosen(rows: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """Take the rows of a method or variant that have the metric: `PAIRED`, `value`, and how they were trained."""
    part = select(rows, name).drop(columns="overrides").rename(columns={"rest": "overrides"})  # but the variant's own
    backbones = [config.get("backbone", "") for config in part["config"]]
    students = [f" with student {config['student']}" if "student" in config else "" for config in part["config"]]
    # MemKD's own is layer4 of the teacher, which does not ship.
    deepest = [" with m0 of the bottleneck" * (c.get("deepest_target") == "bottleneck") for c in part["config"]]
    settle = [bool(config.get("settle")) for config in part["config"]]
    networks = ["".join(parts) for parts in zip(backbones, students, deepest, strict=True)]
    part = part.assign(value=part[metric].astype(float), backbone=backbones, networks=networks, settle=settle)
    # Where the teacher was one file, its hash, so that two files of one name are told apart. Else none: the hash of a
    # teacher without a file is that of the layers that the method reads, and the hash of two files is that of both.
    weights = [
        sha if (teacher == "bundled" or teacher.endswith(".safetensors")) and len(METHODS[method].FROZEN) == 1 else ""
        for method, teacher, sha in zip(part["method"], part["teacher"], part["teacher_sha256"], strict=True)
    ]
    limits = [chance_limit(*counts) for counts in zip(part["test_normal"], part["test_defect"], strict=True)]
    part = part.assign(weights=pd.Series(weights, part.index, dtype=object), chance=limits)
    counts = [counted(of, category) for of, category in zip(part["dataset"], part["category"], strict=True)]
    part = part[pd.Series(counts, part.index, dtype=bool)].dropna(subset=["value"])
    return part[[*PAIRED, "value", "backbone", "networks", "weights", "steps", "settle", "device", "chance", "created"]]


def _of_one_teacher(paired: pd.DataFrame, suffix: str) -> pd.Series:
    """Return a mask of the pairs whose teachers are not two files of one name; no hash tells other networks apart."""
    sides = [paired["weights"], paired[f"weights{suffix}"]]
    comparable = (paired["backbone"] == paired[f"backbone{suffix}"]) & sides[0].ne("") & sides[1].ne("")
    return ~comparable | (sides[0] == sides[1])


def with_enough_seeds(group: pd.DataFrame) -> pd.DataFrame:
    """Leave out categories with fewer than three seeds where others have them: a study that is under way."""
    enough = group.groupby("category")["seed"].transform("nunique") >= ENOUGH_SEEDS
    return group[enough] if enough.any() else group


def columns(setting: tuple[Any, ...]) -> dict[str, Any]:
    """Name the parts of a setting: `SETTING`; nothing overridden is an empty text."""
    named = dict(zip(SETTING, setting, strict=True))
    return named | {"overrides": "" if named["overrides"] == "{}" else named["overrides"]}


def rule(group: pd.DataFrame) -> str:
    """Say whether the rules were as they stand before any row of both sides was made (`verdicts.rule_of`)."""
    return rule_of(str(time) for name in group if str(name).split()[0] == "created" for time in group[name])


def conditions(setting: tuple[Any, ...], group: pd.DataFrame) -> str:
    """Return as text what the variant was trained under, and on which categories."""
    recipe, scale, teacher, precision, overrides, images, textures = setting
    changed = [] if overrides == "{}" else [overrides]
    said = [recipe, scale, f"teacher {teacher}", *sorted(group["networks"].unique()), *_trained(group), precision]
    said += [f"pseudo-anomalies of {textures}"] if textures else []
    said += [*changed, *([f"{images} images"] if images == "generated" else [])]
    return f"{', '.join(map(str, said))}; {', '.join(sorted(group['category'].unique()))}"


def compared(setting: tuple[Any, ...], group: pd.DataFrame, variant: str, baseline: str) -> str:
    """Return `conditions`, which side is set against which, and in what the training of the baseline differs."""
    return f"{conditions(setting, group)}; {variant} against {baseline}{_otherwise(group, baseline)}"


def steps(group: pd.DataFrame, baseline: str) -> str:
    """Return as text how many steps each side was trained, where that differs; else nothing."""
    ours, theirs = _steps(group), _steps(group, f" {baseline}")
    return "" if ours == theirs else f"{ours} steps against {theirs}"


def _otherwise(group: pd.DataFrame, baseline: str) -> str:
    """Return as text in what the baseline's training differs, and of which devices the rows are, if of several."""
    suffix = f" {baseline}"
    theirs = _trained(group, suffix)
    text = "" if theirs == _trained(group) else f" ({', '.join(theirs)})"
    return f"{text}; on {_devices(group, suffix)}"


def _devices(group: pd.DataFrame, suffix: str) -> str:
    """Return as text which devices the rows are of, and of how many pairs the two rows are of different ones."""
    ours, theirs = group["device"], group[f"device{suffix}"]
    named = " and ".join(sorted({*ours, *theirs}))
    most = int((ours != theirs).sum())
    if not most:
        return named
    # Rows of before do not name the processor's generation: it may be the other's.
    known = ours.str.contains("(family", regex=False) == theirs.str.contains("(family", regex=False)
    kinds = [side.str.split(" (family", regex=False).str[0] for side in (ours, theirs)]
    least = int(((known & (ours != theirs)) | (kinds[0] != kinds[1])).sum())
    count = f"{least}" if least == most else f"{least} to {most}"
    return f"{named}, different ones in {count} of {len(group)} pairs"


def _trained(group: pd.DataFrame, suffix: str = "") -> list[str]:
    """Return as text how many steps were trained, and of how many rows BatchNorm's statistics were taken anew."""
    settled = group[f"settle{suffix}"]
    how = ["settled"] if settled.all() else ["settled in part"] if settled.any() else []
    return [f"{_steps(group, suffix)} steps", *how]


def _steps(group: pd.DataFrame, suffix: str = "") -> str:
    least, most = group[f"steps{suffix}"].min(), group[f"steps{suffix}"].max()
    return f"{least}" if least == most else f"{least} to {most}"
