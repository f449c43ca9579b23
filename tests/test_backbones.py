import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adlib.backbones import (
    BUNDLED,
    IMAGENET_TAGS,
    Provenance,
    Teacher,
    cached_features,
    feature_network,
    nearest_bundled,
    tensors_sha256,
)
from adlib.methods import resolve
from tests.conftest import tiny_images


def state_hash(module):
    return tensors_sha256(module.state_dict())


def test_resnet18_to_layer3_has_the_sheets_parameters_and_shapes():
    teacher = Teacher("resnet18", "random", (1, 2, 3))
    assert sum(p.numel() for p in teacher.parameters()) == 2_782_784
    shapes = [tuple(f.shape[1:]) for f in teacher(torch.randn(1, 3, 256, 256))]
    assert shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16)]
    assert teacher.channels == [64, 128, 256]


def test_frozen_means_no_gradient_eval_mode_and_untouched_statistics():
    teacher = Teacher("resnet18", "random", (1, 2))
    before = state_hash(teacher)
    torch.nn.ModuleList([teacher]).train()
    features = teacher(torch.randn(4, 3, 64, 64))
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(f.requires_grad for f in features)
    assert state_hash(teacher) == before


def test_random_is_one_teacher_whatever_the_caller_seeded():
    torch.manual_seed(1)
    first = Teacher("resnet18", "random", (1,))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = Teacher("resnet18", "random", (1,))
    assert first.provenance.sha256 == second.provenance.sha256
    assert torch.equal(torch.get_rng_state(), state), "building a teacher must not move the caller's generator"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_student_starts_as_a_copy_of_the_random_teacher(seed):
    from adlib.methods import build

    method = build("stpm", teacher="random", seed=seed)
    assert method.anomaly_map(torch.randn(1, 3, 64, 64)).min() > 0
    assert not torch.equal(method.student.conv1.weight, method.teacher.features.conv1.weight)


def test_students_differ_with_the_generator():
    torch.manual_seed(1)
    a = feature_network("resnet18", (1,))
    b = feature_network("resnet18", (1,))
    assert tensors_sha256(a.state_dict()) != tensors_sha256(b.state_dict())


def test_students_last_batchnorm_is_one_unless_asked():
    ones = feature_network("resnet18", (1,)).state_dict()["layer1.0.bn2.weight"]
    zeros = feature_network("resnet18", (1,), zero_init_last=True).state_dict()["layer1.0.bn2.weight"]
    assert (ones == 1).all()
    assert (zeros == 0).all()


def test_a_file_is_loaded_strictly_and_named_by_its_hash(tmp_path):
    import timm

    torch.manual_seed(5)
    whole = timm.create_model("resnet18", pretrained=False)  # a whole classifier: layer4 and fc are not needed
    path = tmp_path / "weights.safetensors"
    save_file(whole.state_dict(), path)
    teacher = Teacher("resnet18", str(path), (1, 2, 3))
    assert torch.equal(teacher.features.state_dict()["layer3.1.conv2.weight"], whole.layer3[1].conv2.weight)
    assert teacher.provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert teacher.provenance.name == "weights.safetensors"


