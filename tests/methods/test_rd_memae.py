import pytest
import torch

from adlib.methods import build
from adlib.methods.base import Batch
from tests.methods.conftest import memae, terms


def test_memae_addresses_and_reads_one_matrix_and_learns_by_distillation_alone():
    method = memae()
    assert list(terms(method)) == ["level1", "level2", "level3"]
    assert method.stages()[0].exemplars == 0
    assert all(len(list(m.parameters())) == 1 for m in method.memories.values())
    assert "layer4" not in method.teacher.features


def test_memaes_own_options():
    method = memae(addressing="dot", shrink=0.19, lambda_entropy=2e-4)
    found = terms(method)
    sum(found.values()).backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
    queries = torch.randn(2, 128, 3, 3)
    products = (queries.permute(0, 2, 3, 1) @ method.memories["m2"].items.T).softmax(dim=-1)
    kept = torch.where(products > 0.19, products, 0.0)
    kept = kept / kept.sum(dim=-1, keepdim=True)
    assert (kept == 0).any()
    expected = -(kept * kept.clamp_min(1e-30).log()).sum(dim=-1).mean()
    torch.testing.assert_close(method.entropy("m2", queries), expected, atol=1e-5, rtol=1e-4)
    plain = memae(addressing="dot", shrink=0.19)
    assert all(torch.equal(v, found[k]) for k, v in terms(plain).items())


def test_the_values_of_its_memories_are_their_items():
    assert [tuple(v.shape) for v in memae().memory_values().values()] == [(6, 512), (5, 256), (4, 128)]


def test_the_entropies_of_all_memories_are_added():
    torch.manual_seed(0)
    method = build("rd_memae", teacher="random", backbone="resnet18", lambda_entropy=0.3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = method.loss(Batch(images))["entropy"].item()
        _, recalls = method.decode(method.features(images))
        each = [method.entropy(name, query).item() for name, (query, _) in recalls.items()]
    assert len(each) == 3
    assert found == pytest.approx(0.3 * sum(each), rel=1e-5)
