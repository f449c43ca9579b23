"""A paper's table beside planted rows: what was run stands there, what was not says why and how to."""

import math
import os
import subprocess

import pandas as pd
import pytest

from adlib import results
from adlib.datasets import PUBLISHED
from adlib.study import paper, paper_tables
from adlib.study.paper import PRINTED_MEMORY
from tests.study.planted import made

NEEDED = {"bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw"}
NEEDED |= {"tile", "toothbrush", "transistor", "wood", "zipper"}


COLUMNS = ["method", "recipe", "dataset", "category", "seed", "scale", "teacher", "overrides", "config", "precision"]
COLUMNS += ["notes", "image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro"]


def line(rows: pd.DataFrame, category: str, method: str = "DeSTSeg(origin)", table: str = "Table 1") -> pd.Series:
    found = paper_tables.reproduced(rows, "seed000", table)
    return found[(found["category"] == category) & (found["method"] == method)].iloc[0]


def test_a_number_under_the_papers_conditions_is_said_to_be_one(row):
    rows = made(row, "destseg", "bottle", [0.98, 0.99, 1.0], teacher="imagenet", scale="full")
    found = line(rows, "bottle")
    assert found["ours"] == "99.0 ± 1.0"
    assert found["seeds"] == 3
    assert found["difference"] == pytest.approx(-0.2)
    assert (found["conditions"], found["runs"]) == ("as printed", ())


def test_other_conditions_are_named_and_the_nearest_to_the_papers_is_taken(row):
    rows = [made(row, "destseg", "bottle", [0.5], teacher="random", scale="full")]
    rows.append(made(row, "destseg", "bottle", [0.9, 0.9], teacher="bundled", scale="small", overrides={"batch": 8}))
    found = line(pd.concat(rows), "bottle")
    assert found["ours"] == "90.0 ± 0.0"
    assert found["difference"] == pytest.approx(-9.2)  # of 99.2
    assert found["conditions"] == 'teacher bundled, small scale, {"batch": 8}'
    assert "-r teacher imagenet" in paper_tables.command(found["runs"])


def test_networks_that_are_not_the_papers_are_named_where_no_override_does(row):
    mine = {"teacher": "bundled", "scale": "small", "config": {"backbone": "resnet18", "deepest_target": "bottleneck"}}
    rows = made(row, "memkd", "bottle", [0.9, 0.9, 0.9], **mine)
    found = paper_tables.reproduced(rows, "seed002", "Table 1(a)")
    found = found[found["ours"].str.startswith("90.0")]
    networks = "backbone resnet18 in place of wide_resnet50_2, deepest_target bottleneck in place of layer4"
    assert found["conditions"].str.contains(f"teacher bundled, small scale, {networks}", regex=False).all()
    assert len(found)


def test_what_pseudo_anomalies_were_made_of_is_a_condition(row):
    some, all_of_it = ({"textures": f"DTD, {n} images"} for n in (1200, 5640))
    theirs = {"teacher": "imagenet", "scale": "full"}
    rows = [made(row, "destseg", "bottle", [0.5, 0.5], **theirs, notes=some)]
    found = line(rows[0], "bottle")
    assert found["difference"] == pytest.approx(-49.2)
    assert found["conditions"] == "pseudo-anomalies of DTD, 1200 images"
    rows.append(made(row, "destseg", "bottle", [0.9], **theirs, notes=all_of_it))
    assert line(pd.concat(rows), "bottle")[["ours", "conditions"]].tolist() == ["90.0", "as printed"]


def test_a_control_with_one_more_override_does_not_stand_for_the_method(row):
    rows = [
        made(row, "memory_destseg", "bottle", [value, value], teacher="bundled", scale="small", overrides=given)
        for value, given in ((0.1, {"map": "dest", "memory": False}), (0.9, {"map": "dest"}))
    ]
    assert line(pd.concat(rows), "bottle", "DeSTSeg(memory)")["ours"] == "90.0 ± 0.0"


