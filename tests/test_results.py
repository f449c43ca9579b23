"""Rows survive writing and reading, refuse what breaks the schema, and are averaged by hand."""

import errno
import json
import math
import multiprocessing
import os
import shlex
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adlib import results
from adlib.results import Row


def make(**changes):
    values = {
        "method": "stpm", "recipe": "paper", "dataset": "mvtec", "category": "bottle",
        "seed": 0, "scale": "small", "teacher": "resnet18.tv_in1k",
        "image_auroc": 0.9, "image_ap": 0.95, "pixel_auroc": 0.97, "pixel_ap": 0.5,
        "aupro": 0.9, "iap": 0.4, "iap90": 0.2, "legacy": {"stpm_pro": 0.93},
        "config": {"lr": 0.4, "layers": [1, 2, 3]}, "steps": 100, "batch": 8, "image_size": 256,
        "precision": "fp32", "device": "cpu: test", "threads": 2, "train_images": 209,
        "test_normal": 20, "test_defect": 63, "test_unmasked": 0, "trainable_parameters": 2782784,
        "final_loss": 0.1, "seconds_train": 10.0, "seconds_test": 2.0, "peak_memory_mib": 900.0,
        "teacher_sha256": "a" * 64, "data_sha256": "b" * 64, "commit": "unknown",
        "versions": {"python": "3.11"}, "created": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return Row(**{**values, **changes})


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


# --- where a row lies, and the way there and back


def test_path_names_what_identifies_the_run(tmp_path):
    row = make(category="01", seed=3)
    expected = tmp_path / "stpm/paper/mvtec/01/small-resnet18.tv_in1k-seed3.json"
    assert results.row_path(tmp_path, row) == expected
    identity = {name: getattr(row, name) for name in results.IDENTITY}
    assert results.row_path(tmp_path, identity) == expected
    with pytest.raises(ValueError, match=r"\['seed'\] missing"):
        results.row_path(tmp_path, {k: v for k, v in identity.items() if k != "seed"})


def test_every_part_of_the_identity_changes_the_path(tmp_path):
    runs = [
        make(), make(method="rd"), make(recipe="code"), make(dataset="visa"),
        make(category="pill"), make(seed=1), make(scale="full"), make(teacher="random"),
        make(overrides={"lr": 0.1}), make(overrides={"lr": 0.2}),
        make(teacher="a/x.safetensors"), make(teacher="b/x.safetensors"),
        make(teacher="a-b.safetensors+bundled"), make(teacher="a_b.safetensors+bundled"),
    ]  # fmt: skip
    assert len({results.row_path(tmp_path, run) for run in runs}) == len(runs)


def test_a_weights_file_of_a_long_name_has_a_path_that_can_be_written(tmp_path):
    path = results.write(make(teacher=f"{'w' * 230}.safetensors", overrides={"lr": 0.1}), tmp_path)
    assert len(path.name) < 200
    assert len(results.read(tmp_path)) == 1


def test_path_of_overrides_is_the_same_from_numpy_tuples_and_any_order(tmp_path):
    one = make(overrides={"lr": np.float64(0.5), "layers": (1, 2)})
    other = make(overrides={"layers": [1, 2], "lr": 0.5})
    assert results.row_path(tmp_path, one) == results.row_path(tmp_path, other)
    name = results.row_path(tmp_path, one).name
    assert len(name) == len("small-resnet18.tv_in1k-01234567-seed0.json")


def test_write_then_read_gives_the_row_again(tmp_path):
    row = make(
        overrides={"lr": 1e-05}, iap=math.nan, notes={"iap": "no defect pixel"},
        final_loss=math.nan, legacy={"rd_pro": math.nan, "stpm_pro": np.float32(0.5)},
        config={"size": np.int64(4), "path": Path("a/b"), "shape": (1, 2), "none": None},
    )  # fmt: skip
    path = results.write(row, tmp_path)
    assert files(tmp_path) == [path]
    table = results.read(tmp_path)
    assert list(table.columns) == list(asdict(row))
    again = results.as_row(table.iloc[0])
    assert again.overrides == {"lr": 1e-05}
    assert math.isnan(again.iap)
    assert math.isnan(again.final_loss)
    assert math.isnan(again.legacy["rd_pro"])
    assert again.config == {"size": 4, "path": "a/b", "shape": [1, 2], "none": None}
    assert results.same(row, again)
    assert results.same(row, table.iloc[0])
    text = path.read_text()
    assert "NaN" not in text
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_no_rows_is_an_empty_table(tmp_path):
    for folder in (tmp_path, tmp_path / "not there"):
        table = results.read(folder)
        assert len(table) == 0
        assert "aupro" in table.columns
        assert len(results.aggregate(table)) == 0
    assert "aupro_mean" in results.aggregate(results.read(tmp_path)).columns


def test_a_second_write_replaces_the_first(tmp_path):
    results.write(make(aupro=0.1), tmp_path)
    results.write(make(aupro=0.2), tmp_path)
    assert results.read(tmp_path)["aupro"].tolist() == [0.2]


# --- validation


BROKEN = [
    ({"seed": -1}, r"seed: expected a whole number >= 0, found -1 \(int\)"),
    ({"seed": 1.5}, r"seed: expected a whole number >= 0, found 1.5 \(float\)"),
    ({"seed": True}, "seed: expected a whole number"),
    ({"steps": None}, r"steps: expected a whole number >= 0, found None"),
    ({"aupro": 1.01}, r"aupro: expected a number in \[0, 1\] or null, found 1.01"),
    ({"image_auroc": "0.9"}, r"image_auroc: expected .* found '0.9' \(str\)"),
    ({"recipe": "official"}, "recipe: expected 'paper' or 'code', found 'official'"),
    ({"scale": "medium"}, "scale: expected 'small' or 'full'"),
    ({"precision": "fp16"}, "precision: expected 'fp32' or 'bf16'"),
    ({"category": "../bottle"}, "category: expected a name that can be a folder"),
    ({"category": ""}, "category: expected a name"),
    ({"method": "a/b"}, "method: expected a name"),
    ({"teacher_sha256": "abc"}, "teacher_sha256: expected 64 hexadecimal digits"),
    ({"created": "2026-01-02 03:04"}, "created: expected a UTC time"),
    ({"created": "yesterday"}, "created: expected a UTC time"),
    ({"overrides": [1]}, "overrides: expected a dictionary"),
    ({"legacy": {"rd_pro": "high"}}, "legacy: expected a dictionary of numbers"),
    ({"seconds_train": -1.0}, "seconds_train: expected a number >= 0"),
    ({"seconds_train": math.nan}, "seconds_train: expected a number >= 0, found None"),
    ({"iap": math.nan}, r"iap is NaN: expected its reason in notes\['iap'\], found none"),
    ({"final_loss": math.inf}, "final_loss: expected a finite number or NaN, found inf"),
    ({"config": {"net": object()}}, r"config\.net: expected what JSON can hold, found object"),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN)
def test_a_broken_row_is_not_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        results.write(make(**changes), tmp_path)
    assert files(tmp_path) == []


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"seed: .*; scale: .*"):
        results.write(make(seed=-1, scale="huge"), tmp_path)


