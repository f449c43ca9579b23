"""Reverse distillation as hq-deng/RD4AD trains it (commit 6554076): the teacher in every step, its layer4 included."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.backbones import feature_network
from adlib.methods import RD


class Reference:
    """A step on the networks of an `RD` of recipe `code`."""

    def __init__(self, method: RD) -> None:
        self.method, c = method, method.config
        self.teacher = feature_network(c.backbone, (1, 2, 3, 4)).eval().requires_grad_(False)
        # layer4 is computed and dropped; its weights have no part in the loss.
        self.teacher.load_state_dict(method.teacher.features.state_dict(), strict=False)
        self.learners = nn.ModuleList([method.bottleneck, method.decoder]).requires_grad_(True).train()
        self.optimiser = torch.optim.Adam(self.learners.parameters(), c.lr, (c.betas[0], c.betas[1]))

    def step(self, images: Tensor) -> float:
        """Learn from one batch: the loss."""
        with torch.no_grad():
            features = self.teacher(images)[:3]
        outputs = self.method.decoder(self.method.bottleneck(features))
        terms = [
            (1 - F.cosine_similarity(f.flatten(1), s.flatten(1))).mean() for f, s in zip(features, outputs, strict=True)
        ]
        loss = torch.stack(terms).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()
