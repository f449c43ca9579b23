"""The shared blocks against their formulas, in float64 and by loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from adlib.layers import (
    CoordinateAttention,
    Memory,
    NRMemory,
    ResidualBlock,
    SqueezeExcitation,
    cosine_distance,
    cosine_weights,
    read_memory,
    smooth,
    squared_distance,
    top_mean,
    unit,
)


def recalled(memory, x):
    """Rebuild (C, H, W) pixel by pixel: softmax, hard shrinkage, renormalisation, combination."""
    items, x = memory.items.detach().numpy().astype(float), x.numpy().astype(float)
    out = np.empty_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            query = x[:, i, j]
            similarity = items @ query
            if memory.addressing == "cosine":
                similarity /= np.linalg.norm(items, axis=1) * np.linalg.norm(query)
            weights = np.exp(similarity - similarity.max())
            weights /= weights.sum()
            weights[weights <= memory.shrink] = 0.0
            out[:, i, j] = (weights / weights.sum()) @ items
    return out


@pytest.mark.parametrize("addressing", ["cosine", "dot"])
@pytest.mark.parametrize("shrink", [0.0, 0.0025, 0.14])
def test_memory_is_the_loop_over_pixels(addressing, shrink):
    torch.manual_seed(0)
    memory = Memory(7, 5, addressing, shrink)
    x = 3 * torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        found = memory(x)
    for n in range(2):
        np.testing.assert_allclose(found[n], recalled(memory, x[n]), atol=1e-6)


def test_memory_starts_uniform_and_its_weights_sum_to_one():
    memory = Memory(50, 64, "dot", 0.0025)
    assert memory.items.shape == (50, 64)
    assert 0.9 / 8 < float(memory.items.detach().abs().max()) <= 1 / 8
    weights = memory.weights(10 * torch.randn(30, 64), memory.items)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(30))
    assert ((weights == 0) | (weights > 0.0025)).all()
    assert (weights == 0).any()


def test_the_flags_say_through_which_use_a_memory_learns():
    torch.manual_seed(0)
    memory = Memory(6, 4)
    x = torch.randn(1, 4, 3, 3)

    def gradient(**flags):
        (found,) = torch.autograd.grad(memory(x, **flags).square().sum(), memory.items)
        return found

    both, values, addresses = gradient(), gradient(addressing_trains=False), gradient(values_train=False)
    assert values.abs().sum() > 0
    assert addresses.abs().sum() > 0
    torch.testing.assert_close(values + addresses, both)
    assert not memory(x, addressing_trains=False, values_train=False).requires_grad
    x.requires_grad_()
    memory(x, addressing_trains=False, values_train=False).sum().backward()
    assert x.grad.abs().sum() > 0, "the features before it always learn"


def test_memory_addresses_in_fp32_under_autocast():
    memory, x = Memory(6, 4, "dot"), 30 * torch.randn(1, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = memory(x)
    assert torch.equal(found, memory(x))


def test_an_unknown_addressing_is_refused():
    with pytest.raises(ValueError, match="'cosine' or 'dot', got 'l2'"):
        Memory(6, 4, "l2")


def test_coordinate_attention_is_the_formula():
    torch.manual_seed(0)
    block = CoordinateAttention(64).double().eval()
    norm = block.squeeze[1]
    torch.nn.init.normal_(norm.running_mean)
    x = torch.randn(2, 64, 5, 3, dtype=torch.float64)

    def gate(means, convolution):
        y = torch.einsum("mc,ncl->nml", block.squeeze[0].weight[:, :, 0, 0], means)
        y = y + block.squeeze[0].bias[:, None]
        y = (y - norm.running_mean[:, None]) / (norm.running_var + norm.eps).sqrt()[:, None]
        y = y * (y + 3).clamp(0, 6) / 6
        y = torch.einsum("cm,nml->ncl", convolution.weight[:, :, 0, 0], y) + convolution.bias[:, None]
        return 1 / (1 + torch.exp(-y))

    with torch.no_grad():
        expected = x * gate(x.mean(3), block.rows)[:, :, :, None] * gate(x.mean(2), block.columns)[:, :, None, :]
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("channels", "count"), [(256, 6680), (128, 3352), (64, 1688)])
def test_coordinate_attention_has_the_sheets_parameters(channels, count):
    assert sum(p.numel() for p in CoordinateAttention(channels).parameters()) == count


def test_squeeze_excitation_is_the_formula():
    torch.manual_seed(0)
    block = SqueezeExcitation(448)
    assert sum(p.numel() for p in block.parameters()) == 25_088
    x = torch.randn(2, 448, 4, 3)
    first, second = block.gate[0].weight, block.gate[2].weight
    gates = torch.sigmoid((x.mean(dim=(2, 3)) @ first.T).clamp_min(0) @ second.T)
    torch.testing.assert_close(block(x), torch.einsum("nc,nchw->nchw", gates, x))


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 40, 9), (1, 3, 5)], ids=str)
@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_smooth_is_scipys_gaussian(shape, sigma):
    maps = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    exact = maps.double().numpy()
    expected = np.stack([gaussian_filter(m, sigma) for m in exact])
    np.testing.assert_allclose(smooth(maps, sigma), expected, atol=1e-6)
    rows = gaussian_filter1d(exact, sigma, axis=-1)
    np.testing.assert_allclose(smooth(maps, sigma, rows_only=True), rows, atol=1e-6)


def test_smooth_keeps_fp32_under_autocast_and_does_nothing_at_zero():
    maps = torch.rand(1, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        found = smooth(maps, 2.0)
    assert torch.equal(found, smooth(maps, 2.0))
    assert smooth(maps, 0.0) is maps


def test_top_mean_averages_the_hundred_largest():
    maps = torch.rand(3, 30, 30)
    expected = np.sort(maps.flatten(1).double().numpy(), axis=1)[:, -100:].mean(axis=1)
    np.testing.assert_allclose(top_mean(maps, 100), expected, rtol=1e-6)
    np.testing.assert_allclose(top_mean(maps, 1000), maps.mean(dim=(1, 2)), rtol=1e-5)


def test_the_squared_distance_and_its_gradient_are_those_of_unit_vectors():
    torch.manual_seed(0)
    a, b = (torch.randn(2, 5, 3, 4) for _ in range(2))
    b[1, :, 2, 3] = 2 * a[1, :, 2, 3]  # the same direction
    exact = [x.double().requires_grad_() for x in (a, b)]
    units = [x / x.norm(dim=1, keepdim=True) for x in exact]
    expected = (units[0] - units[1]).square().sum(dim=1)
    own = [x.clone().requires_grad_() for x in (a, b)]
    found = squared_distance(*own)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    (found * torch.arange(12.0).view(3, 4)).sum().backward()
    (expected * torch.arange(12.0).view(3, 4)).sum().backward()
    for x, y in zip(own, exact, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-4, atol=1e-5)


def test_a_vector_without_a_length_stays_0_in_a_squared_distance():
    a, b = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    b[0, 0, 0, 1] = 5.0
    assert squared_distance(a, b).tolist() == [[[0.0, 1.0]]]
    learned = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    squared_distance(torch.zeros(1, 2, 1, 1), learned).sum().backward()
    assert learned.grad is not None
    assert not learned.grad.any()  # whatever its length, it stays as far
    assert cosine_distance(a, b).tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize("change", ["same", "down"])
@pytest.mark.parametrize("squeeze", [0, 4])
def test_a_residual_block_is_torchvisions(change, squeeze):
    torch.manual_seed(0)
    stride = 2 if change == "down" else 1
    given, out = (8, 16) if change == "down" else (16, 16)
    ours = ResidualBlock(given, out, change, squeeze)
    shortcut = nn.Sequential(nn.Conv2d(given, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    shortcut = shortcut if change == "down" else None
    theirs = Bottleneck(given, out // 4, stride, shortcut) if squeeze else BasicBlock(given, out, stride, shortcut)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
    both = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), (value for value, _ in both), strict=True)))
    x = torch.randn(2, given, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_memory_whose_shrinkage_would_leave_no_weight_is_refused():
    """Of 2,000 items addressed by cosine every weight lies below MemAE's 0.0025; of dot products some may exceed it."""
    with pytest.raises(ValueError, match="fewer items than 400"):
        Memory(2000, 8, "cosine", 0.0025)
    Memory(2000, 8, "dot", 0.0025)
    Memory(399, 8, "cosine", 0.0025)


