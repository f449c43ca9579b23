"""A network that inherits gives the maps of its source."""

import pytest
import timm
import torch

from adlib.images import MEAN, STD
from adlib.pretrain.inherit import inherit


def test_an_inherited_network_gives_the_sources_maps(monkeypatch):
    monkeypatch.setattr("adlib.pretrain.inherit.SHARPNESS", 256.0)  # SiLU as sharp as ReLU
    torch.manual_seed(0)
    source, network = timm.create_model("mobilenetv2_100"), timm.create_model("efficientnet_b0")
    images = torch.rand(4, 3, 64, 64)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    source(2 * images - 1)  # moves the BatchNorm statistics
    with torch.device("meta"):  # a tensor that names no device of its own would be on another than the images
        inherit(network, source.eval(), (images - mean) / std)
    network.eval()
    for stage in (2, 3):  # here the source has a block more
        source.blocks[stage] = source.blocks[stage][:-1]
    x, y = 2 * images - 1, (images - mean) / std
    with torch.no_grad():
        x, y = source.bn1(source.conv_stem(x)), network.bn1(network.conv_stem(y)) / 256
        for stage, (theirs, ours) in enumerate(zip(source.blocks, network.blocks, strict=True)):
            x, y = theirs(x), ours(256 * y if stage == 0 else y)
            error = (y[:, : x.shape[1]] - x).pow(2).mean() / x.var((0, 2, 3)).mean()
            assert error < 0.05, stage
    with pytest.raises(ValueError, match="6 stages, the network 7"):
        inherit(network, timm.create_model("mobilenetv3_small_100"), images)