def edit(path, **changes):
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "DELETE"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aupro": 3}, r"seed0\.json: aupro: expected a number in \[0, 1\] or null, found 3"),
        ({"aupro": "DELETE"}, r"seed0\.json: field aupro is missing"),
        ({"auproo": 1}, r"seed0\.json: field auproo is not in schema 1"),
        ({"aupro": None}, r"seed0\.json: aupro is NaN: expected its reason"),
        ({"notes": None}, r"seed0\.json: notes: expected a dictionary of texts, found None"),
    ],
)
def test_a_broken_file_is_named(tmp_path, changes, message):
    edit(results.write(make(), tmp_path), **changes)
    with pytest.raises(ValueError, match=message):
        results.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"schema": 1'])
def test_a_file_that_is_no_row_is_named(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json"):
        results.read(tmp_path)


@pytest.mark.parametrize(("schema", "shown"), [(0, "0"), (2, "2"), ("DELETE", "missing")])
def test_another_schema_says_how_to_make_the_row_again(tmp_path, schema, shown):
    row = make(category="01")
    edit(results.write(row, tmp_path), schema=schema, aupro="DELETE")
    with pytest.raises(ValueError, match=f"schema {shown}, this version of adlib reads 1") as error:
        results.read(tmp_path)
    assert results.command(row) in str(error.value)


def test_a_description_of_something_else_is_no_row(tmp_path):
    results.write(make(), tmp_path)
    (tmp_path / "detector.json").write_text('{"format": 1, "method": "stpm"}')
    with pytest.raises(ValueError, match=r"detector\.json: no row of adlib, .* move it away"):
        results.read(tmp_path)


def test_one_run_in_two_files_is_refused(tmp_path):
    path = results.write(make(), tmp_path)
    (path.parent / "copy.json").write_text(path.read_text())
    with pytest.raises(ValueError, match=r"one run in two files: .*copy\.json and .*seed0\.json"):
        results.read(tmp_path)


# --- atomic


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_no_half_written_row(tmp_path, monkeypatch, function):
    old = results.write(make(aupro=0.1), tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match=r"seed0\.json could not be written \(No space left.*make room") as error:
        results.write(make(aupro=0.2), tmp_path)
    monkeypatch.undo()
    assert error.value.errno == errno.ENOSPC
    assert files(tmp_path) == [old]
    assert results.read(tmp_path)["aupro"].tolist() == [0.1]


def test_a_file_where_a_folder_should_be_is_the_systems_own_error(tmp_path):
    (tmp_path / "stpm").write_text("not a folder")
    with pytest.raises(OSError, match="stpm"):
        results.write(make(), tmp_path)


@pytest.mark.parametrize("failure", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()])
def test_any_other_failure_leaves_nothing_either(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(failure)):
        results.write(make(), tmp_path)
    assert files(tmp_path) == []