def cosine(a, b) -> float:
    return float(a @ b / a.norm() / b.norm())


def nr_recalled(query, addresses, values, temperature):
    """Eqs. 5 and 6, one pixel, in float64."""
    weights = [math.exp(cosine(query, a) / temperature) for a in addresses]
    return sum(w / sum(weights) * v for w, v in zip(weights, values, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_recall_is_the_loop_over_pixels_and_items(temperature):
    torch.manual_seed(0)
    memory = NRMemory(5, 7, temperature)
    queries = torch.randn(2, 7, 3, 4)
    weights = cosine_weights(queries, memory.keys, temperature)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 4))
    keys, values = memory.keys.detach().double(), memory.values.detach().double()
    found = memory(queries).detach().double()
    for n, i, j in np.ndindex(2, 3, 4):
        expected = nr_recalled(queries[n, :, i, j].double(), keys, values, temperature)
        torch.testing.assert_close(found[n, :, i, j], expected, atol=1e-6, rtol=1e-5)


def test_a_perfect_match_among_fifty_items_weighs_at_most_an_eighth():
    items = torch.cat([torch.ones(1, 8), -torch.ones(49, 8)])
    weights = cosine_weights(torch.ones(1, 8, 1, 1), items)
    assert weights.max().item() == pytest.approx(math.e / (math.e + 49 / math.e))


