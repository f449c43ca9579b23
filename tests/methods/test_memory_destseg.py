from types import SimpleNamespace

import pytest
import torch
from torch import nn

import adlib
from adlib.corrupt import Corruption
from adlib.layers import CoordinateAttention, SqueezeExcitation, cosine_distance
from adlib.methods import build
from adlib.methods.base import Batch
from adlib.methods.destseg import batch_norm_mode
from adlib.textures import procedural_textures
from tests.conftest import tiny_images

CLEAN, CORRUPTED = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BATCH = Batch(CLEAN, CORRUPTED, torch.zeros(4, 1, 64, 64))
STUDENT, SEGMENTATION, MEMORIES, ATTENTION, SQUEEZE = 24_665_024, 7_706_369, 22_400, 11_720, 25_088


def make(recipe="paper", name="memory_destseg", **overrides):
    return build(name, recipe, teacher="random", **overrides)


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def statistics(module):
    return {k: v.clone() for k, v in module.state_dict().items() if "running" in k or "tracked" in k}


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def cosine_loss(a, b):
    """Sum over a batch of 1 - cos, averaged over positions."""
    return float((1 - nn.functional.cosine_similarity(a.double(), b.double(), dim=1)).mean(dim=(1, 2)).sum())


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("squeeze", [True, False])
def test_each_part_is_a_switch_and_brings_its_parameters(memory, attention, squeeze):
    method = make(memory=memory, attention=attention, squeeze=squeeze)
    assert count(method.student) == STUDENT + memory * MEMORIES + attention * ATTENTION
    assert count(method.segmentation) == SEGMENTATION + squeeze * SQUEEZE
    assert [tuple(m.items.shape) for m in method.memories.values()] == [(50, 64), (50, 128), (50, 256)] * memory
    assert sum(isinstance(m, CoordinateAttention) for m in method.student.decoder.modules()) == 3 * attention
    assert sum(isinstance(m, SqueezeExcitation) for m in method.segmentation.modules()) == squeeze


def test_without_its_parts_it_is_destseg():
    plain = make(memory=False, attention=False, squeeze=False).eval()
    original = make(name="destseg").eval()
    with torch.no_grad():
        assert torch.equal(plain.anomaly_map(CLEAN), original.anomaly_map(CLEAN))
    assert list(plain.student_loss(BATCH)) == ["level1", "level2", "level3"]


@pytest.mark.parametrize("name", ["destseg", "memory_destseg"])
def test_the_student_teacher_map_alone_builds_no_segmentation(name):
    method = make(name=name, map="dest").eval()
    assert count(method) == STUDENT + (name == "memory_destseg") * (MEMORIES + ATTENTION)
    assert [stage.name for stage in method.stages()] == ["student"]
    with torch.no_grad():
        assert method.anomaly_map(CLEAN).shape == (4, 64, 64)


@pytest.mark.parametrize("recipe", ["paper", "code"])
@torch.no_grad()
def test_bf16_does_not_round_away_what_a_memory_rebuilds(recipe):
    """Items that lie where features do, as trained ones: all that is rebuilt is nearly alike."""
    method = make(recipe).train()
    for memory, features in zip(method.memories.values(), method.teacher(CLEAN), strict=True):
        pixels = features.permute(0, 2, 3, 1).flatten(0, 2)
        memory.items.copy_(pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:50]])
    exact = method.student(CLEAN)
    with torch.autocast("cpu", torch.bfloat16):
        rough = method.student(CLEAN)
    for a, b in zip(exact, rough, strict=True):
        assert cosine_loss(a, b) / len(a) < 0.005


def test_recipes_differ_as_the_sheet_says():
    paper, code = make().config, make("code").config
    assert (paper.similarity, paper.shrink, paper.memory_lr, paper.cosine_reduction) == ("cosine", 0.0, 0.4, "mean")
    assert (code.similarity, code.shrink, code.memory_lr, code.cosine_reduction) == ("dot", 0.0025, 0.04, "sum")
    assert paper.product_sign == code.product_sign == 1


@torch.no_grad()
def test_memory_loss_rebuilds_the_clean_teachers_features():
    method = make("code").eval()
    terms = method.student_loss(BATCH)
    for k, (memory, target) in enumerate(zip(method.memories.values(), method.teacher(CLEAN), strict=True), 1):
        assert float(terms[f"memory{k}"]) == pytest.approx(0.1 * cosine_loss(memory(target), target), rel=1e-5)
    trial = make(memory_loss="mse", memory_levels=(2,), items=20).eval()
    target = trial.teacher(CLEAN)[1]
    assert trial.memories[2].items.shape == (20, 128)
    expected = 0.1 * float((trial.memories[2](target) - target).square().mean())
    assert float(trial.student_loss(BATCH)["memory2"]) == pytest.approx(expected, rel=1e-5)
    assert not [k for k in make(memory_weight=0.0).student_loss(BATCH) if k.startswith("memory")]


