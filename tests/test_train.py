import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import adlib.train as train
from adlib.backbones import tensors_sha256
from adlib.corrupt import Corruption
from adlib.images import normalise
from adlib.methods import build
from adlib.methods.base import Method, MethodConfig, Stage
from adlib.predict import predict
from adlib.sampling import Plan, derive
from adlib.textures import procedural_textures
from adlib.train import fit
from tests.conftest import tiny_images

TEXTURES = procedural_textures(8, 64)
SHORT = {
    "stpm": {"epochs": 3, "batch": 4},
    "destseg": {"batch": 4, "student_steps": 2, "segmentation_steps": 2},
}


def trained(name, images=None, settle=None, **options):
    fields = SHORT[name] if settle is None else SHORT[name] | {"settle": settle}
    method = build(name, teacher="random", seed=3, **fields)
    history = fit(method, images or tiny_images(8), seed=1, corruption=Corruption(TEXTURES), device="cpu", **options)
    return method, history


@pytest.mark.parametrize("name", SHORT)
def test_the_same_seed_gives_the_same_maps_and_leaves_the_callers_generator_alone(name):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, history = trained(name)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    second, again = trained(name)
    images = tiny_images(2, seed=5)
    assert np.array_equal(predict(first, images).maps, predict(second, images).maps)
    assert history.losses.equals(again.losses)


