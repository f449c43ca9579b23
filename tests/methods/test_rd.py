import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from adlib.backbones import Provenance
from adlib.layers import flat_cosine_distance
from adlib.methods import METHODS, build, resolve
from adlib.methods.base import Batch, Method
from adlib.reverse import OneClassBottleneck, ReverseDecoder, check_sides
from adlib.train import fit
from tests.conftest import tiny_images


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def weightless(name: str, **overrides) -> Method:
    """The method on the meta device: shapes and counts of the large networks at no cost."""
    with torch.device("meta"):
        return METHODS[name](resolve(name, **overrides), Provenance("random", "", ""))


def rd(recipe="paper", **overrides):
    return build("rd", recipe, teacher="random", **({"backbone": "resnet18", "batch": 4} | overrides))


def test_parameters_are_those_of_the_used_networks():
    wide = weightless("rd")
    assert parameters(wide.bottleneck) == 58_885_120
    assert parameters(wide.decoder) == 24_917_504
    assert parameters(wide.teacher) == 0
    assert not [name for name in wide.teacher.state_dict() if "layer4" in name]


@pytest.mark.parametrize(
    ("backbone", "widths"), [("resnet18", (64, 128, 256, 512)), ("wide_resnet50_2", (256, 512, 1024, 2048))]
)
@pytest.mark.parametrize("size", [(256, 256), (64, 96)])
def test_bottleneck_and_decoder_mirror_the_teacher(backbone, widths, size):
    h, w = size
    shapes = [(2, c, h // 4 // 2**i, w // 4 // 2**i) for i, c in enumerate(widths)]
    with torch.device("meta"):
        features = [torch.empty(shape) for shape in shapes]
        embedded = OneClassBottleneck(backbone)(features[:3])
        decoder = ReverseDecoder(backbone)
    assert embedded.shape == shapes[3]
    assert [tuple(x.shape) for x in decoder(embedded)] == shapes[:3]
    assert [len(stage) for stage in decoder.stages] == ([2, 2, 2] if backbone == "resnet18" else [3, 4, 6])


def test_a_doubled_stage_takes_twice_the_channels():
    decoder = ReverseDecoder("resnet18", (True, False, True))
    assert decoder.stages[0](torch.zeros(1, 1024, 2, 2)).shape == (1, 256, 4, 4)
    assert decoder.stages[1](torch.zeros(1, 256, 4, 4)).shape == (1, 128, 8, 8)
    assert decoder.stages[2](torch.zeros(1, 256, 8, 8)).shape == (1, 64, 16, 16)


def test_only_convolutions_that_are_not_transposed_are_initialised_anew():
    torch.manual_seed(0)
    stage = ReverseDecoder("resnet18").stages[0]
    deconvolution, convolution = stage[0].body[0].weight, stage[0].body[3].weight
    assert convolution.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)
    bound = 1 / math.sqrt(256 * 4)  # PyTorch: Kaiming-uniform of the weight's second dimension times the kernel
    assert deconvolution.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_losses_are_the_cosines_of_either_recipe():
    a, b = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64).unbind(0)
    flat = [
        1 - sum(x * y for x, y in zip(p, q, strict=True)) / math.dist(p, [0] * len(p)) / math.dist(q, [0] * len(q))
        for p, q in zip(a.flatten(1).tolist(), b.flatten(1).tolist(), strict=True)
    ]
    torch.testing.assert_close(flat_cosine_distance(a, b), torch.tensor(flat), atol=1e-6, rtol=0)
    per_pixel = 1 - np.mean(
        [
            a[n, :, i, j] @ b[n, :, i, j] / a[n, :, i, j].norm() / b[n, :, i, j].norm()
            for n in range(3)
            for i in range(4)
            for j in range(6)
        ]
    )
    maps = {recipe: rd(recipe).distillation([a] * 3, [b] * 3) for recipe in ("paper", "code")}
    assert set(maps["paper"]) == {"level1", "level2", "level3"}
    assert maps["paper"]["level2"].item() == pytest.approx(per_pixel, abs=1e-6)
    assert maps["code"]["level2"].item() == pytest.approx(np.mean(flat), abs=1e-6)


def test_recipes_differ_in_the_cosine_only():
    paper, code = resolve("rd", "paper"), resolve("rd", "code")
    assert (paper.cosine, code.cosine) == ("pixel", "flat")
    assert {k for k in vars(paper) if getattr(paper, k) != getattr(code, k)} == {"cosine"}


@pytest.mark.parametrize("fusion", ["sum", "product"])
def test_the_map_is_the_blurred_sum_of_upsampled_distances(fusion):
    method = rd(fusion=fusion).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = method.teacher(images)
        pairs = list(zip(features, method.decoder(method.bottleneck(features)), strict=True))
        levels = [
            F.interpolate(1 - F.cosine_similarity(t, s)[:, None], (64, 96), mode="bilinear", align_corners=True)[:, 0]
            for t, s in pairs
        ]
        fused = sum(levels) if fusion == "sum" else levels[0] * levels[1] * levels[2]
        found = method.anomaly_map(images)
    expected = np.stack([gaussian_filter(m, 4) for m in fused.double().numpy()])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert torch.equal(method.score(found), found.flatten(1).max(dim=1).values)


def test_every_parameter_learns_and_the_loss_falls():
    method = rd("code", epochs=4)
    stage = method.stages()[0]
    method.train()
    sum(stage.loss(Batch(torch.randn(2, 3, 64, 64))).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in stage.trains for p in m.parameters())
    assert {p for group in stage.optimiser.param_groups for p in group["params"]} == {
        p for p in method.parameters() if p.requires_grad
    }
    losses = fit(method, tiny_images(4), device="cpu").losses["loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="divisible by 32"):
        rd().anomaly_map(torch.zeros(1, 3, 80, 64))
    for overrides, message in [
        ({"cosine": "euclid"}, "cosine must be one of"),
        ({"fusion": "maximum"}, "fusion must be one of"),
        ({"betas": (0.5,)}, "betas must be two"),
        ({"backbone": "efficientnet_b0"}, "no reverse distillation for backbone 'efficientnet_b0'"),
    ]:
        with pytest.raises(ValueError, match=message):
            rd(**overrides)


@torch.no_grad()
def test_the_bottleneck_rectifies_each_of_its_convolutions():
    bottleneck = OneClassBottleneck("resnet18").eval()
    fine, middle, coarse = (torch.randn(1, 64 * 2**k, 16 // 2**k, 16 // 2**k) for k in range(3))

    def rectified(branch, x):
        layers = [layer for layer in branch if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
            x = norm(convolution(x)).clamp(min=0)
        return x

    branches = [rectified(bottleneck.fine, fine), rectified(bottleneck.middle, middle), coarse]
    torch.testing.assert_close(bottleneck([fine, middle, coarse]), bottleneck.embed(torch.cat(branches, dim=1)))


@pytest.mark.parametrize("sides", [(48, 64), (64, 48)])
def test_neither_side_may_be_odd_to_halving(sides):
    with pytest.raises(ValueError, match="divisible by 32"):
        check_sides(torch.zeros(1, 3, *sides))


def test_the_bottleneck_begins_kaiming_fan_out():
    torch.manual_seed(0)
    convolution = OneClassBottleneck("resnet18").fine[0]  # 64 -> 128, 3 x 3
    assert convolution.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_adam_gets_the_betas_in_their_order():
    (stage,) = build("rd", teacher="random", backbone="resnet18").stages()
    assert [group["betas"] for group in stage.optimiser.param_groups] == [(0.5, 0.999)]
