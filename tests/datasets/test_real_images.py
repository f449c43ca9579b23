"""Counts on the real images, where this machine has them."""

import os
from pathlib import Path

import pytest

from adlib import datasets
from adlib.datasets import dtd, mtd

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "datasets"
ROOT = Path(os.environ.get("ADLIB_TEST_DATA") or BESIDE)


def real(dataset: str) -> Path:
    if not (ROOT / dataset).is_dir():
        pytest.skip(f"no real images of {dataset} (ADLIB_TEST_DATA names their root)")
    return ROOT


@pytest.mark.parametrize(
    ("dataset", "category", "train", "normal", "defective"),
    [
        ("mvtec", "bottle", 209, 20, 63),
        ("mvtec", "pill", 267, 26, 141),
        ("mvtec", "transistor", 213, 60, 40),
        ("mvtec", "screw", 320, 41, 119),
        ("aitex", "fabric", 420, 140, 147),
        ("mtd", "split0", 762, 190, 392),
        ("mtd", "split1", 762, 190, 392),
        ("mtd", "split2", 762, 190, 392),
    ],
)
def test_counts(dataset, category, train, normal, defective):
    samples = datasets.load(dataset, category, real(dataset))
    test = samples[samples["split"] == "test"]
    assert (samples["split"] == "train").sum() == train
    assert (test["label"] == 0).sum() == normal
    assert (test["label"] == 1).sum() == defective
    assert samples.loc[samples["label"] == 1, "mask"].notna().all()
    assert samples.loc[samples["label"] == 0, "mask"].isna().all()


def test_magnetic_tiles_by_defect():
    samples = datasets.load("mtd", "split0", real("mtd"))
    defects = samples.loc[samples["label"] == 1, "defect"].value_counts().to_dict()
    assert defects == {"blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103}
    names = [path.name for path in (ROOT / "mtd/MT_Free/Imgs").glob("*.jpg")]
    assert mtd.make_splits(names).to_csv(index=False, lineterminator="\n") == (mtd.SPLITS.read_text())


def test_textures():
    found = dtd.images(real("dtd") / "dtd")
    classes = {Path(path).parent.name for path in found}
    assert len(found) == 120 * len(classes)
