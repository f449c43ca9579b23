"""The ONNX file of every method gives PyTorch's maps and scores, for any batch size, and says what it is."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import adlib
from adlib import export
from adlib.export import ExportError, differences, export_onnx, session
from adlib.images import normalise
from adlib.methods import METHODS
from tests.conftest import tiny_images
from tests.test_inference import small

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


@pytest.mark.parametrize("name", METHODS)
def test_the_file_computes_what_the_method_does(name, tmp_path):
    method = small(name)  # BatchNorms with statistics of their own, so that maps have a range
    before = {k: v.clone() for k, v in method.state_dict().items()}
    path = export_onnx(method, tmp_path / "method.onnx", SIZE, {"threshold": "1.5"})
    assert all(torch.equal(before[k], v) for k, v in method.state_dict().items())
    opened = session(path, threads=1)
    for count in (1, 5):
        pixels = tiny_images(count, seed=count).pixels
        maps, scores = opened.run(["map", "score"], {"image": pixels.numpy()})
        with torch.inference_mode():
            expected = method.anomaly_map(normalise(pixels.float() / 255))
            score = method.score(expected)
        assert (maps.dtype, maps.shape, scores.shape) == (np.float32, (count, SIZE, SIZE), (count,))
        scale = float(expected.max() - expected.min())
        np.testing.assert_allclose(maps / scale, expected.numpy() / scale, atol=1e-4)
        np.testing.assert_allclose(scores, score.numpy(), rtol=1e-4)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {o.domain: o.version for o in model.opset_import}[""] == export.OPSET
    about = {p.key: p.value for p in model.metadata_props}
    assert about["method"] == name
    assert about["threshold"] == "1.5"
    assert json.loads(about["config"])["backbone"] == method.config.backbone


class Sorted(METHODS["stpm"]):
    """A method with a step that ONNX has no form of."""

    def anomaly_map(self, images: Tensor) -> Tensor:
        return super().anomaly_map(images) + torch.linalg.eigvals(images[0, 0]).real.sum()


def made(cls):
    return cls(cls.Config(levels=(1,)), "random").eval()


def test_what_has_no_onnx_form_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ExportError, match=r"Sorted is not exportable to ONNX: .*linalg_eig"):
        export_onnx(made(Sorted), tmp_path / "method.onnx", SIZE)
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    method = made(METHODS["stpm"])
    wrong = made(METHODS["stpm"])
    with torch.no_grad():
        next(wrong.student.parameters()).mul_(2)
    monkeypatch.setattr(export, "optimised", lambda _: adlib.optimised(wrong))
    with pytest.raises(ExportError, match=r"its map differs from PyTorch's by .* more than 1e-04, for a batch of 1"):
        export_onnx(method, tmp_path / "method.onnx", SIZE)
    assert not list(tmp_path.iterdir())


def test_differences_are_measured_in_parts_of_the_largest_value(tmp_path, monkeypatch):
    class Fixed:
        def run(self, names, feed):
            return [np.full((2, 4, 4), 5.5, np.float32), np.array([10, 20], np.float32)]

    class Two(METHODS["stpm"]):
        def anomaly_map(self, images):
            return torch.full((2, 4, 4), 5.0)

        def score(self, maps):
            return torch.tensor([10.0, 25.0])

    monkeypatch.setattr(export, "session", lambda path: Fixed())
    found = differences(made(Two), tmp_path, torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert found == {"map": pytest.approx(0.1), "score": pytest.approx(0.2)}


def test_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.onnx, got 'method\.pt'"):
        export_onnx(made(METHODS["stpm"]), tmp_path / "method.pt")
