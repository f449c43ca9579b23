import errno
import json

import numpy as np
import pytest
import torch

from adlib import checkpoint
from adlib.methods import METHODS, build
from adlib.predict import predict
from tests.conftest import tiny_images


@pytest.fixture
def saved(tmp_path):
    method = build("stpm", teacher="random", seed=4, levels=[1, 2])
    method.student.bn1.running_mean += 1  # a statistic that only the file knows
    return method, checkpoint.save(method, tmp_path / "m.safetensors")


def test_maps_are_bit_equal_after_reload(saved):
    method, path = saved
    images = tiny_images(3)
    again = checkpoint.load(path)
    assert np.array_equal(predict(method, images).maps, predict(again, images).maps)
    assert again.config == method.config
    assert again.provenance == method.provenance


@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_truncated_checkpoint_is_named(saved, keep):
    _, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"not a complete checkpoint \\({keep} bytes"):
        checkpoint.load(path)


def test_a_class_that_no_name_makes_is_refused_before_anything_is_written(tmp_path):
    class Own(METHODS["stpm"]):
        """No method of the package."""

    own = Own(Own.Config(levels=(1,)), "random")
    with pytest.raises(ValueError, match=r"add Own to adlib\.methods\.METHODS"):
        checkpoint.save(own, tmp_path / "own.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_halves_foreign_descriptions_and_names(saved, tmp_path):
    _, path = saved
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(description | {"format": 0}))
    with pytest.raises(ValueError, match="format 0, this version reads 2"):
        checkpoint.load(path)
    path.with_suffix(".json").write_text(json.dumps(description | {"config": {"itemz": 3}}))
    with pytest.raises(ValueError, match="itemz"):
        checkpoint.load(path)
    path.with_suffix(".json").write_text(json.dumps(description | {"config": {"levels": [1, 2, 3]}}))
    with pytest.raises(ValueError, match="does not fit m.json"):
        checkpoint.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="m.json"):
        checkpoint.load(path)
    with pytest.raises(ValueError, match="ends in .safetensors"):
        checkpoint.save(build("stpm", teacher="random"), tmp_path / "m.pt")


def test_no_space_leaves_the_old_file_and_no_temporary_one(saved, monkeypatch):
    method, path = saved
    before = path.read_bytes()

    def full(tensors, name):
        name.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"m\.safetensors could not be written \(No space left.*make room"):
        checkpoint.save(method, path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["m.json", "m.safetensors"]


@pytest.mark.parametrize("part", ["m.safetensors", "m.json"])
def test_halves_of_two_pairs_are_no_pair(saved, tmp_path, part):
    _, path = saved
    other = checkpoint.save(build("stpm", teacher="random", seed=5, levels=[1, 2]), tmp_path / "other/m.safetensors")
    (path.parent / part).write_bytes((other.parent / part).read_bytes())
    with pytest.raises(ValueError, match=r"m\.json describes other weights than those in m\.safetensors"):
        checkpoint.load(path)


def test_a_description_that_cannot_be_written_leaves_the_old_pair(saved, monkeypatch):
    method, path = saved
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with torch.no_grad():
        method.student.bn1.running_mean += 1
    monkeypatch.setattr("pathlib.Path.write_text", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match=r"could not be written \(full\); make room or choose another folder, then run"):
        checkpoint.save(method, path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
