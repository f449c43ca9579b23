"""Every variant of the accuracy benchmark changes what it is named after, for as long as it lasts."""

import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from adlib import train
from adlib.methods import build
from adlib.predict import predict
from adlib.speed import accuracy as shown
from tests.conftest import tiny_images

CHANGES = {"teacher not cached": "cached", "NCHW": "channels last", "optimiser not fused": "fused"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def accuracy(benchmark):
    return benchmark("accuracy")


def seen_in_a_training() -> dict[str, bool]:
    """Train for one step, and look at what the variants may change."""
    found = {}

    def look(optimiser, *_):
        (group,) = optimiser.param_groups
        found["fused"] = bool(group["fused"])
        kernels = [weight for weight in group["params"] if weight.ndim == 4 and weight.shape[-1] > 1]
        found["channels last"] = all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)

    def cached_features(*arguments, made=train.cached_features):
        features = made(*arguments)
        found["cached"] = features is not None
        return features

    hook = register_optimizer_step_pre_hook(look)
    try:
        with patch.object(train, "cached_features", cached_features):
            method = build("stpm", teacher="random", levels=(1,), epochs=1, validation=0.0)
            train.fit(method, tiny_images(2), device="cpu")
    finally:
        hook.remove()
    return found


def test_every_variant_changes_what_it_names_and_only_while_it_lasts(accuracy):
    usual = {"fused": True, "channels last": True, "cached": True}
    for name in accuracy.VARIANTS:
        with accuracy.variant(name):
            inside = seen_in_a_training()
        changed = {CHANGES[name]: False} if name in CHANGES else {}  # the others are options of `fit` and `predict`
        assert inside == usual | changed, name
        assert seen_in_a_training() == usual, name


def test_cases_and_variants_have_the_names_by_which_others_look_them_up(accuracy, benchmark):
    training = benchmark("training")
    assert {*shown.TRAINING, "ours", "fast inference"} == {*accuracy.VARIANTS}
    assert {*shown.TRAINING.values(), shown.STEPWISE} <= {*training.LADDER}
    assert {*accuracy.CASES} - {*training.CASES} == {"memory_destseg stage 1"}
    assert {*shown.WHOLE} <= {*accuracy.CASES}


def test_the_fast_module_sees_all_images(accuracy, monkeypatch):
    monkeypatch.setattr(accuracy, "BATCH", 2)
    method, images = build("stpm", teacher="random"), tiny_images(5)
    plain = predict(method, images, device="cpu")
    fast = accuracy.fast_prediction(SimpleNamespace(method=method, test=images, device="cpu"))
    np.testing.assert_allclose(fast.maps, plain.maps, rtol=1e-3, atol=1e-4 * np.ptp(plain.maps))
    np.testing.assert_allclose(fast.scores, plain.scores, rtol=1e-3)


def test_a_run_that_is_made_again_replaces_its_row(accuracy, tmp_path, monkeypatch):
    values = iter(np.linspace(0, 1, 9))
    monkeypatch.setattr(accuracy, "trained", lambda *_: None)
    monkeypatch.setattr(accuracy, "measured", lambda *_, **__: dict.fromkeys(accuracy.METRICS, next(values)))
    out = tmp_path / "rows.csv"
    for seed in ("0", "1", "0"):
        words = ["--smoke", "--cases", "stpm", "--seeds", seed, "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["accuracy.py", *words])
        accuracy.main()
    rows = pd.read_csv(out)
    assert rows["seed"].to_list() == [1, 1, 0, 0]
    assert rows["variant"].to_list() == ["ours", "fast inference"] * 2
    assert rows["aupro"].to_list() == [0.25, 0.375, 0.5, 0.625]
