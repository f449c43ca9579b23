"""Distillation: views, data, loss that falls, state that goes on, a file that a Teacher reads."""

import dataclasses
import io
import itertools
import json
import math
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from adlib.backbones import Teacher
from adlib.images import MEAN, STD
from adlib.pretrain import Augmentation, Classification, Config, Distillation, data
from adlib.pretrain.__main__ import _config, _parser, main, make
from adlib.pretrain.augment import blurred, crops, mixed, views
from adlib.pretrain.border import border_distance
from adlib.pretrain.data import HELD_OUT
from adlib.pretrain.export import write_teacher
from adlib.pretrain.inherit import inherit
from adlib.pretrain.networks import Output, Source, channel_statistics, feature_loss, logit_loss
from adlib.pretrain.training import Pretraining

QUIET = Augmentation(area_min=1.0, aspect=1.0, turn=0, colour=0, gray=0, invert=0, blur=0, noise=0, mixup=0, cutmix=0)


@pytest.fixture(scope="module")
def groups():
    textures = data.procedural_textures(16, 64)
    return {"procedural": textures[:12], HELD_OUT: textures[12:]}


def config(**changes) -> Config:
    base = {"sizes": (64,), "batch": 8, "lr": 3e-3, "warmup": 2, "precision": "fp32", "steps": 4, "ema": 0.5}
    return Config(**(base | changes))


def start(groups, **changes) -> Distillation:
    return Distillation(config(**changes), Source("resnet18", "random", (1, 2, 3, 4)), groups)


def run(training: Distillation, **options) -> Distillation:
    training.run(report=lambda line: None, report_every=0, **options)
    return training


def test_views_keep_shape_and_range(groups):
    for strength in (Augmentation(), Augmentation(turn=1, blur=1, noise=1, invert=0.5, mixup=0.5, cutmix=0.5)):
        made = views(groups["procedural"][:8], 96, strength, torch.Generator().manual_seed(0))
        assert made.shape == (8, 3, 96, 96)
        assert 0 <= made.min() < made.max() <= 1


def test_quiet_views_are_the_images_or_their_mirrors(groups):
    pixels = groups["procedural"][:8]
    made = views(pixels, 64, QUIET, torch.Generator().manual_seed(0))
    same, mirrored = ((view - pixels / 255).abs().mean((1, 2, 3)) for view in (made, made.flip(3)))
    assert torch.minimum(same, mirrored).max() < 0.1  # sampled twice as fine and averaged: a little smoother
    assert 0 < (same < mirrored).sum() < 8


def test_a_crop_of_a_ramp_spans_its_share_of_the_area():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, -1).expand(32, 3, 64, 64)
    settings = Augmentation(area_min=0.25, area_max=0.25, aspect=1.0, turn=0)
    made = crops(ramp, 192, settings, torch.Generator().manual_seed(0))
    span = made.amax((1, 2, 3)) - made.amin((1, 2, 3))
    assert (span - 0.5).abs().max() < 0.03


def test_blur_keeps_constant_images_and_smooths_others():
    settings, generator = Augmentation(blur=1), torch.Generator().manual_seed(0)
    assert blurred(torch.full((4, 3, 32, 32), 0.3), settings, generator).sub(0.3).abs().max() < 1e-6
    noise = torch.rand(4, 3, 32, 32, generator=generator)
    assert (blurred(noise, settings, generator).std((1, 2, 3)) < noise.std((1, 2, 3))).all()


def test_mixing_takes_from_the_neighbour_only():
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 32, 32) / 8
    cut = mixed(images, Augmentation(mixup=0, cutmix=1), torch.Generator().manual_seed(0))
    neighbour = images.roll(1, 0)
    assert ((cut == images) | (cut == neighbour)).all()
    assert (cut == neighbour).any()
    blended = mixed(images, Augmentation(mixup=1, cutmix=0), torch.Generator().manual_seed(0))
    assert (blended.amax((1, 2, 3)) == blended.amin((1, 2, 3))).all()


def test_losses_have_their_closed_forms():
    torch.manual_seed(0)
    maps = 5 + 3 * torch.randn(4, 6, 8, 8)
    statistics = channel_statistics([Output([maps], torch.zeros(4, 2))])[0]
    exact = (maps - statistics[0]) / statistics[1]
    assert feature_loss("standardised", exact, maps, statistics) < 1e-10
    assert feature_loss("cosine", 7 * exact, maps, statistics) < 1e-5
    assert feature_loss("standardised", torch.zeros_like(maps), maps, statistics) == pytest.approx(1, abs=0.01)
    logits = torch.randn(4, 10)
    assert logit_loss(logits, logits, 2.0).abs() < 1e-6
    made, target = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.5, 0.5]])
    softened = logit_loss(2 * made.log(), 2 * target.log(), 2.0)  # of logits at temperature 2: these very shares
    assert softened.item() == pytest.approx(4 * 0.5 * (math.log(0.5 / 0.8) + math.log(0.5 / 0.2)))


