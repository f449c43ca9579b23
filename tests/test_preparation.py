"""From parameters to a run: what is decided from the data, and one clear error for what does not fit."""

import warnings

import numpy as np
import pytest
from PIL import Image

import adlib
from adlib import preparation, results
from adlib.images import UnknownMask
from tests.conftest import prepared, spoiled, tiny_images, write_category, write_tiny


@pytest.mark.filterwarnings("ignore::adlib.images.UnknownMask")
def test_a_row_of_other_images_of_the_same_name_is_not_replaced_unsaid(tmp_path):
    def of(folder, good):
        for kind, count, seed in (("train/good", 4, 1), ("test/good", good, 2), ("test/square", 2, 3)):
            (tmp_path / folder / "parts" / kind).mkdir(parents=True)
            for i, pixels in enumerate(tiny_images(count, seed=seed).pixels):
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / folder / "parts" / kind / f"{i}.png")
        return tmp_path / folder / "parts"

    first, second = (str(of(folder, good)) for folder, good in (("line1", 2), ("line2", 3)))
    run = prepared(tmp_path, category=first, dataset="folder", out_dir=tmp_path / "rows")
    run.fit()
    path = run.write()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UnknownMask)  # the folder has no masks
        prepared(tmp_path, category=first, dataset="folder", out_dir=tmp_path / "rows")
    with pytest.warns(UserWarning, match=f"{path.name} was made with other images of the same name"):
        prepared(tmp_path, category=second, dataset="folder", out_dir=tmp_path / "rows")
    with pytest.warns(UserWarning, match=r"was made with other precision \(fp32, now bf16\) and will be replaced"):
        prepared(tmp_path, category=first, dataset="folder", out_dir=tmp_path / "rows", precision="bf16")


def test_what_lies_at_a_rows_place_and_is_none_stops_nothing(data_root, tmp_path):
    run = prepared(data_root, out_dir=tmp_path)
    path = results.row_path(tmp_path, run.identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[]")
    assert prepared(data_root, out_dir=tmp_path).identity == run.identity
    path.write_text('{"notes": null}')
    with pytest.warns(UserWarning, match="was made with other images"):
        assert prepared(data_root, out_dir=tmp_path).identity == run.identity


@pytest.mark.filterwarnings("ignore::adlib.images.UnknownMask")
def test_a_folder_of_ones_own_is_not_turned_because_of_its_name(tmp_path):
    for kind in ("good", "square"):
        (tmp_path / "bottle" / kind).mkdir(parents=True)
        for i, pixels in enumerate(tiny_images(5).pixels):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "bottle" / kind / f"{i}.png")
    for category in ("bottle", str(tmp_path / "bottle")):
        run = prepared(tmp_path, "destseg", dataset="folder", category=category)
        assert run.config["rotation"] == "none"


def test_overrides_that_are_text_are_refused(data_root):
    with pytest.raises(ValueError, match="overrides must map fields to values, such as .* -y"):
        prepared(data_root, overrides='{"epochs": 6}')


def test_a_file_teacher_is_named_without_its_folder(data_root, tmp_path):
    from safetensors.torch import save_file

    from adlib.backbones import feature_network

    save_file(dict(feature_network("resnet18", (1, 2, 3)).state_dict()), tmp_path / "mine.safetensors")
    run = prepared(data_root, teacher=str(tmp_path / "mine.safetensors"))
    assert run.identity["teacher"] == "mine.safetensors"


@pytest.mark.parametrize(("images", "epochs"), [(200, 4), (209, 4), (400, 2), (5000, 1), (20, 40), (3, 40)])
def test_small_scale_takes_about_as_many_steps_on_every_category(images, epochs):
    assert preparation.small_epochs(4, images) == epochs


def test_small_scale_counts_its_epochs_by_the_category_unless_they_are_asked_for(data_root):
    images = len(prepared(data_root, overrides={"epochs": 7}).train)
    run = prepared(data_root, overrides={"levels": [1]})
    assert run.config["epochs"] == preparation.small_epochs(4, images) == run.method.stages()[0].epochs
    assert prepared(data_root, overrides={"epochs": 7}).config["epochs"] == 7
    assert run.identity["overrides"] == {"levels": [1]}