def test_destseg_freezes_the_other_network_in_each_stage():
    method = build("destseg", teacher="random", seed=3, **SHORT["destseg"])
    seen = {}

    def watch(stage):
        def loss(batch):
            here = seen.setdefault(stage.name, [])
            here.append({part: tensors_sha256(child.state_dict()) for part, child in method.named_children()})
            assert all(m.training for m in stage.trains[0].modules())
            others = [c for c in method.children() if c is not stage.trains[0]]
            assert not any(m.training for c in others for m in c.modules())
            assert not any(p.requires_grad for c in others for p in c.parameters())
            return stage.loss(batch)

        return replace(stage, loss=loss)

    stages = [watch(stage) for stage in method.stages()]
    method.stages = lambda: stages
    fit(method, tiny_images(8), corruption=Corruption(TEXTURES), device="cpu")
    student, segmentation = seen["student"], seen["segmentation"]
    assert student[0]["segmentation"] == student[-1]["segmentation"] == segmentation[0]["segmentation"]
    # Statistics too: a frozen student in train mode would still move them.
    assert segmentation[0]["student"] == segmentation[-1]["student"]
    assert student[0]["student"] != student[-1]["student"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("saves", [1, 2, 3])
def test_killed_after_any_save_and_resumed_equals_never_killed(name, saves, tmp_path, monkeypatch):
    images = tiny_images(3, seed=7)
    whole, history = trained(name)
    write, count = train.write_state, 0

    def write_then_die(path, state):
        nonlocal count
        write(path, state)
        count += 1
        if count == saves:
            raise Killed

    monkeypatch.setattr(train, "write_state", write_then_die)
    resume = tmp_path / "run.resume"
    with pytest.raises(Killed):
        trained(name, resume=resume, save_every=0.0)
    monkeypatch.undo()
    resumed, log = trained(name, resume=resume)
    assert np.array_equal(predict(whole, images).maps, predict(resumed, images).maps)
    assert log.losses["loss"].tolist() == history.losses["loss"].tolist()
    assert log.selected == history.selected


SCRIPT = """
import sys
from pathlib import Path
from tests.test_train import trained
from adlib.predict import predict
from tests.conftest import tiny_images
import numpy as np
method, _ = trained("stpm", resume=Path(sys.argv[1]), save_every=0.0)
np.save(sys.argv[2], predict(method, tiny_images(3, seed=7)).maps)
"""


def test_a_process_killed_with_sigkill_goes_on_to_the_same_maps(tmp_path):
    """The last save of a real process that gets no chance to clean up."""
    resume, maps = tmp_path / "run.resume", tmp_path / "maps.npy"
    command = [sys.executable, "-c", SCRIPT, str(resume), str(maps)]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=root)
    deadline = time.monotonic() + 120
    while not resume.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert resume.exists()
    assert not maps.exists()
    subprocess.run(command, cwd=root, check=True)
    expected, _ = trained("stpm")
    assert np.array_equal(np.load(maps), predict(expected, tiny_images(3, seed=7)).maps)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_in_a_step_keeps_the_whole_step(when, tmp_path, ctrl_c):
    """Before and after the forward pass: BatchNorm's statistics move between the two, the weights after both."""
    expected, _ = trained("stpm")
    interrupted(when, tmp_path / "r", ctrl_c)
    assert torch.load(tmp_path / "r", weights_only=True)["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed, _ = trained("stpm", resume=tmp_path / "r")
    for (key, a), b in zip(expected.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_a_second_interrupt_ends_at_once_and_keeps_no_half_step(tmp_path, ctrl_c):
    def twice(number):
        ctrl_c(number)
        ctrl_c(number)

    interrupted("after", tmp_path / "r", twice)
    assert not (tmp_path / "r").exists()


def test_an_interrupt_while_a_state_is_taken_up_leaves_it_as_it_was(tmp_path, ctrl_c, monkeypatch):
    interrupted("after", tmp_path / "r", ctrl_c)
    before = (tmp_path / "r").read_bytes()
    monkeypatch.setattr(torch.optim.SGD, "load_state_dict", lambda *_: ctrl_c(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trained("stpm", resume=tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == before


def test_an_interrupt_while_losses_are_logged_logs_no_step_twice(tmp_path, ctrl_c, monkeypatch):
    """At the end of a stage, of a method without a best epoch: elsewhere an interrupt waits for the step's end."""

    class Struck(list):
        def clear(self):
            if strikes:
                strikes.pop()(signal.SIGINT)
            super().clear()

    strikes, flush = [ctrl_c], train.Training.flush

    def struck(training, bar):
        training.pending = Struck(training.pending)
        flush(training, bar)

    _, expected = trained("destseg")
    monkeypatch.setattr(train.Training, "flush", struck)
    with pytest.raises(KeyboardInterrupt):
        trained("destseg", resume=tmp_path / "r")
    monkeypatch.undo()
    assert (tmp_path / "r").exists()
    _, history = trained("destseg", resume=tmp_path / "r")
    assert history.losses["step"].tolist() == expected.losses["step"].tolist()


def test_an_interrupt_while_statistics_settle_keeps_all_steps(tmp_path, ctrl_c, monkeypatch):
    images = tiny_images(3, seed=7)
    expected, history = trained("destseg", settle=True)
    monkeypatch.setattr(train.Training, "settle", lambda *_: ctrl_c(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trained("destseg", settle=True, resume=tmp_path / "r")
    monkeypatch.undo()
    kept = torch.load(tmp_path / "r", weights_only=True)
    assert kept["step"] == sum(history.losses["stage"] == "student")
    resumed, _ = trained("destseg", settle=True, resume=tmp_path / "r")
    assert np.array_equal(predict(expected, images).maps, predict(resumed, images).maps)


def test_who_only_ends_a_run_has_not_trained_it(tmp_path, monkeypatch):
    trained("stpm", resume=tmp_path / "r")
    monkeypatch.setattr(train, "commit", lambda: "another")
    _, history = trained("stpm", resume=tmp_path / "r")
    assert len(history.made_by) == 1
    assert "another" not in history.made_by[0]


def interrupted(when, resume, strike):
    """Train as `trained` does, with a Ctrl-C in the third of six losses."""
    method = build("stpm", teacher="random", seed=3, **SHORT["stpm"])
    stage = method.stages()[0]
    calls = []

    def loss(batch):
        calls.append(1)
        if len(calls) == 3 and when == "before":
            strike(signal.SIGINT)
        terms = stage.loss(batch)
        if len(calls) == 3 and when == "after":
            strike(signal.SIGINT)
        return terms

    method.stages = lambda: [replace(stage, loss=loss)]
    with pytest.raises(KeyboardInterrupt):
        fit(method, tiny_images(8), seed=1, device="cpu", resume=resume)


@pytest.mark.parametrize("name", SHORT)
def test_settling_moves_statistics_and_no_weight(name):
    settled, plain = (trained(name, settle=chosen)[0].student.state_dict() for chosen in (True, False))
    running = {name for name in plain if "running" in name or "tracked" in name}
    assert all(torch.equal(settled[name], plain[name]) for name in plain.keys() - running)
    assert not any(torch.equal(settled[name], plain[name]) for name in running if name.endswith("mean"))


@pytest.mark.parametrize("settle", [False, True])
def test_the_kept_epoch_is_the_best_as_it_will_be_used(settle):
    # Scored with other statistics than those it is used with, the best epoch's score would not be found again.
    method, history = trained("stpm", settle=settle)
    (stage,) = method.stages()
    images = tiny_images(8)
    held_out = Plan(stage, 0, len(images), 1).held_out
    with torch.inference_mode():
        score = method.eval().anomaly_map(images.normalised(held_out)).mean()
    validation = history.losses["validation"].dropna()
    assert len(validation) == 3
    assert validation.nunique() == 3
    assert float(score) == pytest.approx(validation.min(), rel=1e-5)
    assert history.losses["epoch"][validation.idxmin()] == history.selected["student"]


def test_settled_statistics_are_those_of_the_final_weights_over_an_epoch():
    # The first BatchNorm of each network sees its first convolution alone: two batches of the epoch after the last.
    settled, _ = trained("destseg", settle=True)
    images = tiny_images(8)
    block = settled.segmentation.residual[0]
    networks = [(settled.student.encoder.conv1, settled.student.encoder.bn1), tuple(block.body[:2])]
    for number, (stage, (convolution, norm)) in enumerate(zip(settled.stages(), networks, strict=True)):
        plan = Plan(stage, number, len(images), 1)
        means = []
        for step, _, index in plan.batches(plan.steps, "cpu", further=1):
            generator = torch.Generator().manual_seed(derive(1, number, step, 1))
            _, corrupted, _ = Corruption(TEXTURES)(images.pixels[index].float() / 255, generator)
            seen = normalise(corrupted) if number == 0 else settled.products(normalise(corrupted))
            means.append(convolution(seen).detach().mean(dim=(0, 2, 3)))
        assert len(means) == 2
        assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-6)


def test_damaged_and_foreign_states_are_refused_with_what_to_do(tmp_path):
    resume = tmp_path / "r"
    resume.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match=r"not a complete training state \(\d+ bytes.*delete it"):
        trained("stpm", resume=resume)
    resume.unlink()
    state = {"identity": "another", "stage": 0}
    torch.save(state, resume)
    with pytest.raises(ValueError, match="belongs to another training: expected 'mine', found 'another'"):
        trained("stpm", resume=resume, identity="mine")


def test_a_state_of_another_training_is_refused_also_where_nobody_says_what_is_trained(tmp_path):
    fit(Toy(), indexed_images(4), device="cpu", resume=tmp_path / "r")
    with pytest.raises(ValueError, match="other images: expected"):
        fit(Toy(), indexed_images(3), device="cpu", resume=tmp_path / "r")
    with pytest.raises(ValueError, match="other seed: expected"):
        fit(Toy(), indexed_images(4), seed=1, device="cpu", resume=tmp_path / "r")
    with pytest.raises(ValueError, match="other method: expected"):
        fit(build("reduced_student", teacher="random"), indexed_images(4), device="cpu", resume=tmp_path / "r")


class Toy(Method):
    """One weight that is pulled to zero; says which images it saw."""

    def __init__(self, **stage):
        super().__init__()
        self.config = MethodConfig()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.teacher = torch.nn.Identity()
        self.norm = torch.nn.BatchNorm2d(3)
        self.stage, self.batches, self.modes = stage, [], []

    def targets(self, images):
        return [images]

    def stages(self):
        def loss(batch):
            self.norm(batch.image)
            self.batches.append(batch)
            self.modes.append(self.norm.training)
            terms = {"pull": self.weight.square().sum(), "more": 2 * self.weight.square().sum()}
            return terms | {"_watched": 1e6 * self.weight.sum()}

        options = {"batch": 4, "steps": 6, "trains": (self.norm,)} | self.stage
        optimiser = torch.optim.SGD([self.weight], 0.1)
        return [Stage(name="toy", optimiser=optimiser, loss=loss, **options)]

    def anomaly_map(self, images):
        return images.mean(dim=1)


def indexed_images(count):
    """Image i is filled with the value i, so that a batch tells what was drawn."""
    images = tiny_images(count)
    images.pixels[:] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return images


def indices(images):
    """Which of `indexed_images` a normalised batch holds."""
    values = normalise(torch.arange(256).view(-1, 1, 1, 1).expand(-1, 3, 1, 1).float() / 255)[:, 0, 0, 0]
    return (images[:, 0, 0, 0, None] - values).abs().argmin(1).tolist()


def drawn(toy):
    return [indices(b.image) for b in toy.batches]


def test_an_epoch_is_a_permutation_and_drop_last_drops_the_rest():
    toy = Toy(steps=None, epochs=2)
    fit(toy, indexed_images(10), device="cpu")
    assert [len(b) for b in drawn(toy)] == [4, 4, 2, 4, 4, 2]
    for epoch in (drawn(toy)[:3], drawn(toy)[3:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(10))
    assert drawn(toy)[:3] != drawn(toy)[3:]
    toy = Toy(drop_last=True)
    fit(toy, indexed_images(10), device="cpu")
    assert [len(b) for b in drawn(toy)] == [4] * 6


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [3, 3]), (True, [4, 4])])
def test_a_batch_larger_than_the_set(drop_last, sizes):
    toy = Toy(steps=2, drop_last=drop_last)
    history = fit(toy, indexed_images(3), device="cpu")
    assert [len(b) for b in drawn(toy)] == sizes
    assert history.batch == sizes[0]
    assert set(drawn(toy)[0]) == {0, 1, 2}


def test_one_training_image_trains_without_a_validation_split():
    toy = Toy(steps=None, epochs=2, select=lambda batch: batch.image.mean((1, 2, 3)), validation=0.2)
    history = fit(toy, indexed_images(1), device="cpu")
    assert drawn(toy) == [[0], [0]]
    assert history.selected == {}


def test_one_image_at_least_trains():
    toy = Toy(steps=None, epochs=1, select=lambda batch: batch.image.mean((1, 2, 3)), validation=0.9)
    fit(toy, indexed_images(5), device="cpu")
    assert len(set(drawn(toy)[0])) == 1


def test_a_score_of_held_out_images_that_is_no_number_ends_the_training():
    toy = Toy(steps=None, epochs=2, select=lambda batch: torch.full((len(batch.image),), math.nan), validation=0.2)
    with pytest.raises(FloatingPointError, match="held-out images became nan in stage 'toy' after epoch 1"):
        fit(toy, indexed_images(5), device="cpu")


def test_no_image_and_no_corruption_are_errors():
    with pytest.raises(ValueError, match="no training images"):
        fit(Toy(), tiny_images(2).subset([]), device="cpu")
    with pytest.raises(ValueError, match="needs a corruption"):
        fit(build("destseg", teacher="random", **SHORT["destseg"]), tiny_images(4), device="cpu")


def test_the_best_epoch_by_the_held_out_images_is_kept():
    scores = iter([3.0, 1.0, 2.0])
    toy = Toy(steps=None, epochs=3, validation=0.2)
    kept = []

    def select(batch):
        kept.append(toy.weight.item())
        return torch.full((len(batch.image),), next(scores))

    toy.stage["select"] = select
    history = fit(toy, indexed_images(4), device="cpu")
    assert history.selected == {"toy": 1}
    assert toy.weight.item() == kept[1] != kept[2]
    assert history.losses["validation"].dropna().tolist() == [3.0, 1.0, 2.0]
    assert all(len(set(b)) == 3 for b in drawn(toy)), "the held-out image never trains"


def test_the_sum_of_the_terms_is_minimised_and_those_with_an_underscore_are_only_logged():
    toy = Toy()
    losses = fit(toy, indexed_images(4), device="cpu").losses
    # The gradient of w^2 + 2 w^2 is 6 w, the learning rate 0.1: each of six steps leaves 0.4 of the weight.
    assert toy.weight.item() == pytest.approx(0.4**6)
    assert losses["_watched"].tolist() == pytest.approx([1e6 * 0.4**step for step in range(6)])
    np.testing.assert_allclose(losses["loss"], losses["pull"] + losses["more"])


def test_the_losses_of_many_steps_come_to_the_host_at_once(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: pytest.fail("a number was read alone"))
    assert len(fit(Toy(), indexed_images(4), device="cpu").losses) == 6


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_training_computes_in_the_precision_asked_for(precision, kind):
    """In the loss, in the choice of the epoch and in settling; the weights stay in fp32."""
    convolution = torch.nn.Conv2d(3, 3, 1)
    seen = []
    convolution.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
    network = torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(3))

    def select(batch):
        return network(batch.image).mean((1, 2, 3))

    toy = Toy(steps=None, epochs=2, trains=(network,), select=select, validation=0.2, settle=lambda batch: batch.image)
    (stage,) = toy.stages()
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    loss = lambda batch: {"all": network(batch.image).float().square().mean()}  # noqa: E731
    toy.stages = lambda: [replace(stage, optimiser=optimiser, loss=loss)]
    fit(toy, indexed_images(5), device="cpu", precision=precision)
    assert len(seen) == 2 * 3  # an epoch: a step, settling, a choice
    assert set(seen) == {kind}
    assert convolution.weight.dtype == torch.float32


def test_statistics_freeze_from_the_epoch_asked_for():
    toy = Toy(steps=None, epochs=3, frozen_statistics_from=1)
    fit(toy, indexed_images(8), device="cpu")
    assert toy.modes == [True, True, False, False, False, False]


def test_exemplars_are_drawn_apart_from_the_batch_and_targets_are_cached():
    toy = Toy(exemplars=5, steps=40)
    fit(toy, indexed_images(8), device="cpu")
    exemplars = [indices(b.exemplars) for b in toy.batches]
    assert {i for step in exemplars for i in step} == set(range(8))
    assert len(set(map(tuple, exemplars))) > 30  # each step draws anew
    assert any(not set(few) <= set(batch) for few, batch in zip(exemplars, drawn(toy), strict=True))
    assert all(b.exemplars.shape == (5, 3, 64, 64) for b in toy.batches)
    assert all(torch.allclose(b.targets[0], b.image) for b in toy.batches)
    assert all(torch.allclose(b.exemplar_targets[0], b.exemplars) for b in toy.batches)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("iostream error\nmore")])
