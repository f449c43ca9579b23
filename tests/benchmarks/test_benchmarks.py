"""Every benchmark can be started; what it concludes from what it measured is as planted."""

import argparse
import importlib
import math
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted({path.stem for path in (PROJECT / "benchmarks").glob("*.py")} - {"common"})


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_it_names_of_the_package_is_there(name, benchmark):
    assert callable(benchmark(name).main)


def test_one_runs_from_start_to_rows(tmp_path):
    command = [sys.executable, "benchmarks/metrics.py", "--smoke", "--out", str(tmp_path / "rows.csv")]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    assert {"commit", "device", "threads"} <= set(pd.read_csv(tmp_path / "rows.csv").columns)


@pytest.mark.parametrize("name", ["inference", "training"])
def test_what_is_called_fp32_is_measured_without_tf32(name, benchmark, monkeypatch):
    class Begun(Exception):
        pass

    module = benchmark(name)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.setattr(module, "kept_rows", lambda *_: (_ for _ in ()).throw(Begun))
    with pytest.raises(Begun):
        module.main()
    assert not torch.backends.cudnn.allow_tf32


def test_methods_take_turns_on_the_device_that_is_asked_for(benchmark, monkeypatch, tmp_path):
    turns, asked = benchmark("turns"), []

    def note(device, answer=None):
        asked.append(str(device))
        return answer

    def alternating(calls, repeats, device):
        return note(device, dict.fromkeys(calls, turns.speed.Timing((1.0,))))

    monkeypatch.setattr(turns, "optimised", lambda method: note(next(method.parameters()).device))
    monkeypatch.setattr(turns, "host", lambda model, device: note(device, len))
    monkeypatch.setattr(turns.speed, "alternating", alternating)
    monkeypatch.setattr(turns.speed, "conditions", lambda device: note(device, {}))
    words = ["turns.py", "--smoke", "--device", "meta", "--out", str(tmp_path / "turns.csv")]
    monkeypatch.setattr(sys, "argv", words)
    turns.main()
    assert set(asked) == {"meta"}


