"""What a study takes on the disk is what its runs write there."""

import pytest

from adlib import train
from adlib.corrupt import Corruption
from adlib.methods import build
from adlib.textures import procedural_textures
from tests.conftest import tiny_images

SHORT = {
    "stpm": {"epochs": 2, "batch": 4},  # SGD, and the best epoch
    "reduced_student": {"epochs": 2, "batch": 4, "backbone": "resnet18"},  # Adam
    "destseg": {"batch": 4, "student_steps": 1, "segmentation_steps": 1},  # two stages
}


@pytest.mark.parametrize("name", SHORT)
def test_a_state_has_the_size_of_its_file(name, benchmark, tmp_path, monkeypatch):
    sizes, write = [], train.write_state

    def write_and_weigh(path, state):
        write(path, state)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(train, "write_state", write_and_weigh)
    method = build(name, teacher="random", **SHORT[name])
    corruption, file = Corruption(procedural_textures(4, 64)), tmp_path / "run.resume"
    train.fit(method, tiny_images(8), corruption=corruption, device="cpu", resume=file, save_every=0.0)
    assert benchmark("cost").state_bytes(method) == pytest.approx(max(sizes), rel=0.02)


def test_images_are_kept_decoded_once_a_preprocessing(benchmark):
    cost = benchmark("cost")
    run = {"method": "stpm", "recipe": "paper", "scale": "full", "overrides": {}, "dataset": "mvtec"}
    runs = [run | {"category": category, "seed": seed} for category in ("bottle", "pill") for seed in (0, 1)]
    runs.append(run | {"method": "reduced_student", "recipe": "code", "category": "pill"})
    counts = {("mvtec", "bottle"): (20, 3), ("mvtec", "pill"): (30, 4), ("mvtec", "screw"): (500, 50)}
    assert cost.decoded_bytes(runs, counts) == (23 + 34 + 34) * 256 * 1024
