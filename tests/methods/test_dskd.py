import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adlib.layers import smooth
from adlib.methods import build
from adlib.methods.base import Batch

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def dskd(**overrides):
    return build("dskd", teacher="random", seed=1, **overrides).eval()


def gradients(method, **kept):
    """Names of the networks that a loss of the terms starting with `only` reaches."""
    terms = method.loss(Batch(IMAGES))
    method.zero_grad()
    torch.stack([v for k, v in terms.items() if k.startswith(kept.get("only", ""))]).sum().backward()
    return {
        name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }


@torch.no_grad()
def test_networks_have_the_sheets_parameters_and_shapes():
    method = dskd()
    count = [
        sum(p.numel() for p in module.parameters()) for module in (method.encoder, method.embedding, method.decoder)
    ]
    assert count == [2_782_784, 11_680_000, 3_703_168]
    images = torch.randn(1, 3, 256, 256)
    maps = method.student_maps(images, method.by_level(method.targets(images)))
    for student in ("encoder", "decoder"):
        assert {k: tuple(m.shape[1:]) for k, m in maps[student].items()} == {
            1: (64, 64, 64),
            2: (128, 32, 32),
            3: (256, 16, 16),
        }
    assert method.embedding([maps["encoder"][k] for k in (1, 2, 3)]).shape == (1, 512, 8, 8)


@torch.no_grad()
@pytest.mark.parametrize("l2", ["normalised", "raw_mse", "none"])
@pytest.mark.parametrize("cosine", ["flat", "pixel", "none"])
def test_loss_terms_are_the_formulas(l2, cosine):
    if l2 == cosine == "none":
        with pytest.raises(ValueError, match="cannot both be 'none'"):
            dskd(l2=l2, cosine=cosine)
        return
    method = dskd(l2=l2, cosine=cosine, cosine_weight=0.5)
    terms = method.loss(Batch(IMAGES))
    targets = method.targets(IMAGES)
    cached = method.loss(Batch(IMAGES, targets=targets))
    assert all(torch.equal(cached[k], v) for k, v in terms.items())
    maps = method.student_maps(IMAGES, method.by_level(targets))
    expected = {}
    for student in ("encoder", "decoder"):
        for k in (1, 2, 3):
            t, s = targets[k - 1].double(), maps[student][k].double()
            unit = 0.5 * (F.normalize(t, dim=1) - F.normalize(s, dim=1)).square().sum(dim=1).mean()
            flat = 1 - F.cosine_similarity(t.flatten(1), s.flatten(1)).mean()
            pixel = 1 - F.cosine_similarity(t, s).mean()
            if l2 != "none":
                expected[f"{student}{k}_l2"] = float({"normalised": unit, "raw_mse": (t - s).square().mean()}[l2])
            if cosine != "none":
                expected[f"{student}{k}_cosine"] = 0.5 * float({"flat": flat, "pixel": pixel}[cosine])
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("scoring", ["decoder", "encoder", "sum", "product"])
@pytest.mark.parametrize(("distance", "fusion"), [("cosine", "sum"), ("l2", "product")])
def test_map_is_the_fused_distance_of_the_scored_students(scoring, distance, fusion):
    method = dskd(scoring=scoring, distance=distance, fusion=fusion)
    targets = method.targets(IMAGES)
    maps = method.student_maps(IMAGES, method.by_level(targets))
    found = {}
    for student in ("encoder", "decoder"):
        levels = []
        for k in (1, 2, 3):
            t, s = F.normalize(targets[k - 1], dim=1), F.normalize(maps[student][k], dim=1)
            d = 1 - (t * s).sum(dim=1) if distance == "cosine" else (t - s).norm(dim=1)
            levels.append(F.interpolate(d[:, None], (64, 64), mode="bilinear", align_corners=False)[:, 0])
        found[student] = sum(levels) if fusion == "sum" else levels[0] * levels[1] * levels[2]
    e, d = found["encoder"], found["decoder"]
    expected = smooth({"decoder": d, "encoder": e, "sum": e + d, "product": e * d}[scoring], 4.0)
    np.testing.assert_allclose(method.anomaly_map(IMAGES), expected, atol=1e-5)


