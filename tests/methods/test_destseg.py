import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adlib.methods import build
from adlib.methods.base import Batch
from adlib.methods.destseg import ASPP, focal_and_l1


@pytest.fixture(scope="module")
def method():
    return build("destseg", "code", teacher="random").eval()


def test_parameters_and_shapes_are_the_sheets(method):
    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert count(method.student) == 24_665_024
    assert count(method.student.encoder) == 11_176_512
    assert [count(stage) for stage in method.student.decoder] == [9_441_280, 3_082_752, 771_328, 193_152]
    assert count(method.segmentation) == 7_706_369
    assert count(method.segmentation.residual) == 2_918_912
    assert count(method.segmentation.head) == 4_787_457
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        assert [tuple(f.shape[1:]) for f in method.student(images)] == [(64, 64, 64), (128, 32, 32), (256, 16, 16)]
        products = method.products(images)
        assert products.shape == (1, 448, 64, 64)
        assert method.segmentation(products).shape == (1, 64, 64)


def test_initialisation_is_the_codes(method):
    encoder = method.student.encoder
    assert (encoder.layer1[0].bn2.weight == 0).all(), "the encoder's blocks start as the identity"
    assert (method.student.decoder[0][0].body[-1].weight == 1).all(), "the decoder's do not"
    weight = method.segmentation.residual[0].body[0].weight.detach()
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)  # Kaiming, fan out
    head = method.segmentation.head[0].dilated[0][0].weight.detach()
    assert float(head.abs().max()) <= 1 / math.sqrt(256 * 9) + 1e-6  # PyTorch's default is uniform


def test_cosine_loss_sums_over_the_batch_in_the_code_and_averages_in_the_paper(method):
    clean, corrupted = torch.randn(2, 4, 3, 64, 64)
    batch = Batch(clean, corrupted, torch.zeros(4, 1, 64, 64))
    with torch.no_grad():
        terms = method.student_loss(batch)
        expected = [
            sum(float(1 - F.cosine_similarity(t[n].double(), s[n].double(), dim=0).mean()) for n in range(4))
            for t, s in zip(method.teacher(clean), method.student(corrupted), strict=True)
        ]
    assert [float(v) for v in terms.values()] == pytest.approx(expected, rel=1e-5)
    assert 0 <= sum(expected) <= 3 * 4  # features come out of a ReLU: cosines are not negative
    doubled = Batch(clean.repeat(2, 1, 1, 1), corrupted.repeat(2, 1, 1, 1), batch.mask)
    with torch.no_grad():
        assert float(sum(method.student_loss(doubled).values())) == pytest.approx(2 * sum(expected), rel=1e-5)
    paper = build("destseg", "paper", teacher="random").eval()
    paper.load_state_dict(method.state_dict())
    with torch.no_grad():
        assert float(sum(paper.student_loss(batch).values())) == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_products_are_negated_in_the_code(method):
    paper = build("destseg", "paper", teacher="random").eval()
    paper.load_state_dict(method.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        code = method.products(images)
        assert torch.equal(code, -paper.products(images))
        first = -F.normalize(method.teacher(images)[0], dim=1) * F.normalize(method.student(images)[0], dim=1)
    assert torch.allclose(code[:, :64], first, atol=1e-6)


def test_focal_and_l1_are_the_formulas():
    logits = torch.tensor([[[-3.0, 0.5], [2.0, 40.0]]])
    mask = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    terms = focal_and_l1(logits, mask, gamma=4.0)
    m, y = 1 / (1 + np.exp(-logits.double().numpy())), mask.numpy()
    p = m * y + (1 - m) * (1 - y)
    assert float(terms["focal"]) == pytest.approx((-((1 - p) ** 4) * np.log(p)).mean(), rel=1e-5)
    assert float(terms["l1"]) == pytest.approx(np.abs(m - y).mean(), rel=1e-5)
    sure_and_wrong = focal_and_l1(torch.tensor([[[200.0]]]), torch.zeros(1, 1, 1), 4.0)
    assert math.isfinite(float(sure_and_wrong["focal"])), "a saturated logit must not give infinity"


def test_the_mask_is_halved_bilinearly_and_cut_again(method):
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, :33] = 1
    seen = {}
    original = focal_and_l1
    try:
        import adlib.methods.destseg as module

        module.focal_and_l1 = lambda logits, small, gamma: seen.update(mask=small) or original(logits, small, gamma)
        with torch.no_grad():
            method.segmentation_loss(Batch(torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), mask))
    finally:
        module.focal_and_l1 = original
    expected = (F.interpolate(mask, (16, 16), mode="bilinear")[:, 0] >= 0.5).float()
    assert torch.equal(seen["mask"], expected)
    assert seen["mask"].unique().tolist() == [0, 1]