@pytest.mark.parametrize(("margin", "kept"), [(0, 4), (1, 3), (4, 3), (5, 2), (16, 0)])
def test_features_of_a_margin_are_not_compared(groups, margin, kept):
    """A student that is wrong in one cell, so many cells from the edge, is wrong there alone where that is compared."""
    recipe = config(levels=(1, 2), level_weights=(1.0, 1.0), margin=margin)
    training = Distillation(recipe, Source("resnet18", "random", recipe.levels, classify=False), groups)
    images = groups["procedural"][:1].float() / 255
    target = training.source(images)
    exact = [(m - mean) / deviation for m, (mean, deviation) in zip(target.maps, training.statistics, strict=True)]
    for wrong in range(4):  # cells of level 1, of 4 pixels each
        made = [m.clone() for m in exact]
        made[0][..., 8, wrong] += 1
        terms, _ = training.compare(lambda views, made=made: Output(made, None), images, torch.arange(1))
        assert (float(terms["level 1"]) > 1e-6) == (wrong >= 4 - kept)
        assert float(terms["level 2"]) < 1e-6


def test_a_border_is_as_far_from_the_inside_as_its_features_are_turned():
    maps = torch.zeros(2, 2, 8, 12)
    maps[:, 0] = 3
    assert border_distance(maps) == pytest.approx(dict.fromkeys(["left", "right", "top", "bottom"], 0), abs=1e-6)
    maps[:, 0, :, -1], maps[:, 1, :, -1] = 0, 5
    found = border_distance(maps)
    assert found["right"] == pytest.approx(1)
    assert found["left"] == pytest.approx(0, abs=1e-6)
    turned = 1 / 12  # of the cells of a row
    assert found["top"] == pytest.approx(1 - (1 - turned) / np.hypot(1 - turned, turned), abs=1e-6)


def test_a_source_with_same_padding_is_brought_to_the_students_grid(tmp_path):
    save_file(timm.create_model("mobilenetv2_100").state_dict(), tmp_path / "own.safetensors")
    source = Source("mobilenetv2_100", str(tmp_path / "own.safetensors"), (1, 2, 3))
    images = torch.rand(1, 3, 64, 64)
    assert source.same
    assert [m.shape[-1] for m in source(images).maps] == [15, 7, 3]
    assert [m.shape[-1] for m in source.crop_student([torch.zeros(1, 1, 16, 16)])] == [15]


def test_the_loss_falls_and_the_file_is_a_teacher(groups, tmp_path: Path):
    training = run(start(groups, steps=16))
    losses = [entry["loss"] for entry in training.log]
    assert len(losses) == 16
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    measured = training.finish()
    assert set(measured) == {"level 1", "level 2", "level 3", "level 4", "logits", "same class"}
    out = tmp_path / "resnet18.safetensors"
    card = write_teacher(training, out, {"procedural": 12}, measured)
    assert json.loads(out.with_suffix(".json").read_text()) == card
    assert card["images_seen"] == 128
    assert card["parameters"] == pytest.approx(2.78e6, rel=0.01)
    assert card["bytes"] < 5.7e6
    teacher = Teacher("resnet18", str(out), (1, 2, 3))
    whole = training.student.state_dict()["layer3.1.conv2.weight"]
    found = teacher.features.state_dict()["layer3.1.conv2.weight"]
    assert torch.equal(found, whole.half().float())
    assert teacher.provenance.sha256 == card["sha256"]


def test_classes_are_learnt_and_their_file_starts_a_distillation(tmp_path: Path):
    textures = data.procedural_textures(4, 64)
    recipe = config(steps=40, ema=0.8, augmentation=QUIET)
    labels = {"procedural": torch.arange(4)}
    training = Classification(recipe, {"procedural": textures}, labels)
    run(training)
    assert training.log[-1]["accuracy"] == 1
    out = tmp_path / "resnet18.safetensors"
    card = write_teacher(training, out, {"procedural": 4}, training.finish())
    assert card["source"] == {"classes": 4}
    source = Source("resnet18", "random", (1, 2, 3, 4))
    begun = Distillation(config(), source, {"procedural": textures}, start=out)
    kernel = "layer2.0.conv1.weight"
    assert torch.equal(begun.student.state_dict()[kernel], training.student.state_dict()[kernel].half().float())
    with pytest.raises(ValueError, match="another network"):
        Distillation(config(student="efficientnet_b0"), source, {"procedural": textures}, start=out)
    with pytest.raises(ValueError, match="mixup=0"):
        Classification(config(), {"procedural": textures}, labels)
    with pytest.raises(ValueError, match="no label each"):
        Classification(recipe, {"procedural": textures, "tiny": textures}, labels)


