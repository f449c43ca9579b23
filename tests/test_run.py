"""A run from training to row: what it records, hands on, repeats and goes on with."""

import dataclasses
import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import adlib
from adlib import legacy_metrics, preparation, results
from adlib.images import Images, UnknownMask
from adlib.predict import Prediction
from adlib.study import paper, tables
from adlib.train import History
from tests.conftest import TINY, prepared, spoiled, tiny_images, write_category


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = write_category(tmp_path_factory.mktemp("data"))
    run = prepared(root)
    run.fit()
    return root, run


def test_a_row_says_everything_and_reads_back(trained, tmp_path):
    _, run = trained
    path = run.write(tmp_path)
    (row,) = results.read(tmp_path).to_dict("records")
    assert path == results.row_path(tmp_path, run.identity)
    assert (row["method"], row["dataset"], row["category"], row["seed"]) == ("stpm", "mvtec", "bottle", 0)
    assert (row["train_images"], row["test_normal"], row["test_defect"], row["test_unmasked"]) == (4, 2, 2, 0)
    assert row["trainable_parameters"] == 2_782_784
    assert row["steps"] == 1
    assert row["teacher_sha256"] == run.method.teacher.provenance.sha256
    assert row["config"]["epochs"] == 1
    assert set(row["legacy"]) == {"rd_pro", "stpm_pro", "destseg_pro"}
    assert path.with_suffix(".png").exists()


