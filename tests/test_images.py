"""What each kind of file becomes, and one clear error for each kind of bad one."""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from adlib import images


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def sample(image, mask=None, label=0, split="test"):
    return {
        "image": str(image),
        "mask": None if mask is None else str(mask),
        "label": label,
        "defect": "good" if label == 0 else "scratch",
        "split": split,
    }


def table(*rows):
    return pd.DataFrame(rows, columns=list(images.COLUMNS))


def save(array_or_image, path, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


def one(path, size=8, **options):
    """The single image of a file, (3, size, size)."""
    return images.load(table(sample(path)), size=size, **options).pixels[0]


def test_load_keeps_the_table_and_its_order(tmp_path):
    rows = []
    for i in range(12):
        path = save(np.full((5 + i, 7, 3), 10 * i, np.uint8), tmp_path / f"{i}.png")
        rows.append(sample(path, split="train" if i < 6 else "test"))
    loaded = images.load(table(*rows).set_index(pd.Index(range(100, 112))), size=8, workers=4)
    assert len(loaded) == 12
    assert loaded.pixels.dtype == torch.uint8
    assert loaded.pixels.shape == (12, 3, 8, 8)
    assert loaded.pixels[:, 0, 0, 0].tolist() == [10 * i for i in range(12)]
    assert loaded.masks.dtype == torch.bool
    assert not loaded.masks.any()
    assert loaded.mask_known.all()
    assert loaded.labels.tolist() == [0] * 12
    assert list(loaded.table["image"]) == [row["image"] for row in rows]


def test_resize_is_pil_bilinear_and_agrees_with_torchvision(tmp_path, noise):
    path = save(noise, tmp_path / "a.png")
    pixels = one(path, size=16)
    expected = np.array(Image.fromarray(noise).resize((16, 16), Image.Resampling.BILINEAR))
    assert torch.equal(pixels, torch.from_numpy(expected).permute(2, 0, 1))
    other = tv.resize(torch.from_numpy(noise).permute(2, 0, 1), [16, 16], antialias=True)
    assert (other.int() - pixels.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(40, 40), (33, 33), (64, 64)])
def test_of_square_images_resize_nearest_is_the_sources_resize_and_crop(tmp_path, shape):
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = (random.random(shape) > 0.5).astype(np.uint8) * 255
    row = sample(save(image, tmp_path / "a.png"), save(mask, tmp_path / "m.png"), 1)
    loaded = images.load(table(row), size=32, preprocess="resize_nearest")
    expected = tv.center_crop(tv.resize(Image.fromarray(image), 32), 32)
    assert np.array_equal(loaded.pixels[0].permute(1, 2, 0), np.array(expected))
    nearest = tv.resize(Image.fromarray(mask), 32, InterpolationMode.NEAREST)
    assert np.array_equal(loaded.masks[0], np.array(tv.center_crop(nearest, 32)) > 0)


@pytest.mark.parametrize("preprocess", images.PREPROCESS)
def test_a_defect_at_the_end_of_an_oblong_image_is_kept(tmp_path, preprocess):
    image, mask = np.zeros((20, 64, 3), np.uint8), np.zeros((20, 64), np.uint8)
    image[:, :8], mask[:, :8] = 255, 255
    row = sample(save(image, tmp_path / "a.png"), save(mask, tmp_path / "m.png"), 1)
    loaded = images.load(table(row), size=32, preprocess=preprocess)
    assert loaded.mask_known.all()
    assert loaded.masks[0].sum() == 4 * 32
    assert (loaded.pixels[0, 0] > 127).sum() == 4 * 32


def test_mask_is_resized_bilinearly_then_cut_at_one_half(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[8:31, 16:47] = 255
    row = sample(save(mask, tmp_path / "a.png"), save(mask, tmp_path / "m.png"), 1)
    loaded = images.load(table(row), size=16)
    floats = tv.resize(torch.from_numpy(mask)[None].float() / 255, [16, 16], antialias=True)[0]
    assert torch.equal(loaded.masks[0], floats >= 0.5)
    assert 0 < loaded.masks.sum() < 256


def test_normalised_batches_are_imagenets(tmp_path, noise):
    loaded = images.load(table(*[sample(save(noise[:, i:], tmp_path / f"{i}.png")) for i in range(3)]), size=8)
    batch = loaded.normalised([2, 0])
    expected = tv.normalize(loaded.pixels[[2, 0]] / 255, list(images.MEAN), list(images.STD))
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch, expected)
    torch.testing.assert_close(loaded.normalised(torch.tensor([2, 0])), expected)
    torch.testing.assert_close(
        images.normalise(loaded.pixels[:2].double() / 255)[0, 0, 0, 0].item(),
        (loaded.pixels[0, 0, 0, 0].item() / 255 - 0.485) / 0.229,
    )


