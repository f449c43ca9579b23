"""Recipes that make no sense are refused."""

import pytest

from tests.pretrain.conftest import config, start


def test_wrong_recipes_say_what_is_expected(groups):
    with pytest.raises(ValueError, match="steps, seconds or both"):
        config(steps=None)
    with pytest.raises(ValueError, match="multiples of 32"):
        config(sizes=(100,))
    with pytest.raises(ValueError, match="margin must be from 0 to 16 pixels for views of 64, got 17"):
        config(levels=(1, 2, 3), level_weights=(1.0,) * 3, margin=17)
    with pytest.raises(ValueError, match=r"precision must be one of \('fp32', 'bf16'\), got 'auto'"):
        config(precision="auto")
    with pytest.raises(ValueError, match="no share"):
        start({"holidays": groups["procedural"]})
