"""Goals beside measurements: planted rows on both sides of a bound."""

import pandas as pd
import pytest

from adlib import results, speed
from adlib.speed import goals


def line(tables, words):
    found = goals.goals(tables)
    return found[found["goal"].str.startswith(words)].iloc[0]


@pytest.mark.parametrize(
    ("best", "low", "high", "verdict"),
    [(4.0, 4.0, 9, "reached"), (4.5, 3.9, 9, "undecided"), (3.5, 3, 4.1, "undecided"), (3.9, 1, 3.95, "missed")],
)
def test_of_variants_of_a_training_the_best_counts(best, low, high, verdict):
    rows = {"case": "rd resnet18", "speedup_p10": low, "speedup_p90": high, "speedup_at_peak": 5.0, "device": "cpu: A"}
    rows |= {"precision": "bf16"}
    training = pd.DataFrame(
        [rows | {"variant": "ours", "speedup": 2.0}, rows | {"variant": "compiled", "speedup": best}]
    )
    found = line({"training": training}, "RD, ResNet-18, bf16")
    assert (found["measured"], found["by"], found["verdict"]) == (best, "compiled", verdict)
    assert (found["low"], found["high"], found["at_peak"]) == (low, high, 5)
    assert line({"training": training}, "RD, ResNet-18, fp32")["verdict"] == goals.NOT_MEASURED


@pytest.mark.parametrize(("slowest", "verdict"), [(2.0, "reached"), (2.1, "missed")])
def test_of_several_files_the_slowest_counts(slowest, verdict):
    rows = {"what": "second run", "device": "cpu: A"}
    decoding = pd.DataFrame([rows | {"begins": 0.5}, rows | {"begins": slowest, "begins_p90": 3.0}])
    found = line({"decoding": decoding}, "second run")
    assert (found["measured"], found["high"], found["verdict"]) == (slowest, 3, verdict)


def test_what_was_not_measured_is_neither_reached_nor_missed():
    assert set(goals.goals({})["verdict"]) == {goals.NOT_MEASURED}


def runs(method, category, seconds, device="cuda: NVIDIA H100", overrides=None):
    return {"method": method, "recipe": "paper", "dataset": "mvtec", "category": category, "scale": "full"} | {
        "teacher": "imagenet",
        "precision": "bf16",
        "device": device,
        "seed": 0,
        "seconds_train": seconds - 1.0,
        "seconds_test": 1.0,
        "overrides": overrides or {},
    }


def test_a_whole_table_is_the_sum_of_all_its_categories():
    table = [runs("rd", f"category{i}", 240.0) for i in range(15)]
    ablation = [runs("rd", f"category{i}", 1.0, overrides={"lr": 1.0}) for i in range(15)]
    summed = goals.of_runs(pd.DataFrame(table + ablation))
    found = line({"runs": summed}, "MVTec AD's table")
    assert (found["measured"], found["verdict"]) == (3600, "reached")
    without_one = goals.of_runs(pd.DataFrame(table[1:]))
    assert line({"runs": without_one}, "MVTec AD's table")["verdict"] == goals.NOT_MEASURED


@pytest.mark.parametrize(("slowest", "verdict"), [(180, "reached"), (181, "missed")])
def test_of_the_categories_the_slowest_counts(slowest, verdict):
    rows = [runs("destseg", "bottle", 100), runs("destseg", "pill", slowest), runs("destseg", "screw", 900, "cpu: A")]
    found = line({"runs": goals.of_runs(pd.DataFrame(rows))}, "a category of DeSTSeg")
    assert (found["measured"], found["verdict"]) == (slowest, verdict)


def test_every_goal_is_measured_by_the_committed_rows_but_those_of_a_gpu():
    tables = {goal.topic: speed.read(goal.topic) for goal in goals.GOALS if goal.topic != "runs"}
    found = goals.goals(tables | {"runs": goals.of_runs(results.read(results.RUNS))})
    without = {goal.words for goal in goals.GOALS if "H100" in goal.where}
    assert set(found.loc[found["verdict"] == goals.NOT_MEASURED, "goal"]) == without


def test_the_goals_are_counted_by_verdict():
    found = pd.DataFrame({"verdict": [goals.MISSED, goals.REACHED, goals.MISSED]})
    assert goals.in_short(found) == "Of 3 goals for speed: 1 reached, 2 missed."
