"""Tiny trees in the exact layout of each dataset, for the tests of the readers.

Each function fills a folder and returns the rows that its reader must give, by path relative to
that folder: {image: (mask or None, label, defect, split)}.
"""

import io
from functools import cache
from pathlib import Path

from PIL import Image

from adlib.datasets import mtd

Rows = dict[str, tuple[str | None, int, str, str]]

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}


@cache
def _encoded(suffix: str, value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, FORMATS.get(suffix, suffix[1:].upper()))
    return buffer.getvalue()


def picture(path: Path, value: int = 100) -> Path:
    """Write an 8 x 8 image of one gray value, in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(path.suffix.lower(), value))
    return path


def fill(root: Path, rows: Rows) -> Rows:
    """Write the images and masks of `rows`."""
    for image, (mask, *_) in rows.items():
        picture(root / image)
        if mask is not None:
            picture(root / mask, 255)
    return rows


def mvtec(root: Path, category: str = "bottle") -> Rows:
    rows: Rows = {
        "train/good/000.png": (None, 0, "good", "train"),
        "train/good/001.png": (None, 0, "good", "train"),
        "test/good/000.png": (None, 0, "good", "test"),
        "test/crack/000.png": ("ground_truth/crack/000_mask.png", 1, "crack", "test"),
        "test/crack/001.png": ("ground_truth/crack/001_mask.png", 1, "crack", "test"),
        "test/hole/000.png": ("ground_truth/hole/000_mask.png", 1, "hole", "test"),
    }
    (root / category).mkdir(parents=True)
    (root / category / "readme.txt").write_text("as in the archive")
    return fill(root, _below(category, rows))


def visa(root: Path) -> Rows:
    images, masks = "candle/Data/Images", "candle/Data/Masks"
    rows: Rows = {
        f"{images}/Normal/0000.JPG": (None, 0, "good", "train"),
        f"{images}/Normal/0001.JPG": (None, 0, "good", "test"),
        f"{images}/Anomaly/000.JPG": (f"{masks}/Anomaly/000.png", 1, "anomaly", "test"),
    }
    picture(root / f"{images}/Normal/0002.JPG")  # in the archive, not in the split
    picture(root / "pcb1/Data/Images/Normal/0000.JPG")
    lines = ["object,split,label,image,mask", "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,"]
    for image, (mask, label, _, split) in rows.items():
        lines.append(f"candle,{split},{'anomaly' if label else 'normal'},{image},{mask or ''}")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\r\n".join(lines) + "\r\n")
    return fill(root, rows)


def btad(root: Path, category: str, image: str, mask: str) -> Rows:
    rows: Rows = {
        f"train/ok/0000.{image}": (None, 0, "good", "train"),
        f"test/ok/0000.{image}": (None, 0, "good", "test"),
        f"test/ko/0000.{image}": (f"ground_truth/ko/0000.{mask}", 1, "ko", "test"),
        f"test/ko/0001.{image}": (f"ground_truth/ko/0001.{mask}", 1, "ko", "test"),
    }
    return fill(root, _below(category, rows))


def mvtec3d(root: Path) -> Rows:
    rows: Rows = {
        "train/good/rgb/000.png": (None, 0, "good", "train"),
        "test/good/rgb/000.png": (None, 0, "good", "test"),
        "test/hole/rgb/000.png": ("test/hole/gt/000.png", 1, "hole", "test"),
        "test/combined/rgb/000.png": ("test/combined/gt/000.png", 1, "combined", "test"),
    }
    for part in ("train/good", "validation/good", "test/good", "test/hole", "test/combined"):
        picture(root / "bagel" / part / "xyz/000.tiff")
    picture(root / "bagel/validation/good/rgb/000.png")
    picture(root / "bagel/test/good/gt/000.png", 0)
    (root / "bagel/calibration").mkdir()
    return fill(root, _below("bagel", rows))


def eyecandies(root: Path) -> Rows:
    public = "CandyCane/test_public/data"
    rows: Rows = {
        "CandyCane/train/data/000_image_0.png": (None, 0, "good", "train"),
        "CandyCane/train/data/001_image_0.png": (None, 0, "good", "train"),
        f"{public}/00_image_0.png": (None, 0, "good", "test"),
        f"{public}/01_image_0.png": (f"{public}/01_mask.png", 1, "bumps+colors", "test"),
        f"{public}/02_image_0.png": (f"{public}/02_mask.png", 1, "anomalous", "test"),
    }
    flags = {0: (0, 0, 0, 0, 0), 1: (1, 1, 1, 0, 0), 2: (1, 0, 0, 0, 0)}
    for number, values in flags.items():
        keys = ("", "_bumps", "_colors", "_dents", "_normals")
        text = "".join(f"anomalous{k}: {v}\n" for k, v in zip(keys, values, strict=True))
        picture(root / public / f"{number:02}_mask.png", 0)
        (root / public / f"{number:02}_metadata.yaml").write_text(text)
    for split in ("train", "val", "test_public", "test_private"):
        for item in (*(f"image_{light}" for light in range(1, 6)), "depth", "normals"):
            picture(root / "CandyCane" / split / "data" / f"00_{item}.png")
    picture(root / "CandyCane/val/data/00_image_0.png")
    picture(root / "CandyCane/test_private/data/000_image_0.png")
    return fill(root, rows)


def magnetic_tiles(root: Path) -> list[str]:
    """All 952 normal images of the committed split, with their empty masks, two a defect."""
    names = mtd.SPLITS.read_text().split()[1:]
    free = [line.partition(",")[0] for line in names]
    for name in free:
        image = picture(root / "MT_Free/Imgs" / name)
        picture(image.with_suffix(".png"), 0)
    for defect in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        for number in (1, 2):
            image = picture(root / f"MT_{defect}/Imgs/exp1_num_{number}.jpg")
            picture(image.with_suffix(".png"), 255)
    return free


def _below(category: str, rows: Rows) -> Rows:
    return {f"{category}/{image}": (mask and f"{category}/{mask}", *rest) for image, (mask, *rest) in rows.items()}