def test_what_was_not_run_says_so(row):
    rows = made(row, "destseg", "bottle", [0.9], teacher="bundled")
    found = line(rows, "cable")
    assert found["ours"] == ""
    assert found["conditions"] == "not run here: no method was run on this category of mvtec"
    assert "-r method destseg" in paper_tables.command(found["runs"])
    assert paper_tables.command(found["runs"]).startswith("for c in cable; do for s in 0 1 2; do papermill ")
    others = pd.concat([rows, made(row, "rd", "cable", [0.9], teacher="bundled")])
    assert line(others, "cable")["conditions"] == "not run here: other methods were run on this category of mvtec"
    mean = paper_tables.command(line(rows, "mean")["runs"])
    assert "; do papermill notebooks/run.ipynb OUT-$c-$s.ipynb " in mean


def test_the_command_of_a_mean_runs_each_of_its_categories_with_three_seeds(row, tmp_path):
    command = paper_tables.command(line(made(row, "destseg", "bottle", [0.9]), "mean")["runs"])
    (tmp_path / "papermill").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "papermill").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True).stdout
    runs = [words.split() for words in said.splitlines()]
    places = [(name, str(seed)) for name in PUBLISHED["mvtec"] for seed in range(3)]
    assert [(words[words.index("category") + 1], words[words.index("seed") + 1]) for words in runs] == places
    assert [words[1] for words in runs] == [f"OUT-{name}-{seed}.ipynb" for name, seed in places]


def test_what_would_fill_a_table_names_each_run_once():
    """A loop over five textures is part of one over all fifteen, and so is the line of one category."""
    missing = paper_tables.reproduced(results.read(results.RUNS).head(0), "seed000", "Table 1")
    found = paper_tables.to_fill(missing)
    assert len(found) == 2
    assert all(line.startswith("for c in ") and line.count("results/runs") == 1 for line in found)
    alone = missing[missing["category"] == "bottle"]
    (one, two) = paper_tables.to_fill(alone)
    assert "-r method destseg" in one
    assert {one, two} == {paper_tables.command(runs) for runs in alone["runs"] if runs}


def test_what_would_fill_times_are_the_benchmarks():
    missing = paper_tables.reproduced(results.read(results.RUNS).head(0), "seed001", "Table 3")
    (turns, peers) = paper_tables.to_fill(missing)
    assert turns == "python benchmarks/turns.py --device cuda --out build/speed/turns.csv"  # the committed ones stay
    assert peers == "python benchmarks/peers.py --device cuda --out build/speed/peers.csv"
    assert not any("benchmarks" in line for line in paper_tables.to_fill(missing[missing["metric"] == "none"]))


def test_a_mean_needs_all_its_categories_and_is_one_over_them_for_each_seed(row):
    values = {name: [0.9, 0.8] if name == "bottle" else [1.0, 1.0] for name in NEEDED}
    rows = [made(row, "destseg", name, of, teacher="imagenet", scale="full") for name, of in values.items()]
    found = line(pd.concat(rows), "mean")
    means = pd.Series([100 - 10 / 15, 100 - 20 / 15])
    assert found["ours"] == f"{means.mean():.1f} ± {means.std():.1f}"
    assert found["difference"] == pytest.approx(round(means.mean() - 98.3, 1))
    one = line(pd.concat(rows).query("seed == 0 or category != 'screw'"), "mean")  # seed 1 is not done
    assert (one["ours"], one["seeds"]) == (f"{means[0]:.1f}", 1)
    halves = pd.concat(rows).query("(seed == 0) == (category < 'h')")  # all categories, and no seed that has them
    part = line(halves, "mean")
    assert (part["ours"], part["seeds"]) == ("100.0 over 10 of 15", 1)
    assert part["conditions"].startswith("over hazelnut, leather, metal_nut, pill, screw, tile, ")
    assert math.isnan(part["difference"])  # it is no mean over what the paper's is over
    assert paper_tables.command(part["runs"]).startswith("for c in ")


def test_a_mean_over_fewer_categories_is_that_of_the_seeds_that_have_the_same(row):
    rows = [made(row, "destseg", "bottle", [0.9, 0.8, 1.0], teacher="bundled")]
    rows.append(made(row, "destseg", "pill", [0.7, 0.8], teacher="bundled"))  # seed 2 is not done
    found = line(pd.concat(rows), "mean")
    assert (found["ours"], found["seeds"]) == ("80.0 ± 0.0 over 2 of 15", 2)
    assert found["conditions"] == f"over bottle, pill alone; teacher bundled, {row['scale']} scale"


