"""The rules that every notebook keeps; nbval runs them and compares their outputs."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
RUN_PARAMETERS = [
    "method",
    "recipe",
    "dataset",
    "category",
    "seed",
    "scale",
    "teacher",
    "data_root",
    "overrides",
    "out_dir",
]


def code_cells(path):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def parameters(path):
    (cell,) = [c for c in code_cells(path) if "parameters" in c["metadata"].get("tags", [])]
    return [node.targets[0].id for node in ast.parse("".join(cell["source"])).body]


def test_there_are_notebooks():
    assert {p.stem for p in NOTEBOOKS} >= {"run", "summary"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_executed_short_and_defines_nothing(path):
    cells = code_cells(path)
    assert len(json.loads(path.read_text())["cells"]) <= 18
    assert parameters(path)
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)]
        assert cell["execution_count"] is not None, "commit notebooks executed"
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_committed_output_names_no_machine(path):
    text = path.read_text()
    home = str(Path.home())
    assert str(Path(__file__).parents[1]) not in text
    assert home == "/" or home not in text


def test_the_run_notebook_takes_the_parameters_of_the_design():
    (run,) = [p for p in NOTEBOOKS if p.stem == "run"]
    assert set(RUN_PARAMETERS) <= set(parameters(run))


@pytest.mark.parametrize("name", ["run", "your_images"])
def test_a_command_that_names_no_overrides_has_none(name):
    """A printed command names only what a run needs: what the notebook itself sets would go into every other method."""
    (path,) = [p for p in NOTEBOOKS if p.stem == name]
    (cell,) = [c for c in code_cells(path) if "parameters" in c["metadata"].get("tags", [])]
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse("".join(cell["source"])).body}
    assert values["overrides"] == {}


@pytest.mark.parametrize(("count", "shown"), [(50, 50), (51, 0)])
def test_a_summary_of_many_runs_says_where_the_pictures_lie_and_holds_none(count, shown, tmp_path, capsys):
    for number in range(count):
        (tmp_path / f"{number}.png").touch()
    (summary,) = [p for p in NOTEBOOKS if p.stem == "summary"]
    displayed: list[Path] = []
    names = {"rows": str(tmp_path), "table": range(count), "Path": Path, "Image": Path, "display": displayed.append}
    exec("".join(code_cells(summary)[-1]["source"]), names)
    assert len(displayed) == shown
    said = capsys.readouterr().out
    assert f"{count} pictures beside {count} rows" in said
    assert (str(tmp_path) in said) == (shown == 0)
