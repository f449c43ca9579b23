"""The loop: a state that goes on, schedules, draws, averages and statistics."""

import itertools
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adlib.pretrain import Distillation
from adlib.pretrain.data import HELD_OUT
from adlib.pretrain.networks import Source
from tests.pretrain.conftest import config, run, start


def test_a_resumed_training_is_the_uninterrupted_one(groups, tmp_path: Path):
    whole = run(start(groups))
    state = tmp_path / "state"
    stopped = start(groups)
    report = iter(range(2))

    def stop(line: str) -> None:
        if next(report) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(resume=state, save_every=0, report_every=0, report=stop)
    resumed = start(groups)
    run(resumed, resume=state)
    assert resumed.step == whole.step == 4
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name
    others = [start(groups, lr=1e-4), start({name: part.flip(0)[1:] for name, part in groups.items()})]
    for other in others:
        with pytest.raises(ValueError, match="another training"):
            run(other, resume=state)


def test_bf16_trains_weights_in_single_precision_towards_the_same_loss(groups):
    single, half = (run(start(groups, precision=precision)) for precision in ("fp32", "bf16"))
    weights, others = (training.averaged.state_dict() for training in (single, half))
    assert {name: value.dtype for name, value in others.items()} == {name: v.dtype for name, v in weights.items()}
    assert not all(torch.equal(value, others[name]) for name, value in weights.items())
    losses = [training.finish() for training in (single, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.25)


def test_a_training_from_another_start_is_another(groups, tmp_path: Path):
    identities = {start(groups).identity}
    for seed in (0, 1):
        torch.manual_seed(seed)
        file = tmp_path / f"{seed}.safetensors"
        save_file({"conv1.weight": torch.randn(64, 3, 7, 7)}, file)
        identities.add(Distillation(config(), Source("resnet18", "random", (1, 2, 3, 4)), groups, start=file).identity)
    assert len(identities) == 3


def test_a_schedule_in_seconds_ends_when_they_are_over(groups, monkeypatch):
    clock = itertools.count()  # a second at every look
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    training = start(groups, steps=None, seconds=30.0)
    run(training)
    assert 3 < training.step < 30
    assert training.fraction == 1
    assert training.elapsed == pytest.approx(30, abs=5)


def test_an_average_keeps_its_share_of_the_weights_before(groups):
    training = start(groups)
    ours, theirs = next(training.averaged.parameters()), next(training.live.parameters())
    before = ours.clone()
    with torch.no_grad():
        theirs += 1
    training._average(0.9)
    torch.testing.assert_close(ours, before + 0.1)


def test_images_are_drawn_by_the_shares_of_their_groups(groups):
    textures = groups["procedural"]
    both = {"procedural": textures[:9], "plain": textures[9:12], HELD_OUT: groups[HELD_OUT]}
    training = start(both, mix={"procedural": 0.1, "plain": 0.9})
    drawn = training._draw(10_000, torch.Generator().manual_seed(0))
    assert (drawn >= 9).float().mean() == pytest.approx(0.9, abs=0.02)
    assert drawn.bincount(minlength=12)[:9].min() > 60  # of about 111 each


def test_the_learning_rate_warms_up_and_falls_to_zero_and_kernels_alone_decay(groups):
    training = start(groups, lr=0.1, warmup=1, weight_decay=0.05)
    rates = {}
    for fraction in (0.0, 0.5, 0.999):
        training._train_step(fraction)
        rates[fraction] = training.optimiser.param_groups[0]["lr"]
    assert rates == pytest.approx({0.0: 0.1, 0.5: 0.05, 0.999: 0.0}, abs=1e-5)
    for group in training.optimiser.param_groups:
        kernels = {parameter.ndim > 1 for parameter in group["params"]}
        assert kernels == {group["weight_decay"] == 0.05}


def test_the_statistics_that_ship_are_those_of_plain_images(groups):
    training = start(groups)
    run(training)
    norm = next(m for m in training.averaged.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    hook = norm.register_forward_hook(
        lambda module, given, _: seen.append(given[0].mean((0, 2, 3))) if module.training else None
    )
    norm.running_mean.fill_(1e3)  # what was there before does not count
    training.finish()
    hook.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(dim=0), rtol=1e-3, atol=1e-4)


def test_no_warmup_begins_at_the_whole_rate(groups):
    training = run(start(groups, warmup=0))
    assert training.step > 0


def test_every_size_takes_about_as_many_pixels(groups):
    recipe = config(sizes=(64, 96, 128), batch=6)
    assert [recipe.batch_of(size) for size in recipe.sizes] == [24, 11, 6]
    training = run(start(groups, sizes=(64, 128), batch=2))
    assert training.views == 2 * 8 + 2 * 2
    training.finish()