def test_the_size_of_a_memory_is_counted():
    beside = paper_tables.reproduced(results.read(results.RUNS).head(0), "seed002", "Table 3")
    found = beside[(beside["metric"] == PRINTED_MEMORY) & (beside["conditions"] == paper_tables.COUNTED)].set_index(
        "method"
    )
    # 50 keys and values at each of three places, of 512, 1024 and 2048 channels; of MemAE one matrix of items
    items = 50 * (512 + 1024 + 2048)
    counts = {"Baseline": 0, "MemAE": items, "Ours": 2 * items}
    assert found["ours"].to_dict() == {name: f"{count / 2**20:.2f}" for name, count in counts.items()}
    assert found["difference"].isna().all()  # the unit that is printed is another


def test_every_printed_number_has_its_line():
    rows = results.read(results.RUNS)
    count = 0
    printed = paper.paper()
    for source, table in printed[printed["source"].str.startswith("seed")].groupby(["source", "table"]).groups:
        found = paper_tables.reproduced(rows, source, table)
        assert ((found["ours"] != "") | (found["conditions"] != "")).all()
        count += len(found)
    assert count == 558
    with pytest.raises(ValueError, match="no 'Table 9' of 'seed000'.*Table 1, Table 2"):
        paper_tables.reproduced(rows, "seed000", "Table 9")


def test_a_printed_table_is_whole_and_in_its_order():
    found = paper_tables.printed("seed000", "Table 1")
    assert list(found.columns) == ["DeSTSeg(origin)", "DeSTSeg(memory)"]
    assert len(found) == 16
    assert found.index[0] == ("bottle", "image_auroc_pct")
    assert found.loc[("bottle", "image_auroc_pct"), "DeSTSeg(memory)"] == "100"  # the text, not 100.0
    for source, table in {(row.source, row.table) for row in paper.paper().itertuples() if row.source[:4] == "seed"}:
        cells = paper_tables.printed(source, table)
        assert (cells != "").sum().sum() == len(paper_tables.reproduced(pd.DataFrame(columns=COLUMNS), source, table))


def test_a_table_is_laid_out_as_printed_with_ours_beside_it(row):
    rows = pd.DataFrame(made(row, "destseg", "bottle", [0.98, 0.99, 1.0], teacher="imagenet", scale="full"))
    beside = paper_tables.reproduced(rows, "seed000", "Table 1")
    wide = paper_tables.side_by_side(beside)
    assert wide.shape == (16, 5)  # of a method without rows there is no column of differences
    assert wide.loc[("bottle", "image_auroc_pct"), "DeSTSeg(origin)"].tolist() == ["99.2", "99.0 ± 1.0 (3) a", "-0.2"]
    assert wide.loc[("bottle", "image_auroc_pct"), "DeSTSeg(memory)"].tolist() == ["100", "- c"]
    reasons = paper_tables.why(beside)["numbers"]
    assert reasons["a: as printed"] == 1
    assert reasons["c: not run here: other methods were run on this category of mvtec"] == 1
    assert reasons.sum() == len(beside) == 32


def test_a_papers_tables_are_given_with_their_headings(row):
    rows = pd.DataFrame(made(row, "destseg", "bottle", [0.98]))
    first, *others = paper_tables.laid_out(rows, "seed000", ["Table 1"])
    assert first[0] == "**Table 1**, the methods built here"
    assert first[1].loc[("bottle", "image_auroc_pct"), ("DeSTSeg(origin)", "ours")].startswith("98.0 (1)")
    letters = "**Table 1**, the letters: conditions of ours, or why there is none"
    assert [heading for heading, _ in others] == [letters]
    headings = [heading for heading, _ in paper_tables.laid_out(rows.head(0), "seed002", ["Table 5", "Table 1(a)"])]
    assert [heading.partition(", ")[2][:11] for heading in headings] == [
        "the methods",
        "the letters",
        "the methods",
        "as printed",
        "the letters",
    ]


