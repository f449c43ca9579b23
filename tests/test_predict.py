"""What predict refuses to hand over."""

import math

import pytest
import torch

from adlib.methods import build
from adlib.predict import predict
from tests.conftest import tiny_images


def test_a_map_that_is_no_number_is_named_with_its_image():
    method = build("stpm", teacher="random", epochs=1)
    images = tiny_images(4)

    def broken(pixels, maps=method.anomaly_map):
        found = maps(pixels)
        found[2:, 0, 0] = torch.tensor([math.nan, math.inf])
        return found

    method.anomaly_map = broken
    with pytest.raises(FloatingPointError, match=f"the anomaly map of {images.table.image.iloc[2]} and 1 more is not"):
        predict(method, images, device="cpu")