def test_a_state_that_cannot_be_written_costs_no_training(error, tmp_path, monkeypatch):
    plain, log = trained("stpm")
    monkeypatch.setattr(train, "write_state", lambda *_: (_ for _ in ()).throw(error))
    with pytest.warns(UserWarning, match=r"could not be written to .*\((.*No space.*|iostream error)\): it goes on"):
        found, same = trained("stpm", resume=tmp_path / "r", save_every=0.0)
    assert not (tmp_path / "r").exists()
    assert tensors_sha256(found.state_dict()) == tensors_sha256(plain.state_dict())
    assert same.losses.equals(log.losses)


@pytest.mark.parametrize(
    ("every", "takes", "steps"),
    [
        (1.5, 0.0, [*range(2, 31, 2)]),
        (1.5, 0.5, [2, 13, 24]),  # 20 times half a second apart, once it is known what a save takes
        (1.5, 3.0, [2, 18]),  # at most 10 times as far apart as was asked for: a disk may only have hung
        (0.0, 0.5, [*range(1, 31)]),
    ],
)
def test_a_state_that_takes_long_to_write_is_written_less_often(every, takes, steps, tmp_path, monkeypatch):
    now, written = 0.0, []

    def step(batch):
        nonlocal now
        now += 1.0
        return {"pull": toy.weight.square().sum()}

    def write(path, state):
        nonlocal now
        now += takes
        written.append(state["step"])

    toy = Toy(steps=30)
    (stage,) = toy.stages()
    toy.stages = lambda: [replace(stage, loss=step)]
    monkeypatch.setattr(train, "write_state", write)
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: now))
    fit(toy, indexed_images(4), device="cpu", resume=tmp_path / "r", save_every=every)
    assert written == [*steps, 0]  # at the end no stage is under way