def test_subset_and_to_move_everything_together(tmp_path, noise):
    rows = [sample(save(noise[i:], tmp_path / f"{i}.png"), split="train" if i % 2 else "test") for i in range(5)]
    loaded = images.load(table(*rows), size=8)
    for index in (
        [1, 3],
        torch.tensor([1, 3]),
        np.array([1, 3]),
        slice(1, 4, 2),
        loaded.table["split"] == "train",
    ):
        part = loaded.subset(index)
        assert torch.equal(part.pixels, loaded.pixels[[1, 3]])
        assert list(part.table["image"]) == [rows[1]["image"], rows[3]["image"]]
        assert len(part.labels) == len(part.masks) == len(part.mask_known) == len(part) == 2
    assert len(loaded.subset([])) == 0
    moved = loaded.to("meta")
    assert {t.device.type for t in (moved.pixels, moved.masks, moved.labels, moved.mask_known)} == {"meta"}


# --- what each kind of file becomes


def test_sixteen_bit_gray_is_divided_by_257(tmp_path):
    values = np.array([[0, 257, 257 * 200, 65535], [128, 129, 300, 65407]], np.uint16)
    path = save(values, tmp_path / "a.png")
    assert Image.open(path).mode.startswith("I")
    expected = np.round(values / 257).astype(int).tolist()
    assert np.array(images.read_image(str(path)))[..., 0].tolist() == expected
    assert (one(path)[0] == one(path)[2]).all()


def test_a_damaged_tiff_is_an_error_that_names_it(tmp_path):
    """Whose next page would lie where there is none: Pillow raises a TypeError."""
    path = save(Image.new("RGB", (64, 64)), tmp_path / "a.tiff")
    content = bytearray(Path(path).read_bytes())
    content[130] = 255
    Path(path).write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tiff"):
        images.read_image(str(path))


def test_a_header_that_asks_for_more_memory_than_there_is_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    """As that of a damaged JPEG 2000 may."""
    path = save(Image.new("RGB", (64, 64)), tmp_path / "a.png")

    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ValueError, match=r"cannot decode .*a\.png"):
        images.read_image(path)


def test_32_bit_and_float_images_are_refused(tmp_path):
    big = save(np.array([[0, 70000]], np.int32), tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff holds 0 to 70000: expected 16 bits"):
        one(big)
    floats = save(np.array([[0.0, 0.5]], np.float32), tmp_path / "b.tiff")
    with pytest.raises(ValueError, match=r"b\.tiff holds floating-point"):
        one(floats)


def test_alpha_is_dropped_not_blended(tmp_path, noise):
    alpha = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60, 1)
    rgba = save(np.concatenate([noise, alpha], 2), tmp_path / "a.png")
    assert torch.equal(one(rgba), one(save(noise, tmp_path / "b.png")))
    gray = save(np.concatenate([noise[..., :1], alpha], 2), tmp_path / "c.png")
    assert Image.open(gray).mode == "LA"
    assert torch.equal(one(gray), one(save(noise[..., 0], tmp_path / "d.png")))


