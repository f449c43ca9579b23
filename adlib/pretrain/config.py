"""The recipe of a pretraining: every choice that a card names."""

import dataclasses
from dataclasses import dataclass, field

from adlib.pretrain.augment import Augmentation
from adlib.pretrain.networks import FEATURE_LOSSES, STRIDE

PRECISIONS = ("fp32", "bf16")

# The share of each group of images in what is trained on; `labelled` is what a classification reads.
MIX = {"photographs": 0.5, "tiny": 0.2, "textures": 0.15, "procedural": 0.1, "plain": 0.05, "labelled": 1.0}


@dataclass(frozen=True)
class Config:
    """The recipe; `steps` and `seconds` say how long, whichever ends first (at least one is needed)."""

    student: str = "resnet18"
    levels: tuple[int, ...] = (1, 2, 3, 4)  # matched maps, strides 4 to 32
    level_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    feature_loss: str = "standardised"  # option: cosine
    margin: int = 0  # pixels along each edge of a view whose features are not compared
    inherit: bool = False  # begin from the source's own weights, for an EfficientNet from a MobileNetV2
    logit_weight: float = 1.0  # 0: the logits, and all that only they need, are not computed
    temperature: float = 2.0
    sizes: tuple[int, ...] = (128, 160, 192, 224)  # pixels a side of the views, in equal parts of the schedule
    batch: int = 256  # views of the largest size; of a smaller one as many as have about the same number of pixels
    lr: float = 2e-3
    warmup: int = 300  # steps
    weight_decay: float = 0.02  # on kernels, not on biases and BatchNorm
    ema: float = 0.999
    steps: int | None = None
    seconds: float | None = None  # includes what comes before and after the loop, see `Pretraining.reserve`
    precision: str = "bf16"
    compile: bool = False
    seed: int = 0
    mix: dict[str, float] = field(default_factory=lambda: dict(MIX))  # share of each group of images
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("say how long: steps, seconds or both")
        least = {"batch": 1, "lr": 0, "warmup": 0, "weight_decay": 0, "ema": 0, "logit_weight": 0}
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")
        if self.feature_loss not in FEATURE_LOSSES:
            raise ValueError(f"feature_loss must be one of {FEATURE_LOSSES}, got {self.feature_loss!r}")
        if any(size % STRIDE or size < 2 * STRIDE for size in self.sizes):
            raise ValueError(f"sizes must be multiples of {STRIDE} from {2 * STRIDE} on, got {self.sizes}")
        if len(self.levels) != len(self.level_weights):
            raise ValueError(f"{len(self.levels)} levels need as many level_weights, got {self.level_weights}")
        coarsest = 2 ** (max(self.levels, default=0) + 1)
        most = max(0, min(self.sizes) // (2 * coarsest) - 1) * coarsest
        if not 0 <= self.margin <= most:
            raise ValueError(
                f"margin must be from 0 to {most} pixels for views of {min(self.sizes)}, got {self.margin}"
            )

    def batch_of(self, size: int) -> int:
        """Count the views of `size` pixels a side that one step takes."""
        return round(self.batch * (max(self.sizes) / size) ** 2)

    def identity(self) -> str:
        """Say what is trained, without what may change when it goes on: how long, and whether it is compiled."""
        return str(dataclasses.replace(self, steps=1, seconds=0.0, compile=False))