def test_each_kind_of_defect_is_measured_alone_beside_all_normal_images(data_root):
    run = prepared(data_root)
    size = run.test.masks.shape[-1]
    masks = torch.zeros(5, size, size, dtype=torch.bool)
    masks[1, : size // 2] = masks[2, : size // 4] = True  # image 3 is a defect that nobody outlined
    maps = np.zeros((5, size, size), np.float32)
    maps[1, : size // 2] = 1  # found whole, and the image scores highest
    maps[2, size // 4 :] = 1  # everything but the defect
    kinds, labels = ["good", "dent", "scratch", "scratch", "good"], torch.tensor([0, 1, 1, 1, 0])
    table = pd.DataFrame({"image": [*"abcde"], "defect": kinds, "label": labels.numpy()})
    pixels, known = torch.zeros(5, 3, size, size, dtype=torch.uint8), torch.tensor([True, True, True, False, True])
    run.test = Images(pixels, masks, labels, known, table)
    run.prediction = Prediction(maps, np.array([1.0, 3.0, 0.0, 2.0, 1.0], np.float32))
    found = run.by_kind()
    assert [*found.index] == ["scratch", "dent"]  # the least found first
    assert found.loc["dent"].to_dict() == {
        "images": 1, "share": 0.5, "image_auroc": 1.0, "pixel_auroc": 1.0, "aupro": 1.0,
    }  # fmt: skip
    # Of two scratches one scores below both good images and one above; only the outlined one has pixels, of which all
    # lie below the 3/4 of its own normal ones and level with those of the good images (2 of 2.75 parts).
    assert found.loc["scratch", ["images", "share", "image_auroc"]].tolist() == [2, 0.25, 0.5]
    assert found.loc["scratch", "pixel_auroc"] == pytest.approx(2 / 2.75 / 2)


def test_without_a_defect_there_is_no_kind(data_root):
    run = prepared(data_root)
    run.test = tiny_images(3, size=256)
    run.prediction = Prediction(np.zeros((3, 256, 256), np.float32), np.zeros(3, np.float32))
    assert run.by_kind().empty


def test_the_same_seed_gives_the_same_row_and_another_seed_another(trained):
    root, run = trained
    again, other = prepared(root), prepared(root, seed=1)
    for one in (again, other):
        one.fit()
    assert results.same(run.row(), again.row()), results.difference(run.row(), again.row())
    found = results.difference(run.row(), other.row())
    assert "final_loss" in found


def test_a_run_trains_once_and_what_was_predicted_before_is_forgotten(data_root):
    run = prepared(data_root)
    untrained = run.evaluate()
    run.fit()
    assert run.prediction is None
    assert run.evaluate() != untrained
    with pytest.raises(ValueError, match="trained already: prepare a new run"):
        run.fit()


def test_a_refused_state_is_no_training(data_root, tmp_path):
    run = prepared(data_root, out_dir=tmp_path)
    resume = results.row_path(tmp_path, run.identity).with_suffix(".resume")
    resume.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="delete it"):
        run.fit()
    resume.unlink()
    assert run.fit().steps == 1


def test_a_row_that_breaks_the_schema_costs_no_picture_of_an_earlier_one(trained, tmp_path):
    _, run = trained
    picture = run.write(tmp_path).with_suffix(".png")
    picture.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="steps"):
        run.write(tmp_path, dataclasses.replace(run.row(), steps=-1))
    assert picture.read_bytes() == b"earlier"


def test_the_state_of_a_training_with_another_teacher_is_refused(data_root, tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    import adlib.train as train

    def begin(value):
        network = timm.create_model("resnet18", num_classes=0)
        network.conv1.weight.data.fill_(value)
        save_file(network.state_dict(), path)
        return prepared(data_root, teacher=str(path), overrides={"epochs": 2, "batch": 4}, out_dir=tmp_path)

    def die(*_):
        raise KeyboardInterrupt

    path = tmp_path / "teacher.safetensors"
    killed = begin(0.0)
    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "run_stage", die)
        with pytest.raises(KeyboardInterrupt):
            killed.fit()
    assert killed._resume_file().exists()
    with pytest.raises(ValueError, match="another training"):
        begin(0.5).fit()


def test_killed_and_resumed_gives_the_same_row(trained, tmp_path, monkeypatch):
    import adlib.train as train

    root, _ = trained
    overrides = {"epochs": 3, "batch": 4}
    whole = prepared(root, overrides=overrides)
    whole.fit()
    write = train.write_state

    def write_then_die(path, state):
        write(path, state)
        raise KeyboardInterrupt

    killed = prepared(root, overrides=overrides, out_dir=tmp_path)
    monkeypatch.setattr(train, "write_state", write_then_die)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(save_every=0.0)
    monkeypatch.undo()
    resume = results.row_path(tmp_path, killed.identity).with_suffix(".resume")
    assert resume.exists()
    state = torch.load(resume, weights_only=True)
    resumed = prepared(root, overrides=overrides, out_dir=tmp_path)
    resumed.fit()
    assert results.same(resumed.row(), whole.row()), results.difference(resumed.row(), whole.row())

    # The same numbers where another commit began it, or ended it but for the test; but the row says so.
    another, ended = "commit 1234567, torch 2.0, cpu: another", torch.load(resume, weights_only=True)
    for left, says in ((state, f"trained by {another}; then by commit "), (ended, f"trained by {another}")):
        torch.save(left | {"made_by": [another]}, resume)
        other = prepared(root, overrides=overrides, out_dir=tmp_path)
        other.fit()
        row = other.row()
        assert row.notes["resumed"].startswith(says)
        assert ("; then by " in row.notes["resumed"]) == (left is state)
        assert results.difference(row, whole.row()).keys() == {"notes"}
    resumed.write()
    assert not resume.exists()


def test_destseg_says_which_textures_and_rotation_it_used(data_root):
    rows = data_root / "rows"
    run = prepared(data_root, "destseg", out_dir=rows)
    run.fit()
    row = run.row()
    assert row.config["rotation"] == "full"
    assert row.notes["textures"].startswith("procedural, 128")
    with pytest.warns(UserWarning, match=r"no DTD in .*download dtd --root"):
        prepared(data_root, "destseg", scale="full")
    run.write(row=row)
    textures = data_root / "dtd" / "images" / "banded"
    textures.mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(textures / "banded_0001.jpg")
    with pytest.warns(
        UserWarning, match=r"other textures of pseudo-anomalies \(procedural, 128 .*, now DTD, 1 images\)"
    ):
        run = prepared(data_root, "destseg", out_dir=rows)
    run.fit()
    assert run.row().notes["textures"] == "DTD, 1 images"


def test_rows_go_to_the_home_folder_that_a_tilde_names(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = prepared(data_root, out_dir="~/rows")
    run.fit()
    assert run.write().is_relative_to(tmp_path / "rows")
    assert len(results.read("~/rows")) == 1


def test_an_empty_mask_of_a_defect_is_left_out_of_the_pixel_metrics(data_root):
    path = "ground_truth/square/000_mask.png"
    spoiled(data_root, path, lambda p: Image.new("L", (256, 256)).save(p))
    with pytest.warns(UnknownMask, match=r"square.000\.png"):
        run = prepared(data_root)
    run.fit()
    row = run.row()
    assert row.test_unmasked == 1
    assert not math.isnan(row.pixel_auroc)


def test_no_defects_to_test_gives_a_row_with_reasons(data_root, tmp_path):
    import shutil

    shutil.rmtree(data_root / "mvtec" / "bottle" / "test" / "square")
    run = prepared(data_root)
    run.fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        path = run.write(tmp_path)
    written = json.loads(path.read_text())
    assert written["image_auroc"] is None
    assert "image_auroc" in written["notes"]


@pytest.mark.parametrize("method", ["stpm", "destseg"])
def test_one_training_image_and_a_batch_larger_than_the_set(tmp_path, method):
    run = prepared(write_category(tmp_path, train=1), method)
    run.fit()
    assert run.row().train_images == 1


def test_beside_a_row_stand_the_papers_numbers_and_which_conditions_are_not_theirs(trained):
    _, run = trained
    row = vars(run.row())
    shown = paper.beside(row)
    official = shown[shown["printed in"].str.contains("2598a5e")].loc["image_auroc"]
    assert official["paper"] == 100.0
    assert official["difference"] == pytest.approx(100 * row["image_auroc"] - 100)
    assert official["unlike the paper"] == "teacher random, small scale, overrides"
    same_conditions = row | {"teacher": "imagenet", "scale": "full", "overrides": {}}
    found = paper.beside(same_conditions)
    official = found[found["printed in"].str.contains("2598a5e")].loc["image_auroc"]
    assert official["difference"] == pytest.approx(100 * row["image_auroc"] - 100)
    assert official["unlike the paper"] == ""
    some = same_conditions | {"notes": {"textures": "DTD, 1200 images"}}
    assert set(paper.beside(some)["unlike the paper"]) == {"pseudo-anomalies of DTD, 1200 images", ""}
    assert shown.loc["iap", "printed in"] == "none printed"


def test_tables_average_over_seeds(trained, tmp_path):
    _, run = trained
    row = run.row()
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        results.write(dataclasses.replace(row, seed=seed, image_auroc=value), tmp_path)
    rows = results.read(tmp_path)
    assert tables.spread(rows)["image_auroc"].tolist() == ["60.0 ± 10.0 (3)"]
    assert tables.spread(rows[:1])["image_auroc"].tolist() == ["50.0 (1)"]
    assert tables.summary(rows)["image_auroc"].tolist() == [50.0, 60.0, 70.0]


def test_a_row_says_which_legacy_metric_was_left_out(trained, monkeypatch):
    _, run = trained
    monkeypatch.setattr(legacy_metrics, "WORK_LIMIT", 1e5)  # two regions in four maps of 256 x 256
    row = run.row()
    assert math.isnan(row.legacy["destseg_pro"])
    assert row.notes["destseg_pro"] == "not computed: 5e+05 pixels to sort"


def test_a_row_counts_what_was_tested_and_times_the_test_alone(tmp_path, monkeypatch):
    run = prepared(write_category(tmp_path, train=4, good=3, defects=2))
    history = run.fit()
    run.predict()
    run.seconds_test = 7.5
    row = run.row()
    assert (row.train_images, row.test_normal, row.test_defect, row.test_unmasked) == (4, 3, 2, 0)
    assert (row.seconds_test, row.seconds_train) == (7.5, history.seconds)


def test_the_papers_own_metrics_leave_out_what_nobody_outlined(trained):
    _, run = trained
    test, prediction = run.test, run.predicted
    kept = torch.tensor([True, True, True, False])  # two good ones and one of two defects
    try:
        run.test = dataclasses.replace(test, mask_known=kept)
        found = run.evaluate_legacy()
        run.test = test.subset([0, 1, 2])
        run.prediction = Prediction(prediction.maps[:3], prediction.scores[:3])
        assert found == run.evaluate_legacy()
    finally:
        run.test, run.prediction = test, prediction


def test_pseudo_anomalies_are_made_as_the_config_says(data_root):
    overrides = TINY["destseg"] | {"rotation": "full", "corruption_probability": 0.25, "perlin_threshold": 0.125}
    made = prepared(data_root, "destseg", overrides=overrides)._corruption()
    assert (made.rotation, made.probability, made.threshold) == ("full", 0.25, 0.125)


def test_textures_for_which_there_is_no_memory_are_named_and_cost_no_run(data_root, monkeypatch):
    run = prepared(data_root, "destseg")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_corruption", lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")))
        with pytest.raises(MemoryError, match="out of memory while the textures of pseudo-anomalies were brought to"):
            run.fit()
    assert run.fit().steps == 2