def test_a_schedule_steps_each_batch_and_survives_a_resume(tmp_path, monkeypatch):
    rates = []

    def schedule(optimiser, steps):
        assert steps == 6
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: rates.append(n) or 0.5**n)

    fit(Toy(schedule=schedule), indexed_images(4), device="cpu")
    assert rates == list(range(7))
    write = train.write_state
    monkeypatch.setattr(train, "write_state", lambda p, s: (write(p, s), (_ for _ in ()).throw(Killed))[0])
    with pytest.raises(Killed):
        fit(Toy(schedule=schedule), indexed_images(4), device="cpu", resume=tmp_path / "r", save_every=0.0)
    monkeypatch.undo()
    rates.clear()
    fit(Toy(schedule=schedule), indexed_images(4), device="cpu", resume=tmp_path / "r")
    assert rates[-1] == 6
    assert rates.count(3) == 1


def test_a_loss_that_explodes_names_its_stage_and_step():
    toy = Toy()
    stage = toy.stages()[0]
    toy.stages = lambda: [replace(stage, loss=lambda b: {"bad": toy.weight.sum() * float("nan")})]
    with pytest.raises(FloatingPointError, match="'bad' became nan in stage 'toy' at step 0"):
        fit(toy, indexed_images(4), device="cpu")


