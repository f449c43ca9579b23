"""Groups of images: read, packed, and what is wrong with one named."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.pretrain import data
from adlib.pretrain.data import HELD_OUT


def test_classes_come_from_folders_or_names(tmp_path: Path):
    for i, name in enumerate(("n02_cat.png", "n01/a.png", "n01/b.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20 + i, 10), (i, 0, 0)).save(tmp_path / name)
    groups, labels, counts = data.read_classes([tmp_path], canvas=8, procedural=2)
    assert counts == {"labelled": 3, "classes": 2, "procedural": 2}
    assert [groups[HELD_OUT].shape[0], *groups["labelled"][:, 0, 0, 0].tolist()] == [1, 2, 0]
    assert [*labels[HELD_OUT], *labels["labelled"], *labels["procedural"]] == [0, 0, 1, 2, 3]
    assert groups["procedural"].shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="no procedural texture"):
        data.read_classes([])


@pytest.mark.parametrize("name", ["procedural", "plain", HELD_OUT])
def test_a_group_of_images_may_not_have_the_name_of_one_that_is_made(name, tmp_path: Path):
    (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match=f"may not be called '{name}'"):
        data.read([tmp_path], canvas=64, procedural=0)


def test_what_cannot_be_packed_is_named_and_nothing_is_left(tmp_path: Path):
    out = tmp_path / "out" / "packed.zip"
    with pytest.raises(FileNotFoundError, match="no such folder or zip of images: .*nowhere"):
        data.pack({"tiny": [tmp_path / "nowhere"]}, out)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.jpg is not a whole image .*: mend it or leave it out"):
        data.pack({"tiny": [tmp_path / "images"]}, out)
    assert not list(out.parent.glob("*"))


def test_pack_and_read(tmp_path: Path):
    rng = np.random.default_rng(0)
    folders = {"photographs": ((90, 64), 21), "tiny": ((16, 16), 32)}
    for name, (size, count) in folders.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i:02d}.png")
    packed = tmp_path / "natural.zip"
    assert data.pack({name: [tmp_path / name] for name in folders}, packed, size=64) == {"photographs": 21, "tiny": 32}
    with zipfile.ZipFile(packed) as archive:
        assert Image.open(io.BytesIO(archive.read(archive.namelist()[0]))).size == (90, 64)
    groups, counts = data.read([packed], canvas=64, procedural=4, rounds=2)
    assert counts == {"photographs": 21, "tiny": 32, "procedural": 4, "plain": 1}
    assert {name: tuple(pixels.shape) for name, pixels in groups.items()} == {
        "photographs": (38, 3, 64, 64),  # two squares of each of 19
        HELD_OUT: (4, 3, 64, 64),
        "tiny": (4, 3, 64, 64),  # 32 of 16 x 16 fill two canvases, twice
        "procedural": (4, 3, 64, 64),
        "plain": (1, 3, 64, 64),
    }
    with pytest.raises(FileNotFoundError, match="no such folder or zip"):
        data.read([tmp_path / "nothing"])


def test_an_image_that_cannot_be_read_is_named_and_litter_is_none(tmp_path):
    folder = tmp_path / "images" / "photographs"
    (folder / "dir.png").mkdir(parents=True)
    (tmp_path / "images" / "__MACOSX").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    for litter in (folder / "._0.png", tmp_path / "images" / "__MACOSX" / "0.png"):
        litter.write_bytes(b"Mac OS X")
    assert data.read([tmp_path / "images"], canvas=64, procedural=0)[1] == {"photographs": 1}
    (folder / "half.png").write_bytes((folder / "0.png").read_bytes()[:60])
    for read in (data.read, data.read_classes):
        with pytest.raises(ValueError, match=r"photographs/half\.png is not a whole image"):
            read([tmp_path / "images"], canvas=64)
