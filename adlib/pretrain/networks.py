"""The source network, the student with its throw-away projections, and the losses between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.backbones import IMAGENET_TAGS, imagenet_network, read_weights, tensorflow_style, tensors_sha256
from adlib.files import sha256
from adlib.images import MEAN, STD

STRIDE = 32  # of the coarsest level of every network used here
SHIFT = 2  # pixels, see Source
FEATURE_LOSSES = ("standardised", "cosine")


@dataclass
class Output:
    """What both networks give for a batch: one (B, C, h, w) map a level, and the class logits (B, K), if asked for."""

    maps: list[Tensor]
    logits: Tensor | None


class Pyramid(nn.Module):
    """A whole timm classifier that also returns the maps of `levels` (1 is stride 4, 4 is stride 32).

    Without `classify` it computes no more than the maps need, and gives no logits.
    """

    def __init__(self, network: nn.Module, levels: Sequence[int], classify: bool = True) -> None:
        super().__init__()
        self.network = network
        self.levels = tuple(levels)
        self.classify = classify

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Compute the maps, finest first, and the logits of normalised images."""
        if not self.levels:
            return [], self.network(images)
        if not self.classify:
            only: dict[str, Any] = {"intermediates_only": True, "stop_early": True}
            return self.network.forward_intermediates(images, indices=list(self.levels), **only), None  # type: ignore[operator]
        last, maps = self.network.forward_intermediates(images, indices=list(self.levels))  # type: ignore[operator]
        return maps, self.network.forward_head(last)  # type: ignore[operator]


class Source(nn.Module):
    """The frozen network to learn from: images in [0, 1] -> its output, aligned with the student's.

    `weights` is a `.safetensors` file of the whole classifier, `imagenet` (timm, by its full tag) or `random`.

    A network with TensorFlow's 'same' padding pads even images on the right and the bottom only: at stride s its cell i
    is centred at s i + s - 1, by the centroid of its gradients at about s i + 0.6 s; ours at s i. It therefore gets
    the image from the third row and column on, which brings its cell i to our cell i + 1 within a fifth of a cell at
    strides 4, 8 and 16; cells without a partner are left out (`crop_student`). Without this the student would learn
    features of what lies half a cell beside them.

    Raises ValueError for weights that do not fit the network, FileNotFoundError for a file that is not there,
    ConnectionError for some that cannot be fetched.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str, levels: Sequence[int], classify: bool = True) -> None:
        super().__init__()
        self.name = name
        self.same = tensorflow_style(name, weights)
        if weights == "imagenet":
            copied = (
                "Run it once where there is a network and copy the hub's cache (HF_HOME), or name a file of the weights"
            )
            network = imagenet_network(IMAGENET_TAGS.get(name, name), copied)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                padding: dict[str, Any] = {"pad_type": "same"} if self.same else {}
                network = timm.create_model(name, **padding)
        if weights not in ("imagenet", "random"):
            state = read_weights(Path(weights).expanduser())
            try:
                network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
            except RuntimeError as error:
                raise ValueError(f"{weights} does not hold a whole {name}: {error}") from error
            self.sha256 = sha256(Path(weights).expanduser())
        else:
            self.sha256 = tensors_sha256(network.state_dict())
        half = (0.5, 0.5, 0.5)
        mean, std = (half, half) if self.same else (MEAN, STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.pyramid = Pyramid(network, levels, classify)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Output:
        """Compute what the student shall give for the same images."""
        images = (images - self.mean) / self.std
        if self.same:
            images = F.pad(images[:, :, SHIFT:, SHIFT:], (0, SHIFT, 0, SHIFT))
        maps, logits = self.pyramid(images.contiguous(memory_format=torch.channels_last))
        return Output([m[:, :, :-1, :-1] if self.same else m for m in maps], logits)

    def crop_student(self, maps: list[Tensor]) -> list[Tensor]:
        """Leave out the student's cells that the source has no partner for."""
        return [m[:, :, 1:, 1:] if self.same else m for m in maps]


class Student(nn.Module):
    """The network to be made (`pyramid.network`) with one 1x1 projection a level into the source's channels.

    Without `classes` it gives maps alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, levels: Sequence[int], channels: Sequence[int], classes: int) -> None:
        super().__init__()
        options: dict[str, Any] = {"zero_init_last": False} if "resnet" in name else {}
        network = timm.create_model(name, num_classes=classes or 1000, **options)
        features: Any = network.feature_info
        own = [features[level]["num_chs"] for level in levels]
        self.pyramid = Pyramid(network, levels, classes > 0)
        self.projections = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(own, channels, strict=True))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Output:
        """Compute projected maps and logits of images in [0, 1]."""
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps, logits = self.pyramid(images)
        return Output([project(m) for project, m in zip(self.projections, maps, strict=True)], logits)


def channel_statistics(outputs: Sequence[Output]) -> list[tuple[Tensor, Tensor]]:
    """Measure mean and standard deviation of each channel of each level, (C, 1, 1); dead channels count as constant."""
    found = []
    for level in zip(*(output.maps for output in outputs), strict=True):
        flat = torch.cat([m.float().transpose(0, 1).flatten(1) for m in level], dim=1)
        std = flat.std(1)
        floor = 1e-3 * std.max() + 1e-8
        found.append((flat.mean(1).view(-1, 1, 1), std.clamp_min(floor).view(-1, 1, 1)))
    return found


def inner(maps: Tensor, cells: int) -> Tensor:
    """Leave out so many cells along each edge of (B, C, h, w) maps."""
    return maps[..., cells : maps.shape[-2] - cells, cells : maps.shape[-1] - cells]


def feature_loss(kind: str, made: Tensor, target: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """Compare maps (B, C, h, w) after the source's channels were brought to mean 0 and variance 1.

    `standardised`: mean squared difference, which is the share of the source's variance that is not explained: every
    channel counts alike, however small its values. `cosine`: 1 - cosine of the pixels' vectors, blind to their length.
    """
    target = (target.float() - statistics[0]) / statistics[1]
    if kind == "cosine":
        return 1 - F.cosine_similarity(made.float(), target, dim=1).mean()
    return F.mse_loss(made.float(), target)


def logit_loss(made: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the softened classes, times the squared temperature (Hinton et al., 2015)."""
    made, target = (F.log_softmax(x.float() / temperature, dim=1) for x in (made, target))
    return temperature**2 * F.kl_div(made, target, log_target=True, reduction="batchmean")
