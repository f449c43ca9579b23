"""Each layout gives exactly the rows it should, and a broken copy says what is wrong."""

import os
from pathlib import Path

import pandas as pd
import pytest

from adlib import datasets
from adlib.datasets import dtd
from adlib.datasets.table import COLUMNS
from tests.datasets import layouts


def rows_of(samples: pd.DataFrame, root: Path) -> layouts.Rows:
    assert list(samples.columns) == COLUMNS
    assert isinstance(samples.index, pd.RangeIndex)
    assert list(samples["image"]) == sorted(samples["image"])
    assert all(os.path.isabs(path) for path in samples["image"])
    relative = [(mask if mask is None else Path(mask).relative_to(root).as_posix()) for mask in samples["mask"]]
    return {
        Path(row.image).relative_to(root).as_posix(): (mask, row.label, row.defect, row.split)
        for row, mask in zip(samples.itertuples(), relative, strict=True)
    }


@pytest.mark.parametrize(("dataset", "category"), [("mvtec", "bottle"), ("mpdd", "connector"), ("aitex", "fabric")])
def test_mvtec_layout(tmp_path, dataset, category):
    expected = layouts.mvtec(tmp_path / dataset, category)
    assert rows_of(datasets.load(dataset, category, tmp_path), tmp_path / dataset) == expected
    assert datasets.categories(dataset, tmp_path) == [category]


def test_visa_takes_its_split_from_the_csv(tmp_path):
    expected = layouts.visa(tmp_path / "visa")
    assert rows_of(datasets.load("visa", "candle", tmp_path), tmp_path / "visa") == expected
    assert datasets.categories("visa", tmp_path) == ["candle", "pcb1"]


