"""The committed rows and their verdicts, read and judged once; tests copy what they change."""

import pytest

from adlib import results
from adlib.study import claims


@pytest.fixture(scope="session")
def committed():
    return results.read(results.RUNS)


@pytest.fixture(scope="session")
def committed_verdicts(committed):
    return claims.judge(committed)


@pytest.fixture(scope="session")
def row(committed):
    """A row that tests of tables plant others from."""
    return committed.iloc[0].to_dict() | {"overrides": {}, "config": {}, "recipe": "paper"}
