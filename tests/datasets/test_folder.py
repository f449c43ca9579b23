"""A user's own folder, in every arrangement that is accepted."""

import re

import pytest
from PIL import Image

from adlib import datasets, plots
from adlib.datasets.folder import images_below
from tests.datasets import layouts


def counts(samples):
    return samples.groupby(["split", "defect"]).size().to_dict()


def test_train_and_test_folders_masks_optional(tmp_path):
    home = tmp_path / "screws"
    for name in ("train/good/a.PNG", "train/good/b.jpeg", "test/good/c.tif", "test/bent/d.webp"):
        layouts.picture(home / name)
    layouts.picture(home / "test/bent/e.bmp")
    layouts.picture(home / "ground_truth/bent/d_mask.png", 255)
    samples = datasets.load("folder", "screws", tmp_path)
    assert counts(samples) == {("train", "good"): 2, ("test", "good"): 1, ("test", "bent"): 2}
    masks = dict(zip(samples["image"], samples["mask"], strict=True))
    assert masks[str(home / "test/bent/d.webp")] == str(home / "ground_truth/bent/d_mask.png")
    assert masks[str(home / "test/bent/e.bmp")] is None
    assert samples["label"].sum() == 2
    absolute = datasets.load("folder", str(home), tmp_path / "elsewhere")
    here = datasets.load("folder", ".", home)
    assert absolute.equals(samples)
    assert here.equals(samples)
    assert datasets.categories("folder", tmp_path) == ["screws"]


def test_images_directly_in_train_and_no_test(tmp_path):
    for number in range(10):
        layouts.picture(tmp_path / f"part/train/{number}.png")
    samples = datasets.load("folder", "part", tmp_path)
    assert counts(samples) == {("train", "good"): 8, ("test", "good"): 2}


def test_good_beside_defects_holds_every_fifth_out(tmp_path):
    for number in range(11):
        layouts.picture(tmp_path / f"part/good/{number:02}.png")
    for number in range(3):
        layouts.picture(tmp_path / f"part/scratch/{number}.png")
    layouts.picture(tmp_path / "part/masks/scratch/1.png", 255)
    samples = datasets.load("folder", "part", tmp_path)
    assert counts(samples) == {("train", "good"): 9, ("test", "good"): 2, ("test", "scratch"): 3}
    found = samples["mask"].dropna().tolist()
    assert found == [str(tmp_path / "part/masks/scratch/1.png")]
    assert datasets.load("folder", "part", tmp_path).equals(samples)


def test_a_folder_named_mask_is_no_kind_of_defect(tmp_path):
    for number in range(5):
        layouts.picture(tmp_path / f"part/good/{number}.png")
    layouts.picture(tmp_path / "part/scratch/1.png")
    layouts.picture(tmp_path / "part/mask/scratch/1.png", 255)
    samples = datasets.load("folder", "part", tmp_path)
    assert counts(samples) == {("train", "good"): 4, ("test", "good"): 1, ("test", "scratch"): 1}
    assert samples["mask"].dropna().tolist() == [str(tmp_path / "part/mask/scratch/1.png")]


def test_masks_are_found_whatever_the_case_of_their_folder(tmp_path):
    """A kind in a name is taken in lower case, and its folder of masks is spelt as the user spells it."""
    for number in range(5):
        layouts.picture(tmp_path / f"flat/good_{number}.png")
        layouts.picture(tmp_path / f"sorted/good/{number}.png")
    for image, mask in (
        ("flat/Scratch_1.png", "flat/masks/Scratch/Scratch_1.png"),
        ("sorted/Bent/1.png", "sorted/Masks/bent/1.png"),
    ):
        layouts.picture(tmp_path / image)
        layouts.picture(tmp_path / mask, 255)
        samples = datasets.load("folder", image.split("/")[0], tmp_path)
        assert samples["mask"].dropna().tolist() == [str(tmp_path / mask)]


@pytest.mark.parametrize(("images", "held_out"), [(1, 0), (4, 0), (5, 1), (12, 2)])
def test_images_directly_inside_are_normal(tmp_path, images, held_out):
    for number in range(images):
        layouts.picture(tmp_path / f"{number:02}.jpg")
    samples = datasets.load("folder", ".", tmp_path)
    assert (samples["split"] == "test").sum() == held_out
    assert (samples["split"] == "train").sum() == images - held_out
    assert samples["label"].sum() == 0


