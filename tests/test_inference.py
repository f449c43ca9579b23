"""The fast module gives the method's own maps and scores, whatever its BatchNorms hold, and leaves the method alone."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adlib.inference import fold_batch_norms, optimised
from adlib.methods import METHODS, Method, build
from adlib.predict import predict
from tests.conftest import tiny_images

CASES = [(name, recipe) for name, method in METHODS.items() for recipe in method.RECIPES]
SMALL = {"backbone": "resnet18", "student": "resnet18"}

pytestmark = pytest.mark.usefixtures("one_thread")


def scrambled(method):
    """Give every BatchNorm statistics and weights of its own: one that is lost or misplaced changes the map."""
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in method.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low, high in (
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 1.5),
            (norm.weight.data, 0.5, 1.5),
            (norm.bias.data, -0.2, 0.2),
        ):
            tensor.uniform_(low, high, generator=generator)
    return method.eval()


def small(name, recipe="paper"):
    fields = {field.name for field in dataclasses.fields(METHODS[name].Config)}
    method = build(name, recipe, teacher="random", seed=1, **{k: v for k, v in SMALL.items() if k in fields})
    return scrambled(method)


def agree(found, expected, tolerance=1e-4):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < tolerance * float(expected.amax() - expected.amin())


def test_the_fast_module_computes_in_true_fp32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    optimised(small("reduced_student"))
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_the_fast_module_is_the_method(name, recipe):
    method, images = small(name, recipe), tiny_images(3)
    before = copy.deepcopy(method.state_dict())
    gradients = [p.requires_grad for p in method.parameters()]
    modules = [type(m) for m in method.modules()]
    fast = optimised(method)
    maps, scores = fast(images.pixels)
    with torch.inference_mode():
        expected = method.anomaly_map(images.normalised(slice(None)))
        agree(maps, expected)
        torch.testing.assert_close(scores, method.score(expected), rtol=1e-3, atol=1e-6)
    after = method.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert gradients == [p.requires_grad for p in method.parameters()]
    assert modules == [type(m) for m in method.modules()]


@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_every_batch_norm_that_a_map_passes_through_is_folded(name, recipe):
    method, image = small(name, recipe), torch.zeros(1, 3, 64, 64)
    ran = []
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        method.anomaly_map(image)
        count = len(ran)
        assert fold_batch_norms(method) == count > 10
        ran.clear()
        method.anomaly_map(image)
    assert not ran


class Toy(Method):
    """Layers of 3 channels, run in the order of the letters of `path`; '+' adds the first layer's output."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.layers = nn.ModuleDict({"a": nn.Conv2d(3, 3, 3), "b": nn.Conv2d(3, 3, 1), "n": nn.BatchNorm2d(3)})
        self.layers["t"] = nn.ConvTranspose2d(3, 3, 2, 2, bias=False)
        self.layers["m"] = nn.BatchNorm2d(3)

    def stages(self):
        return []

    def anomaly_map(self, images):
        x, first = images, None
        for letter in self.path:
            x = x + first if letter == "+" else F.relu(x) if letter == "r" else self.layers[letter](x)
            first = x if first is None else first
        return x.sum(dim=1)


@pytest.mark.parametrize(
    ("path", "folded"),
    [
        ("an", 1),
        ("anbm", 2),
        ("tn", 1),
        ("arn", 0),  # something lies between them
        ("na", 0),  # the BatchNorm comes first
        ("an+", 0),  # the convolution's output is needed as it is
        ("anbn", 0),  # one BatchNorm, two inputs
        ("anam", 0),  # one convolution, two BatchNorms
        ("anm", 1),  # only the first one follows a convolution
    ],
)
def test_only_what_follows_a_convolution_alone_is_folded(path, folded):
    torch.manual_seed(0)
    method = scrambled(Toy(path.replace("+", "")))
    method.path = path
    with torch.no_grad():
        if "+" in path:  # sizes agree for the sum: padding changes no other case
            method.layers["a"].padding = (1, 1)
        images = torch.randn(2, 3, 16, 16)
        expected = method.anomaly_map(images)
        assert fold_batch_norms(method) == folded
        torch.testing.assert_close(method.anomaly_map(images), expected, rtol=1e-4, atol=1e-4)


def test_the_fast_module_gives_what_predict_gives():
    method, images = small("mixed_teacher"), tiny_images(5)
    plain = predict(method, images, device="cpu", batch=2)
    maps, scores = (part.numpy() for part in optimised(method)(images.pixels))
    assert maps.shape == plain.maps.shape == (5, 64, 64)
    assert np.abs(maps - plain.maps).max() < 1e-4 * np.ptp(plain.maps)
    np.testing.assert_allclose(scores, plain.scores, rtol=1e-3)


@pytest.mark.parametrize(
    "pixels", [torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64, dtype=torch.uint8), np.zeros((64, 64, 3), np.uint8)]
)
def test_what_is_no_batch_of_bytes_is_refused(pixels):
    fast = optimised(build("stpm", teacher="random", levels=[1]))
    with pytest.raises(ValueError, match=r"expected RGB images as a tensor of uint8, \(N, 3, H, W\)"):
        fast(pixels)
