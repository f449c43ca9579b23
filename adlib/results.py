"""Rows: one JSON file a run, validated, written whole or not at all; read, averaged, compared.

A row lies at `<folder>/<method>/<recipe>/<dataset>/<category>/<scale>-<teacher>[-<overrides>]-
seed<seed>.json`: what identifies a run names its file, so two processes never share one, and a
file that exists is complete. `adlib.study.paper` has the papers' numbers to set beside them.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from adlib.backbones import with_files
from adlib.environment import PROJECT
from adlib.files import is_bare, whole_file
from adlib.metrics import METRICS
from adlib.row import IDENTITY, SCHEMA, Row, as_row, document, from_document, validate

RUNS = PROJECT / "results" / "runs"  # the committed rows
PROCESSORS = PROJECT / "results" / "processors"  # rows of the same runs as some of `RUNS`, on another processor
LOCAL = PROJECT / "results" / "local"  # rows of your own, until you name another folder
GROUP = tuple(name for name in IDENTITY if name != "seed")
# What must be alike in rows that are averaged over seeds, besides the group itself.
CONDITIONS = ("config", "steps", "batch", "image_size", "precision", "teacher_sha256", "data_sha256", "textures")
# What two runs of one seed may differ in and still be the same result.
CIRCUMSTANCES = ("seconds_train", "seconds_test", "peak_memory_mib", "commit", "created", "versions")


def row_path(folder: str | Path, row: Row | Mapping[str, Any]) -> Path:
    """Where the row of a run lies; of a mapping only the identity is read, so before it is run."""
    run = asdict(row) if isinstance(row, Row) else row
    missing = [name for name in IDENTITY if name not in run]
    if missing:
        raise ValueError(f"a run is identified by {list(IDENTITY)}: {missing} missing")
    parts = [str(run["scale"]), teacher_slug(str(run["teacher"]))]
    if run["overrides"]:
        parts.append(_hash(text_of(document({"overrides": run["overrides"]})["overrides"])))
    parent = Path(folder).expanduser().joinpath(*(str(run[k]) for k in ("method", "recipe", "dataset")))
    return parent / str(run["category"]) / f"{'-'.join(parts)}-seed{run['seed']}.json"


def teacher_slug(teacher: str) -> str:
    """A teacher's name for a file name; one with a weights file has the beginning of it and a hash of the whole."""
    text = teacher
    if ".safetensors" in teacher:  # two names may be written alike without the signs that a file name cannot have
        text = f"{Path(teacher).stem[:80]}-{_hash(teacher)}"
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)


def write(row: Row, folder: str | Path) -> Path:
    """Validate a row and write it atomically; replaces the row of an earlier run of the same.

    ValueError, before anything is written, for a row that breaks the schema. OSError if there is
    no room or no right to write: nothing half-written is left.
    """
    path = row_path(folder, row)
    content = document(row)
    validate(content, str(path))
    text = json.dumps(content, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    with whole_file(path) as temporary, temporary.open("x", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())  # a row that exists is complete, also after the power failed
    return path


def read(folder: str | Path) -> pd.DataFrame:
    """All rows below a folder, one line each, columns as the fields of `Row`, in order of path.

    A folder that is empty or not there has no rows. ValueError, naming the file, what was expected
    and what was found, for a broken file, another schema, or one run in two files.
    """
    if Path(folder).expanduser().is_file():
        raise ValueError(f"{folder} is a file: name the folder that its row lies in")
    rows, seen = [], dict[str, Path]()
    for path in sorted(Path(folder).expanduser().rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: expected a row as JSON, found {error}") from error
        if not isinstance(content, dict) or not (set(IDENTITY) <= content.keys() or "schema" in content):
            raise ValueError(f"{path}: no row of adlib, and a folder of rows has no other .json files: move it away")
        if content.get("schema") != SCHEMA:
            raise ValueError(
                f"{path}: schema {content.get('schema', 'missing')}, this version of adlib reads "
                f"{SCHEMA}: run it again with: {command(content)}"
            )
        validate(content, str(path))
        rows.append(from_document(content))
        run = text_of({name: content[name] for name in IDENTITY})
        if run in seen:
            raise ValueError(f"one run in two files: {seen[run]} and {path}; delete one")
        seen[run] = path
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(Row)])


def plain(rows: pd.DataFrame, **setting: str) -> pd.DataFrame:
    """Take the rows without overrides, of a setting such as `recipe="paper", scale="small", teacher="bundled"`."""
    part = rows[~rows["overrides"].astype(bool)]
    return part[(part[list(setting)] == pd.Series(setting, dtype=object)).all(axis=1)]


