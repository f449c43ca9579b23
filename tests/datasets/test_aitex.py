"""Photographs of which the tiles are known, and that what is cut is what our rows are of."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from adlib import datasets
from adlib.datasets import aitex

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 256, 4096), dtype=np.uint8)
MASKS = np.zeros((2, 256, 4096), np.uint8)
MASKS[0, 10:20, 300:310], MASKS[1, 40:50, 300:310] = 255, 255


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Two photographs, one with a defect that has two masks, and the list of four of their tiles."""
    folder = tmp_path / "afid"
    for name, pixels in (
        ("NODefect_images/2306881-210020u/0001_000_00", PIXELS[0]),
        ("Defect_images/0002_006_00", PIXELS[1]),
        ("Mask_images/0002_006_00_mask1", MASKS[0]),
        ("Mask_images/0002_006_00_mask2", MASKS[1]),
    ):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def digest(pixels, number):
        return aitex.digest(Image.fromarray(pixels[:, 256 * number : 256 * (number + 1)]))

    tiles = [(f"0001_000_00_{n:02}", s, "good", digest(PIXELS[0], n), "") for n, s in ((0, "train"), (15, "test"))]
    tiles.append(("0002_006_00_01", "test", "type006", digest(PIXELS[1], 1), digest(MASKS[0] | MASKS[1], 1)))
    table = tmp_path / "tiles.csv"
    pd.DataFrame(tiles, columns=["tile", "split", "defect", "pixels", "mask"]).to_csv(table, index=False)
    monkeypatch.setattr(aitex, "TILES", table)
    return folder


def test_the_tiles_lie_as_they_are_listed(published, tmp_path):
    assert aitex.main([str(published), "--root", str(tmp_path)]) == 0
    samples = datasets.load("aitex", "fabric", tmp_path)
    assert samples.groupby(["split", "defect"]).size().to_dict() == {
        ("test", "good"): 1,
        ("test", "type006"): 1,
        ("train", "good"): 1,
    }
    defect = samples[samples["label"] == 1].iloc[0]
    np.testing.assert_array_equal(np.asarray(Image.open(defect["image"])), PIXELS[1][:, 256:512])
    np.testing.assert_array_equal(np.asarray(Image.open(defect["mask"])), (MASKS[0] | MASKS[1])[:, 256:512])
    assert aitex.main([str(published), "--root", str(tmp_path)]) == 1  # there already


def test_other_pixels_and_missing_photographs_leave_nothing(published, tmp_path, capsys):
    Image.fromarray(PIXELS[0]).save(published / "Defect_images/0002_006_00.png")
    with pytest.raises(ValueError, match=r"0002_006_00_01.png has other pixels than ours"):
        aitex.cut(published, tmp_path)
    (published / "Defect_images/0002_006_00.png").unlink()
    assert aitex.main([str(published), "--root", str(tmp_path)]) == 1
    said = "lacks 1 of 3 photographs and masks, the first is 0002_006_00.png; it holds: Defect_images/"
    assert said in capsys.readouterr().err
    for mask in published.rglob("*_mask*.png"):
        mask.unlink()
    with pytest.raises(FileNotFoundError, match="lacks 2 of 3 photographs and masks, the first is 0002_006_00.png"):
        aitex.cut(published, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["afid", "tiles.csv"]


def test_the_committed_tiles_are_of_photographs_on_one_side_only():
    tiles = pd.read_csv(aitex.TILES, dtype=str, keep_default_na=False)
    assert tiles.groupby(["split", tiles["defect"] == "good"]).size().tolist() == [147, 140, 420]
    assert (tiles.groupby(tiles["tile"].str.rsplit("_", n=1).str[0])["split"].nunique() == 1).all()
    assert tiles["tile"].is_unique
    assert (tiles["mask"].ne("") == tiles["defect"].ne("good")).all()