def test_half_precision_weights_are_computed_in_single(tmp_path):
    state = {
        k: v.half() if v.is_floating_point() else v for k, v in feature_network("resnet18", (1,)).state_dict().items()
    }
    save_file(state, tmp_path / "half.safetensors")
    assert (
        Teacher("resnet18", str(tmp_path / "half.safetensors"), (1,))(torch.randn(1, 3, 64, 64))[0].dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), "lacks 'layer1.0.conv1.weight'"),
        (lambda s: s.update({"conv1.weight": torch.zeros(8, 3, 7, 7)}), r"\(8, 3, 7, 7\), not \(64, 3, 7, 7\)"),
        (lambda s: s.update({"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))}), "NaN"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, spoil, says):
    state = dict(feature_network("resnet18", (1,)).state_dict())
    spoil(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=says):
        Teacher("resnet18", str(tmp_path / "w.safetensors"), (1,))


def test_a_level_that_the_bundled_file_has_not_is_what_the_error_is_about():
    with pytest.raises(ValueError, match=r"resnet18.safetensors does not hold all that is read of resnet18: .*levels"):
        Teacher("resnet18", "bundled", (4,))


def test_truncated_missing_and_unknown_sources(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(dict(feature_network("resnet18", (1,)).state_dict()), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a complete safetensors file \\(1000 bytes"):
        Teacher("resnet18", str(path), (1,))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Teacher("resnet18", str(tmp_path / "nowhere.safetensors"), (1,))
    with pytest.raises(ValueError, match="unknown teacher 'imagnet'.*'imagenet', 'bundled', 'random'"):
        Teacher("resnet18", "imagnet", (1,))
    with pytest.raises(ValueError, match="unknown backbone 'resnet8'"):
        Teacher("resnet8", "random", (1,))


class Refused(Exception):
    """As the library that fetches for the hub raises: of its own family, without a message."""


@pytest.mark.parametrize("failure", [OSError("no network"), Refused()])
def test_imagenet_asks_for_the_full_tag_and_says_what_to_do_without_a_network(failure, monkeypatch):
    import timm

    asked = []
    real = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            asked.append(name)
            raise failure
        return real(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"resnet18\.tv_in1k.*HF_HOME.*model\.safetensors.*teacher='bundled'"):
        Teacher("resnet18", "imagenet", (1,))
    with pytest.raises(ConnectionError, match="HF_HOME") as error:
        Teacher("mobilenetv2_100", "imagenet", (1,))
    assert "model.safetensors" not in str(error.value)  # as a file they would be taken for TensorFlow's
    assert "bundled" not in str(error.value)  # no such network ships
    assert [name.split(".")[0] for name in asked] == ["resnet18", "mobilenetv2_100"]
    assert asked[0] == "resnet18.tv_in1k"


def test_imagenet_tags_exist_in_timm():
    import timm

    assert set(IMAGENET_TAGS.values()) <= set(timm.list_pretrained())


def test_tensorflow_style_teacher_sees_pixels_from_minus_one_to_one(tmp_path):
    import timm

    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv2_100", pretrained=False, pad_type="same")
    save_file(whole.state_dict(), tmp_path / "m.safetensors")
    teacher = Teacher("mobilenetv2_100", str(tmp_path / "m.safetensors"), (1,))
    reference = timm.create_model(
        "mobilenetv2_100", pretrained=False, pad_type="same", features_only=True, out_indices=(1,)
    )
    reference.load_state_dict(teacher.features.state_dict())
    pixels = torch.rand(1, 3, 64, 64)
    from adlib.images import normalise

    expected = reference.eval()(2 * pixels - 1)[0]
    assert torch.allclose(teacher(normalise(pixels))[0], expected, atol=1e-5)


def test_cached_features_are_the_features_and_respect_the_budget():
    teacher = Teacher("resnet18", "random", (1, 2))
    images = tiny_images(5)
    cache = cached_features(teacher, images, budget=1 << 30, batch=2)
    assert cache is not None
    for level, direct in zip(cache, teacher(images.normalised(slice(None))), strict=True):
        assert torch.allclose(level, direct, atol=1e-5)
    assert cached_features(teacher, images, budget=5 * level.nbytes // 10) is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cached_features_keep_the_layout_that_the_network_gives(layout):
    def targets(images):
        return [images.contiguous(memory_format=layout)]

    (level,) = cached_features(targets, tiny_images(3), budget=1 << 30, batch=2)
    assert level.is_contiguous(memory_format=layout)


def test_a_checkpoints_teacher_is_built_without_its_source():
    known = Provenance("gone.safetensors", "gone.safetensors", "0" * 64)
    assert Teacher("resnet18", known, (1,)).provenance == known


def test_the_nearest_bundled_network_is_of_the_same_family(bundled_resnet18):
    assert (
        nearest_bundled("resnet18") == nearest_bundled("wide_resnet50_2") == nearest_bundled("resnet50") == "resnet18"
    )
    with pytest.raises(ValueError, match="'efficientnet_b0' or one of its family; shipped: resnet18"):
        nearest_bundled("efficientnet_b0")
    assert Teacher("resnet18", "bundled", (1, 2)).provenance.name == "resnet18.safetensors"
    with pytest.raises(ValueError, match="no weights of 'resnet50' are bundled; 'resnet18' is the nearest"):
        Teacher("resnet50", "bundled", (1, 2))


def test_no_tensor_ships_that_no_method_reads_and_all_are_those_of_their_cards():
    stages = max(max(resolve("mixed_teacher", recipe).efficient_stages) for recipe in ("paper", "code"))
    read = {
        "resnet18": {"conv1", "bn1", "layer1", "layer2", "layer3"},
        "efficientnet_b0": {"conv_stem", "bn1", *(f"blocks.{k}" for k in range(stages))},
    }
    assert {path.stem for path in BUNDLED.glob("*.safetensors")} == set(read)
    for backbone, parts in read.items():
        path = BUNDLED / f"{backbone}.safetensors"
        tensors = load_file(path)
        assert {".".join(k.split(".")[: 2 if k.startswith("blocks") else 1]) for k in tensors} == parts
        assert {t.dtype for t in tensors.values() if t.ndim == 4} == {torch.float16}
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 20e6
