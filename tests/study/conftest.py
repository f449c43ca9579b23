"""A committed row that tests of tables plant others from."""

import pytest

from adlib import results


@pytest.fixture(scope="module")
def row():
    return results.read(results.RUNS).iloc[0].to_dict() | {"overrides": {}, "config": {}, "recipe": "paper"}
