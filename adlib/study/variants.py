"""Variants: names in the papers' tables and claims that mean one of our methods with other hyper-parameters."""

from typing import Any

import pandas as pd

from adlib.results import text_of

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "stpm(1,2)": ("stpm", {"levels": [1, 2]}),
    "stpm(2,3)": ("stpm", {"levels": [2, 3]}),
    "stpm(settle=off)": ("stpm", {"settle": False}),
    "memory_destseg(mse)": ("memory_destseg", {"memory_loss": "mse"}),
    "memkd(nm=off)": ("memkd", {"lambda_nm": 0.0}),
    "memkd(orth=off)": ("memkd", {"lambda_orth": 0.0}),
    "memkd(items=50)": ("memkd", {"items": [50, 50, 50]}),
    "memkd(items=0)": ("memkd", {"items": [0, 0, 0]}),
    "memkd(items=10)": ("memkd", {"items": [10, 10, 10]}),
    "memkd(items=100)": ("memkd", {"items": [100, 100, 100]}),
    "memkd(items=100-50-10)": ("memkd", {"items": [100, 50, 10]}),
    "dskd(encoder alone)": ("dskd", {"students": "encoder"}),
    "dskd(decoder alone)": ("dskd", {"students": "decoder"}),
    "dskd(dfe=off)": ("dskd", {"embedding": "coarsest"}),
    "dskd(level 1)": ("dskd", {"levels": [1]}),
    "dskd(level 2)": ("dskd", {"levels": [2]}),
    "dskd(level 3)": ("dskd", {"levels": [3]}),
}


def select(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Take the rows of a method, or of a variant of `VARIANTS` (its fields are compared with the whole config).

    Two columns are added: `rest`, the overrides that are not the variant's own, as text, and `textures`, what
    pseudo-anomalies were made of, empty where the method makes none.
    """
    method, fields = VARIANTS.get(name, (name, {}))
    part = rows[rows["method"] == method]
    own = {field: text_of(value) for field, value in fields.items()}
    fits = [all(text_of(config.get(k)) == v for k, v in own.items()) for config in part["config"]]
    part = part[pd.Series(fits, part.index, dtype=bool)]
    rest = [text_of({k: v for k, v in given.items() if k not in fields}) for given in part["overrides"]]
    textures = [notes.get("textures", "") for notes in part["notes"]]
    return part.assign(rest=pd.Series(rest, part.index, dtype=str), textures=pd.Series(textures, part.index, dtype=str))
