import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from adlib.datasets import synthetic
from adlib.datasets.synthetic import CATEGORIES, DEFECTS, Counts
from adlib.datasets.synthetic.defects import Flaw

FEW = Counts(train=2, good=1, defect=1)
KINDS = [(category, defect) for category in CATEGORIES for defect in DEFECTS[category]]
OBJECTS = ("gear", "crown_cap", "blister_pack", "circuit_board")


@pytest.fixture(scope="module")
def pictures() -> dict[tuple[str, str], synthetic.Picture]:
    return {(c, d): synthetic.draw(c, "test", d, index) for index, (c, d) in enumerate(KINDS)}


@pytest.fixture(scope="module")
def gears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.generate(root, "gear", counts=FEW)
    return root


def test_enough_kinds() -> None:
    assert len(set(CATEGORIES) - set(OBJECTS)) >= 4
    assert all(len(DEFECTS[category]) >= 4 for category in CATEGORIES)


@pytest.mark.parametrize(("category", "defect"), KINDS)
def test_mask_is_where_the_defect_is(pictures, category, defect) -> None:
    picture = pictures[category, defect]
    changed = np.abs(picture.clean - picture.normal).max(axis=2)
    near = ndimage.binary_dilation(picture.mask, np.ones((3, 3)))
    assert 24 <= picture.mask.sum() <= 0.4 * picture.mask.size
    assert changed[~near].max() == 0
    assert changed[picture.mask].mean() > 5
    assert (changed[picture.mask] > 3).mean() > 0.5
    # nothing visible is left out but single pixels
    missed, _ = ndimage.label((changed > 6) & ~picture.mask, np.ones((3, 3)))
    assert np.bincount(missed.ravel())[1:].max(initial=0) < 5


@pytest.mark.parametrize("category", CATEGORIES)
def test_good_parts_differ_but_not_wildly(category) -> None:
    a, b = (synthetic.draw(category, "train", "good", index) for index in (0, 1))
    assert a.mask is None
    assert a.image.shape == (256, 256, 3)
    assert a.image.dtype == np.uint8
    assert np.abs(a.image.astype(float) - b.image).mean() > 3
    assert np.abs(a.image.mean(axis=(0, 1)) - b.image.mean(axis=(0, 1))).max() < 60
    noise = a.image - a.clean
    assert 1 < noise.std() < 4
    assert (a.image == 255).mean() < 0.05
    assert (a.image == 0).mean() < 0.05


def test_masks_vary_in_size(pictures) -> None:
    areas = [picture.mask.sum() for picture in pictures.values()]
    assert max(areas) / min(areas) > 30
    stains = [synthetic.draw("canvas", "test", "oil_stain", index).mask.sum() for index in range(5)]
    assert max(stains) / min(stains) > 6


def test_a_missing_part_is_masked_where_it_was(pictures) -> None:
    picture = pictures["blister_pack", "missing_tablet"]
    radius = 43 / 2  # of a tablet, in pixels
    assert np.pi * radius**2 * 0.95 < picture.mask.sum() < np.pi * radius**2 * 1.6


def test_same_seed_same_pixels_in_any_order() -> None:
    first = [synthetic.draw("veneer", "test", "glue_spot", index).image for index in (0, 1)]
    second = [synthetic.draw("veneer", "test", "glue_spot", index).image for index in (1, 0)]
    assert np.array_equal(first[0], second[1])
    assert np.array_equal(first[1], second[0])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], synthetic.draw("veneer", "test", "glue_spot", 0, seed=1).image)


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from adlib.datasets import synthetic;"
        "print(hashlib.sha256(synthetic.draw('gear', 'test', 'rust', 3).image.tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    here = synthetic.draw("gear", "test", "rust", 3).image.tobytes()
    assert run.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_layout(gears: Path) -> None:
    files = sorted(path.relative_to(gears).as_posix() for path in gears.rglob("*.png"))
    expected = ["gear/train/good/000.png", "gear/train/good/001.png", "gear/test/good/000.png"]
    expected += [f"gear/test/{defect}/000.png" for defect in DEFECTS["gear"]]
    expected += [f"gear/ground_truth/{defect}/000_mask.png" for defect in DEFECTS["gear"]]
    assert files == sorted(expected)
    with Image.open(gears / "gear/test/rust/000.png") as image:
        assert (image.mode, image.size) == ("RGB", (256, 256))
        drawn = synthetic.draw("gear", "test", "rust", 0)
        assert np.array_equal(np.asarray(image), drawn.image)
    with Image.open(gears / "gear/ground_truth/rust/000_mask.png") as mask:
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask), 255 * drawn.mask.astype(np.uint8))


def test_samples(gears: Path) -> None:
    table = synthetic.samples(gears, "gear")
    assert list(table.columns) == ["image", "mask", "label", "defect", "split"]
    assert len(table) == 3 + len(DEFECTS["gear"])
    assert list(table["image"]) == sorted(table["image"])
    assert table[table["label"] == 0]["mask"].isna().all()
    assert all(Path(mask).is_file() for mask in table[table["label"] == 1]["mask"])


def test_kept_if_the_same_and_refused_if_not(gears: Path) -> None:
    record = gears / "gear" / "synthetic.json"
    before = record.stat().st_mtime_ns
    assert synthetic.generate(gears, "gear", counts=FEW) == gears / "gear"
    assert record.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"expected .*'seed': 7.*found .*'seed': 0.*delete the folder"):
        synthetic.generate(gears, "gear", seed=7, counts=FEW)


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gear").mkdir()
    with pytest.raises(ValueError, match="no readable synthetic"):
        synthetic.samples(tmp_path, "gear")
    (tmp_path / "gear" / "synthetic.json").write_text(json.dumps({"version": -1, "seed": 0}))
    with pytest.raises(ValueError, match="'version': -1"):
        synthetic.samples(tmp_path, "gear")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of paint")

    monkeypatch.setattr(synthetic.gear, "rust", fail)
    with pytest.raises(RuntimeError, match="out of paint"):
        synthetic.generate(tmp_path, "gear", counts=Counts(1, 1, 1))
    assert list(tmp_path.iterdir()) == []


def test_losing_a_race_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(1, 0, 0)
    write = synthetic._write

    def slower(folder: Path, *args: object) -> None:
        monkeypatch.setattr(synthetic, "_write", write)
        synthetic.generate(tmp_path, "gear", counts=counts)
        write(folder, *args)

    monkeypatch.setattr(synthetic, "_write", slower)
    assert synthetic.generate(tmp_path, "gear", counts=counts) == tmp_path / "gear"
    assert [path.name for path in tmp_path.iterdir()] == ["gear"]


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown synthetic category 'sprocket'\. Known: blister_pack"):
        synthetic.samples(tmp_path, "sprocket")
    with pytest.raises(ValueError, match=r"unknown gear defect 'moth'\. Known: .*good.*missing_tooth"):
        synthetic.draw("gear", "test", "moth", 0)


def test_flaw_sizes_are_log_uniform() -> None:
    rng = np.random.default_rng(0)
    middle = Flaw("dent", 0.5, 0.5, rng)
    assert middle.length(4, 100) == pytest.approx(20)
    assert middle.strength(0.1, 0.4) == pytest.approx(0.2)
