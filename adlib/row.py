"""The schema of a row: every field with what it may hold, as the one table all checks read."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
import pandas as pd

from adlib.metrics import METRICS

SCHEMA = 1


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_utc(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


def _matches(pattern: str) -> Any:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _one_of(*choices: str) -> Any:
    return lambda value: value in choices


def _maps_to(holds: Any) -> Any:
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


# What a field holds: (the words of the error, the check), made on the row's JSON form.
_NAME = r"[^/\\.\x00-\x1f\ud800-\udfff][^/\\\x00-\x1f\ud800-\udfff]{0,99}"  # a surrogate stands for what is not UTF-8
Name = Annotated[str, ("a name that can be a folder: UTF-8, no /, \\ or leading dot", _matches(_NAME))]
Text = Annotated[str, ("non-empty text", _matches(r"(?s).+"))]
Count = Annotated[int, ("a whole number >= 0", _is_count)]
Recipe = Annotated[str, ("'paper' or 'code'", _one_of("paper", "code"))]
Scale = Annotated[str, ("'small' or 'full'", _one_of("small", "full"))]
Precision = Annotated[str, ("'fp32' or 'bf16'", _one_of("fp32", "bf16"))]
Digest = Annotated[str, ("64 hexadecimal digits (SHA-256)", _matches("[0-9a-f]{64}"))]
Utc = Annotated[str, ("a UTC time, ISO 8601 with +00:00", _is_utc)]
Fraction = Annotated[float, ("a number in [0, 1] or null", lambda v: v is None or (_is_number(v) and 0 <= v <= 1))]
Amount = Annotated[float, ("a number >= 0", lambda v: _is_number(v) and v >= 0)]
Loss = Annotated[float, ("a number or null", lambda v: v is None or _is_number(v))]
Mapped = Annotated[dict[str, Any], ("a dictionary", lambda v: isinstance(v, dict))]
Texts = Annotated[dict[str, str], ("a dictionary of texts", _maps_to(_matches(r"(?s).+")))]
Numbers = Annotated[
    dict[str, float],
    ("a dictionary of numbers or null", _maps_to(lambda v: v is None or _is_number(v))),
]
Schema = Annotated[int, (f"{SCHEMA}", lambda v: v == SCHEMA)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: what it is, its metrics, the conditions they hold under, its costs, its origin.

    Metrics are fractions; one that is NaN needs its reason in `notes`, under its name. `legacy`
    has the papers' own variants. Sizes in pixels, times in seconds, memory in MiB.
    """

    method: Name
    recipe: Recipe
    dataset: Name
    category: Name
    seed: Count
    scale: Scale
    teacher: Text
    overrides: Mapped = field(default_factory=dict)

    image_auroc: Fraction
    image_ap: Fraction
    pixel_auroc: Fraction
    pixel_ap: Fraction
    aupro: Fraction
    iap: Fraction
    iap90: Fraction
    legacy: Numbers = field(default_factory=dict)
    notes: Texts = field(default_factory=dict)

    config: Mapped
    steps: Count
    batch: Count
    image_size: Count
    precision: Precision
    device: Text
    threads: Count
    train_images: Count
    test_normal: Count
    test_defect: Count
    test_unmasked: Count
    trainable_parameters: Count
    final_loss: Loss

    seconds_train: Amount
    seconds_test: Amount
    peak_memory_mib: Amount

    teacher_sha256: Digest
    data_sha256: Digest
    commit: Text
    versions: Texts
    created: Utc
    schema: Schema = SCHEMA


IDENTITY = ("method", "recipe", "dataset", "category", "seed", "scale", "teacher", "overrides")
RULES = {name: hint.__metadata__[0] for name, hint in get_type_hints(Row, include_extras=True).items()}


def document(row: Row | Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON knows it: NaN as null, tuples as lists, numpy numbers as Python's.

    ValueError, naming the field, for what cannot be stored (infinity, an object).
    """
    content = asdict(row) if isinstance(row, Row) else row
    return {name: _plain(value, name) for name, value in content.items()}


def from_document(content: Mapping[str, Any]) -> Row:
    """The row of a validated document: null as NaN again, where a number belongs."""
    values = {
        name: math.nan if content[name] is None else float(content[name])
        for name in (*METRICS, "final_loss", "seconds_train", "seconds_test", "peak_memory_mib")
    }
    legacy = {k: math.nan if v is None else float(v) for k, v in content["legacy"].items()}
    return Row(**{**content, **values, "legacy": legacy})


def as_row(row: Row | Mapping[str, Any] | pd.Series) -> Row:
    """A row, or one line of `read` as a row."""
    return row if isinstance(row, Row) else Row(**{f.name: row[f.name] for f in fields(Row)})


def validate(content: Any, where: str) -> None:
    """Raise one ValueError with all that is wrong: what was expected, what was found."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a dictionary, found {type(content).__name__}")
    problems = [f"field {name} is missing" for name in RULES if name not in content]
    problems += [f"field {name} is not in schema {SCHEMA}" for name in content if name not in RULES]
    for name, (expected, holds) in RULES.items():
        if name in content and not holds(content[name]):
            found = f"{content[name]!r:.80} ({type(content[name]).__name__})"
            problems.append(f"{name}: expected {expected}, found {found}")
    notes = content.get("notes")
    for name in METRICS:
        if name in content and content[name] is None and not (notes or {}).get(name):
            problems.append(f"{name} is NaN: expected its reason in notes[{name!r}], found none")
    if problems:
        raise ValueError(f"{where}: " + "; ".join(problems))


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise ValueError(f"{name}: expected a finite number or NaN, found {value}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{name}: expected what JSON can hold, found {type(value).__name__}")
