"""A config file -> runs."""

from pathlib import Path

import pytest
import yaml

from adlib import results
from adlib.datasets import PUBLISHED
from adlib.methods import METHODS
from adlib.study import claims, grids, variants

PROJECT = Path(__file__).parents[2]


def config(*grids, rows="rows"):
    return {"rows": rows, "grids": list(grids)}


def grid(**fields):
    return {"methods": ["stpm"], "datasets": {"synthetic": ["gear"]}} | fields


def test_a_grid_is_the_product_of_its_lists_and_names_rows_as_a_run_does():
    found = grids.runs(config(grid(methods=["stpm", "rd"], seeds=[0, 1], datasets={"btad": "all", "mtd": ["split0"]})))
    assert len(found) == 2 * 2 * (3 + 1)
    for path, run in found.items():
        assert path == str(results.row_path("rows", run))
    assert {run["scale"] for run in found.values()} == {"small"}


def test_a_recipe_that_a_method_has_not_is_left_out():
    found = grids.runs(config(grid(methods="all", recipes=["paper", "code"])))
    assert len(found) == sum(len(method.RECIPES) for method in METHODS.values())


def test_a_weights_file_is_passed_by_its_path_and_named_without_it():
    ((path, run),) = grids.runs(config(grid(teacher="/far/away/own.safetensors"))).items()
    assert run["teacher"] == "/far/away/own.safetensors"
    assert "away" not in path