def test_orthogonality_is_the_mean_over_pairs():
    torch.manual_seed(0)
    memory = NRMemory(5, 7)
    cosines = [cosine(k, v) for k in memory.keys.detach().double() for v in memory.values.detach().double()]
    assert memory.orthogonality().item() == pytest.approx(sum(cosines) / 25, abs=1e-6)
    assert memory.orthogonality("abs").item() == pytest.approx(sum(map(abs, cosines)) / 25, abs=1e-6)
    assert memory.orthogonality("square").item() == pytest.approx(sum(c * c for c in cosines) / 25, abs=1e-6)
    with torch.no_grad():
        memory.keys.copy_(torch.ones(5, 7))
        memory.values.copy_(-torch.ones(5, 7))
    assert memory.orthogonality().item() == pytest.approx(-1)  # the printed form's minimum is not orthogonal


def test_memorisation_is_the_loop_addressed_by_the_values():
    torch.manual_seed(0)
    memory = NRMemory(5, 7)
    features = torch.randn(2, 7, 3, 4)
    values = memory.values.detach().double()
    squares, unit_squares = 0.0, 0.0
    for n, i, j in np.ndindex(2, 3, 4):
        f = features[n, :, i, j].double()
        r = nr_recalled(f, values, values, 1.0)
        squares += float((f - r).square().sum())
        unit_squares += 0.5 * float((f / f.norm() - r / r.norm()).square().sum())
    assert memory.memorisation(features).item() == pytest.approx(squares / (2 * 7 * 12), rel=1e-5)
    assert memory.memorisation(features, "literal").item() == pytest.approx(squares / 2, rel=1e-5)
    assert memory.memorisation(features, "normalised").item() == pytest.approx(unit_squares / 12, rel=1e-5)


def test_bf16_recalls_in_fp32():
    memory = NRMemory(5, 8)
    queries = torch.randn(1, 8, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = memory(queries), memory.orthogonality(), memory.memorisation(queries)
    outside = memory(queries), memory.orthogonality(), memory.memorisation(queries)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def test_memories_are_parameters_not_plain_tensors():
    memory = NRMemory(5, 8)
    assert isinstance(memory.keys, nn.Parameter)
    assert set(memory.state_dict()) == {"keys", "values"}


def test_the_cosine_distance_and_its_gradient_are_the_formula():
    torch.manual_seed(0)
    a, b = (torch.randn(2, 5, 3, 4, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        a[0, :, 0, 0] = 0  # a dead pixel: no direction, distance 1, no gradient
    exact = [x.detach().double().requires_grad_() for x in (a, b)]
    expected = 1 - F.cosine_similarity(*exact, dim=1)
    found = cosine_distance(a, b)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    assert found[0, 0, 0] == 1
    found.square().sum().backward()
    expected.square().sum().backward()
    alive = torch.ones(2, 1, 3, 4)
    alive[0, 0, 0, 0] = 0
    for x, y in zip((a, b), exact, strict=True):
        assert x.grad.isfinite().all()
        torch.testing.assert_close(x.grad * alive, (y.grad * alive).float(), rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cosine_distance(a, b), found)


def test_distances_are_computed_in_single_precision_of_half_features():
    torch.manual_seed(0)
    a = torch.randn(1, 64, 2, 2).bfloat16()
    b = (a.float() + 0.01 * torch.randn(a.shape)).bfloat16()
    exact = 1 - torch.cosine_similarity(a.double(), b.double(), dim=1)
    found = cosine_distance(a, b)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, atol=1e-6)
    assert unit(a).dtype == torch.float32
    assert torch.allclose(unit(a).norm(dim=1), torch.ones(1, 2, 2), atol=1e-6)


def test_a_vector_of_length_0_on_either_side_gives_no_gradient():
    for zero in (0, 1):
        sides = [torch.randn(1, 5, 2, 2), torch.randn(1, 5, 2, 2)]
        sides[zero][:] = 0
        sides = [side.requires_grad_(True) for side in sides]
        squared_distance(*sides).sum().backward()
        assert all(torch.equal(side.grad, torch.zeros_like(side)) or side is sides[zero] for side in sides)


def test_the_temperature_holds_for_memorisation_too():
    torch.manual_seed(0)
    memory, features = NRMemory(4, 6, temperature=0.05), torch.randn(2, 6, 3, 3)
    rebuilt = read_memory(cosine_weights(features, memory.values, 0.05), memory.values)
    expected = (features - rebuilt).square().mean()
    assert memory.memorisation(features).item() == pytest.approx(expected.item(), rel=1e-6)
