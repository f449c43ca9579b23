"""How far features at the border lie from the inside, of planted ones."""

import numpy as np
import pytest
import torch

from adlib.pretrain.border import border_distance


def test_a_border_is_as_far_from_the_inside_as_its_features_are_turned():
    maps = torch.zeros(2, 2, 8, 12)
    maps[:, 0] = 3
    assert border_distance(maps) == pytest.approx(dict.fromkeys(["left", "right", "top", "bottom"], 0), abs=1e-6)
    maps[:, 0, :, -1], maps[:, 1, :, -1] = 0, 5
    found = border_distance(maps)
    assert found["right"] == pytest.approx(1)
    assert found["left"] == pytest.approx(0, abs=1e-6)
    turned = 1 / 12  # of the cells of a row
    assert found["top"] == pytest.approx(1 - (1 - turned) / np.hypot(1 - turned, turned), abs=1e-6)
