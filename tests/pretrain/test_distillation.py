"""What a distillation compares and computes."""

import pytest
import torch

from adlib.pretrain import Distillation, data
from adlib.pretrain.networks import Output, Source
from tests.pretrain.conftest import config, run


@pytest.mark.parametrize(("margin", "kept"), [(0, 4), (1, 3), (4, 3), (5, 2), (16, 0)])
def test_features_of_a_margin_are_not_compared(groups, margin, kept):
    """A student that is wrong in one cell, so many cells from the edge, is wrong there alone where that is compared."""
    recipe = config(levels=(1, 2), level_weights=(1.0, 1.0), margin=margin)
    training = Distillation(recipe, Source("resnet18", "random", recipe.levels, classify=False), groups)
    images = groups["procedural"][:1].float() / 255
    target = training.source(images)
    exact = [(m - mean) / deviation for m, (mean, deviation) in zip(target.maps, training.statistics, strict=True)]
    for wrong in range(4):  # cells of level 1, of 4 pixels each
        made = [m.clone() for m in exact]
        made[0][..., 8, wrong] += 1
        terms, _ = training.compare(lambda views, made=made: Output(made, None), images, torch.arange(1))
        assert (float(terms["level 1"]) > 1e-6) == (wrong >= 4 - kept)
        assert float(terms["level 2"]) < 1e-6


def test_without_logits_nothing_beyond_the_last_level_is_computed(groups):
    levels = (1, 2)
    recipe = config(levels=levels, level_weights=(1.0, 1.0), logit_weight=0.0)
    training = run(Distillation(recipe, Source("resnet18", "random", levels, classify=False), groups))
    assert set(training.finish()) == {"level 1", "level 2"}
    learnt = {name.split(".")[0] for name, p in training.live.pyramid.network.named_parameters() if p.grad is not None}
    assert learnt == {"conv1", "bn1", "layer1", "layer2"}


def test_a_distillation_that_inherits_begins_near_the_source():
    textures = data.procedural_textures(8, 64)
    source = Source("mobilenetv2_100", "random", (1, 2), classify=False)
    source.pyramid.network.train()
    source.pyramid.network(torch.rand(4, 3, 64, 64))  # moves the BatchNorm statistics, which random weights need
    source.pyramid.network.eval()
    recipe = {"student": "efficientnet_b0", "levels": (1, 2), "level_weights": (1.0, 1.0), "logit_weight": 0.0}
    losses = {}
    for begins in (False, True):
        training = Distillation(config(**recipe, inherit=begins), source, {"procedural": textures})
        images, _ = training._views(64, 0)
        training.live.eval() if begins else training.live.train()
        losses[begins] = training.compare(training.live, images, torch.empty(0))[1].item()
    assert losses[True] < 0.9 * losses[False]