def test_palette_gray_and_one_bit_become_rgb(tmp_path, noise):
    palette = Image.fromarray(noise).quantize(16)
    plain = one(save(palette, tmp_path / "a.png"))
    assert torch.equal(plain, one(save(palette.convert("RGB"), tmp_path / "b.png")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clear = one(save(palette, tmp_path / "c.png", transparency=bytes(range(16))))
    assert torch.equal(clear, plain)
    gray = one(save(noise[..., 0], tmp_path / "d.png"))
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[0], gray[2])
    bits = save(Image.fromarray(noise[..., 0] > 127), tmp_path / "e.png")
    assert set(np.unique(np.array(images.read_image(str(bits))))) == {0, 255}


def test_cmyk_is_converted(tmp_path):
    path = save(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), tmp_path / "a.tiff")
    assert one(path)[:, 4, 4].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied_before_sizes_are_compared(tmp_path):
    image = Image.fromarray(np.repeat(np.array([[0, 200]], np.uint8), 8, 0).repeat(8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it 90 degrees clockwise
    path = save(image, tmp_path / "a.png", exif=exif)
    upright = images.read_image(str(path))
    assert (image.size, upright.size) == ((16, 8), (8, 16))
    assert np.array(upright)[[0, -1], 0, 0].tolist() == [0, 200]
    mask = np.zeros((16, 8), np.uint8)
    mask[:4] = 255
    row = sample(path, save(mask, tmp_path / "m.png"), 1)
    assert images.load(table(row), size=8).masks[0, 0].all()


def test_a_palette_mask_whose_index_zero_is_white_means_its_colours(tmp_path):
    mask = Image.new("P", (8, 8), 1)
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.paste(0, (0, 0, 4, 8))
    values = np.array(images.read_mask(str(save(mask, tmp_path / "m.png"))))
    assert (values[:, :4] == 255).all()
    assert (values[:, 4:] == 0).all()


@pytest.mark.parametrize("kind", ["classes", "white", "one_bit", "palette", "rgb", "rgba", "alpha", "wide"])
def test_mask_encodings_mean_the_same(tmp_path, noise, kind):
    truth = np.zeros((40, 60), bool)
    truth[5:25, 10:40] = True
    classes = truth * 2 + (np.arange(60) > 20) * truth  # 2 and 3
    white = truth.astype(np.uint8) * 255
    palette = Image.fromarray(classes.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0, 0, 30, 0])
    mask = {
        "classes": Image.fromarray(classes.astype(np.uint8)),
        "white": Image.fromarray(white),
        "one_bit": Image.fromarray(truth),
        "palette": palette,
        "rgb": Image.fromarray(np.dstack([white] * 3)),
        "rgba": Image.fromarray(np.dstack([white] * 3 + [noise[..., 0]])),
        "alpha": Image.fromarray(np.dstack([np.full_like(white, 255)] * 3 + [white])),
        "wide": Image.fromarray(truth.astype(np.uint16) * 65535),
    }[kind]
    row = sample(save(noise, tmp_path / "a.png"), save(mask, tmp_path / "m.png"), 1)
    loaded = images.load(table(row), size=40)
    same = images.load(table(sample(row["image"], save(white, tmp_path / "w.png"), 1)), size=40)
    assert torch.equal(loaded.masks, same.masks)
    assert loaded.masks[0, 5:25].sum() == 20 * 20  # 30 of 60 columns, at 40
    assert loaded.mask_known.all()


# --- pixel truth that is not known


def test_defects_without_pixel_truth_give_one_warning_with_their_names(tmp_path, noise):
    empty = save(np.zeros((40, 60), np.uint8), tmp_path / "empty.png")
    full = save(np.full((40, 60), 255, np.uint8), tmp_path / "full.png")
    paths = [save(noise, tmp_path / f"{name}.png") for name in "abcd"]
    rows = [
        sample(paths[0], empty, 1),
        sample(paths[1], None, 1),
        sample(paths[2], full, 1),
        sample(paths[3], empty, 0),
    ]
    with pytest.warns(images.UnknownMask) as caught:
        loaded = images.load(table(*rows), size=8)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "2 defects" in text
    assert str(paths[0]) in text
    assert str(paths[1]) in text
    assert str(paths[2]) not in text
    assert loaded.mask_known.tolist() == [False, False, True, True]
    assert loaded.labels.tolist() == [1, 1, 1, 0]
    assert Path(caught[0].filename).name == "test_images.py"


def test_no_warning_where_all_is_known(tmp_path, noise):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one(save(noise, tmp_path / "a.png"))
    assert not caught


def test_many_unknown_masks_are_counted_not_all_listed(tmp_path, noise):
    path = save(noise, tmp_path / "a.png")
    with pytest.warns(images.UnknownMask, match=r"30 defects.* and 10 more$"):
        images.load(table(*[sample(path, None, 1)] * 30), size=8)


# --- bad input


def test_missing_files_are_named(tmp_path, noise):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        one(tmp_path / "gone.png")
    row = sample(save(noise, tmp_path / "a.png"), tmp_path / "no_mask.png", 1)
    with pytest.raises(FileNotFoundError, match=r"no_mask\.png"):
        images.load(table(row))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("kept", [0, 8, 200, 0.6])
def test_truncated_images_are_named(tmp_path, noise, suffix, kept):
    path = save(noise, tmp_path / f"cut.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept == 0.6 else kept])
    with pytest.raises(ValueError, match=rf"cannot decode .*cut\.{suffix}"):
        one(path)


def test_all_files_with_flipped_bytes_are_named_and_many_end_the_work(tmp_path, noise, monkeypatch):
    good = save(noise, tmp_path / "good.png")
    bad = [save(noise, tmp_path / f"bad{i}.png") for i in range(12)]
    for path in bad:
        data = bytearray(path.read_bytes())
        data[60:400] = bytes(340)
        path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"(?s)cannot decode .*bad0\.png.*\ncannot decode .*bad1\.png[^\n]*\Z"):
        images.load(table(*[sample(good)] * 5, sample(bad[0]), sample(good), sample(bad[1])), size=8, workers=2)
    opened, read = [], images.read_image

    def slow(path):
        opened.append(path)
        time.sleep(0.01)
        return read(path)

    monkeypatch.setattr(images, "read_image", slow)
    with pytest.raises(ValueError, match=r"and perhaps more: \d+ others were not looked at"):
        images.load(table(*map(sample, bad), *[sample(good)] * 200), size=8, workers=2)
    assert len(opened) < 20


def test_a_format_that_is_not_read_is_said_to_be(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"a\.heic: \.heic is not read here: convert it to PNG or JPEG"):
        images.read_image(str(tmp_path / "a.heic"))


def test_mask_of_another_size_names_both_files(tmp_path, noise):
    mask = save(np.zeros((60, 40), np.uint8), tmp_path / "m.png")
    row = sample(save(noise, tmp_path / "a.png"), mask, 1)
    with pytest.raises(ValueError, match=r"m\.png is 40 x 60, its image .*a\.png is 60 x 40"):
        images.load(table(row))


def test_a_normal_sample_with_a_defect_in_its_mask_is_refused(tmp_path, noise):
    mask = save(np.full((40, 60), 255, np.uint8), tmp_path / "m.png")
    row = sample(save(noise, tmp_path / "a.png"), mask, 0)
    with pytest.raises(ValueError, match=r"a\.png is labelled normal, but .*m\.png has a defect"):
        images.load(table(row))


def test_bad_tables_and_options_are_refused(tmp_path, noise):
    good = table(sample(save(noise, tmp_path / "a.png")))
    with pytest.raises(ValueError, match="no samples"):
        images.load(table())
    with pytest.raises(ValueError, match=r"lack the columns \['mask'\]"):
        images.load(good.drop(columns="mask"))
    with pytest.raises(ValueError, match=r"label must be 0 .*found \['2'\]"):
        images.load(good.assign(label=2))
    with pytest.raises(ValueError, match=r"split must be .*found \['val'\]"):
        images.load(good.assign(split="val"))
    with pytest.raises(ValueError, match="preprocess must be one of"):
        images.load(good, preprocess="crop")
    with pytest.raises(ValueError, match="size must be at least 1"):
        images.load(good, size=0)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        images.load(good, workers=0)


def test_textures(tmp_path, noise):
    paths = [save(noise, tmp_path / "a.png"), save(noise[::-1].copy(), tmp_path / "b.jpg")]
    textures = images.load_textures(paths, size=16)
    assert textures.shape == (2, 3, 16, 16)
    assert torch.equal(textures[0], one(paths[0], size=16))
    with pytest.raises(ValueError, match="no textures"):
        images.load_textures([])
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        images.load_textures([tmp_path / "gone.jpg"])


def test_progress_only_for_many_or_when_asked(tmp_path, noise, capsys):
    path = save(noise, tmp_path / "a.png")
    one(path)
    images.load(table(*[sample(path)] * (images.MANY + 1)), size=4)  # not a terminal
    assert capsys.readouterr().err == ""
    one(path, progress=True)
    assert "decoding" in capsys.readouterr().err


@pytest.mark.skipif("ADLIB_DATA" not in os.environ, reason="set ADLIB_DATA to a folder with mtd/")
def test_magnetic_tiles_with_four_empty_masks_and_one_that_vanishes():
    folder = Path(os.environ["ADLIB_DATA"]) / "mtd" / "MT_Uneven" / "Imgs"
    if not folder.is_dir():
        pytest.skip("no mtd/ below ADLIB_DATA")
    rows = [sample(path, path.with_suffix(".png"), 1) for path in sorted(folder.glob("*.jpg"))]
    # exp3_num_24829 has one white pixel, which no pixel of 256 x 256 is half covered by.
    with pytest.warns(images.UnknownMask, match=r"^5 defects.*exp3_num_24829"):
        loaded = images.load(table(*rows))
    assert loaded.mask_known.sum() == len(rows) - 5
    empty = [row for row in rows if np.asarray(images.read_mask(row["mask"])).max() == 0]
    assert len(empty) == 4


@pytest.mark.parametrize("kind", ["tif", "gif"])
def test_a_file_of_several_images_is_refused(tmp_path, kind):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("white", "black"))
    first.save(tmp_path / f"two.{kind}", save_all=True, append_images=[second])
    first.save(tmp_path / f"one.{kind}")
    with pytest.raises(ValueError, match=r"cannot decode .*two.*: it holds 2 images"):
        images.load(table(sample(tmp_path / f"two.{kind}")), size=8)
    assert len(images.load(table(sample(tmp_path / f"one.{kind}")), size=8)) == 1
