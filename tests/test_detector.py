"""From a folder to a detector: the threshold's promise, what comes out, what survives saving, the sentences."""

import html.parser
import json
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import adlib
from adlib import checks, detector, images, report, train
from adlib.datasets.folder import masks_below
from adlib.detector import Detector, Threshold
from tests.conftest import tiny_images

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"epochs": 4, "batch": 4, "levels": [1]}


def write(folder, count, defects=0, seed=0, size=64, suffix=".png"):
    """Write images of `tiny_images`: good ones, then ones with a bright square."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(tiny_images(count, defects, size, seed).pixels):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{i:03d}{suffix}")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    home = tmp_path_factory.mktemp("own") / "parts"
    write(home / "good", 20)
    write(home / "square", 4, 4, seed=1)
    return home


@pytest.fixture(scope="module")
def fitted(parts, tmp_path_factory):
    found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu")
    return found.fit(parts, out_dir=tmp_path_factory.mktemp("state"))


def test_the_threshold_is_the_kth_smallest_score():
    scores = np.random.default_rng(0).permutation(99) + 1.0
    found = Threshold.of(scores, 0.05)
    assert (found.value, found.promised, found.held_out) == (pytest.approx(95, rel=2e-5), pytest.approx(0.05), 99)
    assert found.value > np.float32(95) * (1 + 1e-6)  # the image that set it does not alarm in another batch
    assert Threshold.of(scores, 0.01).value == pytest.approx(99, rel=2e-5)
    short = Threshold.of([3.0, 1.0, 2.0], 0.05)
    assert "at most 5.0%, for which they are too few. On average" in str(short)
    assert "at most 5.0%. On average" in str(found)
    assert (short.value, short.promised) == (pytest.approx(3, rel=2e-5), 0.25)
    assert Threshold.of([-2.0], 0.05).value > -2
    assert checks.needed(0.05) == 19


def test_the_threshold_keeps_its_promise_on_average_and_its_interval_on_each():
    rng = np.random.default_rng(0)
    rates, inside = [], []
    for _ in range(2000):
        found = Threshold.of(rng.uniform(size=30), 0.1)
        rates.append(1 - found.value)  # the true false-alarm rate of uniform scores
        inside.append(found.low <= rates[-1] <= found.high)
    assert np.mean(rates) == pytest.approx(found.promised, abs=0.004)
    assert found.promised <= 0.1
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("rate", [0, 1, 5])
def test_a_rate_that_is_none_is_refused_before_the_training(parts, rate):
    with pytest.raises(ValueError, match=f"between 0 and 1, got {rate}"):
        Detector("stpm", teacher="random").fit(parts, false_alarm_rate=rate)


def test_the_held_out_good_images_alone_choose_the_threshold(fitted):
    tested = fitted.tested()
    good = tested[tested.label == 0]
    assert len(good) == 4
    assert fitted.threshold == Threshold.of(good.score, 0.05)
    assert not good.alarm.any()
    assert tested[tested.label == 1].alarm.all()
    assert tested.image.str.startswith(("good/", "square/")).all()


def test_save_load_and_score_elsewhere_give_the_same(fitted, parts, tmp_path):
    before = fitted.score(parts)
    loaded = Detector.load(fitted.save(tmp_path / "parts.safetensors"), device="cpu")
    pd.testing.assert_frame_equal(loaded.score(parts), before)
    assert loaded.threshold == fitted.threshold
    assert len(before) == 24
    assert before.score.is_monotonic_decreasing
    assert (before.alarm == (before.score > fitted.threshold.value)).all()
    one = loaded.score(parts / "square" / "000.png")
    assert one.image.tolist() == ["000.png"]
    assert one.score[0] == pytest.approx(before.set_index("image").score["square/000.png"], rel=1e-5)
    with pytest.raises(ValueError, match="does not know its test images"):
        loaded.tested()
    with pytest.raises(ValueError, match="this detector was loaded, to score with"):
        loaded.fit(parts)


def test_an_image_that_cannot_be_decoded_costs_no_other_its_score_and_is_no_good_part(fitted, parts, tmp_path):
    for name in ("a", "b"):
        shutil.copy(parts / "square/000.png", tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"1 of 3 images have no score: cannot decode .*broken.png"):
        table = fitted.score(tmp_path)
    assert table.image.tolist()[0] == "broken.png"
    assert table.score.isna().tolist() == [True, False, False]
    assert table.alarm[0]
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(ValueError, match="cannot decode"):
        fitted.score(tmp_path)


def test_an_image_that_is_gone_costs_no_other_its_score(fitted, parts, tmp_path):
    shutil.copy(parts / "square/000.png", tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.warns(UserWarning, match=r"1 of 2 images have no score: no such file: .*gone.png"):
        table = fitted.score(tmp_path)
    assert table.image.tolist() == ["gone.png", "a.png"]
    assert table.score.isna().tolist() == [True, False]


def test_pictures_of_maps_are_neither_scored_nor_lost_to_a_namesake(fitted, parts, tmp_path):
    for name in ("a.png", "a.bmp"):
        Image.open(parts / "square/000.png").save(tmp_path / name)
    for _ in range(2):
        assert len(fitted.score(tmp_path, overlays=tmp_path / "overlays")) == 2
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == ["a.bmp.png", "a.png"]
    assert len(fitted.score(tmp_path)) == 2


@pytest.mark.parametrize("overlays", ["new", "new/../new", "link", "."])
def test_no_overlay_takes_the_place_of_an_image(fitted, parts, tmp_path, overlays):
    new = tmp_path / "new"
    shutil.copytree(parts / "square", new)
    (tmp_path / "link").symlink_to(new, target_is_directory=True)
    (tmp_path / "003.png").write_bytes((new / "003.png").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    with pytest.raises(ValueError, match=r"\.png is there already and is no overlay of adlib"):
        fitted.score(new, overlays=tmp_path / overlays)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_images_in_the_folder_of_overlays_are_scored(fitted, parts, tmp_path):
    for name in ("good", "broken"):
        (tmp_path / name).mkdir()
        shutil.copy(parts / "square/000.png", tmp_path / name / "000.png")
    for _ in range(2):
        table = fitted.score(tmp_path, overlays=tmp_path / "broken")
        assert sorted(table.image) == ["broken/000.png", "good/000.png"]


def test_a_second_fit_that_fails_leaves_the_detector_as_it_was(parts, tmp_path):
    found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts, out_dir=tmp_path)
    before = found.tested()
    write(tmp_path / "two/good", 2)
    with pytest.raises(ValueError, match="too few images"):
        found.fit(tmp_path / "two", out_dir=tmp_path)
    pd.testing.assert_frame_equal(found.tested(), before)


def test_a_training_that_nobody_saved_waits_for_a_month(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "UNFINISHED", tmp_path)
    for name, age in (("old", 31), ("young", 29)):
        state = tmp_path / name / "stpm/x.resume"
        state.parent.mkdir(parents=True)
        state.touch()
        for path in (state, state.parent, tmp_path / name):
            os.utime(path, (0, time.time() - age * 86400))
    found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "young/stpm/x.resume").exists()
    ours = [path for path in tmp_path.rglob("*.resume") if path.name != "x.resume"]
    assert len(ours) == 1
    steps = len(found.trained.history.losses)
    monkeypatch.setattr("adlib.train._Training.advance", None)  # what was trained is not trained again
    again = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts)
    assert len(again.trained.history.losses) == steps
    pd.testing.assert_frame_equal(again.tested(), found.tested())
    again.save(tmp_path / "x.safetensors")
    assert not ours[0].exists()


def test_scores_are_those_of_the_run_whatever_the_chunk(fitted, parts, monkeypatch):
    whole = fitted.score(parts).set_index("image").score
    for image, score in fitted.tested().set_index("image").score.items():
        assert whole[image] == pytest.approx(score, rel=1e-5)
    monkeypatch.setattr(detector, "AT_ONCE", 5)
    np.testing.assert_allclose(fitted.score(parts).set_index("image").score[whole.index], whole, rtol=1e-5)


def test_the_report_is_whole(fitted, parts, tmp_path):
    page = fitted.report(tmp_path / "out").read_text()
    html.parser.HTMLParser().feed(page)
    assert page.count("data:image/png") == 2
    assert "untrained" in page
    assert str(fitted.threshold) in page
    scores = pd.read_csv(tmp_path / "out/scores.csv")
    assert scores.alarm.sum() == 4
    pictures = sorted(p.relative_to(tmp_path / "out/overlays").as_posix() for p in tmp_path.rglob("overlays/*/*.png"))
    assert pictures == sorted(scores.image)
    assert Detector.load(tmp_path / "out/detector.safetensors").threshold == fitted.threshold


def test_of_the_images_that_chose_the_threshold_no_share_is_shown():
    tested = pd.DataFrame(
        {
            "label": [0, 0, 1, 1, 1],
            "defect": ["good", "good", "tear", "tear", "dent"],
            "score": [1.0, 2.0, 3.0, 0.5, 4.0],
            "alarm": [False, False, True, False, True],
        }
    )
    found = report.by_kind(tested).set_index("kind")
    assert found["share"].to_dict() == {"good": "chose the threshold", "dent": "100%", "tear": "50%"}
    assert found["alarms"].to_dict() == {"good": 0, "dent": 1, "tear": 1}


def test_the_report_shows_a_folders_name_as_text(fitted, tmp_path, monkeypatch):
    monkeypatch.setitem(fitted.trained.identity, "category", "<script>alert(1)</script>")
    page = fitted.report(tmp_path).read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page


def test_overlays_show_the_defect_on_one_scale(fitted, parts, tmp_path):
    fitted.score(parts / "square", overlays=tmp_path)
    plain = np.asarray(Image.open(parts / "square/000.png").resize((256, 256), Image.Resampling.BILINEAR), float)
    changed = np.abs(np.asarray(Image.open(tmp_path / "000.png"), float) - plain).mean(axis=2)
    assert changed[64:128, 64:128].mean() > 3 * changed[160:, 160:].mean()


def test_a_checkpoint_without_a_threshold_says_so(fitted, tmp_path):
    path = adlib.save(fitted.method, tmp_path / "method.safetensors")
    with pytest.raises(ValueError, match=r"has no threshold: it was written by adlib\.save"):
        Detector.load(path)
    assert "detector" not in json.loads(path.with_suffix(".json").read_text())


def test_an_interrupt_keeps_the_training_and_the_same_call_goes_on(parts, tmp_path, monkeypatch, capsys, ctrl_c):
    def make():
        return Detector("stpm", teacher="random", scale="small", overrides=FAST | {"epochs": 3}, device="cpu")

    whole = make().fit(parts, out_dir=tmp_path / "whole")
    advance, steps = train._Training.advance, []

    def interrupted(self, *arguments):
        if len(steps) == 6:
            ctrl_c(signal.SIGINT)
        steps.append(1)
        return advance(self, *arguments)

    monkeypatch.setattr(train._Training, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make().fit(parts, out_dir=tmp_path / "broken")
    (kept,) = (tmp_path / "broken").rglob("*.resume")
    assert f"kept in {kept}: the same call goes on" in capsys.readouterr().out
    steps.clear()
    steps.extend([1] * 100)  # a count that is past the interrupt
    resumed = make().fit(parts, out_dir=tmp_path / "broken")
    assert len(steps) == 100 + 9 - 7
    pd.testing.assert_frame_equal(resumed.tested(), whole.tested())
    resumed.save(tmp_path / "done.safetensors")
    assert not kept.exists()


def test_an_error_after_the_last_step_costs_no_training(parts, tmp_path, monkeypatch):
    def make():
        return Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu")

    with monkeypatch.context() as patched:
        patched.setattr("adlib.run.predict", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make().fit(parts, out_dir=tmp_path / "state")
    whole = make().fit(parts, out_dir=tmp_path / "whole")
    monkeypatch.setattr("adlib.train._Training.advance", None)  # what was trained is not trained again
    pd.testing.assert_frame_equal(make().fit(parts, out_dir=tmp_path / "state").tested(), whole.tested())


def test_a_description_of_another_version_is_named(fitted, tmp_path):
    path = fitted.save(tmp_path / "x.safetensors")
    beside = path.with_suffix(".json")
    text = json.loads(beside.read_text())
    for broken in ({"threshold": {"value": 1.0}}, {"threshold": {}, "colours": [0, 1]}, [1], "x"):
        beside.write_text(json.dumps(text | {"detector": broken}))
        with pytest.raises(ValueError, match=r"x\.json does not describe a detector of this version"):
            Detector.load(path)


def test_masks_that_fit_nothing_and_defects_without_one_are_told(tmp_path):
    home = tmp_path / "parts"
    write(home / "good", 40)
    write(home / "bent", 3, 3)
    assert checks.check_masks(table(home), masks_below(home)) == []
    for name in ("000.png", "mask of 001.png"):
        (home / "masks/bent").mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64), 255).save(home / "masks/bent" / name)
    unused, without = checks.check_masks(table(home), masks_below(home))
    assert "1 mask fits no defect (bent/mask of 001.png)" in unused
    assert "Defects without a mask: 2 of 3 (bent/001.png, bent/002.png)" in without


def test_images_of_12_bits_in_files_of_16_are_told(tmp_path):
    (tmp_path / "good").mkdir()
    values = np.random.default_rng(0).integers(0, 4096, (6, 64, 64)).astype(np.uint16)
    for shift, told in ((0, True), (4, False)):
        for i, image in enumerate(values << shift):
            Image.fromarray(image).save(tmp_path / "good" / f"{i}.png")
        found = checks.check_dark(images.load(table(tmp_path)))
        assert len(found) == told
        assert all("brighter than 16 of 255" in finding for finding in found)


def test_masks_that_are_empty_at_the_size_measured_are_told(tmp_path):
    write(tmp_path / "good", 20)
    write(tmp_path / "bent", 2, 2)
    (tmp_path / "masks/bent").mkdir(parents=True)
    Image.new("L", (64, 64), 255).save(tmp_path / "masks/bent/000.png")
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "masks/bent/001.png")  # painted red: dark gray
    with pytest.warns(images.UnknownMask):
        loaded = images.load(table(tmp_path), size=64)
    (found,) = checks.check_empty_masks(loaded)
    assert found.startswith("Masks without a defect: 1 mask is empty at 64 x 64 pixels (bent/001.png)")
    known = (loaded.labels == 0) | loaded.mask_known
    assert checks.check_empty_masks(loaded.subset(known.nonzero().flatten())) == []


def test_an_image_too_large_to_decode_is_named(tmp_path, monkeypatch):
    write(tmp_path / "good", 6)
    Image.new("RGB", (400, 400)).save(tmp_path / "good/huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    with pytest.raises(ValueError, match=r"cannot decode .*huge\.png: Image size \(160000 pixels\)"):
        Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(tmp_path)


def test_what_cannot_be_done_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"unknown method 'stmp'; did you mean 'stpm'"):
        Detector("stmp")
    with pytest.raises(ValueError, match=r"call fit\(folder\)"):
        Detector("stpm", teacher="random").score(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        Detector("stpm", teacher="random").fit(tmp_path / "nowhere")
    write(tmp_path / "few", 4)
    with pytest.raises(ValueError, match="too few images: 4 of good parts, of which none can be held out"):
        Detector("stpm", teacher="random").fit(tmp_path / "few")


def table(home):
    return adlib.datasets.load("folder", str(home))


def test_few_images_and_an_early_rate_are_told(parts):
    few, early = checks.check_files(table(parts), 0.05)
    assert few.startswith("Few images: 16 good images to train on")
    assert "from 19 held-out good images on, and there are 4" in early
    assert "promises 20.0%" in early
    assert len(checks.check_files(table(parts), 0.2)) == 1


def test_sizes_are_told_only_where_shapes_differ(parts, tmp_path):
    home = tmp_path / "sizes"
    write(home / "good", 40)
    assert checks.check_files(table(home), 0.2) == []
    Image.new("RGB", (128, 128)).save(home / "good/larger.png")  # of one shape, so nothing is squeezed
    assert checks.check_files(table(home), 0.2) == []
    Image.new("RGB", (64, 90)).save(home / "good/tall.png")
    (found,) = checks.check_files(table(home), 0.2)
    assert found.startswith("Sizes differ: 3 sizes, from 64 x 90 to ")
    assert "40 have 64 x 64, others are good/larger.png, good/tall.png" in found


def test_one_file_as_good_and_as_defect_is_told(parts, tmp_path):
    home = tmp_path / "both"
    write(home / "good", 40)
    write(home / "bad", 2, 2, seed=1)
    (home / "bad/copy.png").write_bytes((home / "good/005.png").read_bytes())
    (found,) = [text for text in checks.check_files(table(home), 0.2) if text.startswith("One image")]
    assert "1 image lies both among the good ones and among the defects (good/005.png = bad/copy.png)" in found


def textured(count, seed):
    """Images as a camera makes them: one shape, and grain of its own in each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    shape = 60 + 80 * ((y - 128) ** 2 + (x - 128) ** 2 < 80**2)
    grain = rng.normal(0, 12, (count, 64, 64)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(shape + grain, 0, 255).astype(np.uint8)


def loaded(folder, pictures, split):
    folder.mkdir()
    for i, (picture, options) in enumerate(pictures):
        suffix = ".jpg" if options else ".png"
        Image.fromarray(picture).save(folder / f"{i}{suffix}", **options)
    rows = [
        {"image": str(p), "mask": None, "label": 0, "defect": "good", "split": split} for p in sorted(folder.iterdir())
    ]
    return images.load(pd.DataFrame(rows))


def test_copies_of_training_images_are_found_exact_and_near_and_only_these(tmp_path):
    seen, new = textured(6, 0), textured(4, 1)
    training = loaded(tmp_path / "train", [(p, {}) for p in seen], "train")
    small = np.asarray(Image.fromarray(seen[3]).resize((180, 180), Image.Resampling.BILINEAR))
    dark = (seen[4] * 0.8).astype(np.uint8)
    copies = [(seen[1], {}), (seen[2], {"quality": 60}), (small, {}), (dark, {})]
    mixed = loaded(tmp_path / "test", [*copies, *((p, {}) for p in new)], "test")
    (found,) = checks.check_duplicates(training, mixed)
    assert "1 exact copy and 3 near copies of training images" in found
    assert "test/0.png = train/1.png" in found
    clean = loaded(tmp_path / "clean", [(p, {}) for p in new], "test")
    assert checks.check_duplicates(training, clean) == []


def scored(good, defects):
    rows = [(f"a/{i}.png", 0, s) for i, s in enumerate(good)] + [(f"b/{i}.png", 1, s) for i, s in enumerate(defects)]
    return pd.DataFrame(rows, columns=["image", "label", "score"])


def test_scores_that_do_not_separate_are_told():
    rng = np.random.default_rng(0)
    assert checks.check_scores(scored(rng.normal(0, 1, 40), rng.normal(9, 1, 40)), 3) == []
    (alike,) = checks.check_scores(scored(rng.normal(0, 1, 40), rng.normal(0, 1, 40)), 2)
    assert alike.startswith("Held-out good images score like the defects")
    missed, *_ = checks.check_scores(scored(rng.normal(0, 1, 40), rng.normal(1.5, 0.5, 40)), 3)
    assert missed.startswith("Most defects are missed: 39 of 40 score below the threshold, lowest b/")
    (suspect,) = checks.check_scores(scored([*rng.normal(0, 1, 39), 20], rng.normal(9, 1, 40)), 3)
    assert "Look at 1 held-out good image that scores higher than half" in suspect
    assert "a/39.png" in suspect
    (none,) = checks.check_scores(scored([1.0, 2.0], []), 2)
    assert none.startswith("No defects to test on")


@pytest.mark.parametrize(("scale", "told"), [("small", True), ("full", False)])
def test_a_shortly_trained_detector_is_told_to_train_longer(parts, tmp_path, monkeypatch, scale, told):
    monkeypatch.setattr(checks, "check_scores", lambda *_: ["Most defects are missed."])
    found = Detector("stpm", teacher="random", scale=scale, overrides=FAST, device="cpu").fit(parts, out_dir=tmp_path)
    assert any("train with scale='full'" in text for text in found.findings) == told
    assert "Most defects are missed." in found.findings


def test_held_out_images_of_another_kind_are_told():
    rng = np.random.default_rng(0)
    assert checks.check_held_out(rng.normal(0, 1, 50), rng.normal(0, 1, 20)) == []
    (found,) = checks.check_held_out(rng.normal(0, 1, 50), rng.normal(8, 1, 20))
    assert "100% score higher than every training image" in found


def test_a_border_that_sets_the_threshold_is_told():
    maps = np.random.default_rng(0).uniform(size=(20, 64, 64))
    inside, edge = maps.copy(), maps.copy()
    inside[:, 16, 47] = 2  # the first row inside the border, and the last column
    assert checks.check_border(inside) == []
    edge[:11, 15, 30] = 2
    edge[11:, 30, 30] = 2
    (found,) = checks.check_border(edge)
    assert "in 11 of 20 held-out good images" in found
    edge[10, 30, 30] = 3  # half of them are not most
    assert checks.check_border(edge) == []


def test_defects_in_another_light_are_told():
    images = tiny_images(24)
    labels = torch.arange(24) % 2
    assert checks.check_brightness(replace(images, labels=labels)) == []
    light = torch.where(labels == 1, 120, 0).to(torch.uint8)[:, None, None, None]
    shifted = replace(images, labels=labels, pixels=images.pixels // 2 + light)
    (found,) = checks.check_brightness(shifted)
    assert "in 100% of all pairs the defect is the brighter image" in found
    (found,) = checks.check_brightness(replace(shifted, labels=1 - labels))
    assert "in 100% of all pairs the defect is the darker image" in found
    few = shifted.subset([*range(0, 24, 2), *range(1, 9, 2)])  # twelve good ones and four defects
    assert few.labels.sum() == 4
    assert checks.check_brightness(few) == []


def test_fine_detail_has_unit_length_and_a_blank_image_none():
    vectors = checks.detail(torch.cat([tiny_images(2).pixels, torch.full((1, 3, 64, 64), 9, dtype=torch.uint8)]))
    np.testing.assert_allclose(vectors.norm(dim=1), [1, 1, 0], atol=1e-5)


def test_the_checks_see_the_images_that_they_are_of(parts, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(checks, "check_held_out", lambda train, held_out: seen.update(train=train, good=held_out) or [])
    monkeypatch.setattr(checks, "check_border", lambda maps: seen.update(maps=maps) or [])
    found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts, out_dir=tmp_path)
    good = found.run.test.labels.numpy() == 0
    np.testing.assert_array_equal(seen["good"], found.run.predicted.scores[good])
    np.testing.assert_array_equal(seen["maps"], found.run.predicted.maps[good])
    assert len(seen["train"]) == len(found.run.train)