def aggregate(
    rows: pd.DataFrame,
    by: Sequence[str] = GROUP,
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Over seeds: `<metric>_mean`, `<metric>_std` (ddof 1; NaN for one seed), `<metric>_n`.

    NaN metrics do not count. ValueError if a group mixes more than seeds (say, two categories, or
    two numbers of steps), or has one seed twice.
    """
    by, metrics = ([names] if isinstance(names, str) else names for names in (by, metrics))
    unknown = [name for name in (*by, *metrics) if name not in rows.columns]
    if unknown:
        raise ValueError(f"no column {unknown}: the rows have {list(rows.columns)}")
    rows = rows.assign(textures=[notes.get("textures", "") for notes in rows["notes"]])
    # By their text, as a dictionary cannot be a key.
    groups = rows.astype(dict.fromkeys(metrics, float)).groupby([rows[name].map(text_of) for name in by], sort=False)
    for _, group in groups:
        _refuse_mixtures(group, by)
    # Functions of a Series: the words "mean" and "std" round the last bit otherwise than the committed tables.
    table = groups[list(metrics)].agg([pd.Series.mean, pd.Series.std, pd.Series.count])
    table.columns = [f"{metric}_{what}" for metric in metrics for what in ("mean", "std", "n")]
    return pd.concat([groups[list(by)].head(1).reset_index(drop=True), table.reset_index(drop=True)], axis=1)


def _refuse_mixtures(group: pd.DataFrame, by: Sequence[str]) -> None:
    for name in (*GROUP, *CONDITIONS):
        if name in by:
            continue
        found = sorted(group[name].map(text_of).unique())
        if len(found) > 1:
            raise ValueError(
                f"cannot average over seeds: rows of one group differ in {name} "
                f"({' and '.join(found[:4])}); select rows, or add it to `by`"
            )
    if group["seed"].duplicated().any():
        seed = group["seed"][group["seed"].duplicated()].iloc[0]
        raise ValueError(f"cannot average over seeds: seed {seed} stands there twice")


def difference(a: Row | Mapping[str, Any] | pd.Series, b: Any) -> dict[str, tuple[Any, Any]]:
    """The fields in which two rows differ, but for costs, commit, versions and date."""
    left, right = document(as_row(a)), document(as_row(b))
    return {name: (left[name], right[name]) for name in left if name not in CIRCUMSTANCES and left[name] != right[name]}


def same(a: Row | Mapping[str, Any] | pd.Series, b: Any) -> bool:
    """Whether two rows have the same result: the same run, conditions and metrics, exactly."""
    return not difference(a, b)


def command(row: Row | Mapping[str, Any] | pd.Series, output: str = "OUT.ipynb") -> str:
    """The shell line that makes the row again; of a mapping, whatever identity it has."""
    run = asdict(row) if isinstance(row, Row) else dict(row)
    words = ["papermill", "notebooks/run.ipynb", output]
    for name in (name for name in IDENTITY if name in run and name != "overrides"):
        value = str(run[name])
        if name == "category" and run.get("dataset") == "folder":
            value = _with_path(value)
        if name == "teacher":
            value = with_files(value, _with_path)
        # -r: as text. Papermill's -p would make the number 1 of the category 01.
        words += ["-p" if name == "seed" else "-r", name, value]
    if run.get("precision", "fp32") != "fp32":  # not of the identity: the run notebook's own is fp32
        words += ["-r", "precision", run["precision"]]
    if run.get("overrides"):
        # By YAML's own writer, not JSON's: YAML reads 1e-05 as text.
        overrides = document({"overrides": run["overrides"]})
        words += ["-y", yaml.safe_dump(overrides, default_flow_style=True, width=10**6).strip()]
    return shlex.join(words)


def _with_path(name: str) -> str:
    """A row names a folder of the user's own and a weights file, not where they lie: leave room for that."""
    return f"PATH/TO/{name}" if is_bare(name) else name


def conditions_text(row: Row | Mapping[str, Any] | pd.Series) -> str:
    """One line for under a number: data, teacher, scale, steps, seed, precision, device."""
    run = as_row(row)
    changed = f", {text_of(run.overrides)}" if run.overrides else ""
    unmasked = f", {run.test_unmasked} without a mask" if run.test_unmasked else ""
    return (
        f"{run.method} ({run.recipe}{changed}), teacher {run.teacher}, {run.dataset}/{run.category}"
        f" at {run.image_size} px ({run.train_images} train, {run.test_normal} + {run.test_defect}"
        f" test{unmasked}), {run.scale} scale: {run.steps} steps of {run.batch}, seed {run.seed},"
        f" {run.precision}, {run.device}, {run.threads} thread{'s' if run.threads > 1 else ''}"
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def text_of(value: Any) -> str:
    """One text for equal values, dictionaries included."""
    return json.dumps(value, sort_keys=True, default=str)
