"""Frozen teachers: timm feature pyramids and where their weights come from.

A teacher never changes: no gradient, always in eval mode, BatchNorm statistics as loaded. Every weight file
has a SHA-256 that ends up in the result row.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adlib.errors import first_line
from adlib.files import sha256
from adlib.images import MEAN, STD, Images

# The bare timm name means other weights in other timm versions (`resnet18` became `a1_in1k` in 0.9): the papers'
# weights are asked for by their full tag. The ResNets' are torchvision's original ImageNet checkpoints.
IMAGENET_TAGS = {
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "wide_resnet50_2": "wide_resnet50_2.tv_in1k",
    "efficientnet_b0": "efficientnet_b0.ra_in1k",
    "mobilenetv2_100": "mobilenetv2_100.ra_in1k",
}
NAMED = ("imagenet", "bundled", "random")
SOURCES = "'imagenet', 'bundled', 'random' or the path of a .safetensors file"

# What is known of the maps of a detector with this teacher, by the teacher's name.
TRAITS = {
    "bundled": "A glow along an edge that good images show, too, comes from the bundled teacher and short training "
    "(teacher.ipynb); a defect may still lie there."
}
BUNDLED = Path(__file__).parent / "weights"  # our own teachers: <backbone>.safetensors, and a card beside each

# One random teacher for all runs: a teacher is a constant of a study, not part of its noise. No run has this seed, as a
# student of the same network would start as a copy of its teacher.
_RANDOM_SEED = 2_718_281_828
# These published weights expect TensorFlow's conventions: 'same' padding and pixels in [-1, 1].
_TENSORFLOW_STYLE = {"mobilenetv2_100"}


def tensorflow_style(backbone: str, source: str) -> bool:
    """Whether a network expects TensorFlow's padding and range of pixels: some do, with weights from a file."""
    return backbone in _TENSORFLOW_STYLE and source not in NAMED


@dataclass(frozen=True)
class Provenance:
    """Which weights a teacher holds: `source` as asked for, `name` in full, `sha256` of the file or the tensors."""

    source: str
    name: str
    sha256: str


def bundled() -> list[str]:
    """List the networks of which weights ship with the package."""
    return sorted(path.stem for path in BUNDLED.glob("*.safetensors"))


def nearest_bundled(backbone: str) -> str:
    """Return the network itself if its weights ship with the package, else the shipped one of its family.

    The family is the word that ends in 'net': `wide_resnet50_2` is a `resnet`. Raises ValueError where none ships.
    """
    shipped = bundled()
    if backbone in shipped:
        return backbone
    family = re.findall("[a-z]+net", backbone)
    near = [name for name in shipped if re.findall("[a-z]+net", name) == family]
    if not near:
        raise ValueError(
            f"no bundled teacher has the network {backbone!r} or one of its family; "
            f"shipped: {', '.join(shipped) or 'none'}. Choose one of these as backbone, or another teacher"
        )
    return near[0]


def feature_network(backbone: str, levels: Sequence[int], seed: int | None = None, **options) -> nn.Module:
    """Build a timm feature pyramid with random weights; `levels` are timm's `out_indices`, 1 being stride 4.

    Kaiming-normal (fan out) convolutions, BatchNorm 1 / 0, the layout of the official STPM and DeSTSeg students.
    Residual networks keep a non-zero last BatchNorm in each block unless `zero_init_last=True`: with zeros every
    block of an untrained network would be the identity.

    Raises ValueError for a network that timm does not know, or levels that it has not.
    """
    if not timm.is_model(backbone):
        raise ValueError(
            f"unknown backbone {backbone!r}; known with the papers' weights: {', '.join(IMAGENET_TAGS)}, "
            "and any other name in timm.list_models()"
        )
    if "resnet" in backbone:
        options.setdefault("zero_init_last", False)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            return timm.create_model(
                backbone, pretrained=False, features_only=True, out_indices=tuple(levels), **options
            )
        except (IndexError, AssertionError):
            info: Any = timm.create_model(backbone, pretrained=False, features_only=True).feature_info
            strides = ", ".join(map(str, info.reduction()))
            raise ValueError(
                f"{backbone} has no levels {list(levels)}; it has 0 to {len(info) - 1}, of stride {strides}"
            ) from None


