"""The times of other libraries: the columns of the committed table are those that the benchmark writes."""

import importlib

import pandas as pd
import pytest

from adlib import speed
from adlib.study import peers


def test_the_committed_times_are_described_as_the_benchmark_describes_its_detectors():
    described = importlib.import_module("benchmarks.peers").described
    committed = speed.read("peers").astype(object).fillna("")
    for line in committed.to_dict("records"):
        wanted = described(line["environment"], line["detector"])
        assert {name: line[name] for name in wanted} == wanted


def test_of_patchcore_only_its_librarys_own_coreset_is_read(tmp_path):
    line = {"environment": "anomalib", "method": "patchcore", "variant": "model", "batch": 1}
    lines = [line | {"coreset": 0.1}, line | {"coreset": 0.01}, line | {"coreset": 0.1, "batch": 16}]
    lines += [line | {"method": "padim"}]  # which no claim names
    pd.DataFrame(lines).to_csv(tmp_path / "peers.csv", index=False)
    (read,) = peers.peers(tmp_path).to_dict("records")
    assert (read["method"], read["recipe"], read["coreset"]) == ("patchcore", "", pytest.approx(0.1))
    assert peers.peers(tmp_path / "none").empty


def test_the_memory_that_is_counted_is_the_one_that_is_timed():
    timed = importlib.import_module("benchmarks.peers")
    _, channels, share = timed.PATCHCORES[f"patchcore 10 % {peers.PEERS['patchcore']}"]
    assert round(share * timed.PATCHES) * channels == peers.BANK_NUMBERS
