"""DSKD: two students, an encoder and a decoder, which meet in a deep feature embedding.

Yao, Gao, "Dual-Student Knowledge Distillation Networks for Unsupervised Anomaly Detection", arXiv 2402.00448, 2024. No
code was published, and of the paper only its abstract and summaries could be read: this is our reading of them. Stated
in the abstract: one teacher, pre-trained; two students of the same scale and inverted structure; pyramid matching. Said
by summaries, one of them written by a machine, which can be wrong in detail: the teacher is fixed; an encoder and a
decoder; a bottleneck that fuses the encoder's maps and embeds them in the decoder; scores from the decoder alone, its
levels' maps added; a loss with an L2 and a cosine term. All the rest is assumed, stands in the deviation list and can
be switched. The parts are STPM's (the encoder) and RD's (the embedding and the decoder).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adlib.backbones import Provenance, Teacher, feature_network
from adlib.layers import (
    ResidualBlock,
    cosine_distance,
    flat_cosine_distance,
    fuse_levels,
    kaiming_fan_out,
    smooth,
    squared_distance,
)
from adlib.methods.base import Batch, Deviation, Method, MethodConfig, Recipes, Stage, check_choices, check_levels
from adlib.reverse import OneClassBottleneck, ReverseDecoder, check_sides

LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class DSKDConfig(MethodConfig):
    """Hyper-parameters; the defaults are the recipe `paper`. Assumed, unless a comment says where it is from."""

    backbone: str = "resnet18"  # stated; also the other networks that RD knows
    levels: tuple[int, ...] = LEVELS  # distilled and scored: layer1..layer3
    students: str = "both"  # stated; ablations: encoder, or decoder, whose embedding the teacher then feeds
    embedding: str = (
        "fused"  # said by summaries: of all maps of the encoder; ablation: coarsest, one block on the last map
    )
    detach_dfe: bool = False  # True: the decoder's loss does not reach the encoder
    encoder_loss: bool = True  # ablation: False, the encoder learns through the embedding alone
    l2: str = "normalised"  # half the squared distance of unit pixels; options: raw_mse, none
    cosine: str = "flat"  # of the flattened maps, as RD; options: pixel, none
    cosine_weight: float = 1.0  # lambda of the cosine term
    distance: str = "cosine"  # of the anomaly map; option: l2, of unit pixels
    fusion: str = "sum"  # said by a summary, of the levels; option: product
    scoring: str = "decoder"  # said by a summary; options: encoder, sum, product of both students' maps
    sigma: float = 4.0  # pixels, Gaussian on the map, as RD; 0: none
    image_score: str = "max"  # option: mean
    optimiser: str = "adam"  # as RD; option: sgd, STPM's, with momentum 0.9 and weight decay 1e-4
    lr: float = 0.005  # as RD; STPM: 0.4
    betas: tuple[float, ...] = (0.5, 0.999)  # as RD
    epochs: int = 200  # as RD; STPM: 100
    batch: int = 16  # as RD; STPM: 32
    validation: float = 0.0  # as RD, the last epoch stays; STPM: 0.2, the epoch with the lowest mean map

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "students": ("both", "encoder", "decoder"),
            "embedding": ("fused", "coarsest"),
            "l2": ("normalised", "raw_mse", "none"),
            "cosine": ("flat", "pixel", "none"),
            "distance": ("cosine", "l2"),
            "fusion": ("sum", "product"),
            "scoring": ("decoder", "encoder", "sum", "product"),
            "image_score": ("max", "mean"),
            "optimiser": ("adam", "sgd"),
        }
        check_choices(self, allowed)
        check_levels(self, "levels", LEVELS)
        if self.l2 == self.cosine == "none":
            raise ValueError("l2 and cosine cannot both be 'none'")
        if self.students == "both" and self.detach_dfe and not (self.encoder_loss and 3 in self.levels):
            raise ValueError(
                "with detach_dfe the encoder learns from its own loss alone: it needs encoder_loss and level 3"
            )
        if self.students == "encoder" and not self.encoder_loss:
            raise ValueError("students='encoder' has no loss but the encoder's")


def _l2(taught: Tensor, learned: Tensor, form: str) -> Tensor:
    if form == "raw_mse":
        return (taught.float() - learned.float()).square().mean()
    return 0.5 * squared_distance(taught, learned).mean()


def _distance(taught: Tensor, learned: Tensor, form: str) -> Tensor:
    # Half the squared distance would be the cosine distance again.
    return cosine_distance(taught, learned) if form == "cosine" else squared_distance(taught, learned).sqrt()


class DSKD(Method):
    """Teacher, encoder student, deep feature embedding, decoder student."""

    Config: ClassVar = DSKDConfig
    RECIPES: ClassVar[Recipes] = {"paper": {}}
    SMALL: ClassVar = {"epochs": 3, "batch": 8}  # as RD

    config: DSKDConfig

    def __init__(self, config: DSKDConfig, teacher: str | Provenance) -> None:
        super().__init__()
        self.config = config
        # What each network is needed for: the embedding takes all three levels from whoever feeds it.
        self.taught = LEVELS if config.students == "decoder" else config.levels
        self.teacher = Teacher(config.backbone, teacher, self.taught)
        learners: list[nn.Module] = []
        if config.students != "decoder":
            self.encoded = LEVELS if config.students == "both" else config.levels
            self.encoder = feature_network(config.backbone, self.encoded)
            learners.append(self.encoder)
        if config.students != "encoder":
            self.decoder = ReverseDecoder(config.backbone)
            # Stages beyond the finest distilled level would neither train nor count.
            self.decoder.stages = self.decoder.stages[: 4 - min(config.levels)]
            deepest, coarse = self.decoder.widths[:2]
            self.embedding = (
                OneClassBottleneck(config.backbone)
                if config.embedding == "fused"
                else kaiming_fan_out(ResidualBlock(coarse, deepest, "down"))
            )
            learners += [self.embedding, self.decoder]
        self.learners = tuple(learners)

    def stages(self) -> list[Stage]:
        """Return the single stage, which trains both students and the embedding together."""
        c = self.config
        parameters = [p for module in self.learners for p in module.parameters()]
        optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, c.lr, (c.betas[0], c.betas[1]))
            if c.optimiser == "adam"
            else torch.optim.SGD(parameters, c.lr, momentum=0.9, weight_decay=1e-4)
        )
        stage = Stage(
            name="students",
            trains=self.learners,
            optimiser=optimiser,
            loss=self.loss,
            batch=c.batch,
            epochs=c.epochs,
            select=self.selection_score if c.validation else None,
            validation=c.validation,
        )
        return [stage]

    def student_maps(
        self, images: Tensor, taught: dict[int, Tensor], decode: bool = True
    ) -> dict[str, dict[int, Tensor]]:
        """Compute the students' maps by student and level; without `decode` the encoder's alone."""
        c = self.config
        found = {}
        if c.students != "decoder":
            found["encoder"] = dict(zip(self.encoded, self.encoder(images), strict=True))
        if c.students != "encoder" and decode:
            feeding = taught if c.students == "decoder" else found["encoder"]
            check_sides(images)
            features = [feeding[k] for k in LEVELS]
            if c.detach_dfe:
                features = [f.detach() for f in features]
            decoded = self.decoder(self.embedding(features if c.embedding == "fused" else features[-1]))
            found["decoder"] = dict(zip(range(4 - len(decoded), 4), decoded, strict=True))
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Add, over students and levels, the L2 term and lambda times the cosine term, means over the batch."""
        c = self.config
        taught = self.by_level(self.targets_of(batch))
        terms = {}
        for student, maps in self.student_maps(batch.image, taught).items():
            if student == "encoder" and not c.encoder_loss:
                continue
            for k in c.levels:
                if c.l2 != "none":
                    terms[f"{student}{k}_l2"] = _l2(taught[k], maps[k], c.l2)
                if c.cosine != "none":
                    distance = flat_cosine_distance if c.cosine == "flat" else cosine_distance
                    terms[f"{student}{k}_cosine"] = c.cosine_weight * distance(taught[k], maps[k]).mean()
        return terms

    def by_level(self, targets: list[Tensor]) -> dict[int, Tensor]:
        """Name the teacher's maps by their levels."""
        return dict(zip(self.taught, targets, strict=True))

    def selection_score(self, batch: Batch) -> Tensor:
        """Average the anomaly map of each image: (B,)."""
        targets = self.targets_of(batch)
        return self.map_of(batch.image, targets).mean(dim=(1, 2))

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Fuse the levels' upsampled distances of the scored students and blur the result: (N, H, W)."""
        return self.map_of(images, self.targets(images))

    def map_of(self, images: Tensor, targets: list[Tensor]) -> Tensor:
        """Compute the anomaly map from images and the teacher's maps of them."""
        c = self.config
        scoring = c.scoring if c.students == "both" else c.students
        taught = self.by_level(targets)
        students = self.student_maps(images, taught, decode=scoring != "encoder")
        chosen = [scoring] if scoring in students else ["encoder", "decoder"]
        maps = []
        for student in chosen:
            distances = [_distance(taught[k], students[student][k], c.distance) for k in c.levels]
            maps.append(fuse_levels(distances, images.shape[-2:], c.fusion))
        both = torch.stack(maps)
        return smooth(both.prod(dim=0) if scoring == "product" else both.sum(dim=0), c.sigma)

    def score(self, maps: Tensor) -> Tensor:
        """Take the maximum of each map, or its mean: (N,)."""
        return maps.amax(dim=(1, 2)) if self.config.image_score == "max" else maps.mean(dim=(1, 2))

    DEVIATIONS = (
        Deviation("layers", "several, not said which", "none published", "layer1..layer3; override levels"),
        Deviation("encoder student", "an encoder", "none published", "the teacher's network, random, on the image"),
        Deviation(
            "deep feature embedding",
            "a bottleneck that fuses the encoder's maps and embeds them in the decoder; layers not said",
            "none published",
            "RD's one-class bottleneck on the encoder's maps; embedding='coarsest' leaves the fusion out",
        ),
        Deviation("decoder student", "a decoder of the same scale", "none published", "RD's decoder of the network"),
        Deviation(
            "gradient through the embedding",
            "the students interact",
            "none published",
            "the decoder's loss also trains the encoder; override detach_dfe",
        ),
        Deviation(
            "loss",
            "an L2 and a cosine term (by a summary), neither formula nor weights",
            "none published",
            "half the squared distance of unit pixels + 1 - cosine of the flattened maps, weight 1, both students, all "
            "levels (per pixel the two would be the same number); overrides l2, cosine, cosine_weight, encoder_loss",
        ),
        Deviation(
            "anomaly map",
            "teacher against decoder, levels added (by a summary); distance and smoothing not said",
            "none published",
            "1 - cosine per pixel, sigma 4 as RD, bilinear with align_corners False unlike RD; overrides distance, "
            "fusion, scoring, sigma",
        ),
        Deviation("image score", "from the map, not said how", "none published", "its maximum; override image_score"),
        Deviation(
            "training",
            "not known",
            "none published",
            "RD's: Adam 0.005, betas 0.5 and 0.999, batch 16, 200 epochs, no validation, no augmentation; STPM's by "
            "optimiser='sgd', lr=0.4, batch=32, epochs=100, validation=0.2",
        ),
        Deviation("parameters", "not known", "none published", "18,165,952 train; decoder stages finer than needed go"),
    )
