"""Views keep what their images are."""

import torch

from adlib.pretrain import Augmentation
from adlib.pretrain.augment import blurred, crops, mixed, views
from tests.pretrain.conftest import QUIET


def test_views_keep_shape_and_range(groups):
    for strength in (Augmentation(), Augmentation(turn=1, blur=1, noise=1, invert=0.5, mixup=0.5, cutmix=0.5)):
        made = views(groups["procedural"][:8], 96, strength, torch.Generator().manual_seed(0))
        assert made.shape == (8, 3, 96, 96)
        assert 0 <= made.min() < made.max() <= 1


def test_quiet_views_are_the_images_or_their_mirrors(groups):
    pixels = groups["procedural"][:8]
    made = views(pixels, 64, QUIET, torch.Generator().manual_seed(0))
    same, mirrored = ((view - pixels / 255).abs().mean((1, 2, 3)) for view in (made, made.flip(3)))
    assert torch.minimum(same, mirrored).max() < 0.1  # sampled twice as fine and averaged: a little smoother
    assert 0 < (same < mirrored).sum() < 8


def test_a_crop_of_a_ramp_spans_its_share_of_the_area():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, -1).expand(32, 3, 64, 64)
    settings = Augmentation(area_min=0.25, area_max=0.25, aspect=1.0, turn=0)
    made = crops(ramp, 192, settings, torch.Generator().manual_seed(0))
    span = made.amax((1, 2, 3)) - made.amin((1, 2, 3))
    assert (span - 0.5).abs().max() < 0.03


def test_blur_keeps_constant_images_and_smooths_others():
    settings, generator = Augmentation(blur=1), torch.Generator().manual_seed(0)
    assert blurred(torch.full((4, 3, 32, 32), 0.3), settings, generator).sub(0.3).abs().max() < 1e-6
    noise = torch.rand(4, 3, 32, 32, generator=generator)
    assert (blurred(noise, settings, generator).std((1, 2, 3)) < noise.std((1, 2, 3))).all()


def test_mixing_takes_from_the_neighbour_only():
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 32, 32) / 8
    cut = mixed(images, Augmentation(mixup=0, cutmix=1), torch.Generator().manual_seed(0))
    neighbour = images.roll(1, 0)
    assert ((cut == images) | (cut == neighbour)).all()
    assert (cut == neighbour).any()
    blended = mixed(images, Augmentation(mixup=1, cutmix=0), torch.Generator().manual_seed(0))
    assert (blended.amax((1, 2, 3)) == blended.amin((1, 2, 3))).all()