def _write_many(folder, worker, start):
    start.wait()
    for i in range(60):
        results.write(make(seed=1000 * worker + i, aupro=worker / 10), folder)
        results.write(make(category="shared", aupro=worker / 10), folder)


def test_two_processes_lose_nothing_and_show_nothing_half_written(tmp_path):
    # Forked where it can be: the children only write files, and need not import torch again.
    fork = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if fork else "spawn")
    start = context.Event()
    workers = [context.Process(target=_write_many, args=(tmp_path, number, start)) for number in (1, 2)]
    for worker in workers:
        worker.start()
    start.set()
    while any(worker.is_alive() for worker in workers):
        results.read(tmp_path)  # raises at the first half-written row
        time.sleep(0.01)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    rows = results.read(tmp_path)
    seeds = rows[rows.category == "bottle"].seed
    assert sorted(seeds) == [*range(1000, 1060), *range(2000, 2060)]
    assert rows[rows.category == "shared"].aupro.isin([0.1, 0.2]).sum() == 1
    assert len(files(tmp_path)) == 121


# --- averaging and comparing


def frame(*rows):
    return pd.DataFrame([asdict(row) for row in rows])


def test_plain_takes_the_rows_of_a_setting_that_have_no_overrides():
    rows = frame(make(seed=0), make(seed=1, recipe="code"), make(seed=2, overrides={"lr": 0.1}), make(seed=3))
    assert results.plain(rows)["seed"].tolist() == [0, 1, 3]
    assert results.plain(rows, recipe=rows["recipe"][0])["seed"].tolist() == [0, 3]
    assert results.plain(rows, recipe=rows["recipe"][0], scale="another").empty


def test_aggregate_is_mean_sample_deviation_and_count_over_seeds():
    rows = frame(
        make(seed=0, aupro=0.1), make(seed=1, aupro=0.2), make(seed=2, aupro=0.6),
        make(seed=0, overrides={"lr": 0.1}, config={"lr": 0.1}, aupro=0.7),
    )  # fmt: skip
    table = results.aggregate(rows)
    assert table["overrides"].tolist() == [{}, {"lr": 0.1}]
    assert table["aupro_mean"].tolist() == pytest.approx([0.3, 0.7])
    assert table["aupro_std"][0] == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert math.isnan(table["aupro_std"][1])
    assert table["aupro_n"].tolist() == [3, 1]


def test_aggregate_does_not_count_nan():
    rows = frame(
        make(seed=0, iap=math.nan, notes={"iap": "why"}), make(seed=1, iap=0.2),
        make(seed=2, iap=0.4),
    )  # fmt: skip
    table = results.aggregate(rows, metrics=["iap", "aupro"])
    assert table["iap_mean"][0] == pytest.approx(0.3)
    assert table[["iap_n", "aupro_n"]].iloc[0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [("category", "pill"), ("recipe", "code"), ("scale", "full"), ("teacher", "random"),
     ("dataset", "visa"), ("overrides", {"lr": 1})],
)  # fmt: skip
def test_aggregate_never_mixes_identities(name, value):
    rows = frame(make(seed=0), make(seed=1, **{name: value}))
    assert len(results.aggregate(rows)) == 2
    by = [column for column in results.GROUP if column != name]
    with pytest.raises(ValueError, match=f"rows of one group differ in {name}"):
        results.aggregate(rows, by=by)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 7), ("image_size", 128), ("config", {"lr": 1}), ("teacher_sha256", "c" * 64),
     ("precision", "bf16"), ("batch", 2), ("data_sha256", "c" * 64)],
)  # fmt: skip
def test_aggregate_never_mixes_conditions(name, value):
    rows = frame(make(seed=0), make(seed=1, **{name: value}))
    with pytest.raises(ValueError, match=f"rows of one group differ in {name}"):
        results.aggregate(rows)
    assert len(results.aggregate(rows, by=[*results.GROUP, name])) == 2