@pytest.mark.parametrize(
    ("category", "image", "mask"),
    [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")],
)
def test_btad_matches_masks_by_stem(tmp_path, category, image, mask):
    expected = layouts.btad(tmp_path / "btad", category, image, mask)
    assert rows_of(datasets.load("btad", category, tmp_path), tmp_path / "btad") == expected


def test_mvtec3d_reads_colour_and_leaves_validation_out(tmp_path):
    expected = layouts.mvtec3d(tmp_path / "mvtec3d")
    assert rows_of(datasets.load("mvtec3d", "bagel", tmp_path), tmp_path / "mvtec3d") == expected


def test_eyecandies_reads_one_lighting_of_the_public_test(tmp_path):
    root = tmp_path / "eyecandies"
    expected = layouts.eyecandies(root)
    for image in [*root.rglob("*_image_0.png")]:
        layouts.picture(image.with_name(f"._{image.name}"))  # as macOS leaves beside copied files
    assert rows_of(datasets.load("eyecandies", "CandyCane", tmp_path), root) == expected


def test_eyecandies_without_a_label_is_an_error(tmp_path):
    layouts.eyecandies(tmp_path / "eyecandies")
    metadata = tmp_path / "eyecandies/CandyCane/test_public/data/01_metadata.yaml"
    metadata.write_text("something: else\n")
    with pytest.raises(ValueError, match="expected a line 'anomalous: 0'"):
        datasets.load("eyecandies", "CandyCane", tmp_path)
    metadata.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected .*01_metadata\.yaml"):
        datasets.load("eyecandies", "CandyCane", tmp_path)


def test_magnetic_tiles(tmp_path):
    free = layouts.magnetic_tiles(tmp_path / "mtd")
    samples = datasets.load("mtd", "split1", tmp_path)
    counts = samples.groupby(["split", "label"]).size().to_dict()
    assert counts == {("train", 0): 762, ("test", 0): 190, ("test", 1): 10}
    rows = rows_of(samples, tmp_path / "mtd")
    assert {Path(image).name for image, row in rows.items() if row[1] == 0} == set(free)
    assert all((row[0] is None) == (row[1] == 0) for row in rows.values())
    assert rows["MT_Fray/Imgs/exp1_num_2.jpg"] == (
        "MT_Fray/Imgs/exp1_num_2.png",
        *(1, "fray", "test"),
    )
    assert datasets.categories("mtd", tmp_path) == ["split0", "split1", "split2"]
    assert datasets.categories("mtd", tmp_path / "elsewhere") == []  # so that a study fetches it


def test_magnetic_tiles_that_the_split_does_not_know(tmp_path):
    layouts.magnetic_tiles(tmp_path / "mtd")
    layouts.picture(tmp_path / "mtd/MT_Free/Imgs/exp9_num_1.jpg")
    with pytest.raises(ValueError, match=r"953 images found, 952 in our split.*exp9_num_1\.jpg"):
        datasets.load("mtd", "split0", tmp_path)


def test_dtd(tmp_path, monkeypatch):
    for name in ("woven/woven_0002.jpg", "banded/banded_0001.jpg", "woven/woven_0001.jpg"):
        layouts.picture(tmp_path / "dtd/images" / name)
    found = dtd.images(tmp_path / "dtd")
    names = [Path(path).relative_to(tmp_path / "dtd/images").as_posix() for path in found]
    assert names == ["banded/banded_0001.jpg", "woven/woven_0001.jpg", "woven/woven_0002.jpg"]
    monkeypatch.setenv("ADLIB_DATA", str(tmp_path))
    assert dtd.images() == found
    with pytest.raises(FileNotFoundError, match=r"images/<class>/\*\.jpg.*download dtd"):
        dtd.images(tmp_path)


@pytest.mark.parametrize(
    ("fill", "dataset", "category", "mask"),
    [
        (layouts.mvtec, "mvtec", "bottle", "bottle/ground_truth/hole/000_mask.png"),
        (layouts.visa, "visa", "candle", "candle/Data/Masks/Anomaly/000.png"),
        (layouts.mvtec3d, "mvtec3d", "bagel", "bagel/test/hole/gt/000.png"),
        (layouts.eyecandies, "eyecandies", "CandyCane", "CandyCane/test_public/data/01_mask.png"),
        (layouts.magnetic_tiles, "mtd", "split0", "MT_Crack/Imgs/exp1_num_1.png"),
    ],
)
def test_a_missing_mask_is_named_with_its_image(tmp_path, fill, dataset, category, mask):
    fill(tmp_path / dataset)
    (tmp_path / dataset / mask).unlink()
    with pytest.raises(FileNotFoundError, match=r"defect image .* has no mask: expected") as error:
        datasets.load(dataset, category, tmp_path)
    assert str(tmp_path / dataset / mask) in str(error.value)


def test_visa_csv_of_other_columns_or_with_a_lost_image(tmp_path):
    layouts.visa(tmp_path / "visa")
    (tmp_path / "visa/candle/Data/Images/Normal/0001.JPG").unlink()
    with pytest.raises(FileNotFoundError, match=r"1cls\.csv lists .*0001\.JPG"):
        datasets.load("visa", "candle", tmp_path)
    (tmp_path / "visa/split_csv/1cls.csv").write_text("image,label\n")
    with pytest.raises(ValueError, match=r"expected columns .*'object'.* found .*'label'"):
        datasets.load("visa", "candle", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "category", "expected"),
    [
        ("mvtec", "bottle", "train/good"),
        ("btad", "01", "train/ok"),
        ("mvtec3d", "bagel", "train/good/rgb"),
        ("eyecandies", "CandyCane", "test_public/data"),
        ("mtd", "split0", "MT_Free/Imgs"),
        ("visa", "candle", "split_csv/1cls.csv"),
    ],
)
def test_another_layout_names_what_is_expected_and_found(tmp_path, dataset, category, expected):
    layouts.picture(tmp_path / dataset / category / "pictures/1.png")
    with pytest.raises(FileNotFoundError, match="layout: expected") as error:
        datasets.load(dataset, category, tmp_path)
    message = str(error.value)
    found = category if dataset in ("mtd", "visa") else "pictures"
    assert expected in message
    assert f"found {found}/" in message