def test_a_gpu_with_a_number_is_initialised_before_its_memory_is_asked(monkeypatch):
    calls = []
    monkeypatch.setattr(train, "resolve_device", lambda device: device)
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device))
    with pytest.raises((AssertionError, RuntimeError)):  # there is none here
        fit(Toy(), indexed_images(4), device="cuda:1")
    assert calls == ["init", "cuda:1"]


def test_training_and_scoring_keep_fp32_what_it_is():
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    method = build("stpm", teacher="random", levels=[1], epochs=1)
    for call in (lambda: fit(method, tiny_images(2)), lambda: predict(method, tiny_images(1))):
        for flag in flags:
            flag.allow_tf32 = True
        call()
        assert [flag.allow_tf32 for flag in flags] == [False, False]


def test_every_stage_is_compiled_if_asked(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda loss: compiled.append(loss.__name__) or loss)
    trained("destseg", compile=True)
    assert compiled == ["student_loss", "segmentation_loss"]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_fused_update_is_the_plain_one_also_in_channels_last(kind):
    def weights(fused):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        optimiser = kind(layer.parameters(), 0.1, weight_decay=0.01)
        if fused:
            train.use_fused_kernels(optimiser)
        for _ in range(3):
            optimiser.zero_grad()
            layer(torch.randn(2, 3, 8, 8)).square().mean().backward()
            optimiser.step()
        assert optimiser.param_groups[0]["fused"] == (True if fused else None)
        return torch.cat([p.detach().flatten() for p in layer.parameters()])

    assert torch.allclose(weights(True), weights(False), rtol=1e-5, atol=1e-6)