def test_the_card_names_the_teacher_that_a_training_began_from(tmp_path: Path):
    recipe = "--procedural 4 --canvas 64 --sizes 64 --batch 2 --steps 1 --augment mixup=0,cutmix=0 --ship-level 3"
    first, second = (tmp_path / f"{name}.safetensors" for name in ("first", "second"))
    make([*recipe.split(), "--device", "cpu", "--out", str(first)])
    make([*recipe.split(), "--device", "cpu", "--out", str(second), "--start", str(first)])
    begun, then = (json.loads(path.with_suffix(".json").read_text()) for path in (first, second))
    assert "start" not in begun
    assert then["start"] == {"file": "first.safetensors", "sha256": begun["sha256"]}
    assert then["sha256"] != begun["sha256"]


def test_classes_come_from_folders_or_names(tmp_path: Path):
    for i, name in enumerate(("n02_cat.png", "n01/a.png", "n01/b.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20 + i, 10), (i, 0, 0)).save(tmp_path / name)
    groups, labels, counts = data.read_classes([tmp_path], canvas=8, procedural=2)
    assert counts == {"labelled": 3, "classes": 2, "procedural": 2}
    assert [groups[HELD_OUT].shape[0], *groups["labelled"][:, 0, 0, 0].tolist()] == [1, 2, 0]
    assert [*labels[HELD_OUT], *labels["labelled"], *labels["procedural"]] == [0, 0, 1, 2, 3]
    assert groups["procedural"].shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="no procedural texture"):
        data.read_classes([])


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


def test_wrong_recipes_say_what_is_expected(groups):
    with pytest.raises(ValueError, match="steps, seconds or both"):
        config(steps=None)
    with pytest.raises(ValueError, match="multiples of 32"):
        config(sizes=(100,))
    with pytest.raises(ValueError, match="margin must be from 0 to 16 pixels for views of 64, got 17"):
        config(levels=(1, 2, 3), level_weights=(1.0,) * 3, margin=17)
    with pytest.raises(ValueError, match=r"precision must be one of \('fp32', 'bf16'\), got 'auto'"):
        config(precision="auto")
    with pytest.raises(ValueError, match="no share"):
        start({"holidays": groups["procedural"]})


@pytest.mark.parametrize("name", ["procedural", "plain", HELD_OUT])
def test_a_group_of_images_may_not_have_the_name_of_one_that_is_made(name, tmp_path: Path):
    (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match=f"may not be called '{name}'"):
        data.read([tmp_path], canvas=64, procedural=0)


def test_what_cannot_be_packed_is_named_and_nothing_is_left(tmp_path: Path):
    out = tmp_path / "out" / "packed.zip"
    with pytest.raises(FileNotFoundError, match="no such folder or zip of images: .*nowhere"):
        data.pack({"tiny": [tmp_path / "nowhere"]}, out)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.jpg is not a whole image .*: mend it or leave it out"):
        data.pack({"tiny": [tmp_path / "images"]}, out)
    assert not list(out.parent.glob("*"))


def test_pack_and_read(tmp_path: Path):
    rng = np.random.default_rng(0)
    folders = {"photographs": ((90, 64), 21), "tiny": ((16, 16), 32)}
    for name, (size, count) in folders.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i:02d}.png")
    packed = tmp_path / "natural.zip"
    assert data.pack({name: [tmp_path / name] for name in folders}, packed, size=64) == {"photographs": 21, "tiny": 32}
    with zipfile.ZipFile(packed) as archive:
        assert Image.open(io.BytesIO(archive.read(archive.namelist()[0]))).size == (90, 64)
    groups, counts = data.read([packed], canvas=64, procedural=4, rounds=2)
    assert counts == {"photographs": 21, "tiny": 32, "procedural": 4, "plain": 1}
    assert {name: tuple(pixels.shape) for name, pixels in groups.items()} == {
        "photographs": (38, 3, 64, 64),  # two squares of each of 19
        HELD_OUT: (4, 3, 64, 64),
        "tiny": (4, 3, 64, 64),  # 32 of 16 x 16 fill two canvases, twice
        "procedural": (4, 3, 64, 64),
        "plain": (1, 3, 64, 64),
    }
    with pytest.raises(FileNotFoundError, match="no such folder or zip"):
        data.read([tmp_path / "nothing"])


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
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_before_anything_is_trained(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pretraining, "run", lambda *_, **__: pytest.fail("trained"))
    assert main([*words.split(), "--steps", "1", "--procedural", "0", "--device", "cpu"]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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


def test_no_warmup_begins_at_the_whole_rate(groups):
    training = run(start(groups, warmup=0))
    assert training.step > 0


def test_an_image_that_cannot_be_read_is_named_and_litter_is_none(tmp_path):
    folder = tmp_path / "images" / "photographs"
    (folder / "dir.png").mkdir(parents=True)
    (tmp_path / "images" / "__MACOSX").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    for litter in (folder / "._0.png", tmp_path / "images" / "__MACOSX" / "0.png"):
        litter.write_bytes(b"Mac OS X")
    assert data.read([tmp_path / "images"], canvas=64, procedural=0)[1] == {"photographs": 1}
    (folder / "half.png").write_bytes((folder / "0.png").read_bytes()[:60])
    for read in (data.read, data.read_classes):
        with pytest.raises(ValueError, match=r"photographs/half\.png is not a whole image"):
            read([tmp_path / "images"], canvas=64)


def test_every_size_takes_about_as_many_pixels(groups):
    recipe = config(sizes=(64, 96, 128), batch=6)
    assert [recipe.batch_of(size) for size in recipe.sizes] == [24, 11, 6]
    training = run(start(groups, sizes=(64, 128), batch=2))
    assert training.views == 2 * 8 + 2 * 2
    training.finish()


def test_without_logits_nothing_beyond_the_last_level_is_computed(groups):
    levels = (1, 2)
    recipe = config(levels=levels, level_weights=(1.0, 1.0), logit_weight=0.0)
    training = run(Distillation(recipe, Source("resnet18", "random", levels, classify=False), groups))
    assert set(training.finish()) == {"level 1", "level 2"}
    learnt = {name.split(".")[0] for name, p in training.live.pyramid.network.named_parameters() if p.grad is not None}
    assert learnt == {"conv1", "bn1", "layer1", "layer2"}


def test_an_inherited_network_gives_the_sources_maps(monkeypatch):
    monkeypatch.setattr("adlib.pretrain.inherit.SHARPNESS", 256.0)  # SiLU as sharp as ReLU
    torch.manual_seed(0)
    source, network = timm.create_model("mobilenetv2_100"), timm.create_model("efficientnet_b0")
    images = torch.rand(4, 3, 64, 64)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    source(2 * images - 1)  # moves the BatchNorm statistics
    with torch.device("meta"):  # a tensor that names no device of its own would be on another than the images
        inherit(network, source.eval(), (images - mean) / std)
    network.eval()
    for stage in (2, 3):  # here the source has a block more
        source.blocks[stage] = source.blocks[stage][:-1]
    x, y = 2 * images - 1, (images - mean) / std
    with torch.no_grad():
        x, y = source.bn1(source.conv_stem(x)), network.bn1(network.conv_stem(y)) / 256
        for stage, (theirs, ours) in enumerate(zip(source.blocks, network.blocks, strict=True)):
            x, y = theirs(x), ours(256 * y if stage == 0 else y)
            error = (y[:, : x.shape[1]] - x).pow(2).mean() / x.var((0, 2, 3)).mean()
            assert error < 0.05, stage
    with pytest.raises(ValueError, match="6 stages, the network 7"):
        inherit(network, timm.create_model("mobilenetv3_small_100"), images)


def test_a_distillation_that_inherits_begins_near_the_source():
    textures = data.procedural_textures(8, 64)
    source = Source("mobilenetv2_100", "random", (1, 2), classify=False)
    source.pyramid.network.train()
    source.pyramid.network(torch.rand(4, 3, 64, 64))  # moves the BatchNorm statistics, which random weights need
    source.pyramid.network.eval()
    recipe = {"student": "efficientnet_b0", "levels": (1, 2), "level_weights": (1.0, 1.0), "logit_weight": 0.0}
    losses = {}
    for begins in (False, True):
        training = Distillation(config(**recipe, inherit=begins), source, {"procedural": textures})
        images, _ = training._views(64, 0)
        training.live.eval() if begins else training.live.train()
        losses[begins] = training.compare(training.live, images, torch.empty(0))[1].item()
    assert losses[True] < 0.9 * losses[False]
