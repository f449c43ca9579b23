"""What comes from others is data: archives, weights, training states, rows and config files.

Archives that climb out of their folder: `tests/datasets/test_download.py`. That nothing in the package can execute
data: ruff's rules S (`pyproject.toml`).
"""

import ast
import json
import os
import pickle
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from adlib import checkpoint, results
from adlib.backbones import Teacher, feature_network
from adlib.files import sha256
from adlib.training_state import read_state
from tests.test_results import make

PROJECT = Path(__file__).parents[1]


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.fixture(params=["torch", "pickle"])
def pickled(request, tmp_path):
    """A file of weights that executes code when it is unpickled, and the folder that this would make."""
    path, folder = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"conv1.weight": Harmful(folder)}
    if request.param == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))  # torch's
    return path, folder


def test_a_pickle_as_teacher_is_refused_with_the_reason(pickled):
    path, folder = pickled
    with pytest.raises(
        ValueError, match=r"weights\.pth is not a \.safetensors file.*pickle.*can execute code.*save_file"
    ):
        Teacher("resnet18", str(path), (1,))
    assert not folder.exists()


def test_a_pickle_under_another_name_is_refused_too(pickled):
    path, folder = pickled
    renamed = path.rename(path.with_suffix(".safetensors"))
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        Teacher("resnet18", str(renamed), (1,))
    (path.parent / "weights.json").write_text(
        json.dumps(
            {
                "format": checkpoint.FORMAT,
                "method": "stpm",
                "config": {},
                "teacher": _provenance(),
                "sha256": sha256(renamed),
            }
        )
    )
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        checkpoint.load(renamed)
    assert not folder.exists()


def _provenance():
    return {"source": "random", "name": "resnet18", "sha256": "0" * 64}


def test_a_training_state_of_another_is_read_without_executing(pickled):
    path, folder = pickled
    with pytest.raises(ValueError, match="not a complete training state.*delete it"):
        read_state(path, "mine", "cpu")
    assert not folder.exists()


HOSTILE = "x'; touch executed; echo \"$(touch executed)`touch executed`\n__import__('os').mkdir('executed')"


def test_a_row_of_another_cannot_name_a_file_elsewhere(tmp_path):
    for category in ("../../elsewhere", "/elsewhere", "..", ".hidden", "a\\b", "a\nb"):
        row = make(category=category)
        with pytest.raises(ValueError, match="category: expected a name that can be a folder"):
            results.write(row, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


def test_a_rows_text_reaches_the_shell_as_text(tmp_path):
    row = vars(make()) | {"teacher": HOSTILE, "overrides": {"note": HOSTILE}}
    line = results.command(row).removeprefix("papermill")
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], cwd=tmp_path, capture_output=True, text=True)
    assert said.stdout.split("\0")[:-1] == shlex.split(line)
    assert HOSTILE in said.stdout.split("\0")
    assert not (tmp_path / "executed").exists()


def test_a_parameter_reaches_the_notebook_as_a_literal():
    notebook = load_notebook_node(str(PROJECT / "notebooks/run.ipynb"))
    given = {"category": HOSTILE, "overrides": {HOSTILE: [HOSTILE]}, "seed": 3}
    cells = parameterize_notebook(notebook, given).cells
    (cell,) = [cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
    found = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    assert found == given


def test_weights_are_read_where_they_are_whole_and_safe(tmp_path):
    """The refusals above are not because nothing loads."""
    from safetensors.torch import save_file

    save_file(dict(feature_network("resnet18", (1,), seed=1).state_dict()), tmp_path / "w.safetensors")
    assert Teacher("resnet18", str(tmp_path / "w.safetensors"), (1,)).provenance.name == "w.safetensors"


def test_no_loader_is_asked_to_execute():
    """What ruff's rules do not see."""
    executes = (
        r"allow_pickle=True|weights_only=False|trust_remote_code=True|^\s*(import|from) (pickle|marshal|shelve|dill)\b"
    )
    for path in (PROJECT / "adlib").rglob("*.py"):
        assert not re.search(executes, path.read_text(), re.MULTILINE), path