def test_rows_of_whole_trainings_come_after_those_that_are_comparable(row):
    of = {"teacher": "bundled", "scale": "small"}
    rows = [made(row, "destseg", name, [0.7], **of) for name in ("bottle", "pill")]
    rows.append(made(row, "destseg", "bottle", [0.99, 0.97], teacher="bundled", scale="full"))
    *_, (heading, longest), (_, reasons) = paper_tables.laid_out(pd.concat(rows), "seed000", ["Table 1"])
    assert heading == "**Table 1**, ours trained as long as each source says"
    assert set(longest.columns.get_level_values(0)) == {"DeSTSeg(origin)"}
    assert longest[("DeSTSeg(origin)", "ours")].to_dict() == {
        ("bottle", "image_auroc_pct"): "98.0 ± 1.4 (2) a",
        ("mean", "image_auroc_pct"): "98.0 ± 1.4 over 1 of 15 (2) b",
    }
    assert list(reasons.index) == ["a: teacher bundled", "b: over bottle alone; teacher bundled"]
    papers = pd.concat([part.assign(teacher="imagenet", scale="full") for part in rows[:2]])
    assert len([*paper_tables.laid_out(papers, "seed000", ["Table 1"])]) == 2  # stand in the first table


def test_numbers_of_one_table_made_under_different_conditions_have_different_letters(row):
    rows = [
        made(row, "destseg", "bottle", [0.98], teacher="random", precision="fp32"),
        made(row, "destseg", "pill", [0.9], teacher="random", precision="bf16"),
    ]
    beside = paper_tables.reproduced(pd.concat(rows), "seed000", "Table 1")
    wide = paper_tables.side_by_side(beside)[("DeSTSeg(origin)", "ours")]
    letters = [wide[category, "image_auroc_pct"][-1] for category in ("bottle", "pill")]
    assert letters == ["a", "b"]
    named = {text.partition(": ")[0]: text for text in paper_tables.why(beside).index}
    assert "bf16" not in named["a"]
    assert "bf16" in named["b"]


def test_numbers_of_one_table_are_of_one_teacher_and_scale_but_for_those_under_the_papers_conditions(row):
    of = {"teacher": "bundled", "scale": "small"}
    rows = [made(row, "destseg", name, [0.7], **of) for name in ("bottle", "pill", "screw")]
    rows += [made(row, "memory_destseg", name, [0.8], **of) for name in ("bottle", "pill", "tile")]
    rows.append(made(row, "destseg", "bottle", [0.99], teacher="bundled", scale="full"))
    rows.append(made(row, "memory_destseg", "wood", [0.99], teacher="bundled", scale="full"))
    rows.append(made(row, "memory_destseg", "screw", [0.99], teacher="imagenet", scale="full"))
    rows = pd.concat(rows)
    assert line(rows, "bottle")["ours"] == "70.0"
    assert line(rows, "screw", "DeSTSeg(memory)")["ours"] == "99.0"
    assert line(rows, "screw", "DeSTSeg(memory)")["difference"] != 0
    why = "not comparable with the other numbers here: run with teacher bundled, full scale alone"
    assert (line(rows, "wood", "DeSTSeg(memory)")["ours"], line(rows, "wood", "DeSTSeg(memory)")["conditions"]) == (
        "",
        why,
    )
    assert line(rows.query("teacher != 'imagenet'"), "mean")["ours"] == "70.0 over 2 of 15"  # bottle and pill, as both


def test_printed_categories_are_folders_of_their_dataset():
    numbers = paper.paper_numbers()
    named = {*zip(numbers["dataset"], numbers["category"], strict=True)}
    means = {"mean", "mean_textures", "mean_objects", "all"}
    assert [pair for pair in sorted(named) if pair[1] not in {*PUBLISHED[pair[0]], *means}] == []
    assert ("eyecandies", "CandyCane") in named


