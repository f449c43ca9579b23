"""The state of an unfinished training: back as it was."""

import torch

from adlib.training_state import read_state, write_state


def test_training_state_round_trips(tmp_path):
    state = {"identity": "x", "weights": {"a": torch.arange(3)}, "log": [{"loss": 1.5}], "best": {}}
    write_state(tmp_path / "s", state)
    found = read_state(tmp_path / "s", "x", "cpu")
    assert torch.equal(found["weights"]["a"], torch.arange(3))
    assert found["log"] == [{"loss": 1.5}]
