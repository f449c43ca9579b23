"""The reduced student as SimonThomine/MixedTeacher trains it (commit a99e28f), and STPM (gdwang08/STFPM, 2598a5e).

Every image is decoded and passes the teacher each time it is drawn; the loss is read as a number after each step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adlib.methods import STPM, Method, ReducedStudent


class Reference:
    """A step on the networks of a `ReducedStudent` (either recipe) or an `STPM`."""

    def __init__(self, method: Method, steps: int = 1000) -> None:
        assert isinstance(method, ReducedStudent | STPM)
        self.method, c = method, method.config
        self.student = method.student.requires_grad_(True).train()
        if getattr(c, "optimiser", "sgd") == "adam":
            self.optimiser: torch.optim.Optimizer = torch.optim.Adam(self.student.parameters(), c.lr)
        else:
            self.optimiser = torch.optim.SGD(self.student.parameters(), c.lr, c.momentum, weight_decay=c.weight_decay)
        one_cycle = getattr(c, "one_cycle", False)
        self.schedule = (
            torch.optim.lr_scheduler.OneCycleLR(self.optimiser, 10 * c.lr, total_steps=steps) if one_cycle else None
        )

    def step(self, images: Tensor) -> float:
        """Learn from one batch: the loss."""
        c = self.method.config
        with torch.no_grad():
            targets = self.targets(images)
        self.optimiser.zero_grad()
        terms = []
        for target, output in zip(targets, self.student(images), strict=True):
            squares = (F.normalize(target, dim=1) - F.normalize(output, dim=1)) ** 2
            area = output.shape[-2] * output.shape[-1]
            terms.append(0.5 * squares.sum() / area)  # summed over the batch
        loss = torch.stack(terms).sum()
        if getattr(c, "level_reduction", "sum") == "mean":
            loss = loss / len(terms)
        if getattr(c, "batch_reduction", "mean") == "mean":
            loss = loss / len(images)
        if isinstance(self.method, STPM):
            loss = 2 * c.loss_factor * loss
        loss.backward()
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss.item()

    def targets(self, images: Tensor) -> list[Tensor]:
        """Run the teacher, and for a reduced student average 2 x 2 pixels of each map but the stem's."""
        maps = self.method.teacher(images)
        if isinstance(self.method, STPM):
            return maps
        stem = F.max_pool2d(maps[0], 3, 2, 1)
        return [F.avg_pool2d(maps[k], 2) if k else stem for k in self.method.config.levels]
