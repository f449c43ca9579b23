"""One training loop for all methods: stages, seeds, loss log, checkpoint and resume.

Every random draw of a step follows from (seed, stage, step) alone. A training that was killed therefore goes on from
its last checkpoint exactly as if nothing had happened, without any generator's state being kept. A Ctrl-C waits for the
end of its step: half a step is not kept.
"""

import hashlib
import math
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from adlib.backbones import cached_features
from adlib.corrupt import Corruption
from adlib.device import affordable, autocast, keep_memory, resolve_device, resolve_precision, use_true_fp32
from adlib.environment import commit, device_name
from adlib.errors import first_line
from adlib.images import Images
from adlib.interrupts import interrupt_held
from adlib.methods.base import Method, Stage
from adlib.sampling import Draws, Plan, derive
from adlib.training_state import read_state, write_state

SAVES_APART = 20  # the next save comes after so many times what the last one took: they take a twentieth at most
SELDOM = 10  # ... and no later than after so many times `save_every`
FLUSH_EVERY = 25  # steps between reads of the losses; each read makes a GPU wait
CACHE_BUDGET = 4 << 30  # bytes at most of teacher features, which are kept where the images of a stage never change


@dataclass
class History:
    """What a training did: `losses` has a row a step (stage, step, epoch and one column a loss term).

    `batch` is the size drawn. `selected` names the epoch kept in each stage that selects one. `seconds` counts all
    sessions of a resumed training; `made_by` has the commit, torch and device of each that trained and differs from the
    one before, `ended_by` those of the last, which may have found nothing left to train.
    """

    losses: pd.DataFrame
    seconds: float
    batch: int
    steps: int
    selected: dict[str, int] = field(default_factory=dict)
    made_by: list[str] = field(default_factory=list)
    ended_by: str = ""


def use_fused_kernels(optimiser: torch.optim.Optimizer) -> None:
    """Let an SGD or Adam update each parameter in one pass over memory instead of one for each operation."""
    if isinstance(optimiser, torch.optim.SGD | torch.optim.Adam):
        for group in optimiser.param_groups:
            group["fused"] = True


def fit(
    method: Method,
    images: Images,
    *,
    seed: int = 0,
    corruption: Corruption | None = None,
    device: str = "auto",
    precision: str = "fp32",
    resume: Path | None = None,
    identity: str = "",
    save_every: float = 60.0,
    progress: bool = False,
    compile: bool = False,
) -> History:
    """Train a method on good images; the same seed on the same CPU gives the same weights (on a GPU nearly).

    Args:
        method: from `adlib.build`; moved to the device and trained in place.
        images: the training images, all normal.
        seed: of the order of images, of pseudo-anomalies and of what a method draws; the weights are the builder's.
        corruption: makes the pseudo-anomalies; needed by methods such as DeSTSeg.
        device: 'auto' (a free GPU, else the CPU), 'cpu', 'cuda'.
        precision: 'fp32', 'bf16' (autocast), or 'auto': bf16 where the device is faster at it.
        resume: file that holds the state of an unfinished training. Written every `save_every` seconds and on an
            interrupt and at the end; if it exists, the training goes on from it. The caller deletes it once the result
            is safe.
        identity: says what is trained, by default the method's config, the seed and the pixels; a resume file of
            another identity is refused.
        save_every: seconds, or 20 times what a save takes where that is more (a large state on a slow disk), at most
            10 times as many; with 0 it is written after each step.
        progress: show a bar, a step a tick.
        compile: hand each stage's loss to torch.compile: a minute or more at its first step, and results that differ by
            rounding. On the CPUs of `results/speed/training.csv` it makes no step faster; a GPU was not measured.

    Raises:
        ValueError: no images, no corruption where one is needed, a resume file of another training or a damaged one.
        FloatingPointError: a loss or the score of held-out images became NaN or infinite.
    """
    device = resolve_device(device)
    use_true_fp32()
    if device == "cpu":
        keep_memory()
    else:
        torch.cuda.init()  # a device with a number would not do it below
        torch.cuda.reset_peak_memory_stats(device)  # what a process did before is not of this training
    training = Training(
        method=method.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        images=images.to(device),
        seed=seed,
        corruption=corruption,
        device=device,
        precision=resolve_precision(precision, device),
        resume=resume,
        identity=identity or (_identity(method, images, seed) if resume is not None else ""),
        save_every=save_every,
        compile=compile,
    )
    if len(images) == 0:
        raise ValueError("there are no training images")
    if defects := int(images.labels.bool().sum()):
        raise ValueError(
            f"{defects} of {len(images)} training images are labelled as defects; methods learn from good ones alone: "
            "load the part of the table whose split is 'train'"
        )
    trainable = {p: p.requires_grad for p in method.parameters()}
    try:
        with torch.random.fork_rng(devices=[]):
            return training.run(progress)
    except KeyboardInterrupt:
        if training.whole:
            training.save()
        raise
    finally:
        for parameter, flag in trainable.items():
            parameter.requires_grad_(flag)
        method.eval()


