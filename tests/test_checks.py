"""What looks wrong with a user's images, each finding by images that have it and images that have not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import adlib
from adlib import checks, images
from adlib.datasets.folder import masks_below
from tests.conftest import tiny_images
from tests.conftest import write_tiny as write


def table(home):
    return adlib.datasets.load("folder", str(home))


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
    found, nearly_all = checks.check_areas(loaded)  # the other mask is white all over
    assert found.startswith("Masks without a defect: 1 mask is empty at 64 x 64 pixels (bent/001.png)")
    known = (loaded.labels == 0) | loaded.mask_known
    assert checks.check_areas(loaded.subset(known.nonzero().flatten())) == [nearly_all]
    assert nearly_all.startswith("Masks of nearly all: half of the masks mark 100% of their image as defect, or more.")
    loaded.masks[:, 32:] = False
    assert checks.check_areas(loaded.subset(known.nonzero().flatten())) == []


def test_good_images_and_defects_of_different_resolution_are_told(tmp_path):
    write(tmp_path / "good", 20)
    for i in range(5):
        picture = Image.new("RGB", (160, 160))
        (tmp_path / "bent").mkdir(exist_ok=True)
        picture.save(tmp_path / "bent" / f"{i}.png")
    found = [text for text in checks.check_files(table(tmp_path)) if "resolution" in text]
    assert found[0].startswith("Good images and defects are of different resolution: 64 and 160 pixels a side")
    for i in range(5):
        Image.new("RGB", (90, 90)).save(tmp_path / "bent" / f"{i}.png")
    assert not [text for text in checks.check_files(table(tmp_path)) if "resolution" in text]


def test_few_images_and_an_early_rate_are_told(tmp_path):
    write(tmp_path / "good", 20)
    parts = tmp_path
    (few,) = checks.check_files(table(parts))
    assert few.startswith("Few images: 16 good images to train on")
    (early,) = checks.check_enough_held_out(4, 0.05)
    assert "from 19 held-out good images on, and there are 4" in early
    assert "promises 20.0%" in early
    assert checks.check_enough_held_out(4, 0.2) == []


def test_sizes_are_told_only_where_shapes_differ(tmp_path):
    home = tmp_path / "sizes"
    write(home / "good", 40)
    assert checks.check_files(table(home)) == []
    Image.new("RGB", (128, 128)).save(home / "good/larger.png")  # of one shape, so nothing is squeezed
    assert checks.check_files(table(home)) == []
    Image.new("RGB", (64, 90)).save(home / "good/tall.png")
    (found,) = checks.check_files(table(home))
    assert found.startswith("Sizes differ: 3 sizes, from 64 x 90 to ")
    assert "40 have 64 x 64, others are good/larger.png, good/tall.png" in found


def test_one_file_as_good_and_as_defect_is_told(tmp_path):
    home = tmp_path / "both"
    write(home / "good", 40)
    write(home / "bad", 2, 2, seed=1)
    (home / "bad/copy.png").write_bytes((home / "good/005.png").read_bytes())
    (found,) = [text for text in checks.check_files(table(home)) if text.startswith("One image")]
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


@pytest.mark.parametrize(("good", "defects", "few"), [(1, 18, True), (1, 19, False), (2, 4, True), (3, 3, False)])
def test_a_perfect_order_of_too_few_images_is_not_called_chance(good, defects, few):
    """One of 19 orders of 1 + 18 is perfect, more than one in twenty."""
    scores = [0.1 * i for i in range(good)] + [10.0 + i for i in range(defects)]
    table = pd.DataFrame({"image": "x.png", "label": [0] * good + [1] * defects, "score": scores})
    found = checks.check_scores(table, threshold=5.0)
    assert [text.split(":")[0] for text in found] == (["Too few images to judge the detector"] if few else [])