def test_the_score_of_an_epoch_is_the_mean_over_all_held_out_images():
    # 8 images, half held out, batches of 3: the fourth counts, and as much as each of the others.
    toy = Toy(batch=3, steps=None, epochs=1, validation=0.5)
    toy.stage["select"] = lambda batch: torch.tensor([float(i) for i in indices(batch.image)])
    history = fit(toy, indexed_images(8), device="cpu")
    held_out = Plan(toy.stages()[0], 0, 8, 0).held_out
    assert len(held_out) == 4
    assert history.losses["validation"].dropna().tolist() == [held_out.float().mean().item()]


def test_each_stage_keeps_its_own_best_epoch():
    scores, kept = iter([1.0, 2.0, 8.0, 7.0]), []
    toy = Toy(steps=None, epochs=2, validation=0.2)

    def select(batch):
        kept.append(toy.weight.item())
        return torch.full((len(batch.image),), next(scores))

    toy.stage["select"] = select
    both = [toy.stages()[0], replace(toy.stages()[0], name="second")]
    toy.stages = lambda: both
    history = fit(toy, indexed_images(5), device="cpu")
    assert history.selected == {"toy": 0, "second": 1}
    assert toy.weight.item() == kept[3]


def test_what_a_loss_draws_follows_from_the_seed_and_the_step_alone():
    def drawn(state):
        torch.manual_seed(state)
        toy, found = Toy(steps=3), []
        (one,) = toy.stages()

        def loss(batch):
            found.append(torch.rand(1).item())
            return {"pull": toy.weight.square().sum()}

        toy.stages = lambda: [replace(one, loss=loss)]
        fit(toy, indexed_images(4), device="cpu", seed=5)
        return found

    assert drawn(0) == drawn(1)
    assert len(set(drawn(0))) == 3


def test_the_seconds_of_an_interrupted_training_are_kept(tmp_path, monkeypatch):
    write = train.write_state
    monkeypatch.setattr(train, "write_state", lambda p, s: (write(p, s), (_ for _ in ()).throw(Killed))[0])
    with pytest.raises(Killed):
        fit(Toy(), indexed_images(4), device="cpu", resume=tmp_path / "r", save_every=0.0)
    spent = torch.load(tmp_path / "r", weights_only=True)["seconds"]
    monkeypatch.undo()
    assert spent > 0
    assert fit(Toy(), indexed_images(4), device="cpu", resume=tmp_path / "r").seconds > spent


def test_defects_are_not_trained_on():
    with pytest.raises(ValueError, match="1 of 4 training images are labelled as defects"):
        fit(Toy(), replace(indexed_images(4), labels=torch.tensor([0, 0, 1, 0])), device="cpu")
