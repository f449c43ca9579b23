"""What a claim speaks of: the categories that its cell `dataset` names, and how many of them rows cover."""

import pandas as pd

from adlib.datasets import kind
from adlib.study.paper import SIZES, names_in


def names(dataset: str) -> list[str]:
    """Name the datasets, or the categories of them, that a claim speaks of."""
    return [name.split("/")[0].split()[0] for name in names_in(dataset)]


def in_scope(dataset: str, of: str, category: str) -> bool:
    """Whether a claim speaks of a category; where it is of textures or objects, also of those of other datasets."""
    if dataset.endswith("textures"):
        return kind(of, category) == "texture"
    if dataset.endswith("objects"):
        return of in ("mvtec", "synthetic") and kind(of, category) == "object"
    listed = names_in(dataset)
    return of in listed or f"{of}/{category}" in listed


def wanted(dataset: str) -> int:
    """Count the categories that a claim speaks of; a dataset that `SIZES` lacks is one."""
    if "/" in dataset:
        return len(names_in(dataset))
    kinds = {"textures": 5, "objects": 10}
    return kinds.get(dataset.split()[-1], sum(SIZES.get(name, 1) for name in names(dataset)))


def its_own(dataset: str, group: pd.DataFrame) -> pd.DataFrame:
    """Leave out other datasets' categories where all that a claim speaks of are there: nothing needs a stand-in."""
    own = group[group["dataset"].isin(names(dataset))]
    return own if own["category"].nunique() == wanted(dataset) else group


def coverage(dataset: str, group: pd.DataFrame) -> str:
    """Say how much of what a claim speaks of the pairs cover; nothing where it is all of it."""
    have = group.loc[group["dataset"].isin(names(dataset)), "category"].nunique()
    others = group["category"].nunique() - have
    if have == wanted(dataset) and not others:
        return ""
    text = f"{have} of {wanted(dataset)} categories of {', '.join(names(dataset))}"
    return text + (f", {others} of other datasets in their place" if others else "")
