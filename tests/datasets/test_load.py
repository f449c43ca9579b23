"""Names, roots, the table's rules, and the fingerprint."""

import shutil
from pathlib import Path

import pytest

from adlib import datasets
from tests.datasets import layouts


def test_unknown_names_list_the_known_ones(tmp_path):
    layouts.mvtec(tmp_path / "mvtec")
    with pytest.raises(ValueError, match=r"'mvtek'; did you mean 'mvtec'\? Known: aitex, btad"):
        datasets.load("mvtek", "bottle", tmp_path)
    with pytest.raises(ValueError, match=r"'botle'; did you mean 'bottle'\? Known: .*zipper"):
        datasets.load("mvtec", "botle", tmp_path)
    with pytest.raises(ValueError, match="unknown dataset"):
        datasets.categories("imagenet")


def test_missing_data_say_what_where_and_what_to_do(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("mvtec", "bottle", tmp_path)
    for part in (
        f"no folder {tmp_path / 'mvtec'}",
        "holds: other/",
        f"python -m adlib.datasets.download mvtec --root {tmp_path}`",
        "ADLIB_DATA",
        "dataset='synthetic'",
    ):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        datasets.load("mvtec", "bottle", tmp_path / "nowhere")


def test_a_published_category_that_is_not_on_this_disk(tmp_path):
    layouts.mvtec(tmp_path / "mvtec")
    message = r"(?s)no folder .*cable; .* holds: bottle/.*move .*mvtec away and have all"
    with pytest.raises(FileNotFoundError, match=message):
        datasets.load("mvtec", "cable", tmp_path)


def test_a_category_of_ones_own_in_a_known_layout(tmp_path):
    expected = layouts.mvtec(tmp_path / "mvtec", "our_part")
    assert len(datasets.load("mvtec", "our_part", tmp_path)) == len(expected)


def test_data_root_is_parameter_then_environment_then_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADLIB_DATA", str(tmp_path))
    assert datasets.data_root() == tmp_path
    assert datasets.data_root("~/x") == Path.home() / "x"
    layouts.mvtec(tmp_path / "mvtec")
    assert len(datasets.load("mvtec", "bottle")) == 6
    for value in ("", None):
        if value is None:
            monkeypatch.delenv("ADLIB_DATA")
        else:
            monkeypatch.setenv("ADLIB_DATA", value)
        assert datasets.data_root() == Path.home() / ".cache/adlib/datasets"


def test_one_training_image_is_enough_none_is_not(tmp_path):
    layouts.mvtec(tmp_path / "mvtec")
    train = tmp_path / "mvtec/bottle/train/good"
    (train / "000.png").unlink()
    assert (datasets.load("mvtec", "bottle", tmp_path)["split"] == "train").sum() == 1
    (train / "001.png").unlink()
    with pytest.raises(ValueError, match="mvtec/bottle: no training image"):
        datasets.load("mvtec", "bottle", tmp_path)


def test_a_test_set_without_defects_is_a_table(tmp_path):
    layouts.mvtec(tmp_path / "mvtec")
    for defect in ("crack", "hole"):
        shutil.rmtree(tmp_path / "mvtec/bottle/test" / defect)
    assert datasets.load("mvtec", "bottle", tmp_path)["label"].sum() == 0


def test_a_defect_in_the_training_set_is_refused(tmp_path):
    layouts.visa(tmp_path / "visa")
    split = tmp_path / "visa/split_csv/1cls.csv"
    split.write_text(split.read_text().replace("test,anomaly", "train,anomaly"))
    with pytest.raises(ValueError, match=r"training image is labelled as a defect: .*000\.JPG"):
        datasets.load("visa", "candle", tmp_path)


def test_hidden_and_foreign_files_are_not_images(tmp_path):
    expected = layouts.mvtec(tmp_path / "mvtec")
    good = tmp_path / "mvtec/bottle/train/good"
    layouts.picture(good / "._000.png")
    (good / "Thumbs.db").write_bytes(b"x")
    assert len(datasets.load("mvtec", "bottle", tmp_path)) == len(expected)


def test_fingerprint_knows_the_data_not_the_place(tmp_path):
    prints = []
    for root in (tmp_path / "a", tmp_path / "elsewhere/b"):
        layouts.mvtec(root / "mvtec")
        prints.append(datasets.fingerprint(datasets.load("mvtec", "bottle", root)))
    assert prints[0] == prints[1]
    assert len(prints[0]) == 64


@pytest.mark.parametrize("change", ["image", "mask", "label", "split", "name", "fewer"])
def test_fingerprint_changes_with(tmp_path, change):
    layouts.mvtec(tmp_path / "mvtec")
    folder = tmp_path / "mvtec/bottle"
    before = datasets.load("mvtec", "bottle", tmp_path)
    first = datasets.fingerprint(before)
    if change == "image":
        layouts.picture(folder / "train/good/000.png", 101)
    elif change == "mask":
        layouts.picture(folder / "ground_truth/hole/000_mask.png", 254)
    elif change == "name":
        (folder / "train/good/000.png").rename(folder / "train/good/002.png")
    after = datasets.load("mvtec", "bottle", tmp_path)
    if change == "label":
        after.loc[0, "label"] = 1 - after.loc[0, "label"]
    elif change == "split":
        after.loc[0, "split"] = "train"
    elif change == "fewer":
        after = after.iloc[1:]
    assert datasets.fingerprint(after) != first
