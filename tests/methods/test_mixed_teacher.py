import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import adlib
from adlib.backbones import Provenance
from adlib.methods import build
from adlib.methods.base import Batch
from adlib.methods.mixed_teacher import fuse, two_sources
from adlib.methods.reduced_student import added
from tests.conftest import tiny_images
from tests.methods.conftest import IMAGES, shapes


def mixed(recipe="paper", **overrides):
    return build("mixed_teacher", recipe, teacher="random", **overrides)


@torch.no_grad()
def test_both_efficient_networks_have_the_sheets_shapes():
    images = torch.randn(1, 3, 256, 256)
    for recipe, stages in {"paper": [(112, 16, 16), (192, 8, 8)], "code": [(112, 16, 16), (320, 8, 8)]}.items():
        method = mixed(recipe)
        assert shapes(method.teacher_efficient(images)) == shapes(method.student_efficient(images)) == stages


def test_a_score_is_the_sum_or_the_maximum_of_the_map():
    maps = torch.rand(3, 6, 5)
    assert mixed(image_score="max").score(maps).equal(maps.amax(dim=(1, 2)))
    assert mixed("code", image_score="sum").score(maps).equal(maps.sum(dim=(1, 2)))


def test_fusion_is_equation_11_its_prose_and_the_codes():
    resnet, efficient = torch.rand(2, 2, 5, 4, dtype=torch.float64)
    for n in range(2):
        a, e = resnet[n].numpy(), efficient[n].numpy()
        extent = e.max() - e.min()
        columns = np.stack([e[:, j] / np.sqrt((e[:, j] ** 2).sum()) for j in range(4)], axis=1)
        expected = {
            "equation": a * extent * e,
            "prose": a * ((e - e.min()) / extent) * extent,
            "code": a * extent * columns,
        }
        for fusion, value in expected.items():
            np.testing.assert_allclose(fuse(resnet, efficient, fusion)[n], value, rtol=1e-12)


def test_joint_loss_weighs_the_second_teacher_by_alpha_and_logs_the_ratio():
    method = mixed().eval()
    with torch.no_grad():
        terms = method.loss(Batch(IMAGES))
        cached = method.loss(Batch(IMAGES, targets=method.targets(IMAGES)))
        alone = [pair.loss(Batch(IMAGES)) for pair in method.pairs]
    assert list(terms) == ["level0", "level1", "level2", "stage5", "stage6", "_ratio"]
    assert all(float(cached[k]) == pytest.approx(float(v)) for k, v in terms.items())
    for name in ("stage5", "stage6"):
        assert float(terms[name]) == pytest.approx(0.1 * float(alone[1][name]), rel=1e-5)
    expected = sum(map(float, alone[1].values())) / sum(map(float, alone[0].values()))
    assert float(terms["_ratio"]) == pytest.approx(expected, rel=1e-5)