@pytest.fixture
def handed_on(monkeypatch):
    """What `fit` and `build` are given; nothing trains."""
    seen = []
    build = preparation.build

    def built(*args, **fields):
        seen.append(("build", args[4]))
        return build(*args, **fields)

    def fit(method, images, **options):
        seen.append(("fit", options["seed"]))
        seen.append(("identity", options["identity"]))
        return History(pd.DataFrame({"loss": [3.0, 2.0, 1.0]}), 1.0, 4, 3, {"student": 0}, ["here"], "here")

    monkeypatch.setattr(preparation, "build", built)
    monkeypatch.setattr(adlib.run, "fit", fit)
    return seen


def test_the_seed_of_a_run_is_that_of_its_weights_and_of_its_training(tmp_path, handed_on):
    prepared(write_category(tmp_path), seed=3).fit()
    assert [pair for pair in handed_on if pair[0] != "identity"] == [("build", 3), ("fit", 3)]


def test_a_training_of_other_images_textures_or_precision_is_another(tmp_path, handed_on):
    root = write_category(tmp_path)
    prepared(root).fit()
    prepared(root, precision="bf16").fit()
    Image.fromarray(tiny_images(1, size=256, seed=9).pixels[0].permute(1, 2, 0).numpy()).save(
        root / "mvtec/bottle/train/good/000.png"
    )
    prepared(root).fit()
    run = prepared(root)
    run.notes["textures"] = "DTD, 1 images"
    run._corruption = lambda: None
    run.fit()
    identities = [text for what, text in handed_on if what == "identity"]
    assert len(set(identities)) == 4


def test_a_row_has_the_last_loss_and_counts_the_kept_epoch_from_1(tmp_path, handed_on):
    run = prepared(write_category(tmp_path))
    run.fit()
    assert run.notes["selected"] == "student: epoch 1 by validation"
    maps = np.random.default_rng(0).random((4, 256, 256), dtype=np.float32)
    run.prediction = Prediction(maps, np.arange(4, dtype=np.float32))
    run.evaluate_legacy = lambda: ({}, {})
    assert run.row().final_loss == 1.0


def test_a_run_predicts_in_its_own_precision(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(adlib.run, "predict", lambda *_, **options: asked.append(options["precision"]))
    prepared(write_category(tmp_path), precision="bf16").predict()
    assert asked == ["bf16"]
