"""Losses in their closed forms, and a source on the student's grid."""

import math

import pytest
import timm
import torch
from safetensors.torch import save_file

from adlib.pretrain.networks import Output, Source, channel_statistics, feature_loss, logit_loss


def test_losses_have_their_closed_forms():
    torch.manual_seed(0)
    maps = 5 + 3 * torch.randn(4, 6, 8, 8)
    statistics = channel_statistics([Output([maps], torch.zeros(4, 2))])[0]
    exact = (maps - statistics[0]) / statistics[1]
    assert feature_loss("standardised", exact, maps, statistics) < 1e-10
    assert feature_loss("cosine", 7 * exact, maps, statistics) < 1e-5
    assert feature_loss("standardised", torch.zeros_like(maps), maps, statistics) == pytest.approx(1, abs=0.01)
    logits = torch.randn(4, 10)
    assert logit_loss(logits, logits, 2.0).abs() < 1e-6
    made, target = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.5, 0.5]])
    softened = logit_loss(2 * made.log(), 2 * target.log(), 2.0)  # of logits at temperature 2: these very shares
    assert softened.item() == pytest.approx(4 * 0.5 * (math.log(0.5 / 0.8) + math.log(0.5 / 0.2)))


def test_a_source_with_same_padding_is_brought_to_the_students_grid(tmp_path):
    save_file(timm.create_model("mobilenetv2_100").state_dict(), tmp_path / "own.safetensors")
    source = Source("mobilenetv2_100", str(tmp_path / "own.safetensors"), (1, 2, 3))
    images = torch.rand(1, 3, 64, 64)
    assert source.same
    assert [m.shape[-1] for m in source(images).maps] == [15, 7, 3]
    assert [m.shape[-1] for m in source.crop_student([torch.zeros(1, 1, 16, 16)])] == [15]