@pytest.mark.parametrize(
    ("good", "stray"),
    [
        ("train/good/0.png", "test/1.png"),
        ("train/good/0.png", "train/1.png"),
        ("train/good/0.png", "1.png"),
        ("train/good/0.png", "defects/1.png"),
        ("train/good/0.png", "test/bent/monday/1.png"),
        ("good/0.png", "1.png"),
        ("good/0.png", "good/monday/1.png"),
        ("good/0.png", "bad/monday/1.png"),
        ("0.png", "a/b/1.png"),
    ],
)
def test_no_image_is_left_out_unsaid(tmp_path, good, stray):
    layouts.picture(tmp_path / "part" / good)
    layouts.picture(tmp_path / "part" / "ground_truth/bent/0.png", 255)
    layouts.picture(tmp_path / "part" / ".thumbnails/0.png")
    assert len(datasets.load("folder", "part", tmp_path)) == 1
    layouts.picture(tmp_path / "part" / stray)
    with pytest.raises(ValueError, match=rf"{stray} would be left out.* images lie directly in .*; move it there, or"):
        datasets.load("folder", "part", tmp_path)


def test_other_arrangements_say_what_is_accepted(tmp_path):
    layouts.picture(tmp_path / "part/monday/0.png")
    with pytest.raises(FileNotFoundError, match=r"expected train/good .* found monday/"):
        datasets.load("folder", "part", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*prat; .* which holds: part/"):
        datasets.load("folder", "prat", tmp_path)
    (tmp_path / "part/good").mkdir()
    with pytest.raises(
        ValueError, match=r"no training image: expected images of normal parts .* in .*part/good, found an empty"
    ):
        datasets.load("folder", "part", tmp_path)


def test_names_in_a_flat_folder_say_the_kind(tmp_path):
    for number in range(10):
        layouts.picture(tmp_path / f"Good_{number}.png")
    layouts.picture(tmp_path / "bad_3.png")
    layouts.picture(tmp_path / "scratch-4.png")
    samples = datasets.load("folder", ".", tmp_path)
    assert counts(samples) == {("train", "good"): 8, ("test", "good"): 2, ("test", "bad"): 1, ("test", "scratch"): 1}
    layouts.picture(tmp_path / "0815.png")
    with pytest.raises(ValueError, match=r"0815\.png: names in .* begin with their kind"):
        datasets.load("folder", ".", tmp_path)


@pytest.mark.parametrize("name", ["train_01", "test_01", "val_3", "goodpart_2", "normally_4"])
def test_a_name_that_begins_with_no_kind_of_defect_is_not_taken_for_one(tmp_path, name):
    for number in range(6):
        layouts.picture(tmp_path / f"good_{number}.png")
    layouts.picture(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match=rf"{name}\.png: its name begins with no kind of defect"):
        datasets.load("folder", ".", tmp_path)


@pytest.mark.parametrize("flat", [True, False])
def test_a_mask_of_two_images_is_refused(tmp_path, flat):
    for number in range(6):
        layouts.picture(tmp_path / (f"good_{number}.png" if flat else f"good/{number}.png"))
    names = [f"scratch_1{end}" if flat else f"scratch/1{end}" for end in (".png", ".jpg")]
    for name in names:
        layouts.picture(tmp_path / name)
    assert counts(datasets.load("folder", ".", tmp_path))["test", "scratch"] == 2
    mask = tmp_path / "masks/scratch" / ("scratch_1.png" if flat else "1.png")
    layouts.picture(mask, 255)
    with pytest.raises(ValueError, match=rf"{re.escape(str(mask))} would be the mask of .*1\.jpg and of .*1\.png"):
        datasets.load("folder", ".", tmp_path)


def test_defects_are_not_taken_for_normal_parts(tmp_path):
    for name in ("a1.png", "a2.png", "bad_1.png"):
        layouts.picture(tmp_path / name)
    with pytest.raises(ValueError, match=r"bad_1\.png sounds like a defect"):
        datasets.load("folder", ".", tmp_path)


@pytest.mark.parametrize(
    ("good", "bad"),
    [("001_good", "002_bad"), ("part_good_1", "part_dent_1"), ("goodpart1", "badpart1"), ("1", "2-defect")],
)
def test_a_kind_that_does_not_come_first_is_not_overlooked(tmp_path, good, bad):
    layouts.picture(tmp_path / f"{good}.png")
    layouts.picture(tmp_path / f"{bad}.png")
    with pytest.raises(
        ValueError, match=rf"({bad}\.png sounds like a defect|but not of \S*{bad}\.png: begin each name)"
    ):
        datasets.load("folder", ".", tmp_path)


def test_a_name_in_which_a_kind_is_part_of_another_word_is_normal(tmp_path):
    for number in range(5):
        layouts.picture(tmp_path / f"badge_bracket_{number}.png")
    assert counts(datasets.load("folder", ".", tmp_path)) == {("train", "good"): 4, ("test", "good"): 1}


def test_linked_folders_are_read_and_a_link_to_a_folder_above_has_an_end(tmp_path):
    for number in range(5):
        layouts.picture(tmp_path / f"disk/{number}.png")
    home = tmp_path / "part"
    home.mkdir()
    (home / "good").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert len(datasets.load("folder", "part", tmp_path)) == 5
    assert images_below(home) == [home / "good" / f"{number}.png" for number in range(5)]
    (tmp_path / "disk/again").symlink_to(home, target_is_directory=True)
    assert len(images_below(home)) == 5
    layouts.picture(tmp_path / "disk/deeper/6.png")
    with pytest.raises(ValueError, match=r"6\.png would be left out"):
        datasets.load("folder", "part", tmp_path)


def test_what_adlib_drew_is_no_kind_of_defect(tmp_path):
    for number in range(5):
        layouts.picture(tmp_path / f"part/good/{number}.png")
    plots.save_overlay(Image.new("RGB", (8, 8)), tmp_path / "part/overlays/good/0.png")
    plots.save_overlay(Image.new("RGB", (8, 8)), tmp_path / "part/overlays/1.png")
    assert counts(datasets.load("folder", "part", tmp_path)) == {("train", "good"): 4, ("test", "good"): 1}


def test_ok_and_normal_also_mean_good(tmp_path):
    for number in range(5):
        layouts.picture(tmp_path / f"OK/{number}.png")
    layouts.picture(tmp_path / "NG/1.png")
    samples = datasets.load("folder", ".", tmp_path)
    assert counts(samples) == {("train", "good"): 4, ("test", "good"): 1, ("test", "NG"): 1}


def test_a_test_folder_without_normal_images_takes_some_of_the_training(tmp_path):
    for number in range(10):
        layouts.picture(tmp_path / f"train/good/{number}.png")
    layouts.picture(tmp_path / "test/bent/1.png")
    samples = datasets.load("folder", ".", tmp_path)
    assert counts(samples) == {("train", "good"): 8, ("test", "good"): 2, ("test", "bent"): 1}


def test_masks_of_a_flat_folder_are_found(tmp_path):
    for name in ("good_1", "good_2", "scratch_1", "scratch_2"):
        layouts.picture(tmp_path / f"part/{name}.png")
    layouts.picture(tmp_path / "part/masks/scratch/scratch_1.png", 255)
    samples = datasets.load("folder", "part", tmp_path)
    masks = samples[samples["label"] == 1].set_index("image")["mask"].to_dict()
    part = tmp_path / "part"
    assert masks == {
        str(part / "scratch_1.png"): str(part / "masks/scratch/scratch_1.png"),
        str(part / "scratch_2.png"): None,
    }


@pytest.mark.parametrize("place", ["", "train/", "test/"])
def test_of_two_names_for_normal_parts_none_is_left_out_unsaid(tmp_path, place):
    for name in ("train/good/a.png", "test/good/a.png") if place else ():
        layouts.picture(tmp_path / "part" / name)
    for name in ("good", "OK"):
        layouts.picture(tmp_path / f"part/{place}{name}/b.png")
    with pytest.raises(ValueError, match=r"has (OK and good|good and OK): put all images of normal parts into one"):
        datasets.load("folder", "part", tmp_path)


def test_defects_among_the_training_images_are_refused(tmp_path):
    for name in ("train/good/a.png", "train/bent/b.png"):
        layouts.picture(tmp_path / "part" / name)
    with pytest.raises(ValueError, match=r"train.bent: only normal parts"):
        datasets.load("folder", "part", tmp_path)


@pytest.mark.parametrize("folder", ["Masks", "GROUND_TRUTH"])
@pytest.mark.parametrize("name", ["1.png", "1_mask.png", "1-mask.png"])
def test_masks_are_found_whatever_the_case_and_are_no_kind_of_defect(tmp_path, folder, name):
    for image in ("good/0.png", "bent/1.png"):
        layouts.picture(tmp_path / "part" / image)
    layouts.picture(tmp_path / "part" / folder / "bent" / name, 255)
    samples = datasets.load("folder", "part", tmp_path).set_index("defect")
    assert len(samples) == 2
    assert samples["mask"]["bent"] == str(tmp_path / "part" / folder / "bent" / name)


def test_a_folder_with_an_images_name_is_none(tmp_path):
    layouts.picture(tmp_path / "part/good/0.png")
    (tmp_path / "part/good/1.png").mkdir()
    assert len(datasets.load("folder", "part", tmp_path)) == 1


@pytest.mark.parametrize("name", ["x.heic", "x.GIF", "x.jp2"])
def test_no_image_is_left_out_for_its_format(tmp_path, name):
    for i in range(6):
        layouts.picture(tmp_path / f"good/{i}.png")
    (tmp_path / "good" / name).write_bytes(b"what this is nobody knows")
    assert str(tmp_path / "good" / name) in set(datasets.load("folder", str(tmp_path))["image"])
    assert tmp_path / "good" / name in images_below(tmp_path)


@pytest.mark.parametrize("image", ["good/a.png", "train/good/a.JPG", "a.png", "good_a.jpg"])
def test_a_mask_beside_its_image_is_no_part(tmp_path, image):
    for number in range(6):
        layouts.picture((tmp_path / image).with_name(f"good_{number}.png"))
    layouts.picture(tmp_path / image)
    layouts.picture((tmp_path / image).with_name(f"{(tmp_path / image).stem}_mask.png"), 255)
    with pytest.raises(ValueError, match=r"a_mask\.png looks like the mask of the image beside it.*masks/<defect>/"):
        datasets.load("folder", str(tmp_path))


@pytest.mark.parametrize(
    "folder", ["test", "tests", "test_good", "Val", "validation", "good_new", "ok-2", "good (2) - Copy", "Train2"]
)
def test_a_folder_that_is_no_kind_of_defect_is_not_taken_for_one(tmp_path, folder):
    for number in range(6):
        layouts.picture(tmp_path / f"good/{number}.png")
    layouts.picture(tmp_path / folder / "a.png")
    with pytest.raises(ValueError, match=rf"{re.escape(folder)} would be taken for a kind of defect"):
        datasets.load("folder", str(tmp_path))


def test_good_parts_to_test_on_are_no_kind_of_defect_either(tmp_path):
    for name in ("train/good/a.png", "test/good_2/b.png", "test/bent/c.png"):
        layouts.picture(tmp_path / name)
    with pytest.raises(ValueError, match="good_2 would be taken for a kind of defect"):
        datasets.load("folder", str(tmp_path))
    (tmp_path / "test/good_2").rename(tmp_path / "train/good_2")
    with pytest.raises(ValueError, match="good_2: only normal parts are trained on"):
        datasets.load("folder", str(tmp_path))


def test_a_kind_of_defect_may_begin_like_another_word(tmp_path):
    for name in [*(f"good/{number}.png" for number in range(6)), "goods/a.png", "tested/a.png"]:
        layouts.picture(tmp_path / name)
    assert set(datasets.load("folder", str(tmp_path))["defect"]) == {"good", "goods", "tested"}


def test_the_case_of_train_and_test_is_free(tmp_path):
    for name in ("Train/Good/a.png", "TEST/OK/b.png", "TEST/bent/c.png"):
        layouts.picture(tmp_path / name)
    assert counts(datasets.load("folder", str(tmp_path))) == {
        ("train", "good"): 1,
        ("test", "good"): 1,
        ("test", "bent"): 1,
    }
