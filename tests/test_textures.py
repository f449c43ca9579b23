"""Procedural textures: the same from the same seed, each another, none flat."""

import torch

from adlib.textures import procedural_textures


def test_procedural_textures_repeat_and_differ_from_each_other():
    a = procedural_textures(8, 64)
    assert a.shape == (8, 3, 64, 64)
    assert a.dtype == torch.uint8
    assert torch.equal(a, procedural_textures(8, 64))
    assert len({t.numpy().tobytes() for t in a}) == 8
    assert (a.float().flatten(1).std(1) > 5).all(), "a texture without contrast"
