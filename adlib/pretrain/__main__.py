"""`python -m adlib.pretrain prepare ...` packs images, `python -m adlib.pretrain --source ...` makes a teacher."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adlib.device import resolve_device
from adlib.files import sha256
from adlib.pretrain import data
from adlib.pretrain.augment import Augmentation
from adlib.pretrain.classification import Classification
from adlib.pretrain.config import Config
from adlib.pretrain.distillation import Distillation
from adlib.pretrain.export import write_teacher
from adlib.pretrain.networks import Source
from adlib.pretrain.training import Pretraining


def prepare(arguments: list[str]) -> None:
    """Pack images into one zip, a group a source."""
    parser = argparse.ArgumentParser(prog="python -m adlib.pretrain prepare", description=data.pack.__doc__)
    for group in ("photographs", "tiny", "textures"):
        parser.add_argument(f"--{group}", type=Path, nargs="*", default=[], help="folders or zips of images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quality", type=int, default=80)
    options = parser.parse_args(arguments)
    groups = {group: getattr(options, group) for group in ("photographs", "tiny", "textures")}
    counts = data.pack({group: paths for group, paths in groups.items() if paths}, options.out, options.quality)
    print(f"{options.out}: {counts}, {options.out.stat().st_size / 2**20:.1f} MiB")


def make(arguments: list[str]) -> None:
    """Make a teacher from the command line's recipe."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    device = resolve_device(options.device)
    if device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    config = _config(options)
    training: Pretraining
    if options.source is None:
        groups, labels, counts = data.read_classes(options.data, options.canvas, options.procedural, config.seed)
        training = Classification(config, groups, labels, device, started, options.start)
    else:
        groups, counts = data.read(options.data, options.canvas, options.procedural, seed=config.seed)
        source = Source(options.source_network, options.source, config.levels, config.logit_weight > 0)
        training = Distillation(config, source, groups, device, started, options.start)
    print(f"images read in {time.monotonic() - started:.1f} s:", {k: len(v) for k, v in groups.items()}, flush=True)
    training.run(options.resume, options.save_every, report=lambda line: print(line, flush=True))
    measured = training.finish()
    print("held out:", {name: round(value, 4) for name, value in measured.items()}, flush=True)
    more: dict[str, Any] = {"licences": options.licences} if options.licences else {}
    if options.start is not None:  # its own card says what went into it
        more["start"] = {"file": options.start.name, "sha256": sha256(options.start)}
    card = write_teacher(training, options.out, counts, measured, options.ship_level, more)
    print(f"{options.out}: {card['bytes'] / 2**20:.2f} MiB, {card['images_seen']} views, {card['seconds']:.0f} s")
    if options.resume is not None:
        options.resume.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m adlib.pretrain", description=__doc__)
    parser.add_argument(
        "--source",
        help="what to distil: `.safetensors` of the whole network, or 'imagenet'; without it, classes are learnt",
    )
    parser.add_argument("--source-network", default="mobilenetv2_100", help="its timm name")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="folders or zips of <group>/<image>, without source <class>/<image>",
    )
    parser.add_argument("--start", type=Path, help="a teacher's `.safetensors` to begin from")
    parser.add_argument("--out", type=Path, required=True, help="the `.safetensors` to write")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", type=Path, help="state file: goes on from it, and keeps it up to date")
    parser.add_argument("--save-every", type=float, default=120.0, help="seconds between two writes of the state")
    parser.add_argument("--canvas", type=int, default=256, help="pixels a side that images are kept at")
    parser.add_argument("--procedural", type=int, default=256, help="number of procedural textures")
    parser.add_argument("--ship-level", type=int, help="highest level that the file holds")
    parser.add_argument("--licences", help="a sentence for the card")
    parser.add_argument("--mix", help="shares of the groups: photographs=0.5,tiny=0.2,...")
    parser.add_argument("--augment", help="fields of Augmentation: gray=0.3,blur=0.5,...")
    for field in dataclasses.fields(Config):
        if field.name in ("mix", "augmentation"):
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(field.default, tuple):
            parser.add_argument(flag, type=_tuple_of(type(field.default[0])))
        else:
            kind = {"steps": int, "seconds": float}.get(field.name, type(field.default))
            parser.add_argument(flag, type=kind)
    return parser


def _config(options: argparse.Namespace) -> Config:
    names = [field.name for field in dataclasses.fields(Config) if field.name not in ("mix", "augmentation")]
    given: dict[str, Any] = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.mix:
        given["mix"] = _shares(options.mix)
    if options.augment:
        given["augmentation"] = Augmentation(**_shares(options.augment))
    return Config(**given)


def _tuple_of(kind: type) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(map(kind, text.split(",")))


def _shares(text: str) -> dict[str, float]:
    return {key: float(value) for key, value in (part.split("=") for part in text.split(","))}


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(sys.argv[2:])
    else:
        make(sys.argv[1:])
