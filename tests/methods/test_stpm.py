import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adlib.methods import build
from adlib.methods.base import Batch


def small(recipe="paper", **overrides):
    return build("stpm", recipe, teacher="random", **overrides).eval()


def double_loop_distance(a, b):
    """The squared distance of unit vectors, position by position, in float64."""
    a, b = a.double().numpy(), b.double().numpy()
    out = np.zeros((a.shape[0], *a.shape[2:]))
    for n, y, x in np.ndindex(*out.shape):
        u, v = a[n, :, y, x], b[n, :, y, x]
        out[n, y, x] = ((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum()
    return out


@pytest.mark.parametrize(("recipe", "factor"), [("paper", 0.5), ("code", 1.0)])
def test_loss_is_the_mean_distance_summed_over_levels(recipe, factor):
    method = small(recipe, levels=[2, 3])
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        terms = method.loss(Batch(images))
        pairs = zip(method.teacher(images), method.student(images), strict=True)
        expected = [factor * double_loop_distance(t, s).mean() for t, s in pairs]
    assert list(terms) == ["level2", "level3"]
    assert [float(v) for v in terms.values()] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("levels", [[1, 2, 3], [2, 3]])
@pytest.mark.parametrize("fusion", ["product", "sum"])
@pytest.mark.parametrize("recipe", ["paper", "code"])
def test_map_is_the_fused_upsampled_distance(recipe, fusion, levels):
    """By the code at a quarter of the image (64 of 256), also without the level that is so fine."""
    method = small(recipe, fusion=fusion, levels=levels)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        found = method.anomaly_map(images)
        pairs = zip(method.teacher(images), method.student(images), strict=True)
        levels = [torch.from_numpy(double_loop_distance(t, s)).unsqueeze(1) for t, s in pairs]
    factor, size = {"paper": (0.5, (96, 96)), "code": (1.0, (24, 24))}[recipe]
    up = torch.stack([factor * F.interpolate(d, size, mode="bilinear") for d in levels])
    fused = up.prod(0) if fusion == "product" else up.sum(0)
    expected = F.interpolate(fused, (96, 96), mode="bilinear")[:, 0]
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-9)


def test_score_is_the_maximum_of_the_map():
    maps = torch.rand(3, 8, 8)
    assert torch.equal(small().score(maps), maps.flatten(1).max(1).values)


@pytest.mark.parametrize("levels", [[1], [2], [3], [1, 2], [2, 3], [1, 2, 3]])
def test_any_levels_build_no_more_network_than_needed(levels):
    method = small(levels=levels)
    names = {n.split(".")[0] for n, _ in method.student.named_parameters()}
    assert f"layer{max(levels)}" in names
    assert f"layer{max(levels) + 1}" not in names
    assert method.anomaly_map(torch.randn(1, 3, 64, 64)).shape == (1, 64, 64)


def test_recipes_differ_as_the_sheet_says():
    paper, code = small("paper").config, small("code").config
    assert (paper.epochs, paper.loss_factor, paper.fusion_size) == (100, 0.5, "image")
    assert (code.epochs, code.loss_factor, code.fusion_size) == (200, 1.0, "level")
    assert (code.lr, code.momentum, code.weight_decay, code.batch, code.validation) == (0.4, 0.9, 1e-4, 32, 0.2)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"fusion must be one of \('product', 'sum'\), got 'mean'"):
        small(fusion="mean")
    with pytest.raises(ValueError, match=r"one of \('image', 'level'\)"):
        small(fusion_size="both")