def test_the_decoder_loss_trains_the_encoder_unless_it_is_detached():
    assert gradients(dskd(), only="decoder") == {"encoder", "embedding", "decoder"}
    assert gradients(dskd(detach_dfe=True), only="decoder") == {"embedding", "decoder"}
    assert gradients(dskd(detach_dfe=True)) == {"encoder", "embedding", "decoder"}
    without = dskd(encoder_loss=False)
    assert not [k for k in without.loss(Batch(IMAGES)) if k.startswith("encoder")]
    assert gradients(without) == {"encoder", "embedding", "decoder"}


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ({"students": "encoder"}, 2_782_784),  # STPM
        ({"students": "decoder"}, 15_383_168),  # RD
        ({"students": "encoder", "levels": (2,)}, 683_072),
        ({"levels": (3,)}, 17_283_392),
        ({"levels": (2, 3)}, 17_989_184),
        ({"levels": (1,)}, 18_165_952),
        ({"embedding": "coarsest"}, 10_159_040),
    ],
    ids=str,
)
def test_ablations_build_no_more_than_trains(overrides, count):
    method = dskd(**overrides)
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == count
    sum(method.loss(Batch(IMAGES)).values()).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    with torch.no_grad():
        assert method.anomaly_map(IMAGES).shape == (2, 64, 64)


@torch.no_grad()
def test_a_lone_decoder_is_reverse_distillation():
    method, rd = dskd(students="decoder", l2="none"), build("rd", "code", teacher="random", backbone="resnet18").eval()
    rd.bottleneck.load_state_dict(method.embedding.state_dict())
    rd.decoder.load_state_dict(method.decoder.state_dict())
    ours, theirs = method.loss(Batch(IMAGES)).values(), rd.loss(Batch(IMAGES)).values()
    assert list(map(float, ours)) == pytest.approx(list(map(float, theirs)))


@torch.no_grad()
def test_the_decoder_does_not_run_where_the_encoder_is_scored():
    method = dskd(scoring="encoder")
    calls = []
    method.decoder.register_forward_hook(lambda *_: calls.append(1))
    method.anomaly_map(IMAGES)
    assert not calls


def test_training_options():
    (ours,) = dskd().stages()
    assert isinstance(ours.optimiser, torch.optim.Adam)
    assert (ours.epochs, ours.batch, ours.select, ours.optimiser.defaults["betas"]) == (200, 16, None, (0.5, 0.999))
    method = dskd(optimiser="sgd", lr=0.4, batch=32, epochs=100, validation=0.2, image_score="mean")
    (stpm,) = method.stages()
    assert isinstance(stpm.optimiser, torch.optim.SGD)
    assert stpm.select(Batch(IMAGES)).shape == (2,)
    maps = torch.rand(3, 8, 8)
    assert torch.equal(method.score(maps), maps.mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"levels": (3, 1)}, "levels must be increasing"),
        ({"detach_dfe": True, "levels": (1, 2)}, "level 3"),
        ({"detach_dfe": True, "encoder_loss": False}, "encoder_loss"),
        ({"students": "encoder", "encoder_loss": False}, "no loss but the encoder's"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        dskd(**overrides)
    with pytest.raises(ValueError, match="divisible by 32"):
        dskd().anomaly_map(torch.randn(1, 3, 80, 80))


@torch.no_grad()
def test_epochs_are_chosen_by_the_mean_of_the_map():
    method = build("dskd", teacher="random").eval()
    images = torch.randn(2, 3, 64, 64)
    found = method.selection_score(Batch(images))
    torch.testing.assert_close(found, method.anomaly_map(images).mean((1, 2)))