def test_score_is_the_mean_of_the_hundred_largest(method):
    maps = torch.rand(3, 32, 32)
    expected = [sorted(m.flatten().tolist())[-100:] for m in maps]
    assert method.score(maps).tolist() == pytest.approx([sum(e) / 100 for e in expected], rel=1e-5)


def test_dest_map_is_the_product_of_the_levels_and_trains_no_segmentation():
    dest = build("destseg", "code", teacher="random", map="dest").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = dest.anomaly_map(images)
        pairs = zip(dest.teacher(images), dest.student(images), strict=True)
        d = [1 - F.cosine_similarity(t, s, dim=1) for t, s in pairs]
        up = torch.stack([F.interpolate(x[:, None], (16, 16), mode="bilinear") for x in d]).prod(0)
        expected = F.interpolate(up, (64, 64), mode="bilinear")[:, 0]
    assert torch.allclose(found, expected, atol=1e-6)
    assert [s.name for s in dest.stages()] == ["student"]


def test_ablations_of_the_code_are_overrides():
    plain = build("destseg", "code", teacher="random", decoder=False, student_input="clean")
    assert sum(p.numel() for p in plain.student.parameters()) == 2_782_784
    assert plain.stages()[0].corrupted  # for its rotation, which the code's ablation keeps
    clean, other = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    batch = Batch(clean, other, torch.zeros(2, 1, 64, 64))
    expected = plain.cosine_terms(plain.targets(clean), plain.student(clean))
    assert all(torch.equal(term, expected[name]) for name, term in plain.student_loss(batch).items())
    assert plain.anomaly_map(torch.randn(2, 3, 64, 64)).shape == (2, 64, 64)


def test_optimisers_are_the_codes(method):
    student, segmentation = (stage.optimiser for stage in method.stages())
    groups = student.param_groups + segmentation.param_groups
    assert [g["lr"] for g in groups] == [0.4, 0.1, 0.01]
    assert {(g["momentum"], g["weight_decay"], g["nesterov"]) for g in groups} == {(0.9, 1e-4, False)}
    assert [s.steps for s in method.stages()] == [1000, 4000]
    assert all(s.batch == 32 and s.drop_last and s.corrupted for s in method.stages())


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"map must be one of .*'dest'"):
        build("destseg", teacher="random", map="both")
    with pytest.raises(ValueError, match="batch must be at least 2"):
        build("destseg", teacher="random", batch=1)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("destseg", {"corruption_probability": 7.0}, "corruption_probability is a share, from 0 to 1, got 7"),
        ("destseg", {"top": 0}, "top must be at least 1, got 0"),
        ("memory_destseg", {"items": 0}, "items must be at least 1 .* memory=False has none"),
    ],
)
def test_a_setting_that_would_silently_do_nothing_is_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        build(name, teacher="random", **fields)


class Known(nn.Module):
    """A segmentation network whose logits are known."""

    logits = torch.linspace(-3, 3, 256).view(1, 16, 16)

    def forward(self, products):
        return self.logits


@torch.no_grad()
def test_the_map_is_the_probability_that_the_segmentation_network_gives():
    method = build("destseg", teacher="random").eval()
    method.segmentation = Known()
    found = method.anomaly_map(torch.randn(1, 3, 64, 64))
    probability = 1 / (1 + torch.exp(-Known.logits))
    expected = F.interpolate(probability[None], (64, 64), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected)
    assert found[0, 0, 0] < 0.1 < 0.9 < found[0, -1, -1]  # a higher logit is a higher map


@torch.no_grad()
def test_each_branch_of_the_pyramid_reaches_as_far_as_its_rate():
    pyramid = ASPP(2)
    impulse = torch.zeros(1, 2, 41, 41)
    impulse[0, :, 20, 20] = 1
    for branch, rate in zip(pyramid.dilated, (6, 12, 18), strict=True):
        convolution = branch[0]
        nn.init.ones_(convolution.weight)
        places = {(int(y) - 20, int(x) - 20) for y, x in torch.nonzero(convolution(impulse)[0, 0])}
        assert places == {(y, x) for y in (-rate, 0, rate) for x in (-rate, 0, rate)}
        assert branch(torch.randn(2, 2, 41, 41)).min() == 0  # after normalisation half of it is cut off