def test_the_extra_names_the_peers_that_are_measured(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    measured = importlib.import_module("benchmarks.peers").ANOMALIB
    assert project["optional-dependencies"]["peers"] == [f"anomalib=={measured}"]


def test_a_search_keeps_what_wins_and_ends_when_three_in_a_row_do_not(tmp_path, monkeypatch, benchmark):
    module = benchmark("pretraining")
    won = {"twice the learning rate": 0.1, "small views": 0.02}
    asked: list[tuple[str, dict]] = []

    def made(name, change, *_):
        asked.append((name, change))
        kept = [idea for idea in won if module.IDEAS[idea].items() <= change.items()]
        chance = {"seed 1": 0.05}.get(name, 0.0 if name in {"the recipe", *kept} else 0.004)
        value = 1 - sum(won[idea] for idea in kept) - chance
        return {"trial": name} | dict.fromkeys(module.LEVELS, value)

    monkeypatch.setattr(module, "trial", made)
    options = argparse.Namespace(out=tmp_path / "search.csv")
    module.search(options, {}, {}, [])
    names = [name for name, _ in asked]
    ideas = [*module.IDEAS]
    assert names == ["the recipe", *module.SEEDS, *ideas[: ideas.index("small views") + 1 + module.PATIENCE]]
    rows = pd.read_csv(options.out).set_index("trial")
    assert rows.index[rows["adopted"]].to_list() == ["twice the learning rate", "small views"]
    assert rows.loc["seed 1", "gain"] == pytest.approx(0.05)  # by chance: not adopted
    assert rows.loc["small views", "on top of"] == "the recipe + twice the learning rate"
    assert asked[-1][1].items() >= (module.IDEAS["twice the learning rate"] | module.IDEAS["small views"]).items()
    before = len(asked)
    module.search(options, {}, {}, pd.read_csv(options.out).to_dict("records"))
    assert len(asked) == before  # what is made is not made again


def test_when_a_step_begins_is_the_median_over_processes(benchmark):
    runs = [{"pixels": 1.0, "step": step, "seconds": 1.0 + late + step} for late, step in [(0, 9), (1, 1), (5, 2)]]
    found = benchmark("decoding").started(runs)
    assert (found["begins"], found["step"], found["seconds"], found["repeats"]) == (2, 2, 8, 3)
    assert found["begins_p10"] == pytest.approx(1.2)
    assert found["begins_p90"] == pytest.approx(5.2)


@pytest.fixture(scope="module")
def topics(benchmark):
    return benchmark("diagnostics")


def measured(found) -> dict[tuple[str, str], float]:
    return {(claim, metric): value for claim, metric, value, *_ in found[0]}


def log(before: float, own: float, batch: float, steps: int = 160) -> pd.DataFrame:
    """A loss that stays at `before` until the student is frozen, and is then as each mode of BatchNorm has it."""
    student = pd.DataFrame({"stage": "student", "step": range(steps), "_cos_train": before, "_cos_eval": before})
    frozen = {"stage": "segmentation", "step": range(6), "_cos_train": batch, "_cos_eval": own}
    return pd.concat([student, pd.DataFrame(frozen)], ignore_index=True)


def test_a_rise_that_the_memories_lessen_and_the_first_trial_worsens_is_as_the_paper_has_it(topics):
    logs = {"destseg": log(1.0, 1.3, 1.1), "paper": log(0.8, 0.9, 0.85), "mse": log(0.9, 1.5, 1.2)}

    def make(method, memory_loss="", **fields):
        assert fields["log_both_modes"]
        assert not fields["settle"]
        assert fields.get("attention", False) is False
        name = memory_loss or ("destseg" if method == "destseg" else "paper")
        return SimpleNamespace(history=SimpleNamespace(losses=logs[name]))

    found = measured(topics.rise(make))
    expected = {("S0-10", "l_cos"): 1.0 - 0.8}
    expected |= {("S0-7", "l_cos_jump"): 0.3, ("S0-8", "l_cos_jump"): 0.3 - 0.1, ("S0-9", "l_cos_jump"): 0.6 - 0.3}
    expected |= {("S0-7", "l_cos_jump_batch"): 0.1, ("S0-8", "l_cos_jump_batch"): 0.05}
    assert found == pytest.approx(expected | {("S0-9", "l_cos_jump_batch"): 0.2})
    logs = {name: table.drop(index=range(60)) for name, table in logs.items()}  # 100 steps are too few
    found = measured(topics.rise(make))
    assert found["S0-7", "l_cos_jump"] == topics.BEGUN
    assert found["S0-7", "l_cos_jump_batch"] == pytest.approx(0.1)


def test_a_first_trial_that_finds_less_is_as_the_paper_has_it(topics):
    def make(method, memory_loss="", **_):
        return SimpleNamespace(evaluate=lambda: ({"image_auroc": 0.7 if memory_loss == "mse" else 0.9}, {}))

    assert measured(topics.trial(make)) == pytest.approx({("S0-9", "image_auroc"): 20})


def test_a_ratio_is_of_losses_a_level(topics):
    def make(method, alpha, efficient_stages=(5, 6, 7, 8), levels=(1, 2)):
        assert alpha == 1  # which the paper set by this ratio
        losses = pd.DataFrame({"_ratio": np.full(50, 20.0)})  # of sums over four levels and over two
        config = SimpleNamespace(efficient_stages=efficient_stages, levels=levels)
        return SimpleNamespace(history=SimpleNamespace(losses=losses), method=SimpleNamespace(config=config))

    assert measured(topics.ratio(make)) == pytest.approx({("S1-10", "loss_ratio"): math.log(2)})


def test_a_measurement_that_is_there_is_not_made_again_and_half_of_one_is_replaced(topics, tmp_path, monkeypatch):
    curve = pd.DataFrame({"below": [4.0, np.inf], "recall": [0.1, np.nan]})
    asked = []

    def depth(make):
        asked.append(make)
        numbers = [("S3-6", "halo_fpr", 0.123456, {"small": 1.0}), ("S3-6", "recall_by_depth", "why not", {})]
        return numbers, {"c": curve}

    monkeypatch.setitem(topics.TOPICS, "depth", depth)
    words = ["diagnostics.py", "--out", str(tmp_path), "--topic", "depth", "--category", "mtd/split0", "--seed"]

    def measure(*seeds):
        monkeypatch.setattr(sys, "argv", [*words, *seeds])
        topics.main()

    measure("0")
    curves = (tmp_path / "curves" / "c.csv").read_text()
    where = ',mtd,split0,0,paper,"teacher bundled, small scale"'
    assert curves.splitlines()[1:] == ["4.0,0.1" + where, "inf," + where]
    (tmp_path / "depth.csv").unlink()  # as if killed before
    measure("0")
    assert (tmp_path / "curves" / "c.csv").read_text() == curves
    table = (tmp_path / "depth.csv").read_text()
    assert table.splitlines()[1].startswith('S3-6,halo_fpr,0.123456,,"{""small"": 1.0}",mtd,split0,0,')
    assert table.splitlines()[2].startswith("S3-6,recall_by_depth,,why not,{},mtd,split0,0,")
    measure("0", "1")
    assert len(asked) == 3
    assert (tmp_path / "depth.csv").read_text().startswith(table)


def test_a_recipe_is_trained_by_and_its_rows_are_its_own(topics, tmp_path, monkeypatch):
    asked = []

    def prepare(method, dataset, category, **given):
        asked.append(given["recipe"])
        return SimpleNamespace(fit=lambda: None, method=SimpleNamespace(cpu=lambda: None))

    monkeypatch.setattr(topics.adlib, "prepare", prepare)
    monkeypatch.setitem(topics.TOPICS, "depth", lambda make: make("dskd") and ([("S3-6", "halo_fpr", 0.1, {})], {}))
    words = ["diagnostics.py", "--out", str(tmp_path), "--topic", "depth", "--category", "mtd/split0", "--seed", "0"]
    for more in ([], ["--recipe", "code"], ["--recipe", "code"]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        topics.main()
    assert asked == ["paper", "code"]
    assert pd.read_csv(tmp_path / "depth.csv")["recipe"].tolist() == ["paper", "code"]


def test_an_override_that_no_topic_reads_is_refused(tmp_path, monkeypatch, capsys, topics):
    words = ["diagnostics.py", "--out", str(tmp_path), "--category", "mtd/split0", "--override"]
    for given in ("memory_destseg.batch=4", "mekd.epochs=6"):
        monkeypatch.setattr(sys, "argv", [*words, given])
        with pytest.raises(SystemExit):
            topics.main()
        assert f"; got {given.split('.')[0]!r}" in capsys.readouterr().err


def square(size: int, *places: tuple[int, int, int]) -> np.ndarray:
    """A mask with squares: (row, column, side)."""
    mask = np.zeros((size, size), bool)
    for row, column, side in places:
        mask[row : row + side, column : column + side] = True
    return mask


def test_top_layers_that_spill_and_bottom_layers_that_are_restless_are_as_the_paper_has_it(topics, monkeypatch):
    rng = np.random.default_rng(0)
    masks = np.stack([square(64), square(64), square(64, (24, 24, 16))])
    bottom = masks + 0.2 * rng.normal(size=masks.shape)
    top = np.stack([masks[0], masks[1], square(64, (16, 16, 32))]) + 0.01 * rng.normal(size=masks.shape)
    monkeypatch.setattr(topics, "_level_map", lambda run, level: (bottom, top)[level])
    run = SimpleNamespace(test=SimpleNamespace(masks=torch.from_numpy(masks)))
    found = measured(topics.layers(lambda method, **_: run))
    assert found["S1-11", "spill"] > 0.3
    assert found["S1-11", "normal_noise"] > 0.1
    assert found["S1-11", "pixel_auroc"] > 0  # which the top one loses by what it spills


def test_hollow_large_defects_and_flagged_neighbours_of_small_ones_are_as_the_summary_has_it(topics):
    masks = np.stack([square(128), square(128, (30, 30, 60)), square(128, (60, 60, 4))])
    maps = masks.astype(float)
    maps[1, 46:74, 46:74] = 0  # its inside is missed, and beside it nothing is flagged
    maps[2] = square(128, (40, 40, 44))  # all around it
    table = SimpleNamespace(labels=torch.tensor([0, 1, 1]), masks=torch.from_numpy(masks))
    run = SimpleNamespace(predicted=SimpleNamespace(maps=maps), test=table)
    found = measured(topics.depth(lambda method: run))
    assert found["S3-6", "recall_by_depth"] == pytest.approx(1, abs=0.05)
    assert found["S3-6", "halo_fpr"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("normal", "defect", "start", "value"),
    [
        (0.8, 0.5, 10.0, 0.2),  # the least of both descents, 0.2 and 0.5, and of what one is more than the other
        (0.3, 0.4, 10.0, -0.1),
        (0.9, 0.8, 10.0, 0.1),
        (1.2, 0.9, 10.0, -0.2),
        (0.5, 0.5, 16.0, 0.3),  # as much is kept, and yet the descent of what began farther is larger
        (0.01, 0.01, 8.0, -0.198),
    ],
)
def test_recall_has_to_lower_distances_and_those_of_defects_by_more(topics, normal, defect, start, value):
    labels, masks = torch.tensor([0, 0, 1]), torch.ones(3, 8, 8)

    def recall_distances(images, _):
        kept, begun = (defect, start) if len(images) == 1 else (normal, 10.0)
        before = torch.full((len(images), 4, 4), begun)
        return {"m0": {"before": before, "after": kept * before}}

    def make(method, trained=True):
        items = torch.tensor([[1.0, 0.0]]) if trained else torch.tensor([[0.0, 1.0]])
        config = SimpleNamespace(temperature=temperature)
        holder = SimpleNamespace(memory_values=lambda: {"m0": items}, recall_distances=recall_distances, config=config)
        test = SimpleNamespace(labels=labels, masks=masks, normalised=lambda index: torch.zeros(len(index), 3, 8, 8))
        return SimpleNamespace(method=holder, test=test)

    temperature = 0.05  # none of the paper's
    assert measured(topics.recall(make)) == pytest.approx({("", "feature_distance"): value})
    temperature = 1.0
    assert measured(topics.recall(make)) == pytest.approx({("S2-12", "feature_distance"): value})
    ((*_, note),) = topics.recall(make)[0]
    assert note == (topics.ALIKE if max(normal, defect) < 0.05 else "")


def test_a_category_measured_again_leaves_the_others(tmp_path, monkeypatch, benchmark):
    shortcuts = benchmark("shortcuts")
    monkeypatch.setattr(
        shortcuts,
        "equalised",
        lambda method, dataset, category, seed, root: {
            "method": method, "dataset": dataset, "category": category, "seed": seed,
            "image_auroc": 0.9, "image_auroc_equalised": 0.8,
        },
    )  # fmt: skip
    words = ["shortcuts.py", "equalised", "--out", str(tmp_path), "--methods", "stpm", "--seed"]
    for category, seed in (("mvtec/screw", "0"), ("mvtec/screw", "1"), ("mtd/split0", "0"), ("mvtec/screw", "1")):
        monkeypatch.setattr(sys, "argv", [*words, seed, "--category", category])
        shortcuts.main()
    found = pd.read_csv(tmp_path / "equalised.csv")
    assert sorted(zip(found["category"], found["seed"], strict=True)) == [("screw", 0), ("screw", 1), ("split0", 0)]


def test_an_environment_of_peers_that_was_not_made_to_its_end_is_made_again(tmp_path, monkeypatch):
    peers = importlib.import_module("benchmarks.peers")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def fails(command, check):
        asked.append(command[-1])
        if "install" not in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        elif len(asked) < 3:
            raise OSError("killed")

    monkeypatch.setattr(peers.subprocess, "run", fails)
    with pytest.raises(OSError, match="killed"):
        peers.peer_environment()
    home = peers.peer_environment().parents[1]
    assert len(asked) == 4
    assert home.name.endswith(f"-torch-{torch.__version__.split('+')[0]}")
    peers.peer_environment()
    assert len(asked) == 4