def tensors_sha256(state: dict[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and bytes of a state dictionary, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Teacher(nn.Module):
    """A frozen feature pyramid: normalised images (N, 3, H, W) -> one map (N, C, H / stride, W / stride) a level.

    Args:
        backbone: a timm model name, e.g. `resnet18`.
        source: where the weights come from, see `SOURCES`; a Provenance where the caller loads a checkpoint afterwards.
        levels: timm's `out_indices`; for a ResNet 0 is the stem before pooling, 1..4 are layer1..layer4.

    Raises ValueError for an unknown source, a file that does not fit or levels that do not increase, FileNotFoundError
    for a missing file, ConnectionError where the ImageNet weights cannot be fetched.
    """

    # Only the style of a TensorFlow teacher differs from the identity.
    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, backbone: str, source: str | Provenance, levels: Sequence[int]) -> None:
        super().__init__()
        if list(levels) != sorted(set(levels)):  # maps come finest first, whatever the order asked for
            raise ValueError(f"levels must increase, got {list(levels)}")
        asked = source.source if isinstance(source, Provenance) else source
        tensorflow = tensorflow_style(backbone, asked)
        options = {"pad_type": "same"} if tensorflow else {}
        self.features = feature_network(backbone, levels, seed=_RANDOM_SEED, **options)
        self.provenance = source if isinstance(source, Provenance) else _load_weights(self.features, backbone, source)
        self.channels: list[int] = self.features.feature_info.channels()  # type: ignore[union-attr, operator, assignment]
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        scale, shift = (std / 0.5, (mean - 0.5) / 0.5) if tensorflow else (torch.ones(3), torch.zeros(3))
        self.register_buffer("input_scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("input_shift", shift.view(3, 1, 1), persistent=False)
        self.tensorflow = tensorflow  # images are brought to [-1, 1] first
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode whatever the module around it does: frozen means frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images to the feature maps of the chosen levels, finest first."""
        if self.tensorflow:
            images = images * self.input_scale + self.input_shift
        return self.features(images)


def sources(teacher: str) -> list[str]:
    """Split 'bundled+b.safetensors' into its sources; a '+' within the path of a file stays."""
    one = rf"(?:{'|'.join(NAMED)}|.+?\.safetensors)"
    if re.fullmatch(rf"{one}(?:\+{one})*", teacher):
        return re.findall(rf"(?:^|\+)({one})(?=\+|$)", teacher)
    return teacher.split("+")


def with_files(teacher: str, change: Callable[[str], str]) -> str:
    """Return `teacher` with the paths of its files changed; the names of other sources stay."""
    return "+".join(change(source) if source.endswith(".safetensors") else source for source in sources(teacher))


def check_source(source: str) -> None:
    """Raise ValueError for what is no source of weights (`SOURCES`); whether a file is there is not looked at."""
    if source in NAMED or source.endswith(".safetensors"):
        return
    if source.endswith((".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")):
        raise ValueError(
            f"{source} is not a .safetensors file: a pickle, as torch.save writes it, can execute code when it is "
            "read. Where you trust it, write its tensors with safetensors.torch.save_file and give that file"
        )
    raise ValueError(f"unknown teacher {source!r}; expected {SOURCES}")


def _load_weights(network: nn.Module, backbone: str, source: str) -> Provenance:
    """Fill the network from the source and say what was loaded."""
    if source == "random":
        name = f"{backbone}, untrained, seed {_RANDOM_SEED}"
        return Provenance(source, name, tensors_sha256(network.state_dict()))
    if source == "imagenet":
        state, tag = _imagenet_state(backbone)
        _fill(network, state, backbone, tag)
        return Provenance(source, tag, tensors_sha256(network.state_dict()))
    if source == "bundled":
        if nearest_bundled(backbone) != backbone:
            raise ValueError(f"no weights of {backbone!r} are bundled; {nearest_bundled(backbone)!r} is the nearest")
        return _load_file(network, backbone, source, BUNDLED / f"{backbone}.safetensors")
    check_source(source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"teacher weights not found: {path.absolute()}; expected {SOURCES}")
    return _load_file(network, backbone, source, path)


def _load_file(network: nn.Module, backbone: str, source: str, path: Path) -> Provenance:
    _fill(network, read_weights(path), backbone, str(path))
    return Provenance(source, path.name, sha256(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` file; FileNotFoundError, or ValueError for one that is damaged or something else."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({path.stat().st_size} bytes: {error}); "
            "copy or download it again"
        ) from error


def _imagenet_state(backbone: str) -> tuple[dict[str, Tensor], str]:
    if backbone not in IMAGENET_TAGS:
        raise ValueError(
            f"no ImageNet weights are named for {backbone!r}; named: {', '.join(IMAGENET_TAGS)}. "
            "Save the ones you want as .safetensors and give the path as teacher"
        )
    tag = IMAGENET_TAGS[backbone]
    by_hand = "run it once on a machine with a network and copy the hub's cache (HF_HOME)"
    if backbone not in _TENSORFLOW_STYLE:  # as a file those would be taken for TensorFlow's, which they are not
        by_hand += (
            f", or pass the path of its file (model.safetensors of `timm/{tag}`) as teacher, which rows then name"
        )
    try:
        nearest_bundled(backbone)
        otherwise = f"Either {by_hand}, or use teacher='bundled', which ships with the package"
    except ValueError:  # none of its family
        otherwise = by_hand[0].upper() + by_hand[1:]
    return imagenet_network(tag, otherwise).state_dict(), tag


def imagenet_network(tag: str, otherwise: str) -> nn.Module:
    """Fetch a whole classifier by its timm name; ConnectionError, with what to do `otherwise`, where that fails."""
    try:
        return timm.create_model(tag, pretrained=True)
    except Exception as error:  # the hub's own, and those of whichever library fetches for it
        raise ConnectionError(
            f"the ImageNet weights {tag} could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}: {first_line(error)}). {otherwise}"
        ) from error


def _fill(network: nn.Module, state: dict[str, Tensor], backbone: str, origin: str) -> None:
    """Load strictly what the pyramid needs; the file may also hold the rest of the same classifier."""
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(state))
    misfit = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if missing and not misfit and set(wanted) & set(state):
        raise ValueError(
            f"{origin} does not hold all that is read of {backbone}: it lacks {missing[0]!r} and {len(missing) - 1} "
            "more. Choose levels that it has, or a file of the whole network"
        )
    if missing or misfit:
        first = (
            f"lacks {missing[0]!r} and {len(missing) - 1} more"
            if missing
            else f"has {misfit[0]!r} of shape {tuple(state[misfit[0]].shape)}, not {tuple(wanted[misfit[0]].shape)}"
        )
        raise ValueError(
            f"{origin} does not hold weights of {backbone}: it {first}. Set the override `backbone` to the network "
            "that the file belongs to"
        )
    if not all(math.isfinite(float(state[k].double().sum())) for k in wanted):
        raise ValueError(f"{origin} holds NaN or infinite weights")
    network.load_state_dict({k: state[k].to(wanted[k].dtype) for k in wanted})


@torch.no_grad()
def cached_features(
    targets: Callable[[Tensor], list[Tensor]], images: Images, budget: int, batch: int = 32
) -> list[Tensor] | None:
    """Run a frozen network once over all images, on their device: one (N, C, h, w) tensor a level.

    Returns None where the features would take more than `budget` bytes. Features have the precision they were
    computed in.
    """
    levels: list[Tensor] = []
    for index in torch.arange(len(images), device=images.pixels.device).split(batch):
        found = targets(images.normalised(index))
        if not levels:
            if sum(level[0].nbytes for level in found) * len(images) > budget:
                return None
            levels = [_room(level, len(images)) for level in found]
        for level, part in zip(levels, found, strict=True):
            level[index] = part
    return levels


def _room(part: Tensor, count: int) -> Tensor:
    """Make an empty tensor for `count` images, laid out in memory as `part`, which has the first of them."""
    last = part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((count, *part.shape[1:]), dtype=part.dtype, device=part.device, memory_format=layout)
