"""What the training loop and the predictor ask of a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from adlib.backbones import Provenance, Teacher, nearest_bundled

Recipes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """One training batch on the device; images are normalised, (B, 3, H, W).

    image: the good images, for stages with pseudo-anomalies turned by their category's rotation.
    corrupted, mask: the same images with defects, and where they are, (B, 1, H, W) in {0, 1}.
    targets: `Stage.targets` of `image`, else the method's `targets`, computed beforehand where the images never change.
    exemplars, exemplar_targets: further good images, drawn independently of the batch, and their targets.
    """

    image: Tensor
    corrupted: Tensor | None = None
    mask: Tensor | None = None
    targets: list[Tensor] | None = None
    exemplars: Tensor | None = None
    exemplar_targets: list[Tensor] | None = None


@dataclass(frozen=True)
class Stage:
    """One part of a training: what trains, how long, by which optimiser and on which loss.

    Either `steps` or `epochs` says how long. Modules in `trains` are in train mode and parameters in the optimiser get
    gradients; everything else is in eval mode and gets none.
    """

    name: str
    trains: tuple[nn.Module, ...]
    optimiser: torch.optim.Optimizer
    loss: Callable[[Batch], dict[str, Tensor]]  # named terms, their sum is minimised; `_name` is only logged
    batch: int
    steps: int | None = None
    epochs: int | None = None
    drop_last: bool = False
    corrupted: bool = False  # asks for pseudo-anomalies
    exemplars: int = 0  # asks for that many independent good images a step
    schedule: Callable[[torch.optim.Optimizer, int], LRScheduler] | None = None  # of (optimiser, steps)
    frozen_statistics_from: int | None = None  # epoch from which BatchNorm runs on its running statistics
    select: Callable[[Batch], Tensor] | None = None  # (B,) scores of held-out images, lowest epoch is kept
    validation: float = 0.0  # share of the images held out for `select`
    # Inputs over which BatchNorm takes its statistics anew: at the end, or wherever `select` scores an epoch.
    settle: Callable[[Batch], Tensor] | None = None
    targets: Callable[[Tensor], list[Tensor]] | None = None  # of this stage, where it needs not all of the method's

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"stage {self.name!r} needs either steps or epochs")
        length = self.steps if self.steps is not None else self.epochs
        if length is None or length < 1 or self.batch < 1:
            raise ValueError(
                f"stage {self.name!r}: steps, epochs and batch must be at least 1, "
                f"got steps={self.steps}, epochs={self.epochs}, batch={self.batch}"
            )
        _check_validation(self.validation)


@dataclass(frozen=True)
class MethodConfig:
    """Base of all configs: fields are checked wherever one is made, by a study before any of its runs, too.

    No number may be below its least value, `LEAST`, by default 0. A subclass whose fields have more to them extends
    `__post_init__`, which raises ValueError for a value without a meaning.
    """

    LEAST: ClassVar[dict[str, float]] = {"epochs": 1, "batch": 1}

    def __post_init__(self) -> None:
        _check_validation(getattr(self, "validation", 0.0))
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not value >= self.LEAST.get(name, 0):  # NaN, too
                raise ValueError(f"{name} must be at least {self.LEAST.get(name, 0)}, got {value}")
        betas = getattr(self, "betas", (0, 0))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {betas!r}")


class Method(nn.Module, ABC):
    """Base of all methods: holds the config and the frozen teacher.

    A subclass sets `Config` (a frozen dataclass that extends `MethodConfig`; its defaults are the recipe `paper`),
    `RECIPES` (fields that a recipe changes) and `SMALL` (fields that the scale `small` changes; its epochs are meant
    for 200 images), builds its networks, and writes `stages` and `anomaly_map`. One with a stage on pseudo-anomalies
    (`Stage.corrupted`) has to have `rotation` ('auto', 'none', 'slight', 'full'), `corruption_probability` and
    `perlin_threshold`.

    Attributes that hold frozen networks begin with 'teacher', and no others do: an unfinished training is kept without
    them (`learned_state`).
    """

    FROZEN: ClassVar[tuple[str, ...]] = ("backbone",)  # the fields that name frozen networks

    Config: ClassVar[Any]
    RECIPES: ClassVar[Recipes]
    SMALL: ClassVar[dict[str, Any]]
    DEVIATIONS: ClassVar[tuple["Deviation", ...]]

    config: Any
    teacher: Teacher

    @classmethod
    def with_bundled(cls, config: Any) -> Any:
        """Exchange the frozen networks whose weights do not ship for the nearest that do."""
        return replace(config, **{name: nearest_bundled(getattr(config, name)) for name in cls.FROZEN})

    @property
    def provenance(self) -> Provenance:
        """Which weights the frozen network holds."""
        return self.teacher.provenance

    @property
    def preprocess(self) -> str:
        """How `adlib.images` brings images to their size: 'resize', unless the config says 'resize_nearest'."""
        return getattr(self.config, "preprocess", "resize")

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Return the stages of the training, in order."""

    @abstractmethod
    def anomaly_map(self, images: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to anomaly maps (N, H, W); higher is worse."""

    def targets(self, images: Tensor) -> list[Tensor]:
        """Compute what the frozen networks give to learn from; cached over a stage whose images never change."""
        return self.teacher(images)

    def targets_of(self, batch: Batch) -> list[Tensor]:
        """Return the targets of a batch that were computed beforehand, or compute them now."""
        return self.targets(batch.image) if batch.targets is None else batch.targets

    def learned_state(self) -> dict[str, Tensor]:
        """Return the weights and statistics of all but the frozen networks, by name."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("teacher")}

    def score(self, maps: Tensor) -> Tensor:
        """Reduce maps (N, H, W) to image scores (N,): the maximum, unless the method says otherwise."""
        return maps.amax(dim=(1, 2))


def _check_validation(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"validation is the share of images held out, from 0 to below 1, got {share}")


def configured(cls: type[Method], name: str, recipe: str, scale: str, overrides: Mapping[str, Any]) -> Any:
    """Make a method's config: the paper's defaults, then the recipe's fields, the scale's and the caller's.

    Raises ValueError, naming the method `name`, for a value of another type than the field's.
    """
    defaults = cls.Config()
    values = cls.RECIPES[recipe] | (cls.SMALL if scale == "small" else {}) | dict(overrides)
    return replace(defaults, **{k: _cast(name, k, v, getattr(defaults, k)) for k, v in values.items()})


def seeded(cls: type[Method], config: Any, teacher: str, seed: int) -> Method:
    """Build a method whose initial weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(config, teacher)  # type: ignore[call-arg]


def _cast(method: str, field: str, value: Any, default: Any) -> Any:
    """Accept what JSON and YAML can write for the field's type (a list for a tuple, an int for a float)."""
    kind = type(default)
    if kind is tuple and isinstance(value, list | tuple):
        if value:
            return tuple(_cast(method, field, one, default[0]) for one in value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is kind:
        return value
    article = "an" if kind is int else "a"
    raise ValueError(f"field {field!r} of {method} takes {article} {kind.__name__} such as {default!r}, got {value!r}")


@dataclass(frozen=True)
class Deviation:
    """One place where text and code disagree, or one of them is silent ('-', 'not stated').

    `paper` says, `code` does, `ours` is what this package does.
    """

    topic: str
    paper: str
    code: str
    ours: str


# Of the methods whose short trainings end with `Stage.settle`.
SETTLED = Deviation(
    "BatchNorm's statistics",
    "running means",
    "running means",
    "as both; scale small takes them anew before a network is scored, over the batches of an epoch: override settle",
)


def check_choices(config: Any, allowed: dict[str, tuple[Any, ...]]) -> None:
    """Raise ValueError for a field of a config that holds none of its allowed values."""
    for name, values in allowed.items():
        if getattr(config, name) not in values:
            raise ValueError(f"{name} must be one of {values}, got {getattr(config, name)!r}")


def check_levels(config: Any, name: str, known: Sequence[int]) -> None:
    """Raise ValueError for a field of a config that does not hold some of these numbers, each once, increasing."""
    levels = getattr(config, name)
    if list(levels) != sorted(set(levels)) or not set(levels) <= set(known):
        raise ValueError(f"{name} must be increasing numbers of {known[0]} to {known[-1]}, got {levels}")


def check_shares(config: Any, *names: str) -> None:
    """Raise ValueError for a field of a config that is a share, and not from 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} is a share, from 0 to 1, got {getattr(config, name)}")