def test_a_grid_may_name_a_precision_which_names_no_other_row():
    ((path, run),) = grids.runs(config(grid(precision="bf16"))).items()
    ((plain, _),) = grids.runs(config(grid())).items()
    assert (path, run["precision"]) == (plain, "bf16")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ["stmp"]}, "unknown method 'stmp'; did you mean 'stpm'"),
        ({"datasets": {"mvtek": "all"}}, "unknown dataset 'mvtek'; did you mean 'mvtec'"),
        ({"overrides": {"epoch": 3}}, "unknown field of stpm 'epoch'; did you mean 'epochs'"),
        ({"overrides": {"epochs": "3"}}, "takes an int"),
        ({"overrides": {"fusion": "sun"}}, "fusion must be one of .*, got 'sun'"),
        ({"overrides": {"epochs": 0}}, "epochs must be at least 1, got 0"),
        ({"seed": [0]}, "unknown field of grid 1 'seed'; did you mean 'seeds'"),
        ({"scale": "medium"}, "unknown scale"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; did you mean 'bf16'"),
        ({"methods": ["memkd"], "recipes": ["code"]}, "grid 1 names no run: no method of it has a recipe code"),
        ({"recipes": ["papr"]}, "unknown recipe 'papr'; did you mean 'paper'"),
        ({"teacher": "bundeld"}, "unknown teacher 'bundeld'; expected 'imagenet', 'bundled'"),
        ({"datasets": {"mvtec": ["bottel"]}}, "unknown mvtec category 'bottel'; did you mean 'bottle'"),
        ({"datasets": {"btad": [1]}}, r"datasets of grid 1: expected .*in quotes: .*; found {'btad': \[1\]}"),
        ({"datasets": ["synthetic"]}, r"datasets of grid 1: expected a list of categories .*; found \['synthetic'\]"),
        ({"datasets": {"folder": "all"}}, "dataset folder: name the folders"),
        ({"methods": "stpm"}, "methods of grid 1: expected a list of names, or all; found 'stpm'"),
        ({"recipes": "paper"}, "recipes of grid 1: expected a list of names; found 'paper'"),
        ({"seeds": 3}, "seeds of grid 1: expected a list of whole numbers of at least 0; found 3"),
        ({"seeds": [True]}, "seeds of grid 1: expected"),
        ({"overrides": None}, "overrides of grid 1: expected .*; found None"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_runs(fields, message):
    with pytest.raises(ValueError, match=message):
        grids.runs(config(grid(**fields)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "names (rows, a folder|grids, a list with what is run); found None"),
        ({"rows": "rows"}, "names grids, a list with what is run; found None"),
        ({"rows": "rows", "grids": {}}, "names grids, a list with what is run; found {}"),
        ({"grids": [grid()]}, "names rows, a folder; found None"),
        (config(grid()) | {"rowz": "x"}, "unknown field of a study's config 'rowz'; did you mean 'rows'"),
        (config(grid()) | {"tables": []}, r"names tables, a list of notebooks that show the rows; found \[\]"),
        (config(grid()) | {"report": 3}, "names report, a folder; found 3"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        grids.runs(content)


def test_a_grid_that_is_none_is_refused():
    with pytest.raises(ValueError, match="grid 1: expected its fields .*, found 'stpm'"):
        grids.runs(config("stpm"))


def test_a_folder_of_ones_own_may_be_a_category(tmp_path, monkeypatch):
    monkeypatch.setenv("ADLIB_DATA", str(tmp_path))
    parts = grids.runs(config(grid(datasets={"folder": ["parts"]}))).values()
    with pytest.raises(FileNotFoundError, match=r"no folder of images .*parts: name it absolute"):
        grids.check_folders(parts)
    (tmp_path / "parts").mkdir()
    grids.check_folders(parts)
    ((path, run),) = grids.runs(config(grid(datasets={"folder": [str(tmp_path / "parts")]}))).items()
    assert path.startswith("rows/stpm/paper/folder/parts/")
    assert run["category"] == str(tmp_path / "parts")
    ((path, run),) = grids.runs(config(grid(datasets={"folder": ["parts"]}, teacher="own.safetensors"))).items()
    assert path.startswith("rows/stpm/paper/folder/parts/small-own_")
    assert "-r category ./parts " in results.command(run)  # in the data root, not somewhere
    assert results.command(run).endswith("-r teacher ./own.safetensors")


def test_one_value_written_in_two_ways_is_one_run():
    ((path, _),) = grids.runs(config(grid(overrides={"lr": 1}))).items()
    assert [path] == [*grids.runs(config(grid(overrides={"lr": 1.0})))]


def test_a_grid_without_methods_says_what_it_needs():
    with pytest.raises(ValueError, match="grid 1 needs methods and datasets, found datasets"):
        grids.runs(config({"datasets": {"synthetic": "all"}}))


def test_one_run_in_two_grids_is_refused():
    with pytest.raises(ValueError, match="grid 2 has a run twice, or one that an earlier grid has: rows/stpm"):
        grids.runs(config(grid(), grid(seeds=[1, 0])))


def test_the_committed_studies():
    small = grids.runs(yaml.safe_load((PROJECT / "config.yaml").read_text()))
    assert sorted((run["method"], run["category"]) for run in small.values()) == [
        ("destseg", "canvas"),
        ("stpm", "canvas"),
        ("stpm", "gear"),
    ]
    full = grids.runs(yaml.safe_load((PROJECT / "full.yaml").read_text())).values()
    datasets = {run["dataset"] for run in full}
    assert {"mvtec", "visa", "btad", "mpdd", "mtd", "mvtec3d", "eyecandies"} == datasets
    plain = [run for run in full if not run["overrides"]]
    # MTD's three splits are of the same tiles, so the study takes one of them.
    categories = sum(len(PUBLISHED[name]) for name in datasets - {"mtd"}) + 1
    assert len(plain) == sum(len(method.RECIPES) for method in METHODS.values()) * categories * 3
    for name in {part for side in ("variant", "baseline") for part in claims.claims()[side]} & set(variants.VARIANTS):
        method, fields = variants.VARIANTS[name]
        if "_destseg" not in method and name != "memkd(items=50)":  # a diagnostic; the default
            assert any(run["method"] == method and run["overrides"] == fields for run in full), name


def test_the_code_of_a_method_is_what_it_imports_and_no_other_method():
    def code(method, dataset="mvtec", teacher="random"):
        return grids.code({"method": method, "dataset": dataset, "teacher": teacher}).keys()

    files = code("memkd")
    assert {"adlib/methods/memkd.py", "adlib/methods/rd.py", "adlib/reverse.py", "adlib/train.py"} <= files
    assert "notebooks/run.ipynb" in files
    assert "adlib/methods/rd.py" not in code("stpm")
    assert "adlib/methods/destseg.py" in code("memory_destseg")
    assert "adlib/datasets/mvtec.py" in files
    assert "adlib/datasets/mvtec3d.py" not in files
    assert {"adlib/datasets/mtd.py", "adlib/datasets/mtd_splits.csv"} <= code("stpm", "mtd")
    assert {"adlib/datasets/synthetic/gear.py", "adlib/datasets/mvtec.py"} <= code("stpm", "synthetic")
    assert "adlib/datasets/dtd.py" in code("destseg")
    weights = "adlib/weights/resnet18.safetensors"
    assert weights not in files
    assert weights in code("stpm", teacher="bundled")
    assert "adlib/plots.py" not in files
