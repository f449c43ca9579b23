"""Diagnostics of maps and logs whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import silhouette_score

from adlib.study import diagnostics
from adlib.study.claims.diagnostics import DIAGNOSTICS


def test_the_abrupt_rise_is_the_step_between_the_stages():
    log = pd.DataFrame(
        {
            "stage": ["student"] * 4 + ["segmentation"] * 4,
            "_cos_train": [9.0, 4.0, 3.0, 2.0, 1.5, 1.5, 9.0, 9.0],  # falls by 1 a step, and so arrives at 1
            "_cos_eval": [9.0, 9.0, 9.0, 9.0, 4.0, 6.0, 9.0, 9.0],
        }
    )
    found = diagnostics.abrupt_rise(log, window=2, trend=3)
    assert found == pytest.approx({"before": 1.0, "after": 5.0, "after_batch": 1.5, "rise": 4.0, "rise_batch": 0.5})
    assert diagnostics.abrupt_rise(log.iloc[3:])["before"] == 2  # of a single step it is that one
    with pytest.raises(ValueError, match="log_both_modes=True"):
        diagnostics.abrupt_rise(log[["stage"]])


def test_a_loss_that_only_goes_on_falling_has_no_rise():
    steps = np.arange(40.0)
    log = pd.DataFrame({"stage": ["student"] * 40 + ["segmentation"] * 5})
    log["_cos_train"] = log["_cos_eval"] = [*(1 - 0.02 * steps), *[1 - 0.02 * 40] * 5]  # frozen where it has arrived
    assert diagnostics.abrupt_rise(log)["rise_batch"] == pytest.approx(0, abs=1e-12)


def test_the_committed_rises_follow_from_the_committed_curves():
    keys = ["dataset", "category", "seed", "recipe", "conditions"]
    rows = pd.read_csv(DIAGNOSTICS / "rise.csv")
    rows = rows[rows["id"] == "S0-7"].set_index(keys)
    jumps, by_batch = (rows[rows["metric"] == name]["value"] for name in ("l_cos_jump", "l_cos_jump_batch"))
    curves = pd.read_csv(DIAGNOSTICS / "curves" / "rise.csv")
    for place, curve in curves[curves["variant"] == "destseg"].groupby(keys):
        known = (curve["stage"] == "student").sum() >= diagnostics.FORGOTTEN
        expected = diagnostics.abrupt_rise(curve)["rise"] if known else np.nan
        assert jumps[place] == pytest.approx(expected, nan_ok=True)
        assert by_batch[place] == pytest.approx(diagnostics.abrupt_rise(curve)["rise_batch"])
    assert len(jumps) >= 3


def test_batch_norm_has_forgotten_its_first_variance_after_so_many_steps():
    norm = torch.nn.BatchNorm2d(1)
    for _ in range(diagnostics.FORGOTTEN):
        norm(torch.ones(2, 1, 2, 2))  # whose own variance is 0
    assert norm.running_var.item() <= norm.eps / 100 < 0.9 ** (diagnostics.FORGOTTEN - 1)


def test_a_hollow_defect_is_found_at_its_border_alone():
    masks = np.zeros((1, 64, 64))
    masks[0, 8:56, 8:56] = 1
    maps = np.zeros((1, 64, 64))
    maps[0, 8:56, 8:56] = 1
    maps[0, 12:52, 12:52] = 0  # deeper than four pixels nothing is seen
    found = diagnostics.recall_by_depth(maps, masks, 0.5, edges=(0, 4, 8, np.inf))
    assert found["recall"].tolist() == [1, 0, 0]
    assert found["pixels"].tolist() == [48**2 - 40**2, 40**2 - 32**2, 32**2]
    assert np.isnan(diagnostics.recall_by_depth(maps, masks, 0.5, edges=(0, 4, 100, np.inf))["recall"].iloc[2])
    assert diagnostics.recall_by_depth(maps[:0], masks[:0], 0.5, edges=(0, 4, np.inf))["recall"].isna().all()


def test_a_defect_that_fills_the_image_is_infinitely_deep():
    """Nothing outside of it is seen, so that no pixel is near its border."""
    found = diagnostics.recall_by_depth(np.ones((1, 40, 40)), np.ones((1, 40, 40), bool), 0.5)
    assert found["pixels"].tolist() == [0] * (len(found) - 1) + [1600]


def test_a_halo_is_counted_near_and_only_in_images_with_a_defect():
    masks = np.zeros((2, 64, 64))
    masks[0, 32, 32] = 1
    rows, columns = np.indices((64, 64))
    distance = np.hypot(rows - 32, columns - 32)
    maps = np.stack([(distance <= 8).astype(float), np.ones((64, 64))])
    found = diagnostics.alarms_by_distance(maps, masks, 0.5, edges=(0, 16, np.inf)).set_index("distance")
    ring = (distance > 0) & (distance <= 16)
    assert found.loc[16, "pixels"] == ring.sum()
    assert found.loc[16, "alarms"] == pytest.approx(((distance <= 8) & ring).sum() / ring.sum())
    assert found.loc[np.inf, "alarms"] == 0
    assert diagnostics.alarms_by_distance(maps, np.zeros((2, 64, 64)), 0.5)["alarms"].isna().all()


def test_a_halo_is_that_of_what_was_found():
    masks = np.zeros((1, 64, 64))
    masks[0, 16:24, 8:56] = 1  # of which the left end is found, and beside it three columns are flagged
    maps = np.zeros((1, 64, 64))
    maps[0, 16:24, 8:12] = maps[0, 16:24, 5:8] = 1
    near = diagnostics.alarms_by_distance(maps, masks, 0.5, edges=(0, 16, np.inf)).set_index("distance").loc[16]
    alone = masks.copy()
    alone[0, :, 12:] = 0
    rest = (masks == 0)[0] & (ndimage.distance_transform_edt(alone[0] == 0) <= 16)
    assert near["pixels"] == rest.sum()
    assert near["alarms"] == pytest.approx(3 * 8 / rest.sum())
    missed = diagnostics.alarms_by_distance(np.zeros((1, 64, 64)), masks, 0.5)
    assert missed["alarms"].isna().all()
    both = diagnostics.alarms_by_distance(np.concatenate([maps, maps * 0]), np.tile(masks, (2, 1, 1)), 0.5)
    assert both.equals(diagnostics.alarms_by_distance(maps, masks, 0.5))


def test_noise_is_the_deviation_in_units_of_the_contrast():
    masks = np.zeros((2, 4, 4))
    masks[1, 0, 0] = 1
    normal = np.tile([1.0, 3.0], 8).reshape(4, 4)  # mean 2, deviation 1
    defective = np.zeros((4, 4))
    defective[0, 0] = 6
    assert diagnostics.normal_noise(np.stack([normal, defective]), masks) == pytest.approx(1 / 4)


def test_an_answer_spills_as_far_as_it_goes_on_beyond_the_defect():
    masks = np.zeros((3, 64, 64))
    masks[1:, 24:40, 24:40] = 1
    rng = np.random.default_rng(0)
    ground = rng.random((64, 64))  # alike in all images
    maps = np.stack([ground, ground + masks[1], ground + masks[1]])
    assert diagnostics.spill(maps, masks) == pytest.approx(0)
    beside = np.zeros((64, 64))
    beside[8:56, 8:56] = 0.5  # farther than 16 pixels only in the corners
    beside[24:40, 24:40] = 1
    maps[1:] = ground + beside
    near = (maps[1] - ground)[(masks[1] == 0) & (ndimage.distance_transform_edt(masks[1] == 0) <= 16)]
    assert diagnostics.spill(maps, masks) == pytest.approx(near.mean()) == pytest.approx(0.5)
    maps[1:] += rng.normal(size=(2, 64, 64))  # noise says nothing of it
    assert diagnostics.spill(maps, masks) == pytest.approx(0.5, abs=0.1)
    low = np.stack([ground, *2 * [ground + np.where(masks[1] > 0, 1, -beside)]])
    assert diagnostics.spill(low, masks) == 0
    assert np.isnan(diagnostics.spill(-maps, masks))
    assert np.isnan(diagnostics.normal_noise(-maps, masks))


def test_the_threshold_lets_through_the_share_asked_for():
    maps = np.arange(1000.0).reshape(10, 10, 10)
    assert (maps > diagnostics.threshold_at(maps, 0.05)).mean() == pytest.approx(0.05, abs=0.001)


def test_compact_values_stand_apart_and_mixed_ones_do_not():
    rng = np.random.default_rng(0)
    apart = {name: np.eye(8)[i] + 0.01 * rng.normal(size=(20, 8)) for i, name in enumerate("abc")}
    mixed = {name: rng.normal(size=(20, 8)) for name in "abc"}
    assert diagnostics.compactness(apart) > 0.9
    assert abs(diagnostics.compactness(mixed)) < 0.1
    with pytest.raises(ValueError, match="compares categories"):
        diagnostics.compactness({"a": np.eye(3)})


def test_a_memory_has_moved_by_the_angle_of_its_items():
    start = np.random.default_rng(0).normal(size=(50, 8))
    assert diagnostics.movement(start, 1.5 * start) == pytest.approx(0)
    assert diagnostics.movement(start, -start) == pytest.approx(2)
    turned = np.concatenate([start[:25], np.roll(np.eye(8), 1, axis=1)[np.arange(25) % 8]])
    begun = np.concatenate([start[:25], np.eye(8)[np.arange(25) % 8]])
    assert diagnostics.movement(begun, turned) == pytest.approx(0.5)


def test_values_are_compact_and_apart_only_where_both_memories_have_moved():
    assert diagnostics.compact_and_apart(0.5, 0.2) == pytest.approx(0.3)
    assert diagnostics.compact_and_apart(0.25, 0.0) == pytest.approx(0.15)
    assert diagnostics.compact_and_apart(0.03, None) is None  # on its way, and not denied
    assert diagnostics.compact_and_apart(0.03, 0.2) is None
    assert diagnostics.compact_and_apart(-0.03, None) == pytest.approx(-0.03)  # whatever the other is
    assert diagnostics.compact_and_apart(-0.03, 0.2) == pytest.approx(-0.23)
    assert diagnostics.compact_and_apart(0.1, -0.2) == pytest.approx(0.0)
    assert diagnostics.compact_and_apart(0.5, None) is None
    assert diagnostics.compact_and_apart(None, 0.2) is None


def test_the_committed_values_are_judged_as_their_parts_ask():
    for row in pd.read_csv(DIAGNOSTICS / "values.csv").itertuples():
        parts = json.loads(row.parts)
        moved = {m: [v > 0.1 for k, v in parts.items() if k.startswith(f"{m} m")] for m in ("memkd", "rd_memae")}
        assert [m in parts for m in moved] == [any(of) for of in moved.values()]
        value = diagnostics.compact_and_apart(parts.get("memkd"), parts.get("rd_memae"))
        assert (np.isnan(row.value) and row.why) if value is None else row.value == pytest.approx(value)


def test_a_curve_that_rises_and_one_that_has_arrived():
    assert diagnostics.still_rising(np.arange(1.0, 101.0))
    assert not diagnostics.still_rising(np.minimum(np.arange(1.0, 101.0), 60.0))
    assert not diagnostics.still_rising(np.arange(100.0, 0.0, -1.0))


def test_the_committed_ratios_are_judged_as_their_committed_curves_ask():
    keys = ["dataset", "category", "seed", "conditions"]
    rows = pd.read_csv(DIAGNOSTICS / "ratio.csv")
    values = rows.set_index(keys)["value"]
    curves = pd.read_csv(DIAGNOSTICS / "curves" / "ratio.csv")
    for place, curve in curves.groupby(keys):
        assert np.isnan(values[place]) == diagnostics.still_rising(curve["ratio"].to_numpy())
    assert len(values) >= 3


def test_noise_is_within_an_image_and_not_between_images():
    masks = np.zeros((3, 2, 2))
    masks[2, 0, 0] = 1
    maps = np.stack([np.array([[1.0, 3], [1, 3]]), np.array([[11.0, 13], [11, 13]]), np.full((2, 2), 15.0)])
    # Each normal image deviates by 1; the defect, 15, lies 8 above their mean, 7.
    assert diagnostics.normal_noise(maps, masks) == pytest.approx(1 / 8)


def test_a_core_inside_a_ring_is_order_that_a_silhouette_does_not_see():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points, labels = np.concatenate([0.5 * ring, ring]), np.repeat(["core", "ring"], 60)
    assert abs(silhouette_score(points, labels)) < 0.11
    assert diagnostics.neighbours_alike(points, labels) == 1
    every_other = np.tile(["a", "b"], 60)  # the nearest two of each lie beside it on its circle
    assert diagnostics.neighbours_alike(points, every_other, count=2) == 0
    with pytest.raises(ValueError, match="n_neighbors"):
        diagnostics.neighbours_alike(points[:3], labels[:3])


def test_an_answer_is_that_of_all_images_together():
    masks = np.zeros((4, 64, 64))
    masks[2, 30:34, 30:34] = 1
    masks[3, 16:48, 16:48] = 1
    maps = np.zeros((4, 64, 64))
    maps[0], maps[1] = 1, 3  # of which the mean map is 2
    for image, height, beside in ((2, 4.0, 1.0), (3, 2.0, 0.0)):
        maps[image] = 2 + beside + (height - beside) * masks[image]
    # Inside 4 and 2 above the normal images, beside 1 and 0: as the means, 0.5 by 3.
    assert diagnostics.spill(maps, masks) == pytest.approx(0.5 / 3)