def test_aggregate_never_mixes_what_pseudo_anomalies_are_made_of():
    rows = frame(make(seed=0), make(seed=1, notes={"textures": "DTD, 5640 images"}))
    with pytest.raises(ValueError, match="rows of one group differ in textures"):
        results.aggregate(rows)


def test_aggregate_refuses_a_seed_twice_and_unknown_columns():
    rows = frame(make(), make())
    with pytest.raises(ValueError, match="seed 0 stands there twice"):
        results.aggregate(rows)
    with pytest.raises(ValueError, match=r"no column \['auproo'\]"):
        results.aggregate(rows, metrics=["auproo"])


def test_difference_sees_results_and_conditions_but_not_costs():
    row = make()
    other = replace(
        row, seconds_train=99.0, seconds_test=1.0, peak_memory_mib=1.0, commit="abc",
        created="2027-01-02T03:04:05+00:00", versions={"python": "4"},
    )  # fmt: skip
    assert results.same(row, other)
    changed = replace(other, aupro=0.9 + 1e-15, config={"lr": 0.5})
    assert results.difference(row, changed) == {
        "aupro": (0.9, 0.9 + 1e-15),
        "config": ({"lr": 0.4, "layers": [1, 2, 3]}, {"lr": 0.5}),
    }
    assert not results.same(row, changed)


# --- the command and the conditions


def test_command_gives_papermill_the_identity_back(monkeypatch):
    cli = pytest.importorskip("papermill.cli")
    from click.testing import CliRunner

    changed = {"lr": 1e-05, "layers": [1, 2], "on": True, "name": "it's 1"}
    row = make(category="01", seed=7, precision="bf16", overrides=changed)
    words = shlex.split(results.command(row, output="out.ipynb"))
    given = {}
    monkeypatch.setattr(cli, "execute_notebook", lambda **arguments: given.update(arguments))
    outcome = CliRunner().invoke(cli.papermill, words[1:])
    assert outcome.exit_code == 0, outcome.output
    assert words[0] == "papermill"
    assert (given["input_path"], given["output_path"]) == ("notebooks/run.ipynb", "out.ipynb")
    assert given["parameters"] == {name: getattr(row, name) for name in (*results.IDENTITY, "precision")}


def test_command_without_overrides_has_none():
    assert results.command(make()) == (
        "papermill notebooks/run.ipynb OUT.ipynb -r method stpm -r recipe paper -r dataset mvtec "
        "-r category bottle -p seed 0 -r scale small -r teacher resnet18.tv_in1k"
    )


def test_conditions_stand_in_one_line():
    text = results.conditions_text(make(test_unmasked=4, overrides={"lr": 0.1}))
    for part in (
        "resnet18.tv_in1k",
        "small scale: 100 steps of 8",
        "seed 0",
        "cpu: test",
        "fp32",
        "mvtec/bottle",
        "209 train",
        "20 + 63 test, 4 without a mask",
        '{"lr": 0.1}',
    ):
        assert part in text
    assert "\n" not in text
    assert results.conditions_text(frame(make()).iloc[0]) == results.conditions_text(make())


def test_a_row_is_no_folder_of_rows(tmp_path):
    path = results.write(make(), tmp_path)
    with pytest.raises(ValueError, match="is a file: name the folder that its row lies in"):
        results.read(path)


def test_the_command_of_a_users_folder_says_that_its_place_is_to_be_filled_in():
    assert "-r category PATH/TO/parts" in results.command(make(dataset="folder", category="parts"))
    of_files = results.command(make(teacher="bundled+own.safetensors"))
    assert of_files.endswith("-r teacher bundled+PATH/TO/own.safetensors")


def test_one_name_is_a_list_of_one(tmp_path):
    results.write(make(), tmp_path)
    rows = results.read(tmp_path)
    assert results.aggregate(rows, by="method", metrics="image_auroc").equals(
        results.aggregate(rows, by=["method"], metrics=["image_auroc"])
    )


def test_a_row_without_a_part_of_its_identity_is_a_row_all_the_same(tmp_path):
    path = results.write(make(), tmp_path)
    content = json.loads(path.read_text())
    del content["seed"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="seed"):
        results.read(tmp_path)
