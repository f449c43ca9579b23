"""What the benchmarks share: options, tables that are measured again in part, and processes of one's own."""

import argparse
import multiprocessing
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from adlib import speed

T = TypeVar("T")


def parse_options(parser: argparse.ArgumentParser, topic: str) -> argparse.Namespace:
    """Parse a benchmark's options, among them `--out`: by default the committed rows of its topic.

    A trial run (`--smoke`) has to name another file, as its rows are not to be told from measured ones.
    """
    parser.add_argument("--out", type=Path, help=f"CSV file, by default results/speed/{topic}.csv")
    found = parser.parse_args()
    if found.out is None and getattr(found, "smoke", False):
        parser.error("--smoke needs --out: its rows must not replace those that were measured")
    found.out = found.out or speed.RESULTS / f"{topic}.csv"
    return found


def key(row: Mapping[str, Any], by: Sequence[str]) -> str:
    """What tells a row from others: its columns `by`, joined by '/'."""
    return "/".join(str(row[name]) for name in by)


def rows_as_text(path: Path) -> list[dict[str, Any]]:
    """Read a table, its cells as text, so that `speed.write` gives the same lines again; no rows if it is not there."""
    if not path.is_file():
        return []
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")  # type: ignore[return-value]


def kept_rows(path: Path, by: Sequence[str], again: Collection[str] | None) -> list[dict[str, Any]]:
    """Return a file's rows, as text, whose `key` is not among those to be measured again.

    No rows where nothing is named to be measured again: then everything is.
    """
    return [row for row in rows_as_text(path) if key(row, by) not in again] if again else []


def in_own_process(call: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in a process of its own, so that its peak memory is its own and nobody else's.

    The process is forked from one that has imported this package and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["adlib"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()
