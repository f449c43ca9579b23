"""From a folder to a detector: the threshold's promise, what comes out, what survives saving, the sentences."""

import html.parser
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import adlib
from adlib import checks, report, train, training_state, unlabelled
from adlib.__main__ import main as command
from adlib.detector import Detector
from adlib.threshold import Threshold
from tests.conftest import write_tiny as write

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"epochs": 4, "batch": 4, "levels": [1]}


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
    assert fitted.choose_threshold(0.5) == loaded.choose_threshold(0.5) == Threshold.of(held_out(fitted), 0.5)
    assert not any(text.startswith("Few held-out images") for text in fitted.findings)
    assert fitted.threshold.value < fitted.choose_threshold(0.05).value == loaded.choose_threshold(0.05).value
    assert any("a false-alarm rate of 5.0% can be promised from 19 held-out" in text for text in fitted.findings)
    assert loaded.findings == ()
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


def held_out(fitted):
    tested = fitted.tested()
    return tested.score[tested.label == 0]


def test_the_command_scores_as_the_detector_does(fitted, parts, tmp_path, capsys):
    saved = str(fitted.save(tmp_path / "parts.safetensors"))
    assert (
        command([saved, str(parts), "--csv", str(tmp_path / "scores.csv"), "--overlays", str(tmp_path / "maps")]) == 1
    )
    found = pd.read_csv(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(found, fitted.score(parts), rtol=1e-5)
    assert len([*(tmp_path / "maps").rglob("*.png")]) == len(found)
    assert f"{found.alarm.sum()} of {len(found)} images alarm. Alarm above" in capsys.readouterr().err
    good = str(parts / found[~found.alarm].image.iloc[-1])
    assert command([saved, good, "--false-alarm-rate", "0.01"]) == 0
    assert "for a false-alarm rate of at most 1.0%" in capsys.readouterr().err
    assert command([saved, str(parts), "--false-alarm-rate", "2"]) == 2
    assert command([str(tmp_path / "none.safetensors"), str(parts)]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_names_that_are_not_utf_8_are_scored_and_shown(fitted, parts, tmp_path, capsys):
    saved = str(fitted.save(tmp_path / "parts.safetensors"))
    odd = tmp_path / "odd" / os.fsdecode(b"gut_\xe9.png")
    odd.parent.mkdir()
    try:
        shutil.copy(parts / "square" / "000.png", odd)
    except OSError:
        pytest.skip("a file system that takes UTF-8 alone")
    assert command([saved, str(odd.parent)]) == 1
    assert "gut_\\udce9.png" in capsys.readouterr().out
    table = tmp_path / "scores.csv"
    assert command([saved, str(odd.parent), "--csv", str(table), "--overlays", str(tmp_path / "maps")]) == 1
    assert pd.read_csv(table).image.tolist() == ["gut_\\udce9.png"]
    assert len([*(tmp_path / "maps").iterdir()]) == 1


def test_scores_that_nobody_reads_are_an_error_and_no_alarm(fitted, parts, tmp_path):
    saved = str(fitted.save(tmp_path / "parts.safetensors"))
    read, write_end = os.pipe()
    os.close(read)
    with os.fdopen(write_end, "w") as nobody:
        words = [sys.executable, "-m", "adlib", saved, str(parts), "--device", "cpu"]
        found = subprocess.run(words, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 2
    assert "nothing reads them any more" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_report_holds_names_that_are_not_utf_8(fitted, tmp_path, monkeypatch):
    odd = os.fsdecode(b"gut_\xe9.png")
    monkeypatch.setattr(fitted, "tested", lambda: pd.DataFrame({"image": [odd]}))
    monkeypatch.setattr(report, "by_kind", lambda tested: tested)
    monkeypatch.setattr(type(fitted), "findings", (f"{odd} is dark",))
    page = fitted.report(tmp_path / "out").read_text(encoding="utf-8")
    assert "gut_\\udce9.png is dark" in page
    assert "gut_\\udce9.png" in (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8")


def test_scores_are_not_to_replace_a_folder(fitted, parts, tmp_path, monkeypatch, capsys):
    saved = str(fitted.save(tmp_path / "parts.safetensors"))
    monkeypatch.setattr(adlib.Detector, "score", lambda *_, **__: pytest.fail("scored"))
    assert command([saved, str(parts), "--csv", str(tmp_path)]) == 2
    assert "is a folder: name the file" in capsys.readouterr().err


def test_no_failure_has_the_status_of_an_alarm(fitted, parts, tmp_path, monkeypatch, capsys):
    saved = str(fitted.save(tmp_path / "parts.safetensors"))
    monkeypatch.setattr(adlib.Detector, "score", lambda *_, **__: 1 / 0)
    assert command([saved, str(parts)]) == 2
    assert "division by zero" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_the_scoring(fitted, parts, tmp_path):
    (tmp_path / "file").touch()
    for refused in (
        lambda: fitted.score(parts, overlays=tmp_path / "file/maps"),
        lambda: fitted.save(tmp_path / "file/parts.safetensors"),
        lambda: fitted.report(tmp_path / "file/report"),
    ):
        with pytest.raises(OSError, match="cannot be written to .*choose another folder"):
            refused()


def test_images_of_another_light_or_camera_are_told(fitted, parts, tmp_path, recwarn):
    loaded = Detector.load(fitted.save(tmp_path / "parts.safetensors"), device="cpu")
    loaded.score(parts)
    assert not [w for w in recwarn if "Other images" in str(w.message)]
    for name, change in (
        ("dark", lambda image: image.point(lambda v: v // 8)),
        ("large", lambda i: i.resize((400, 400))),
    ):
        (tmp_path / name).mkdir()
        for path in (parts / "good").iterdir():
            change(Image.open(path)).save(tmp_path / name / path.name)
    with pytest.warns(UserWarning, match=r"20 of 20 have a mean brightness \(of 255\) of \d+ to \d+, where"):
        loaded.score(tmp_path / "dark")
    with pytest.warns(
        UserWarning, match=r"20 of 20 have a size \(pixels a side\) of 400 to 400, where the good ones had 64 to 64"
    ):
        loaded.score(tmp_path / "large")


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
    shutil.copy(tmp_path / "a.png", tmp_path / "a.bmp.png")
    with pytest.raises(ValueError, match=r"a\.bmp\.png would be the picture of a\.bmp and of a\.bmp\.png"):
        fitted.score(tmp_path, overlays=tmp_path / "others")


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
    monkeypatch.setattr(training_state, "UNFINISHED", tmp_path)
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
    monkeypatch.setattr("adlib.train.Training.advance", None)  # what was trained is not trained again
    again = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts)
    assert len(again.trained.history.losses) == steps
    pd.testing.assert_frame_equal(again.tested(), found.tested())
    again.save(tmp_path / "x.safetensors")
    assert not ours[0].exists()


def test_a_home_that_cannot_be_written_costs_no_training(parts, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(training_state, "UNFINISHED", tmp_path / "file" / "unfinished")
    with pytest.warns(UserWarning, match="will not be kept, unless you name an out_dir: .*cannot be written to"):
        found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts)
    assert found.trained.out_dir is None
    found.save(tmp_path / "x.safetensors")


def test_a_user_without_a_home_trains_as_well(monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.warns(UserWarning, match="will not be kept, unless you name an out_dir: Could not determine home"):
        assert training_state.waiting_folder("0" * 64) is None


def test_scores_are_those_of_the_run_whatever_the_chunk(fitted, parts, monkeypatch):
    whole = fitted.score(parts).set_index("image").score
    for image, score in fitted.tested().set_index("image").score.items():
        assert whole[image] == pytest.approx(score, rel=1e-5)
    monkeypatch.setattr(unlabelled, "AT_ONCE", 5)
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
    shutil.copy(tmp_path / "out/overlays" / pictures[0], tmp_path / "out/overlays/of_before.PNG")
    fitted.report(tmp_path / "out")
    assert not (tmp_path / "out/overlays/of_before.PNG").exists()


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
    advance, steps = train.Training.advance, []

    def interrupted(self, *arguments):
        if len(steps) == 6:
            ctrl_c(signal.SIGINT)
        steps.append(1)
        return advance(self, *arguments)

    monkeypatch.setattr(train.Training, "advance", interrupted)
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
    monkeypatch.setattr("adlib.train.Training.advance", None)  # what was trained is not trained again
    pd.testing.assert_frame_equal(make().fit(parts, out_dir=tmp_path / "state").tested(), whole.tested())


def test_a_description_of_another_version_is_named(fitted, tmp_path):
    path = fitted.save(tmp_path / "x.safetensors")
    beside = path.with_suffix(".json")
    text = json.loads(beside.read_text())
    for broken in ({"threshold": {"value": 1.0}}, {"threshold": {}, "colours": [0, 1]}, [1], "x"):
        beside.write_text(json.dumps(text | {"detector": broken}))
        with pytest.raises(ValueError, match=r"x\.json does not describe a detector of this version"):
            Detector.load(path)


def test_an_image_too_large_to_decode_is_named(tmp_path, monkeypatch):
    write(tmp_path / "good", 6)
    Image.new("RGB", (400, 400)).save(tmp_path / "good/huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    with pytest.raises(ValueError, match=r"huge\.png is larger than the 0 megapixels that Pillow opens: crop it"):
        Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(tmp_path)


def test_what_cannot_be_done_says_what_to_do(tmp_path, parts):
    with pytest.raises(ValueError, match=r"unknown method 'stmp'; did you mean 'stpm'"):
        Detector("stmp")
    with pytest.raises(ValueError, match=r"call fit\(folder\)"):
        Detector("stpm", teacher="random").score(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        Detector("stpm", teacher="random").fit(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="a folder of images, got 2024; .*-r root 2024"):
        Detector("stpm", teacher="random").fit(2024)
    with pytest.raises(FileNotFoundError, match=r"teacher weights not found: .*t\.safetensors"):
        Detector("stpm", teacher=tmp_path / "t.safetensors").fit(parts)
    write(tmp_path / "few", 4)
    with pytest.raises(ValueError, match="too few images: 4 of good parts, of which none can be held out"):
        Detector("stpm", teacher="random").fit(tmp_path / "few")


@pytest.mark.parametrize(("scale", "told"), [("small", True), ("full", False)])
def test_a_shortly_trained_detector_is_told_to_train_longer(parts, tmp_path, monkeypatch, scale, told):
    monkeypatch.setattr(checks, "check_scores", lambda *_: ["Most defects are missed."])
    found = Detector("stpm", teacher="random", scale=scale, overrides=FAST, device="cpu").fit(parts, out_dir=tmp_path)
    assert any("train with scale='full'" in text for text in found.findings) == told
    assert "Most defects are missed." in found.findings


def test_the_checks_see_the_images_that_they_are_of(parts, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(checks, "check_held_out", lambda train, held_out: seen.update(train=train, good=held_out) or [])
    monkeypatch.setattr(checks, "check_border", lambda maps: seen.update(maps=maps) or [])
    found = Detector("stpm", teacher="random", scale="small", overrides=FAST, device="cpu").fit(parts, out_dir=tmp_path)
    good = found.trained.test.labels.numpy() == 0
    np.testing.assert_array_equal(seen["good"], found.trained.predicted.scores[good])
    np.testing.assert_array_equal(seen["maps"], found.trained.predicted.maps[good])
    assert len(seen["train"]) == len(found.trained.train)


def test_an_exported_detector_carries_its_threshold(fitted, tmp_path):
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed: pip install -e .[export]")
    model = onnx.load(fitted.export(tmp_path / "parts.onnx"))
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert float(about["threshold"]) == fitted.threshold.value
    with pytest.raises(ValueError, match=r"call fit\(folder\)"):
        Detector("stpm", teacher="random").export(tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_a_detector_says_what_it_is(fitted):
    assert repr(Detector("rd", device="cpu")) == "<Detector rd, not trained>"
    assert repr(fitted) == f"<Detector stpm, alarm above {fitted.threshold.value:.4g}>"


@pytest.mark.parametrize("value", ["abc", None, []])
def test_a_threshold_that_is_no_number_is_refused(fitted, tmp_path, value):
    path = fitted.save(tmp_path / "d.safetensors")
    beside = path.with_suffix(".json")
    saved = json.loads(beside.read_text())
    saved["detector"]["threshold"]["value"] = value
    beside.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="does not describe a detector"):
        Detector.load(path)
