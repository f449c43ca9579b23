import math

import numpy as np
import pytest
import torch
from torch import nn

from adlib.layers import NRMemory, cosine_weights


def cosine(a, b) -> float:
    return float(a @ b / a.norm() / b.norm())


def recalled(query, addresses, values, temperature):
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
        expected = recalled(queries[n, :, i, j].double(), keys, values, temperature)
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
        r = recalled(f, values, values, 1.0)
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