def test_more_conditions_than_letters_still_have_marks_of_their_own():
    conditions = [f"setting {i}" for i in range(60)]
    marks = paper_tables._marks(pd.DataFrame({"ours": ["", *["1.0"] * 60], "conditions": ["not run", *conditions]}))
    assert list(marks) == [*conditions, "not run"]
    assert len(set(marks.values())) == 61
    assert (marks["setting 0"], marks["setting 25"], marks["setting 26"]) == ("a", "z", "aa")


def test_the_authors_own_measure_stands_beside_what_they_print_of_it(row):
    rows = made(row, "stpm", "bottle", [0.9, 0.9], teacher="imagenet", scale="full")
    rows["legacy"] = [{"stpm_pro": 0.94}, {"stpm_pro": 0.96}]
    source = "gdwang08/STFPM README (2598a5e)"
    beside = paper_tables.reproduced(rows, source, "Results")
    found = beside[beside["category"].eq("bottle") & beside["metric"].str.contains("PRO|pro", regex=True)]
    assert [float(text.split()[0]) for text in found["ours"]] == [pytest.approx(0.95, abs=0.001)]


def test_a_printed_time_stands_beside_our_median(row, tmp_path):
    conditions = {"precision": "fp32", "device": "cpu: A", "threads": 2}
    turns = [
        {"method": method, "recipe": recipe, "backbone": backbone, "batch": 1, "p50_ms": ms} | conditions
        for method, recipe, backbone, ms in [
            ("stpm", "code", "resnet18", 90.0),
            ("stpm", "paper", "wide_resnet50_2", 80.0),
            ("stpm", "paper", "resnet18", 20.0),
        ]
    ]
    pd.DataFrame(turns).to_csv(tmp_path / "turns.csv", index=False)
    rows = made(row, "stpm", "bottle", [0.9])
    beside = paper_tables.reproduced(rows, "seed001", "Table 3", timings=tmp_path).set_index(["method", "metric"])
    assert beside["ours"]["STPM", "fps"] == "50"
    assert beside["ours"]["STPM", "latency_ms"] == "20"
    assert beside["difference"].dropna().to_dict() == {("STPM", "fps"): -33.2, ("STPM", "latency_ms"): 8.0}
    assert "resnet18, fp32, cpu: A, 2 threads" in beside["conditions"]["STPM", "fps"]
    assert beside["conditions"]["Ours", "fps"] == "not among the methods of turns.csv and peers.csv"
    peer = {
        "environment": "anomalib",
        "method": "fastflow",
        "backbone": "wide_resnet50_2",
        "variant": "model",
        "batch": 1,
    }
    peer |= {"version": "2.7.0"}
    pd.DataFrame([peer | conditions | {"p50_ms": 40.0}]).to_csv(tmp_path / "peers.csv", index=False)
    beside = paper_tables.reproduced(rows, "seed001", "Table 3", timings=tmp_path).set_index(["method", "metric"])
    assert beside["ours"]["FastFlow", "fps"] == "25"
    assert (
        beside["conditions"]["FastFlow", "fps"]
        == "anomalib 2.7.0, wide_resnet50_2, fp32, cpu: A, 2 threads, model, peers.csv"
    )
    assert "turns.csv" in beside["conditions"]["STPM", "fps"]  # it took no turn with FastFlow
    ours = peer | {"environment": "adlib", "method": "stpm", "recipe": "paper", "variant": "optimised"}
    ours |= {"version": "0.1.0", "backbone": "resnet18"}
    lines = [peer | {"p50_ms": 40.0}, ours | {"p50_ms": 10.0}, ours | {"variant": "plain", "p50_ms": 30.0}]
    pd.DataFrame([line | conditions for line in lines]).to_csv(tmp_path / "peers.csv", index=False)
    beside = paper_tables.reproduced(rows, "seed001", "Table 3", timings=tmp_path).set_index(["method", "metric"])
    assert beside["ours"]["STPM", "fps"] == "100"
    assert beside["conditions"]["STPM", "fps"] == "adlib 0.1.0, resnet18, fp32, cpu: A, 2 threads, optimised, peers.csv"
    none = paper_tables.reproduced(rows, "seed001", "Table 3", timings=tmp_path / "none")
    assert "not measured here: python benchmarks/turns.py" in set(none["conditions"])