def _identity(method: Method, images: Images, seed: int) -> str:
    """Say what a training is of, where its caller does not: a line a part, as `read_state` compares them."""
    pixels = hashlib.sha256(images.pixels.cpu().numpy().tobytes()).hexdigest()
    return f"method: {type(method).__name__}\nconfig: {method.config}\nseed: {seed}\nimages: {pixels}"


@dataclass
class Training:
    """One training under way: `run` makes all of it; `begin` and `advance` are the parts that benchmarks time."""

    method: Method
    images: Images
    seed: int
    corruption: Corruption | None
    device: str
    precision: str
    resume: Path | None
    identity: str
    save_every: float
    compile: bool = False
    # the state that a resume file holds
    stage_number: int = 0
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    selected: dict[str, int] = field(default_factory=dict)
    made_by: list[str] = field(default_factory=list)
    optimiser: torch.optim.Optimizer | None = None
    schedule: LRScheduler | None = None
    clock: float = 0.0
    saved: float = 0.0
    saving: float = 0.0  # seconds that the last save took
    whole: bool = False  # the weights, the optimiser and the step belong together
    pending: list[tuple[dict[str, Any], dict[str, Tensor]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draws = Draws(self.images, self.seed, self.corruption, self.device)

    def run(self, progress: bool) -> History:
        """Train all stages, from the resume file's state where there is one."""
        stages = self.method.stages()
        for stage in stages:
            if stage.corrupted and self.corruption is None:
                raise ValueError(f"stage {stage.name!r} trains on pseudo-anomalies: fit needs a corruption")
        plans = [Plan(stage, n, len(self.images), self.seed) for n, stage in enumerate(stages)]
        restored = self.restore()
        maker = f"commit {commit()}, torch {torch.__version__}, {device_name(self.device)}"
        if self.made_by[-1:] != [maker] and self.stage_number < len(stages):  # who only ends a run trains nothing
            self.made_by.append(maker)
        self.clock = self.saved = time.monotonic()
        total, done = sum(p.steps for p in plans), sum(p.steps for p in plans[: self.stage_number])
        bar = tqdm(total=total, initial=done + self.step, disable=not progress, mininterval=2, unit="step")
        with bar:
            for number in range(self.stage_number, len(stages)):
                plan = plans[number]
                stage = self.begin(number, stages[number], plan)
                if restored is not None:
                    stage.optimiser.load_state_dict(restored["optimiser"])
                    if self.schedule is not None:
                        self.schedule.load_state_dict(restored["schedule"])
                    restored = None
                self.whole = True
                self.run_stage(stage, plan, bar)
                self.whole = False
                self.step, self.best = 0, {}
        self.flush(bar)
        self.stage_number = len(stages)
        with interrupt_held():
            self.save()  # what comes now may fail, too, and a short training has not been saved yet
        return History(
            losses=pd.DataFrame(self.log),
            seconds=self.elapsed(),
            batch=plans[0].batch,
            steps=total,
            selected=self.selected,
            made_by=self.made_by,
            ended_by=maker,
        )

    def begin(self, number: int, stage: Stage, plan: Plan, fused: bool = True) -> Stage:
        """Make a stage the current one: its optimiser, its schedule, gradients for what it trains and nothing else.

        Returns the stage as it is run: with its loss compiled, if that was asked for.
        """
        if self.compile:
            stage = replace(stage, loss=torch.compile(stage.loss))
        if fused:
            use_fused_kernels(stage.optimiser)
        self.stage_number, self.optimiser = number, stage.optimiser
        self.schedule = None if stage.schedule is None else stage.schedule(stage.optimiser, plan.steps)
        self.method.eval()
        self.method.requires_grad_(False)
        for group in stage.optimiser.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        return stage

    def run_stage(self, stage: Stage, plan: Plan, bar: tqdm) -> None:
        """Make the steps of a stage that has begun, and at its end keep its best epoch or settle its statistics."""
        cache, first = self.features(stage), self.step
        for step, epoch, index in plan.batches(self.step, self.device):
            with interrupt_held():
                self.whole = False
                if step % plan.per_epoch == 0 or step == first:
                    self.train_mode(stage, epoch)
                terms = self.advance(stage, cache, step, index)
                self.pending.append(({"stage": stage.name, "step": step, "epoch": epoch}, terms))
                self.step = step + 1
                bar.update()
                if self.step % FLUSH_EVERY == 0:
                    self.flush(bar)
                if stage.select is not None and len(plan.held_out) and self.step % plan.per_epoch == 0:
                    self.keep_best(stage, plan, cache, epoch)
                self.whole = True
            if self.resume is not None and time.monotonic() - self.saved > self.save_after():
                self.save()
        self.flush(bar)
        if self.best:
            self.method.load_state_dict(self.best["state"], strict=False)
            self.selected[stage.name] = self.best["epoch"]
        elif stage.settle is not None:
            with interrupt_held():
                self.save()  # an interrupt of what comes now, which takes an epoch's time, must not cost the steps
            self.settle(stage, plan)

    def advance(self, stage: Stage, cache: list[Tensor] | None, step: int, index: Tensor) -> dict[str, Tensor]:
        """Make one step on the images at `index` and return its loss terms, without waiting for the device."""
        torch.manual_seed(derive(self.seed, self.stage_number, step))
        batch = self.draws.batch(stage, self.stage_number, step, index, cache)
        with autocast(self.device, self.precision):
            terms = stage.loss(batch)
        total = torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum()
        stage.optimiser.zero_grad(set_to_none=True)
        total.backward()
        stage.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        return {k: v.detach() for k, v in terms.items()}

    def train_mode(self, stage: Stage, epoch: int) -> None:
        """Put what trains into train mode, or into eval mode once its BatchNorm statistics are frozen."""
        frozen = stage.frozen_statistics_from
        for module in stage.trains:
            module.train(frozen is None or epoch < frozen)

    def features(self, stage: Stage) -> list[Tensor] | None:
        """Compute the teacher's features once where every step sees the images as they are."""
        if stage.corrupted:
            return None
        with autocast(self.device, self.precision):
            budget = affordable(CACHE_BUDGET, self.device)
            return cached_features(stage.targets or self.method.targets, self.images, budget)

    def settle(self, stage: Stage, plan: Plan) -> None:
        """Let BatchNorm take its statistics anew over the batches that follow the last step; no weight moves.

        As many as an epoch has, each counting alike. Where a stage ends within an epoch, they are the rest of that one
        and the beginning of the next, so that some images occur twice and others not at all.
        """
        assert stage.settle is not None
        self.whole = False
        (network,) = stage.trains
        batches = plan.batches(plan.steps, self.device, further=1)
        inputs = (stage.settle(self.draws.batch(stage, self.stage_number, step, index)) for step, _, index in batches)
        with autocast(self.device, self.precision):
            torch.optim.swa_utils.update_bn(inputs, network)

    @torch.no_grad()
    def keep_best(self, stage: Stage, plan: Plan, cache: list[Tensor] | None, epoch: int) -> None:
        """Score the held-out images in eval mode and remember the weights of the best epoch.

        A network that will be used with settled statistics is scored with them: training sees those of the batch alone.
        """
        assert stage.select is not None
        if stage.settle is not None:
            self.settle(stage, plan)
        self.method.eval()
        with autocast(self.device, self.precision):
            scores = [
                stage.select(self.draws.batch(stage, self.stage_number, 0, part, cache)).float()
                for part in plan.held_out.to(self.device).split(stage.batch)
            ]
        self.train_mode(stage, epoch + 1)
        score = float(torch.cat(scores).mean())
        if not math.isfinite(score):  # no later epoch would ever be lower than NaN
            raise FloatingPointError(
                f"the score of the held-out images became {score} in stage {stage.name!r} after epoch {epoch + 1}; "
                "a smaller learning rate may help"
            )
        self.flush(None)
        self.log[-1]["validation"] = score
        if not self.best or score < self.best["score"]:
            state = {name: value.clone() for name, value in self.method.learned_state().items()}
            self.best = {"score": score, "epoch": epoch, "state": state}

    def flush(self, bar: tqdm | None) -> None:
        """Move the losses of the last steps to the log; the only place where the loop waits for the device."""
        entries: list[dict[str, Any]] = []
        found = [value for _, terms in self.pending for value in terms.values()]
        numbers = iter(torch.stack(found).tolist() if found else [])  # one copy to the host for all
        for where, terms in self.pending:
            values = {name: next(numbers) for name in terms}
            for name, value in values.items():
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"loss term {name!r} became {value} in stage {where['stage']!r} at step {where['step']}; "
                        "a smaller learning rate may help"
                    )
            loss = sum(v for k, v in values.items() if not k.startswith("_"))
            entries.append({**where, **values, "loss": loss})
        with interrupt_held():  # else an interrupt between the two would log the same steps twice
            self.log += entries
            self.pending.clear()
        if bar is not None and self.log:
            bar.set_postfix_str(f"{self.log[-1]['stage']} {self.log[-1]['loss']:.4f}", refresh=False)

    def elapsed(self) -> float:
        """Seconds of training so far, over all sessions."""
        return self.seconds + time.monotonic() - self.clock

    def save_after(self) -> float:
        """Seconds from one save to the next: more where a save takes long, within bounds, as one may have hung."""
        return min(max(self.save_every, SAVES_APART * self.saving), SELDOM * self.save_every)

    def save(self) -> None:
        """Write the state beside the resume file and rename it: a kill at any moment leaves a whole file.

        A state that cannot be written, on a full disk say, is a warning: it must not cost the training itself.
        """
        if self.resume is None or self.optimiser is None:
            return
        self.flush(None)
        start = time.monotonic()
        state = {
            "identity": self.identity,
            "stage": self.stage_number,
            "step": self.step,
            "seconds": self.elapsed(),
            "log": self.log,
            "best": self.best,
            "selected": self.selected,
            "made_by": self.made_by,
            "weights": self.method.learned_state(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }
        try:
            write_state(self.resume, state)
            self.saving = time.monotonic() - start
        except (OSError, RuntimeError) as error:  # torch raises the latter on a full disk
            warnings.warn(
                f"the state of the training could not be written to {self.resume} ({first_line(error)}): it goes "
                "on, and once interrupted it would go on from an older state, or begin anew",
                stacklevel=2,
            )
        self.saved = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """Take up the state of the resume file, if there is one, and return it for the optimiser's part."""
        if self.resume is None or not self.resume.exists():
            return None
        state = read_state(self.resume, self.identity, self.device)
        self.stage_number = state["stage"]
        for name in ("step", "seconds", "log", "best", "selected"):
            setattr(self, name, state[name])
        self.made_by = state["made_by"]
        self.method.load_state_dict(state["weights"], strict=False)
        return state
