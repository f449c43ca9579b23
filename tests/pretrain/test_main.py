"""The command line, `python -m adlib.pretrain`."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from adlib.pretrain import Augmentation, Config
from adlib.pretrain.__main__ import _config, _parser, main, make
from adlib.pretrain.training import Pretraining


def test_the_card_names_the_teacher_that_a_training_began_from(tmp_path: Path):
    recipe = "--procedural 4 --canvas 64 --sizes 64 --batch 2 --steps 1 --augment mixup=0,cutmix=0 --ship-level 3"
    first, second = (tmp_path / f"{name}.safetensors" for name in ("first", "second"))
    make([*recipe.split(), "--device", "cpu", "--out", str(first)])
    make([*recipe.split(), "--device", "cpu", "--out", str(second), "--start", str(first)])
    begun, then = (json.loads(path.with_suffix(".json").read_text()) for path in (first, second))
    assert "start" not in begun
    assert then["start"] == {"file": "first.safetensors", "sha256": begun["sha256"]}
    assert then["sha256"] != begun["sha256"]


def test_the_command_line_reaches_every_field():
    other = {"student": "resnet34", "feature_loss": "cosine", "precision": "fp32", "sizes": (64, 96), "levels": (1, 2)}
    other |= {"level_weights": (2.0, 1.0), "mix": {"tiny": 1.0}, "augmentation": Augmentation(gray=0.5), "margin": 8}
    other |= {"steps": 3, "seconds": 60.0}
    words = ["--source", "a", "--data", "b", "--out", "c.safetensors", "--mix", "tiny=1", "--augment", "gray=0.5"]
    for field in dataclasses.fields(Config):
        if isinstance(field.default, bool):
            other[field.name] = True
            words.append(f"--{field.name}")
        elif field.name not in ("mix", "augmentation"):
            value = other[field.name] = other[field.name] if field.name in other else type(field.default)(7)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name.replace('_', '-')}", text]
    assert _config(_parser().parse_args(words)) == Config(**other)
    assert all(getattr(Config(steps=1), name) != value for name, value in other.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--out card.json", "a teacher's name ends in .safetensors, got 'card.json'"),
        ("--out t.safetensors --ship-level 9", "9"),
        ("--out t.safetensors --start nothing.safetensors", "no weights to start from: nothing.safetensors"),
        ("--out t.safetensors --warmup -1", "warmup must be at least 0, got -1"),
        ("--out t.safetensors --mix photographs", "expected name=number,name=number,..., got 'photographs'"),
        ("--out t.safetensors --augment grey=0.3", "unknown name 'grey'"),
        ("--out t.safetensors --source random", "no image in no folder"),
        ("--out t.safetensors --procedural -1", "--procedural must be at least 0, got -1"),
        ("--out t.safetensors --data text", "text is neither a folder nor a whole zip of images"),
        ("--out t.safetensors --source text --data images", "text is not a complete safetensors file (5 bytes"),
        (
            "--out t.safetensors --start text --procedural 2 --canvas 64 --augment mixup=0,cutmix=0",
            "text is not a complete safetensors file",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_before_anything_is_trained(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("words")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "0.png")
    monkeypatch.setattr(Pretraining, "run", lambda *_, **__: pytest.fail("trained"))
    assert main(["--procedural", "0", *words.split(), "--steps", "1", "--device", "cpu"]) == 1
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"text", "images"}


def test_shares_may_be_of_groups_of_ones_own():
    words = ["--out", "t.safetensors", "--steps", "1", "--mix", "parts=0.7,tiny=0.3"]
    assert _config(_parser().parse_args(words)).mix == {"parts": 0.7, "tiny": 0.3}


def test_paths_of_the_command_line_may_begin_with_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere")
    options = _parser().parse_args(
        ["--out=~/t.safetensors", "--start=~/s.safetensors", "--resume=~/r", "--data", "~/d"]
    )
    found = [options.out, options.start, options.resume, *options.data]
    assert [str(path) for path in found] == [
        f"/nowhere/{name}" for name in ("t.safetensors", "s.safetensors", "r", "d")
    ]
