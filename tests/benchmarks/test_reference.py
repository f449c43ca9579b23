"""The reference trainings of the benchmark learn what ours learn, at the cost that was counted on the code."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from adlib.methods import build
from adlib.methods.base import Batch
from adlib.speed import flops
from benchmarks.reference import data, destseg, rd, reduced_student

CASES = {
    "destseg, stage 1": ("destseg", "code", 0, {}),
    "destseg, stage 2": ("destseg", "code", 1, {}),
    "stpm": ("stpm", "code", 0, {}),
    "reduced_student, paper": ("reduced_student", "paper", 0, {}),
    "reduced_student, code": ("reduced_student", "code", 0, {"epochs": 4}),
    "rd": ("rd", "code", 0, {"backbone": "resnet18"}),
}


def batch(seed=0, count=4, size=64):
    g = torch.Generator().manual_seed(seed)
    clean, corrupted = torch.randn(2, count, 3, size, size, generator=g)
    return Batch(clean, corrupted, (torch.rand(count, 1, size, size, generator=g) > 0.5).float())


def reference(method, stage):
    """A call that makes the reference's step on a Batch and returns its loss."""
    if method.__class__.__name__ == "DeSTSeg":
        made = destseg.Reference(method, stage)
        return lambda b: made.step((b.image, b.corrupted, b.mask))
    made = rd.Reference(method) if method.__class__.__name__ == "RD" else reduced_student.Reference(method, steps=8)
    return lambda b: made.step(b.image)


def ours(method, number):
    """The same of the training loop's step."""
    stage = method.stages()[number]
    schedule = stage.schedule(stage.optimiser, 8) if stage.schedule else None
    method.requires_grad_(False).eval()
    for module in stage.trains:
        module.requires_grad_(True).train()

    def step(b):
        loss = torch.stack(list(stage.loss(b).values())).sum()
        stage.optimiser.zero_grad()
        loss.backward()
        stage.optimiser.step()
        if schedule:
            schedule.step()
        return loss.item()

    return step


@pytest.mark.parametrize("case", CASES)
def test_reference_and_ours_have_the_same_losses_and_learn_the_same(case):
    name, recipe, stage, options = CASES[case]
    methods = [build(name, recipe, "random", seed=1, **options) for _ in range(2)]
    steps = [make(method, stage) for make, method in zip((reference, ours), methods, strict=True)]
    theirs, found = ([step(batch(n)) for n in range(3)] for step in steps)
    assert found[0] == pytest.approx(theirs[0], rel=1e-5)
    # Rounding grows from step to step; the later losses agree only if the gradients and the optimisers do.
    assert found == pytest.approx(theirs, rel=1e-3)
    assert abs(theirs[2] - theirs[0]) > 0.01 * abs(theirs[0])


@pytest.mark.parametrize(("stage", "ratio"), [(0, 2.87), (1, 1.18)])
def test_the_reference_of_destseg_does_the_unused_work_of_the_code(stage, ratio):
    """FLOP of a step, counted on the authors' code: 101.6 against 35.4 G an image, 226.7 against 192.6 G."""
    steps = [make(build("destseg", "code", "random"), stage) for make in (reference, ours)]
    counted = [flops(partial(step, batch(count=2))) for step in steps]
    assert counted[0] / counted[1] == pytest.approx(ratio, abs=0.02)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    return paths


def test_a_loaded_image_is_as_ours(files):
    """`adlib.images` decodes to uint8 once; the loader decodes each time, to the same numbers."""
    from adlib.images import load_textures, normalise

    once = normalise(load_textures(files).float() / 255)
    assert torch.allclose(torch.stack(list(map(data.Files(files).__getitem__, range(3)))), once, atol=1e-5)


def test_a_corrupted_sample_differs_where_the_mask_says_and_nowhere_else(files):
    samples = destseg.Corrupted(files, files, rotation="slight", seed=3)
    drawn = [samples[n % 3] for n in range(60)]
    for base, corrupted, mask in drawn[:9]:
        assert base.shape == corrupted.shape == (3, 256, 256)
        changed = ((base - corrupted).abs() > 1e-5).any(0)
        assert not changed[mask[0] == 0].any()
        assert mask.sum() == 0 or changed[mask[0] == 1].float().mean() > 0.9
    area = torch.stack([mask.mean() for _, _, mask in drawn])
    assert 0.03 < area.mean() < 0.07  # the sheet: 4.9 % on average


@pytest.mark.parametrize("cells", [(1, 4), (8, 8)])
def test_noise_is_zero_on_the_lattice(cells):
    noise = destseg.perlin(np.random.default_rng(0), cells)
    assert np.abs(noise[:: 256 // cells[0], :: 256 // cells[1]]).max() < 1e-12
    assert 0.2 < np.abs(noise).max() < 1.1