def test_a_network_that_does_not_ship_is_exchanged_and_the_row_says_so(data_root, bundled_resnet18):
    run = prepared(data_root, method="mkd", teacher="bundled")
    assert run.config["backbone"] == run.config["student"] == "resnet18"
    backbone = "backbone resnet18 in place of wide_resnet50_2, which does not ship"
    assert run.notes["teacher"] == f"{backbone}; student resnet18 in place of resnet50, to go with it"
    run = prepared(data_root, method="mkd", teacher="bundled", overrides={"student": "resnet34"})
    assert (run.config["backbone"], run.config["student"]) == ("resnet18", "resnet34")
    assert "teacher" not in prepared(data_root, method="stpm", teacher="bundled").notes
    run = prepared(data_root, method="memkd", teacher="bundled")
    assert "deepest_target bottleneck in place of layer4, which does not ship" in run.notes["teacher"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "stmp"}, "unknown method 'stmp'; did you mean 'stpm'"),
        ({"recipe": "papers"}, "unknown recipe of stpm 'papers'; did you mean 'paper'"),
        ({"scale": "tiny"}, "unknown scale 'tiny'.*full, small"),
        ({"overrides": {"itemz": 3}}, "unknown field of stpm 'itemz'.*Known: backbone, batch"),
        ({"overrides": {"scale": "small"}}, "unknown field of stpm 'scale'"),
        ({"overrides": {"lr": "fast"}}, "field 'lr' of stpm takes a float such as 0.4, got 'fast'"),
        ({"overrides": {"epochs": 0}}, "must be at least 1"),
        ({"overrides": {"validation": -0.2}}, "share of images held out, from 0 to below 1, got -0.2"),
        ({"overrides": {"validation": 1.0}}, "from 0 to below 1"),
        ({"overrides": {"levels": [3, 2]}}, "levels must increase"),
        ({"dataset": "mvtek"}, "unknown dataset 'mvtek'.*mvtec"),
        ({"category": "bottel"}, "unknown mvtec category 'bottel'.*bottle"),
        ({"dataset": "btad", "category": 1}, "category must be text, got 1; papermill keeps '01'"),
        ({"teacher": "nowhere"}, "unknown teacher 'nowhere'"),
        (
            {"teacher": "bundled", "overrides": {"backbone": "mobilenetv2_100"}},
            "no bundled teacher has the network 'mobilenetv2_100' or one of its family",
        ),
        (
            {"method": "rd", "teacher": "bundled", "overrides": {"backbone": "resnet50"}},
            "backbone 'resnet50' does not ship, which .* asks for: leave the override out to take 'resnet18'",
        ),
        ({"overrides": {"levels": [9]}}, r"resnet18 has no levels \[9\]; it has 0 to 4, of stride 2, 4, 8, 16, 32"),
        ({"device": "gpu"}, "unknown device 'gpu'; expected 'auto', 'cpu', 'cuda'"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error_before_anything_is_trained(data_root, change, says):
    options = {"method": "stpm", "dataset": "mvtec", "category": "bottle"} | change
    with pytest.raises(ValueError, match=says):
        prepared(data_root, **options)


def test_a_missing_root_and_another_layout_say_what_was_expected(data_root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)nowhere.*download mvtec"):
        prepared(tmp_path / "nowhere")
    (data_root / "mvtec" / "bottle" / "train" / "good").rename(data_root / "mvtec" / "bottle" / "train" / "ok")
    with pytest.raises((FileNotFoundError, ValueError), match=r"train.good"):
        prepared(data_root)


@pytest.mark.parametrize(
    ("path", "change", "error", "says"),
    [
        ("ground_truth/square/000_mask.png", lambda p: p.unlink(), FileNotFoundError, "000_mask.png"),
        (
            "ground_truth/square/000_mask.png",
            lambda p: Image.new("L", (9, 9), 255).save(p),
            ValueError,
            "9 x 9.*256 x 256.*same size",
        ),
        ("test/good/000.png", lambda p: p.write_bytes(p.read_bytes()[:200]), ValueError, "good/000.png"),
    ],
)
def test_a_broken_file_is_named(data_root, path, change, error, says):
    with pytest.raises(error, match=says):
        prepared(spoiled(data_root, path, change))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: Image.fromarray(np.full((40, 50), 30_000, np.uint16)).save(p),
        lambda p: Image.new("RGBA", (50, 40), (200, 10, 10, 3)).save(p),
        lambda p: Image.new("L", (50, 40), 90).save(p),
    ],
    ids=["16-bit", "RGBA", "gray"],
)
def test_other_kinds_of_images_are_read(data_root, make):
    run = prepared(spoiled(data_root, "train/good/000.png", make))
    pixels = run.train.pixels[0].unique()
    assert len(pixels) <= 3
    assert 0 < pixels.float().mean() < 255


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64)).save(path)


def test_a_folder_goes_by_its_own_name_wherever_the_caller_stands(tmp_path):
    for i in range(6):
        write_image(tmp_path / f"parts/good/{i}.png")
    for category, root in ((".", tmp_path / "parts"), ("parts", tmp_path), ("x/../parts", tmp_path)):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert prepared(root, dataset="folder", category=category).identity["category"] == "parts"


@pytest.mark.parametrize("name", [".hidden", "a\\b", "n" * 101])
def test_a_folder_whose_name_can_be_no_rows_is_refused_before_the_training(tmp_path, name):
    write_image(tmp_path / name / "good/0.png")
    with pytest.raises(ValueError, match=r"would name a row, for which it takes a name that can be a folder"):
        prepared(tmp_path, dataset="folder", category=str(tmp_path / name))


def test_a_folder_behind_a_link_is_called_as_it_is_given(tmp_path):
    (tmp_path / "line_2026").mkdir()
    (tmp_path / "line").symlink_to(tmp_path / "line_2026", target_is_directory=True)
    given = ("line", "./line", "line/", str(tmp_path / "line"), "../" + tmp_path.name + "/line")
    assert {preparation._label(category, tmp_path) for category in given} == {"line"}


def test_images_of_which_none_can_be_held_out_say_what_to_do_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "build", lambda *_, **__: pytest.fail("built"))
    write_tiny(tmp_path / "parts", 4)
    with pytest.raises(ValueError, match=r"no image to test on: of five good images or more one is held out"):
        adlib.prepare("stpm", "folder", "parts", teacher="random", data_root=tmp_path)


def test_a_folder_that_cannot_hold_the_row_is_refused_before_the_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot be written to \(.*\); choose another folder"):
        prepared(write_category(tmp_path), out_dir=tmp_path / "file")
