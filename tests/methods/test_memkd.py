import pytest
import torch

from adlib.backbones import Provenance, Teacher
from adlib.methods import METHODS, build, resolve
from adlib.methods.memkd import MemKD
from adlib.train import fit
from tests.conftest import tiny_images
from tests.methods.conftest import batch, memae, terms

SMALL = {"backbone": "resnet18", "batch": 4, "exemplars": 3, "items": (6, 5, 4)}


def memkd(**overrides):
    return build("memkd", teacher="random", **(SMALL | overrides))


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ({}, 96_547_328),
        ({"items": (0, 0, 0)}, 83_802_624),
        ({"items": (100, 50, 10)}, 96_547_328 + 2 * (50 * 2048 - 40 * 512)),
        # 1x1 convolutions 2C -> C with bias, instead of wider first blocks
        ({"placement": "output"}, 83_802_624 + sum(2 * 50 * c + 2 * c * c + c for c in (1024, 512, 256))),
    ],
)
def test_parameters(overrides, count):
    with torch.device("meta"):
        method = METHODS["memkd"](resolve("memkd", **overrides), Provenance("random", "", ""))
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == count


def test_keys_learn_from_distillation_and_orthogonality_only():
    method = memkd()
    found = terms(method)
    assert list(found) == ["level1", "level2", "level3", "nm", "orth"]

    def gradients(*names):
        method.zero_grad()
        sum(found[name] for name in names).backward(retain_graph=True)
        return [
            [p.grad is not None and bool(p.grad.any()) for p in (m.keys, m.values)] for m in method.memories.values()
        ]

    assert gradients("nm") == [[False, True]] * 3
    assert all(
        p.grad is None or not p.grad.any() for p in (*method.bottleneck.parameters(), *method.decoder.parameters())
    )
    assert gradients("orth") == [[True, True]] * 3
    assert gradients("level1", "level2", "level3") == [[True, True]] * 3


@pytest.mark.parametrize("nm", ["mse", "literal", "normalised"])
def test_terms_are_weighted_and_reduced_over_modules(nm):
    method = memkd(nm=nm, lambda_nm=0.3, lambda_orth=0.2)
    found = terms(method)
    *_, middle, coarse, deepest = Teacher("resnet18", "random", (1, 2, 3, 4))(batch().exemplars)
    memories = method.memories
    parts = [m.memorisation(f, nm).item() for m, f in zip(memories.values(), (deepest, coarse, middle), strict=True)]
    assert found["nm"].item() == pytest.approx(0.3 * sum(parts) / (3 if nm == "normalised" else 1), rel=1e-5)
    assert found["orth"].item() == pytest.approx(
        0.2 * sum(m.orthogonality().item() for m in memories.values()), rel=1e-5
    )


def test_no_items_is_plain_reverse_distillation():
    ours = memkd(items=(0, 0, 0))
    plain = build("rd", "code", teacher="random", backbone="resnet18")
    assert ours.stages()[0].exemplars == 0
    found, expected = terms(ours), terms(plain)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[k], expected[k]) for k in found)
    images = batch().image
    with torch.no_grad():
        assert torch.equal(ours.eval().anomaly_map(images), plain.eval().anomaly_map(images))


def test_layer4_runs_for_exemplars_only():
    method = memkd()
    calls = []
    method.teacher.features["layer4"].register_forward_hook(lambda *_: calls.append(1))
    images = batch().image
    expected = Teacher("resnet18", "random", (1, 2, 3))(images)
    assert all(torch.equal(a, b) for a, b in zip(method.features(images), expected, strict=True))
    with torch.no_grad():
        method.eval().anomaly_map(images)
    assert not calls
    terms(method)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        ({"lambda_nm": 0.0}, "nm"),
        ({"lambda_orth": 0.0}, "orth"),
        ({"items": (0, 5, 0)}, ""),
        ({"items": (6, 0, 4)}, ""),
    ],
)
def test_components_are_switched_off_without_a_trace(overrides, missing):
    method = memkd(**overrides)
    found = terms(method)
    assert missing not in found
    assert method.stages()[0].exemplars == (0 if missing == "nm" else 3)
    assert ("layer4" in method.teacher.features) == (missing != "nm" and method.config.items[0] > 0)
    assert [len(m.keys) for m in method.memories.values()] == [n for n in method.config.items if n]
    sum(found.values()).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("make", [memkd, memae])
@pytest.mark.parametrize("overrides", [{}, {"placement": "output"}])
def test_placements_recall_where_they_say(make, overrides):
    method = make(**overrides)
    maps, recalls = method.decode(method.features(batch().image))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]
    places = [(256, 4, 4), (128, 8, 8), (64, 16, 16)] if overrides else [(512, 2, 2), (256, 4, 4), (128, 8, 8)]
    assert [tuple(q.shape[1:]) for q, _ in recalls.values()] == places
    assert all(q.shape == r.shape for q, r in recalls.values())
    if not overrides:
        assert torch.equal(recalls["m1"][0], maps[2])  # the distilled maps are the raw stage outputs
    sum(terms(method).values()).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_the_deepest_memory_may_memorise_the_bottleneck():
    method = memkd(deepest_target="bottleneck").train()
    assert "layer4" not in method.teacher.features
    targets = method.targets(batch().exemplars)
    normal = method.normality(targets)
    assert torch.equal(normal["m0"], method.bottleneck(targets))
    assert not normal["m0"].requires_grad
    assert normal["m1"] is targets[2]
    assert normal["m2"] is targets[1]


def test_the_distillation_falls_and_memories_learn():
    method = memkd(epochs=4)
    start = {k: v.clone() for k, v in method.memories.state_dict().items()}
    losses = fit(method, tiny_images(4), device="cpu").losses
    assert losses[["level1", "level2", "level3"]].sum(axis=1).diff().mean() < 0
    assert all(not torch.equal(v, start[k]) for k, v in method.memories.state_dict().items())


def test_recall_distances_are_measured_from_the_normal_mean():
    method = memkd().eval()
    images, normal = torch.randn(2, 3, 64, 64), torch.randn(3, 3, 64, 64)
    found = method.recall_distances(images, normal)
    assert list(found) == ["m0", "m1", "m2"]
    with torch.no_grad():
        query = method.bottleneck(method.features(images))
        reference = method.bottleneck(method.features(normal))
        memory = method.memories["m0"]
        for side, x, y in [("before", query, reference), ("after", memory(query), memory(reference))]:
            mean = y.permute(0, 2, 3, 1).reshape(-1, 512).mean(dim=0)
            expected = (x.permute(0, 2, 3, 1) - mean).norm(dim=-1)
            torch.testing.assert_close(found["m0"][side], expected, atol=1e-4, rtol=1e-4)
    assert [tuple(v.shape) for v in method.memory_values().values()] == [(6, 512), (5, 256), (4, 128)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"items": (50, 50)}, "items must be 3 numbers"),
        ({"items": (50, -1, 50)}, "items must be 3 numbers"),
        ({"nm": "l1"}, "nm must be one of"),
        ({"orth": "both"}, "orth must be one of"),
        ({"placement": "both"}, "placement must be one of"),
        ({"deepest_target": "layer3"}, "deepest_target must be one of"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"exemplars": 0}, "exemplars must be at least 1, got 0"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        memkd(**overrides)


def test_the_bundled_teacher_has_no_layer4_for_the_deepest_memory():
    assert MemKD.with_bundled(MemKD.Config()).deepest_target == "bottleneck"