def test_separate_trainings_run_their_own_teacher_only(monkeypatch):
    method = mixed("code", epochs=1)
    calls = []
    for name in ("teacher", "teacher_efficient"):
        getattr(method, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    adlib.fit(method, tiny_images(5), device="cpu")
    assert calls == ["teacher", "teacher_efficient"], "each once, then from the cache"


def test_the_codes_student_starts_as_its_teacher_and_trains_apart():
    method = mixed("code").eval()
    with torch.no_grad():
        assert all(float(d.max()) == 0 for d in method.pairs[1].distances(Batch(IMAGES)))
    assert all(p.requires_grad for p in method.student_efficient.parameters())
    assert not any(p.requires_grad for p in method.teacher_efficient.parameters())


def test_the_efficient_teacher_stops_at_the_last_stage_that_is_asked_for():
    assert len(mixed().teacher_efficient.features.blocks) == 6
    shallow = mixed(efficient_stages=(2, 3), parts="efficientnet")
    assert len(shallow.teacher_efficient.features.blocks) == 3
    assert shapes(shallow.targets(IMAGES)) == shapes(shallow.student_efficient(IMAGES)) == [(24, 16, 16), (40, 8, 8)]


@pytest.mark.parametrize(("part", "count"), [("resnet", 317_888), ("efficientnet", 321_536)])
def test_one_pair_alone_has_its_parameters_and_its_map(part, count):
    method = mixed(parts=part).eval()
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == count
    assert [stage.name for stage in method.stages()] == [part]
    with torch.no_grad():
        (pair,) = method.pairs
        assert torch.equal(method.anomaly_map(IMAGES), added(pair.distances(Batch(IMAGES)), (64, 64), False))


def test_stages_are_the_recipes():
    (joint,) = mixed().stages()
    assert isinstance(joint.optimiser, torch.optim.SGD)
    assert (joint.epochs, joint.batch, joint.validation, joint.frozen_statistics_from) == (200, 16, 0.2, None)
    first, second = mixed("code").stages()
    for stage in (first, second):
        assert isinstance(stage.optimiser, torch.optim.Adam)
        assert (stage.epochs, stage.batch, stage.frozen_statistics_from) == (100, 8, 1)
        schedule = stage.schedule(stage.optimiser, 100)
        rates = []
        for _ in range(100):
            rates.append(stage.optimiser.param_groups[0]["lr"])
            stage.optimiser.step()
            schedule.step()
        assert rates[0] == pytest.approx(4e-3 / 25)
        assert max(rates) == pytest.approx(4e-3, rel=1e-3)
        assert 28 <= int(np.argmax(rates)) <= 30
        assert rates[-1] == pytest.approx(4e-3 / 25e4, rel=1e-3)


def test_a_copied_student_of_tensorflow_style_weights_is_refused(tmp_path):
    network = timm.create_model("mobilenetv2_100", pad_type="same")
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    fields = {"efficient_backbone": "mobilenetv2_100", "efficient_stages": (5, 7)}
    with pytest.raises(ValueError, match="TensorFlow's range of pixels: take 'thin'"):
        build("mixed_teacher", "code", f"random+{tmp_path / 'm.safetensors'}", **fields)


def test_two_sources_are_loaded_named_and_kept(tmp_path):
    first, second = build("stpm", teacher="random").teacher.features, mixed("code").teacher_efficient.features
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path, network in zip(paths, (first, second), strict=True):
        save_file({k: v + 0.01 if v.is_floating_point() else v for k, v in network.state_dict().items()}, path)
    method = build("mixed_teacher", teacher=f"{paths[0]}+{paths[1]}", levels=(0, 1), epochs=1)
    key = "layer1.0.conv1.weight"
    assert torch.equal(method.teacher.features.state_dict()[key], first.state_dict()[key] + 0.01)
    key = "blocks.5.0.conv_pw.weight"
    assert torch.equal(method.teacher_efficient.features.state_dict()[key], second.state_dict()[key] + 0.01)
    assert method.provenance.name == "a.safetensors+b.safetensors"
    assert len(method.provenance.sha256) == 64
    adlib.save(method, tmp_path / "method.safetensors")
    assert adlib.load(tmp_path / "method.safetensors").provenance == method.provenance
    assert two_sources("imagenet") == ("imagenet", "imagenet")
    assert two_sources("/c++/t.safetensors", both=False) == ("/c++/t.safetensors", "/c++/t.safetensors")
    with pytest.raises(ValueError, match=r"two teachers are needed: give '/c\+\+/t.safetensors\+bundled'"):
        two_sources("/c++/t.safetensors")
    assert two_sources("/c++/t.safetensors+bundled") == ("/c++/t.safetensors", "bundled")
    loaded = two_sources(Provenance("a.safetensors+random", "a+b", "0"))  # of a checkpoint
    assert [source.source for source in loaded] == ["a.safetensors", "random"]
    with pytest.raises(ValueError, match="one '\\+'"):
        two_sources("a+b+c")


def test_resume_files_hold_neither_teacher(tmp_path):
    path = tmp_path / "state.resume"
    adlib.fit(mixed(epochs=1), tiny_images(5), device="cpu", resume=path, save_every=0.0)
    state = torch.load(path, weights_only=True)
    assert state["weights"]
    assert not any(k.startswith("teacher") for k in [*state["weights"], *state["best"].get("state", {})])


def test_wrong_levels_are_refused():
    for overrides, message in (
        ({"levels": (2, 1)}, "levels must be increasing"),
        ({"efficient_stages": (5, 8)}, "efficient_stages must be increasing numbers of 1 to 7"),
    ):
        with pytest.raises(ValueError, match=message):
            mixed(**overrides)


def test_the_map_of_a_level_is_its_distance_alone():
    method = build("mixed_teacher", teacher="random", sigma=0.0).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        distances = method.pairs[1].distances(Batch(images))
        for level, distance in enumerate(distances):
            expected = torch.nn.functional.interpolate(distance[:, None], size=(64, 64), mode="bilinear")[:, 0]
            assert torch.allclose(method.efficient_level_map(images, level), expected)


@torch.no_grad()
def test_a_thin_student_activates_between_its_convolutions_and_not_after_the_last():
    student = mixed().eval().student_efficient
    x, outputs = IMAGES, []
    for number, convolution in enumerate(student.convolutions):
        x = convolution(x if number == 0 else x * torch.sigmoid(x))
        outputs.append(x)
    chosen = [outputs[number] for number in sorted(student.stages)]
    for found, expected in zip(student(IMAGES), chosen, strict=True):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["equation", "prose", "code"])
def test_the_map_is_the_resnets_confirmed_by_the_efficientnets(fusion):
    method = mixed(fusion=fusion).eval()
    resnet, efficient = (added(pair.distances(Batch(IMAGES)), (64, 64), False) for pair in method.pairs)
    torch.testing.assert_close(method.anomaly_map(IMAGES), fuse(resnet, efficient, fusion))
    assert not torch.allclose(fuse(resnet, efficient, fusion), fuse(efficient, resnet, fusion))


@torch.no_grad()
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_epochs_are_chosen_by_both_pairs_weighted_as_in_the_loss(reduction):
    method = mixed(level_reduction=reduction).eval()
    resnet, efficient = (
        getattr(torch.stack([distance.mean((1, 2)) for distance in pair.distances(Batch(IMAGES))]), reduction)(0)
        for pair in method.pairs
    )
    torch.testing.assert_close(method.selection_score(Batch(IMAGES)), resnet + 0.1 * efficient)
