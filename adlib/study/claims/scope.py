"""What a claim speaks of: the categories that its cell `dataset` names, and how many of them rows cover."""

import pandas as pd

from adlib.datasets import PUBLISHED, kind
from adlib.study.paper import names_in

# The categories that count, of a dataset of which not all do: three splits of the same tiles are one category, as each
# of them as one would give the tiles three votes.
COUNTED = {"mtd": ("split0",)}
KINDS = {"textures": "texture", "objects": "object"}  # the last word of a cell that speaks of one kind


def names(speaks_of: str) -> list[str]:
    """Name the datasets, or those of the categories, that a claim speaks of."""
    return [name.split("/")[0].split()[0] for name in names_in(speaks_of)]


def counted(dataset: str, category: str) -> bool:
    """Whether a category counts as one of its dataset (`COUNTED`)."""
    return dataset not in COUNTED or category in COUNTED[dataset]


def in_scope(speaks_of: str, dataset: str, category: str) -> bool:
    """Whether a claim speaks of a category; where it is of textures or objects, also of those of other datasets."""
    if speaks_of.endswith("textures"):
        return kind(dataset, category) == "texture"
    if speaks_of.endswith("objects"):
        return dataset in ("mvtec", "synthetic") and kind(dataset, category) == "object"
    listed = names_in(speaks_of)
    return dataset in listed or f"{dataset}/{category}" in listed


def wanted(speaks_of: str) -> int:
    """Count the categories that a claim speaks of: the published ones of its datasets, of one kind where it says so."""
    if "/" in speaks_of:
        return len(names_in(speaks_of))
    only = KINDS.get(speaks_of.split()[-1])
    published = [(dataset, category) for dataset in names(speaks_of) for category in PUBLISHED[dataset]]
    return sum(counted(*at) and only in (None, kind(*at)) for at in published)


def its_own(speaks_of: str, group: pd.DataFrame) -> pd.DataFrame:
    """Leave out other datasets' categories where all that a claim speaks of are there: nothing needs a stand-in."""
    own = group[group["dataset"].isin(names(speaks_of))]
    return own if own["category"].nunique() == wanted(speaks_of) else group


def coverage(speaks_of: str, group: pd.DataFrame) -> str:
    """Say how much of what a claim speaks of the pairs cover; nothing where it is all of it."""
    have = group.loc[group["dataset"].isin(names(speaks_of)), "category"].nunique()
    others = group["category"].nunique() - have
    if have == wanted(speaks_of) and not others:
        return ""
    text = f"{have} of {wanted(speaks_of)} categories of {', '.join(names(speaks_of))}"
    return text + (f", {others} of other datasets in their place" if others else "")