@torch.no_grad()
@pytest.mark.parametrize("combine", ["replace", "residual", "concat"])
def test_rebuilt_features_are_combined_with_the_features_and_go_on(combine):
    method = make(combine=combine).eval()
    seen = SimpleNamespace()
    layer, recall = method.student.encoder["layer2"]
    layer.register_forward_hook(lambda _m, _i, out: setattr(seen, "feature", out))
    method.student.encoder["layer3"].register_forward_pre_hook(lambda _m, inputs: setattr(seen, "next", inputs[0]))
    method.student(CLEAN)
    rebuilt = method.memories[2](seen.feature)
    expected = {
        "replace": lambda: rebuilt,
        "residual": lambda: seen.feature + rebuilt,
        "concat": lambda: recall.mix(torch.cat([seen.feature, rebuilt], dim=1)),
    }[combine]()
    torch.testing.assert_close(seen.next, expected)


def test_cosine_loss_trains_the_memories_as_values_only():
    def gradients(**overrides):
        method = make(**overrides)
        for memory in method.memories.values():
            memory.items.grad = None
        terms = method.student_loss(BATCH)
        torch.stack([v for k, v in terms.items() if k.startswith("level")]).sum().backward()
        return [memory.items.grad for memory in method.memories.values()]

    assert all(float(g.abs().sum()) > 0 for g in gradients())
    assert gradients(values_from_cosine=False) == [None] * 3


def test_optimiser_groups_are_the_sheets():
    method = make("code")
    student, segmentation = method.stages()
    assert [g["lr"] for g in student.optimiser.param_groups] == [0.4, 0.04]
    sizes = [sum(p.numel() for p in g["params"]) for g in student.optimiser.param_groups]
    assert sizes == [STUDENT + ATTENTION, MEMORIES]
    assert [g["lr"] for g in segmentation.optimiser.param_groups] == [0.1, 0.01]
    first, *rest = make(memory_steps=5).stages()
    assert (first.name, first.steps, first.corrupted, len(rest)) == ("memory", 5, True, 2)


def test_the_second_student_pass_changes_statistics_alone_and_is_off():
    off, on = make(), make(extra_clean_forward=True)
    with torch.no_grad():
        a, b = off.train().student_loss(BATCH), on.train().student_loss(BATCH)
    assert equal(a, b)
    once, twice = statistics(off.student), statistics(on.student)
    assert int(twice["encoder.bn1.num_batches_tracked"]) == 2 * int(once["encoder.bn1.num_batches_tracked"]) == 2
    with torch.no_grad():
        off.student(CLEAN)
    assert equal(statistics(off.student), twice)
    with pytest.raises(ValueError, match="which settle takes anew"):
        make(extra_clean_forward=True, settle=True)


@pytest.mark.parametrize("name", ["destseg", "memory_destseg"])
def test_both_batch_norm_modes_are_logged_without_a_trace(name):
    options = {"student_steps": 2, "segmentation_steps": 2, "batch": 4, "rotation": "none"}
    found = []
    for log in (False, True):
        method = make(name=name, log_both_modes=log, **options)
        corruption = Corruption(procedural_textures(size=64))
        found.append((method, adlib.fit(method, tiny_images(4), device="cpu", corruption=corruption).losses))
    (quiet, before), (method, losses) = found
    assert not [c for c in before if c.startswith("_")]
    assert before["loss"].equals(losses["loss"])
    assert equal(quiet.state_dict(), method.state_dict())
    assert losses[["_cos_train", "_cos_eval"]].notna().all(axis=None)
    stage_1 = losses[losses.stage == "student"]
    levels = [f"level{k}" for k in (1, 2, 3)]
    assert stage_1["_cos_train"].to_numpy() == pytest.approx(stage_1[levels].sum(axis=1).to_numpy())


@torch.no_grad()
def test_batch_norm_mode_is_the_other_mode_and_returns():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.train()(CLEAN)
    before = statistics(network)
    for training in (True, False):
        for mode in (True, False):
            network.train(training)
            with batch_norm_mode(network, mode):
                found = network(CLEAN)
            assert network[1].training == training
            assert network[1].track_running_stats
            assert equal(statistics(network), before)
            twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
            twin.load_state_dict(network.state_dict())
            torch.testing.assert_close(found, twin.train(mode)(CLEAN))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"memory_levels": (3, 2)}, "memory_levels must be increasing"),
        ({"decoder": False}, "set attention=False too"),
        ({"memory_weight": 0.0, "values_from_cosine": False}, "memory_weight=0"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        make(**overrides)


def test_the_memory_loss_trains_the_items_as_addresses_and_as_values():
    method = make()
    targets = [target.float() for target in method.teacher(CLEAN)]

    def gradients(**flags):
        terms = [0.1 * cosine_distance(m(t, **flags), t).mean() for m, t in zip(memories, targets, strict=True)]
        return torch.autograd.grad(sum(terms), [memory.items for memory in memories])

    memories = list(method.memories.values())
    terms = method.memory_terms(targets)
    found = torch.autograd.grad(sum(terms.values()), [memory.items for memory in memories])
    values, addresses = gradients(addressing_trains=False), gradients(values_train=False)
    for both, value, address in zip(found, values, addresses, strict=True):
        torch.testing.assert_close(both, value + address)
        assert address.abs().sum() > 0
