"""`python -m adlib.pretrain prepare ...` packs images, `python -m adlib.pretrain --source ...` makes a teacher."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from adlib.device import resolve_device
from adlib.errors import check_known
from adlib.files import sha256
from adlib.pretrain import data
from adlib.pretrain.augment import Augmentation
from adlib.pretrain.classification import Classification
from adlib.pretrain.config import Config
from adlib.pretrain.distillation import Distillation
from adlib.pretrain.export import shipped, write_teacher
from adlib.pretrain.networks import Source
from adlib.pretrain.training import Pretraining


def prepare(arguments: list[str]) -> None:
    """Pack images into one zip, a group a source."""
    parser = argparse.ArgumentParser(prog="python -m adlib.pretrain prepare", description=data.pack.__doc__)
    for group in ("photographs", "tiny", "textures"):
        parser.add_argument(f"--{group}", type=_path, nargs="*", default=[], help="folders or zips of images")
    parser.add_argument("--out", type=_path, required=True)
    parser.add_argument("--quality", type=int, default=80)
    options = parser.parse_args(arguments)
    groups = {group: getattr(options, group) for group in ("photographs", "tiny", "textures")}
    if not any(groups.values()):
        parser.error("there is nothing to pack: name folders or zips of images")
    counts = data.pack({group: paths for group, paths in groups.items() if paths}, options.out, options.quality)
    print(f"{options.out}: {counts}, {options.out.stat().st_size / 2**20:.1f} MiB")


def make(arguments: list[str]) -> None:
    """Make a teacher from the command line's recipe.

    Raises ValueError, before anything is read or trained, for what cannot be written or has no such level.
    """
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    if options.out.suffix != ".safetensors":  # what `teacher=` takes, and the card's name would be the weights'
        raise ValueError(f"a teacher's name ends in .safetensors, got {options.out.name!r}")
    if options.procedural < 0:
        raise ValueError(f"--procedural must be at least 0, got {options.procedural}")
    if options.canvas < 2:
        raise ValueError(f"--canvas must be at least 2 pixels, got {options.canvas}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.start is not None and not options.start.is_file():
        raise FileNotFoundError(f"no weights to start from: {options.start}")
    device = resolve_device(options.device)
    if device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    config = _config(options)
    shipped(config.student, options.ship_level)
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
        type=_path,
        nargs="+",
        default=[],
        help="folders or zips of <group>/<image>, without source <class>/<image>",
    )
    parser.add_argument("--start", type=_path, help="a teacher's `.safetensors` to begin from")
    parser.add_argument("--out", type=_path, required=True, help="the `.safetensors` to write")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", type=_path, help="state file: goes on from it, and keeps it up to date")
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
        given["mix"] = _shares(options.mix)  # of whatever groups the data have
    if options.augment:
        given["augmentation"] = Augmentation(
            **_shares(options.augment, [f.name for f in dataclasses.fields(Augmentation)])
        )
    return Config(**given)


def _path(text: str) -> Path:
    return Path(text).expanduser()  # a shell leaves --out=~/x as it is


def _tuple_of(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def numbers(text: str) -> tuple[Any, ...]:
        return tuple(map(kind, text.split(",")))

    numbers.__name__ = f"list of {kind.__name__}"  # argparse names it where the text is none
    return numbers


def _shares(text: str, names: Iterable[str] | None = None) -> dict[str, float]:
    """Read name=number,name=number; raises ValueError for anything else, and for a name that is none of `names`."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if names is not None:
            check_known("name", name, names)
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"expected name=number,name=number,..., got {part!r}") from None
    return found


def main(arguments: list[str]) -> int:
    """Command line; returns the exit status."""
    try:
        prepare(arguments[1:]) if arguments[:1] == ["prepare"] else make(arguments)
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
