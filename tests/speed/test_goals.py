"""Goals beside measurements: planted rows on both sides of a bound."""

import pandas as pd
import pytest

from adlib import speed
from adlib.speed import goals


def line(tables, words):
    found = goals.goals(tables)
    return found[found["goal"].str.startswith(words)].iloc[0]


@pytest.mark.parametrize(("best", "verdict"), [(4.0, "reached"), (3.9, "missed")])
def test_of_variants_of_a_training_the_best_counts(best, verdict):
    rows = {"case": "rd resnet18", "speedup_p10": 1.0, "speedup_p90": 9.0, "speedup_at_peak": 5.0, "device": "cpu: A"}
    training = pd.DataFrame([rows | {"variant": "ours", "speedup": 2.0}, rows | {"variant": "bf16", "speedup": best}])
    found = line({"training": training}, "RD: times")
    assert (found["measured"], found["by"], found["verdict"]) == (best, "bf16", verdict)
    assert (found["low"], found["high"], found["at_peak"]) == (1, 9, 5)


@pytest.mark.parametrize(("slowest", "verdict"), [(3.0, "reached"), (3.1, "missed")])
def test_of_several_files_the_slowest_counts(slowest, verdict):
    rows = {"what": "second run", "step": 1.0, "device": "cpu: A"}
    decoding = pd.DataFrame([rows | {"seconds": 1.5}, rows | {"seconds": slowest}])
    found = line({"decoding": decoding}, "second run")
    assert (found["measured"], found["verdict"]) == (pytest.approx(slowest - 1), verdict)


def test_what_was_not_measured_is_neither_reached_nor_missed():
    assert set(goals.goals({})["verdict"]) == {goals.NOT_MEASURED}


def test_every_goal_with_a_topic_is_measured_by_the_committed_rows():
    topics = {goal.topic for goal in goals.GOALS if goal.topic}
    found = goals.goals({topic: speed.read(topic) for topic in topics})
    without = {goal.words for goal in goals.GOALS if not goal.topic}
    assert set(found.loc[found["verdict"] == goals.NOT_MEASURED, "goal"]) == without
