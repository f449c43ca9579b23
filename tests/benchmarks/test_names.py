"""Benchmarks name methods, fields of configs and arguments as text: all of them are there."""

import argparse
import dataclasses
from contextlib import suppress
from functools import partial
from unittest.mock import MagicMock, create_autospec

import pytest

import adlib
from adlib import results
from adlib.methods import METHODS, build, resolve
from adlib.pretrain import Config
from adlib.run import Run

FIELDS = {field.name for method in METHODS.values() for field in dataclasses.fields(method.Config)}


@pytest.mark.parametrize("name", ["inference", "training", "accuracy"])
def test_cases_are_methods_with_such_fields(benchmark, name):
    cases = benchmark(name).CASES
    if name == "training":
        cases = [(case.method, case.recipe, case.overrides | {"batch": case.batch}) for case in cases.values()]
    elif name == "accuracy":
        cases = [(method, "paper", overrides) for method, overrides in cases.values()]
    for method, recipe, overrides in cases:
        config = dataclasses.asdict(resolve(method, recipe, **overrides))
        assert results.text_of(config | overrides) == results.text_of(config), (method, recipe)


def test_the_axes_of_growth_are_fields(benchmark):
    growth = benchmark("growth")
    assert {*growth.SHORT} <= FIELDS
    for _, function, (*name, _), fields in (point for point in growth.points(False, "cpu") if point[2]):
        of_the_function = {"images", "size"} if function is growth.train else {"size"}
        resolve(*name, **{field: value for field, value in fields.items() if field not in of_the_function})


def test_a_schedule_that_costs_nothing_else_is_of_fields(benchmark):
    assert benchmark("cost").SCHEDULE <= FIELDS


def test_each_trial_of_a_teacher_changes_fields(benchmark):
    module = benchmark("pretraining")
    short = module._short(argparse.Namespace(seconds=1.0, precision="fp32"))
    for name, change in (module.TRIALS | module.SEEDS | module.IDEAS).items():
        made = Config(**module.RECIPE | short | change)
        assert {field: getattr(made, field) for field in change} == change, name


def test_each_topic_trains_methods_with_such_fields(benchmark):
    topics, asked = benchmark("diagnostics"), []

    def make(method, trained=True, **fields):
        asked.append((method, fields))
        return MagicMock()

    for topic, measure in topics.TOPICS.items():
        before = len(asked)
        with suppress(Exception):  # nothing was trained, so nothing can be measured
            measure({"part": make} if topic == "values" else make)
        assert len(asked) > before, topic
    for method, fields in asked:
        resolve(method, **fields)
    assert {method for method, _ in asked} > {"destseg", "memory_destseg", "memkd", "rd_memae", "mixed_teacher", "dskd"}


def test_the_run_that_is_killed_is_one(benchmark, monkeypatch, capsys):
    run = create_autospec(Run, instance=True)
    prepare = create_autospec(adlib.prepare, return_value=run)  # refuses arguments that there are not
    monkeypatch.setattr(adlib, "prepare", prepare)
    monkeypatch.setattr("sys.argv", ["-c", "folder"])
    exec(benchmark("faults").RUN, {})
    assert capsys.readouterr().out == "prepared\n"
    resolve(prepare.call_args.args[0], **prepare.call_args.kwargs["overrides"])
    run.write.assert_called_once_with()


def test_every_variant_of_a_training_makes_its_step(benchmark, tmp_path, one_thread):
    training = benchmark("training")
    training.write_files(tmp_path, 2)
    case = dataclasses.replace(training.CASES["stpm"], batch=2)
    method = partial(build, case.method, case.recipe, "random", batch=2)
    for name, variant in training.LADDER.items():
        if not variant.compile:  # which takes a minute
            make = training.reference if variant.reference else training.ours
            assert make(method(), case, variant, tmp_path, "cpu")() >= 0, name


def test_a_start_has_its_parts(benchmark, data_root, tmp_path, monkeypatch, one_thread):
    monkeypatch.setenv("ADLIB_CACHE", "off")  # a start sets it
    found = benchmark("decoding").start(str(data_root / "mvtec" / "bottle"), str(tmp_path / "cache"))
    parts = ["table", "fingerprint", "pixels", "network", "step"]
    assert [*found] == [*parts, "seconds"]
    assert found["seconds"] == pytest.approx(sum(found[part] for part in parts))
