"""What a study consists of: its config file -> the runs, each with the path of its row and the code that it rests on.

The Snakefile makes what is missing; `benchmarks/cost.py` estimates what that will take.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from adlib import datasets, results
from adlib.backbones import check_source, sources, with_files
from adlib.device import PRECISIONS
from adlib.environment import PROJECT
from adlib.errors import check_known
from adlib.files import is_bare
from adlib.methods import METHODS, resolve
from adlib.preparation import identify

# What a row rests on besides its method and the modules that the method imports.
SHARED = (
    "corrupt",
    "datasets.dtd",
    "datasets.table",
    "decoded",
    "device",
    "images",
    "legacy_metrics",
    "metrics",
    "predict",
    "preparation",
    "run",
    "sampling",
    "textures",
    "train",
    "training_state",
)
RECIPES = {recipe for method in METHODS.values() for recipe in method.RECIPES}


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and one >= 0 for one in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _categories_of(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(one == "all" or _texts(one) for one in value.values())


# What a field of a grid holds: (the words of the error, the check). Which names there are is checked after it.
GRID: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "methods": ("a list of names, or all", lambda value: value == "all" or _texts(value)),
    "datasets": (
        "a list of categories for each dataset, or all; as text, a number in quotes: {btad: ['01']}",
        _categories_of,
    ),
    "recipes": ("a list of names", _texts),
    "seeds": ("a list of whole numbers of at least 0", _counts),
    "scale": ("a name", _text),
    "teacher": ("a name or a path", _text),
    "overrides": ("fields of the methods' config with their values", lambda value: isinstance(value, Mapping)),
    "precision": ("a name", _text),
}


# What a study's config holds: (the words of the error, the check).
STUDY: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "rows": ("a folder", _text),
    "report": ("a folder", _text),
    "tables": ("a list of notebooks that show the rows", _texts),
    "grids": ("a list with what is run", lambda value: isinstance(value, list) and bool(value)),
}


def runs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map the path of each row, as `config["rows"]` names its folder, to the parameters of its run.

    A grid is the product of its lists; a recipe that a method does not have is left out. Raises ValueError for an
    unknown name or field, a value of another kind, a grid without a run, and for one run in two grids.
    """
    for name in config:
        check_known("field of a study's config", name, STUDY)
    for name in sorted({"rows", "grids", *config}):  # the others are the Snakefile's
        expected, holds = STUDY[name]
        if not holds(config.get(name)):
            raise ValueError(f"a study's config names {name}, {expected}; found {config.get(name)!r}. See config.yaml")
    grids = config["grids"]
    found: dict[str, dict[str, Any]] = {}
    for number, grid in enumerate(grids, 1):
        if not isinstance(grid, Mapping):
            raise ValueError(f"grid {number}: expected its fields ({', '.join(GRID)}), found {grid!r}")
        for name, value in grid.items():
            check_known(f"field of grid {number}", name, GRID)
            expected, holds = GRID[name]
            if not holds(value):
                raise ValueError(f"{name} of grid {number}: expected {expected}; found {value!r}")
        if not {"methods", "datasets"} <= grid.keys():
            raise ValueError(f"grid {number} needs methods and datasets, found {', '.join(grid)}")
        made = list(_product(grid))
        if not made:
            raise ValueError(f"grid {number} names no run: no method of it has a recipe {' or '.join(grid['recipes'])}")
        for run in made:
            identity = {name: value for name, value in run.items() if name != "precision"}
            path = str(results.row_path(config["rows"], identify(**identity)))
            if path in found:
                raise ValueError(f"grid {number} has a run twice, or one that an earlier grid has: {path}")
            found[path] = run
    return found


def _product(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    methods = METHODS if grid["methods"] == "all" else grid["methods"]
    images = [(dataset, category) for dataset in grid["datasets"] for category in _categories(grid, dataset)]
    scale, overrides = grid.get("scale", "small"), grid.get("overrides", {})
    precision = grid.get("precision", "fp32")
    check_known("precision", precision, PRECISIONS)
    for part in sources(grid.get("teacher", "bundled")):
        check_source(part)
    for method, recipe, (dataset, category), seed in product(
        methods, grid.get("recipes", ["paper"]), images, grid.get("seeds", [0])
    ):
        check_known("method", method, METHODS)
        check_known("recipe", recipe, RECIPES)
        if recipe in METHODS[method].RECIPES:
            resolve(method, recipe, scale, **overrides)
            yield {
                "method": method,
                "recipe": recipe,
                "dataset": dataset,
                "category": category,
                "seed": seed,
                "scale": scale,
                "teacher": with_files(grid.get("teacher", "bundled"), _as_path),
                "overrides": overrides,
                "precision": precision,
            }


def _categories(grid: Mapping[str, Any], dataset: str) -> list[str]:
    check_known("dataset", dataset, datasets.DATASETS)
    asked = grid["datasets"][dataset]
    if dataset == "folder":  # whose categories are folders of the user's own
        if asked == "all":
            raise ValueError(
                "dataset folder: name the folders, relative to the data root or absolute; there is no 'all'"
            )
        return [_as_path(category) for category in asked]
    published = list(datasets.PUBLISHED[dataset])
    for category in () if asked == "all" else asked:
        check_known(f"{dataset} category", category, {*published, *datasets.categories(dataset)})
    return published if asked == "all" else list(asked)


def check_folders(wanted: Iterable[Mapping[str, Any]]) -> None:
    """Raise FileNotFoundError where a run is of a folder of one's own that is not there."""
    for run in wanted:
        home = datasets.data_root() / Path(run["category"]).expanduser()
        if run["dataset"] == "folder" and not home.is_dir():
            raise FileNotFoundError(f"no folder of images {home}: name it absolute, or relative to the data root")


def _as_path(name: str) -> str:
    """Mark a path without a slash as one: a name alone is what a row has, which does not say where it lies."""
    return f"./{name}" if is_bare(name) else name


def code(run: Mapping[str, Any]) -> dict[str, str]:
    """Map each file that a run's row rests on to a hash of its content.

    The run notebook, the modules of its method, `SHARED`, the reader of its dataset and the weights that ship, where
    they are its teacher.
    """
    files = ["notebooks/run.ipynb"]
    reader = datasets.DATASETS[run["dataset"]].__name__.removeprefix("adlib.datasets.")
    patterns = [f"datasets/{reader}{rest}" for rest in (".py", "_*", "/*.py")]
    patterns += ["datasets/mvtec.py"] if reader == "synthetic" else []  # which is laid out as MVTec AD
    patterns += ["weights/*.safetensors"] if "bundled" in run["teacher"] else []
    for pattern in patterns:
        files += [found.relative_to(PROJECT).as_posix() for found in (PROJECT / "adlib").glob(pattern)]
    waiting = [METHODS[run["method"]].__module__.removeprefix("adlib."), *SHARED]
    while waiting:
        file = f"adlib/{waiting.pop().replace('.', '/')}.py"
        if file not in files:
            files.append(file)
            if file.startswith("adlib/methods/"):  # the shared modules name all that counts
                waiting += re.findall(
                    r"^from adlib\.(\S+) import", (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE
                )
    return {file: _digest(file) for file in sorted(files)}


@cache
def _digest(file: str) -> str:
    return hashlib.sha256((PROJECT / file).read_bytes()).hexdigest()[:12]
