"""Shared by all tests: tiny images in memory and on disk, one thread's worth of work."""

import importlib
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import adlib
from adlib import backbones
from adlib.backbones import feature_network
from adlib.environment import PROJECT
from adlib.images import Images

SIZE = 64


def tiny_images(count: int = 8, defects: int = 0, size: int = SIZE, seed: int = 0) -> Images:
    """Smooth gray images; the last `defects` ones have a bright square, and a mask of it."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 120, size)[None, None, :, None]
    pixels = np.clip(ramp + rng.normal(0, 4, (count, 3, size, size)), 0, 255)
    masks = np.zeros((count, size, size), dtype=bool)
    masks[count - defects :, size // 4 : size // 2, size // 4 : size // 2] = True
    pixels = np.where(masks[:, None], rng.integers(0, 256, pixels.shape), pixels)
    labels = masks.any(axis=(1, 2)).astype(int)
    table = pd.DataFrame(
        {
            "image": [f"{i:03d}.png" for i in range(count)],
            "mask": None,
            "label": labels,
            "defect": np.where(labels, "square", "good"),
            "split": "test" if defects else "train",
        }
    )
    return Images(
        torch.from_numpy(pixels.astype(np.uint8)),
        torch.from_numpy(masks),
        torch.from_numpy(labels),
        torch.ones(count, dtype=torch.bool),
        table,
    )


def write_tiny(folder, count, defects=0, seed=0, size=64, suffix=".png"):
    """Write images of `tiny_images`: good ones, then ones with a bright square."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(tiny_images(count, defects, size, seed).pixels):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{i:03d}{suffix}")


def write_category(root: Path, train: int = 4, good: int = 2, defects: int = 2, size: int = 256) -> Path:
    """Write a tiny category `mvtec/bottle` in MVTec's layout below a data root, which is returned."""
    home = root / "mvtec" / "bottle"
    for kind, images in (
        ("train/good", tiny_images(train, size=size, seed=1)),
        ("test/good", tiny_images(good, size=size, seed=2)),
        ("test/square", tiny_images(defects, defects, size=size, seed=3)),
    ):
        (home / kind).mkdir(parents=True)
        (home / "ground_truth/square").mkdir(parents=True, exist_ok=True)
        for i, (pixels, mask) in enumerate(zip(images.pixels, images.masks, strict=True)):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(home / kind / f"{i:03d}.png")
            if mask.any():
                Image.fromarray(mask.numpy()).save(home / "ground_truth/square" / f"{i:03d}_mask.png")
    return root


@pytest.fixture(scope="module")
def one_thread():
    """Keep such small pieces on one core: more threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def benchmark():
    """Import a script of benchmarks/ by its name: it finds its neighbours as when it is started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "benchmarks")
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Keep no decoded images in the home folder, however slow the machine."""
    monkeypatch.setenv("ADLIB_CACHE", "off")


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return write_category(tmp_path / "data")


@pytest.fixture
def bundled_resnet18(tmp_path_factory, monkeypatch):
    """Pretend that a ResNet-18, and nothing else, ships with the package."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(dict(feature_network("resnet18", (1, 2, 3), seed=4).state_dict()), folder / "resnet18.safetensors")
    monkeypatch.setattr(backbones, "BUNDLED", folder)
    return folder


@pytest.fixture
def ctrl_c():
    """Let a Ctrl-C raise KeyboardInterrupt, as at a terminal: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.raise_signal
    signal.signal(signal.SIGINT, before)


TINY = {"stpm": {"epochs": 1, "batch": 4}, "destseg": {"batch": 2, "student_steps": 1, "segmentation_steps": 1}}


def prepared(data_root, method="stpm", category="bottle", dataset="mvtec", **options):
    options = {"teacher": "random", "scale": "small", "overrides": TINY.get(method, {}), "device": "cpu"} | options
    return adlib.prepare(method, dataset, category, data_root=data_root, **options)


def spoiled(data_root, path, change):
    change(data_root / "mvtec" / "bottle" / path)
    return data_root
