"""A kept file is used where it is whole and of the same images, and never otherwise."""

import os

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from adlib import datasets, decoded, images


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "WORTH", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def samples(data_root):
    return datasets.load("mvtec", "bottle", data_root)


def load(samples, size=16, **options):
    return images.load(samples, size, identity=datasets.fingerprint(samples), **options)


def same(a, b):
    return torch.equal(a.pixels, b.pixels) and torch.equal(a.masks, b.masks) and torch.equal(a.labels, b.labels)


def test_the_second_load_decodes_nothing(samples, cache, monkeypatch):
    first = load(samples)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(images, "_read_sample", None)
    second = load(samples)
    assert same(first, second)
    assert second.masks.any()
    pd.testing.assert_frame_equal(first.table, second.table)


def test_other_images_sizes_orders_and_preprocessings_are_kept_apart(samples, cache):
    load(samples)
    assert load(samples, 8).pixels.shape[-1] == 8
    assert same(load(samples, preprocess="resize_nearest"), images.load(samples, 16, "resize_nearest"))
    backwards = samples.iloc[::-1].reset_index(drop=True)
    assert same(load(backwards), images.load(backwards, 16))
    images.Image.new("RGB", (256, 256), "red").save(samples.image[0])
    assert same(load(samples), images.load(samples, 16))
    assert len(list(cache.iterdir())) == 5


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # a mask's byte
    file.write_bytes(content)


def foreign(file):
    save_file({"pixels": torch.zeros(1, 3, 16, 16)}, file)


def other_shape(file):
    decoded.write(file, torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 16, 16, dtype=torch.bool))


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, foreign, other_shape, empty])
def test_a_damaged_or_foreign_file_is_written_again(samples, cache, damage):
    expected = load(samples)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    damage(file)
    assert same(load(samples), expected)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_error(samples, cache):
    cache.write_text("a file, not a folder")
    assert same(load(samples), images.load(samples, 16))


@pytest.mark.parametrize("reason", ["turned off", "no identity", "fast enough"])
def test_nothing_is_kept_unless_it_is_wanted(samples, cache, monkeypatch, tmp_path, reason):
    if reason == "turned off":
        monkeypatch.setenv("ADLIB_CACHE", "off")
    elif reason == "fast enough":
        monkeypatch.setattr(decoded, "WORTH", 1e9)
    monkeypatch.chdir(tmp_path)
    images.load(samples, 16, identity=None if reason == "no identity" else "any")
    assert not cache.exists()
    assert not (tmp_path / "off").exists()


def test_a_kept_image_is_checked_as_a_decoded_one(samples, cache):
    load(samples)
    wrong = samples.assign(label=0)
    with pytest.raises(ValueError, match="is labelled normal"):
        images.load(wrong, 16, identity=datasets.fingerprint(samples))


def test_what_nobody_read_for_long_is_forgotten(samples, cache):
    load(samples)
    load(samples, 8)
    (cache / "my_detector.safetensors").write_bytes(b"of somebody who named a folder of theirs")
    for file in cache.iterdir():
        os.utime(file, (0, 0))
    load(samples)  # which is of use still
    load(samples, 12)
    assert {load(samples, size).pixels.shape[-1] for size in (12, 16)} == {12, 16}
    assert len(list(cache.iterdir())) == 3
    assert (cache / "my_detector.safetensors").exists()
