"""One run from start to row: everything is checked first, then trained, predicted, measured, written.

`notebooks/run.ipynb` shows what stands here step by step; a script gets the same row with

    run = adlib.prepare("stpm", "synthetic", "gear", scale="small")
    run.fit()
    run.write("results/local")
"""

import dataclasses
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from adlib import datasets, images, legacy_metrics, metrics, plots, results
from adlib.backbones import sources
from adlib.corrupt import Corruption, rotation_of
from adlib.datasets import dtd
from adlib.device import memory_explained, resolve_device, resolve_precision
from adlib.environment import environment, peak_memory
from adlib.files import check_writable, whole_file
from adlib.images import IMAGE_SIZE
from adlib.methods import METHODS, Method, build, mapping, resolve
from adlib.predict import Prediction, predict
from adlib.row import RULES
from adlib.textures import procedural_textures
from adlib.train import History, fit

PROCEDURAL_TEXTURES = 128


def prepare(
    method: str,
    dataset: str,
    category: str,
    *,
    recipe: str = "paper",
    seed: int = 0,
    scale: str = "full",
    teacher: str = "bundled",
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    out_dir: str | Path | None = None,
) -> "Run":
    """Check all parameters, read the images and build the method; nothing is trained yet, and no row written.

    Images whose decoding takes long are kept decoded in the user's cache folder (`adlib/decoded.py`).

    Args:
        method: a name in `adlib.METHODS`.
        dataset: a name in `adlib.datasets.DATASETS`; `folder` is a folder of your own.
        category: one of the dataset; of `folder` the path of the images, absolute or from `data_root`.
        recipe: 'paper' (what the text says) or 'code' (what the authors' code does), where there is any.
        seed: of the initial weights and all random draws.
        scale: 'full' trains as long as the source, 'small' for minutes.
        teacher: 'bundled', 'imagenet', 'random', or the path of a `.safetensors` file; see `adlib.backbones`.
        overrides: fields of the method's config, such as {'levels': [1, 2]}.
        data_root: the folder that holds the datasets; else `ADLIB_DATA`, else one in the user's cache.
        device: 'auto' (a free GPU, else the CPU), 'cpu', 'cuda'.
        precision: 'fp32', 'bf16', or 'auto': bf16 where the device is faster at it.
        out_dir: where an unfinished training leaves its state, beside where its row will be, and goes on from it.

    Raises ValueError or FileNotFoundError, saying what was expected and found, for anything that does not fit.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number of at least 0 and below 2^31, got {seed!r}")
    if not isinstance(category, str) or not category:
        raise ValueError(f"category must be text, got {category!r}; papermill keeps '01' as text with -r category 01")
    asked = mapping(overrides)
    config = resolve(method, recipe, scale, **asked)
    identity = identify(method, dataset, category, recipe, seed, scale, teacher, asked, data_root)
    expected, holds = RULES["category"]
    if not holds(identity["category"]):
        raise ValueError(
            f"the folder {identity['category']!r} would name a row, for which it takes {expected}, of at most 100 "
            "characters: rename it"
        )
    samples = datasets.load(dataset, category, data_root)
    if "test" not in set(samples["split"]):
        raise ValueError(
            f"{dataset}/{category} has no image to test on: of five good images or more one is held out, else put some "
            "into test/good or a folder named for a defect"
        )
    decided: dict[str, Any] = {}  # fields of the config that depend on the data
    if getattr(config, "rotation", None) == "auto":  # a user's folder may be called bottle, and is not MVTec's
        decided["rotation"] = "none" if dataset == "folder" else rotation_of(category)
    if scale == "small" and "epochs" in METHODS[method].SMALL.keys() - asked.keys():
        decided["epochs"] = small_epochs(config.epochs, int((samples["split"] == "train").sum()))
    with memory_explained(f"{method} was built"):
        built = build(method, recipe, teacher, scale, seed, **(asked | decided))
    built.stages()  # a schedule that cannot be is an error now, not after the images are read
    device = resolve_device(device)  # which may wait for a GPU
    precision = resolve_precision(precision, device)
    data_sha256 = datasets.fingerprint(samples)
    split = {
        name: images.load(part, IMAGE_SIZE, built.preprocess, identity=data_sha256)
        for name, part in samples.groupby("split")
    }
    exchanged = _exchanged(dataclasses.replace(config, **decided), built.config)
    notes = {"teacher": exchanged} if exchanged else {}
    textures: list[str] = []
    if any(stage.corrupted for stage in built.stages()):
        textures, notes["textures"] = _texture_files(data_root)
        if scale == "full" and not textures:
            root = datasets.data_root(data_root)
            warnings.warn(
                f"no DTD in {root / 'dtd'}: pseudo-anomalies will be made of generated textures, which is not what the "
                f"paper did. To fetch it: python -m adlib.datasets.download dtd --root {root}",
                stacklevel=2,
            )
    if out_dir is not None:  # hours of training are lost where the row cannot be written
        check_writable(results.row_path(Path(out_dir).expanduser(), identity).parent)
    run = Run(
        identity=identity,
        method=built,
        train=split["train"],
        test=split["test"],
        data_sha256=data_sha256,
        device=device,
        precision=precision,
        out_dir=None if out_dir is None else Path(out_dir).expanduser(),
        textures=textures,
        notes=notes,
    )
    if run.out_dir is not None:
        _warn_of_replacement(results.row_path(run.out_dir, run.identity), run)
    return run


def _exchanged(wanted: Any, used: Any) -> str:
    """Word which networks of a config were exchanged for others, as their weights do not ship; empty if none."""
    before = dataclasses.asdict(wanted)
    return "; ".join(
        f"{name} {value} in place of {before[name]}, {'to go with it' if name == 'student' else 'which does not ship'}"
        for name, value in dataclasses.asdict(used).items()
        if value != before[name]
    )


def _warn_of_replacement(path: Path, run: "Run") -> None:
    """Say before the training where its row will take the place of one of other images, textures, weights or precision.

    A row's path names neither the folder of somebody's images, nor that of a weights file, nor the precision.
    """
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = {
        "images of the same name": ("data_sha256", run.data_sha256),
        "weights of the same name": ("teacher_sha256", run.method.provenance.sha256),
        f"precision ({old.get('precision')}, now {run.precision})": ("precision", run.precision),
    }
    other = [what for what, (name, value) in now.items() if old.get(name) != value]
    if (found := old.get("notes", {}).get("textures")) != run.notes.get("textures"):
        other.append(f"textures of pseudo-anomalies ({found}, now {run.notes.get('textures')})")
    if other:
        warnings.warn(
            f"{path} was made with other {' and other '.join(other)} and will be replaced: "
            "move it away, or name another out_dir, to keep it",
            stacklevel=3,
        )


def small_epochs(epochs: int, images: int) -> int:
    """Convert the epochs of the scale `small`, meant for 200 images, to about as many steps on that many images.

    So a run takes the same time on every category, and a folder of twenty good images is not trained for a moment only.
    """
    return max(1, round(epochs * 200 / max(images, 20)))


def identify(
    method: str,
    dataset: str,
    category: str,
    recipe: str,
    seed: int,
    scale: str,
    teacher: str,
    overrides: Mapping[str, Any],
    data_root: str | Path | None = None,
) -> dict[str, Any]:
    """Return what identifies a run, as its row has it."""
    return {
        "method": method,
        "recipe": recipe,
        "dataset": dataset,
        "category": _label(category, data_root),
        "seed": seed,
        "scale": scale,
        # a row names a weights file, not the folder that it lay in
        "teacher": "+".join(Path(t).name if t.endswith(".safetensors") else t for t in sources(teacher)),
        "overrides": dict(overrides),
    }


@dataclass
class Run:
    """A prepared run; `fit` trains it, `predict` and `evaluate` test it, `row` and `write` record it."""

    identity: dict[str, Any]
    method: Method
    train: images.Images
    test: images.Images
    data_sha256: str
    device: str
    precision: str
    out_dir: Path | None = None
    textures: list[str] = field(default_factory=list)  # of DTD; without any, pseudo-anomalies take our own
    history: History | None = None
    prediction: Prediction | None = None
    seconds_test: float = 0.0
    begun: bool = False  # its weights are no longer those of the beginning
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The method's resolved hyper-parameters."""
        return dataclasses.asdict(self.method.config)

    def fit(self, progress: bool = False, compile: bool = False, save_every: float = 60.0) -> History:
        """Train; goes on from the state that a killed run left in `out_dir`. See `adlib.train.fit` for the rest.

        Raises ValueError for a run whose training began before and left no state to go on from.
        """
        resume = self._resume_file()
        if self.begun and (resume is None or not resume.exists()):
            raise ValueError("the network of this run has been trained already: prepare a new run to train another")
        self.begun, self.prediction = True, None
        corruption = self._corruption()
        made_of = [self.method.provenance.sha256, self.data_sha256, self.notes.get("textures", "")]
        try:
            with memory_explained(f"{self.identity['method']} trained on {self.device}"):
                self.history = fit(
                    self.method,
                    self.train,
                    seed=self.identity["seed"],
                    corruption=corruption,
                    device=self.device,
                    precision=self.precision,
                    resume=resume,
                    identity=f"{self.identity} {self.config} {self.precision} {' '.join(made_of)}",
                    save_every=save_every,
                    progress=progress,
                    compile=compile,
                )
        except KeyboardInterrupt:
            if resume is not None and resume.exists():
                print(f"Interrupted. The training so far is kept in {resume}: the same call goes on from there.")
            raise
        if len(self.history.made_by) > 1:  # the row's own commit and device are those that ended it
            self.notes["resumed"] = "trained in turn by " + "; then by ".join(self.history.made_by)
        if self.history.selected:
            kept = (f"{stage}: epoch {epoch + 1}" for stage, epoch in self.history.selected.items())
            self.notes["selected"] = "; ".join(kept) + " by validation"
        if compile:
            self.notes["compiled"] = "trained through torch.compile"
        return self.history

    def predict(self) -> Prediction:
        """Compute maps and scores of the test images, in the order of `test.table`."""
        start = time.monotonic()
        with memory_explained(f"{self.identity['method']} scored {len(self.test)} images on {self.device}"):
            self.prediction = predict(self.method, self.test, device=self.device, precision=self.precision)
        self.seconds_test = time.monotonic() - start
        return self.prediction

    @property
    def predicted(self) -> Prediction:
        """The prediction of the test images, made if there is none yet."""
        return self.prediction or self.predict()

    def evaluate(self) -> tuple[dict[str, float], dict[str, str]]:
        """Compute the exact metrics, and for each that is NaN the reason; before `fit` those of random weights."""
        found, (masks, labels, known) = self.predicted, self._truth
        return metrics.evaluate(found.maps, masks, found.scores, labels, known)

    def by_kind(self) -> pd.DataFrame:
        """Measure each kind of defect alone, beside all normal test images: one line a kind, the least found first.

        `images` of the kind, `share` of their pixels that is defect (mean over those with a mask), and the metrics;
        NaN where they are undefined, as for pixels of a kind that nobody outlined.
        """
        found, kinds = self.predicted, self.test.table["defect"].to_numpy()
        masks, labels, known = self._truth
        lines = {}
        for kind in sorted(set(kinds[labels == 1])):
            own = (kinds == kind) & (labels == 1)
            of = own | (labels == 0)
            values, _ = metrics.evaluate(found.maps[of], masks[of], found.scores[of], labels[of], known[of])
            outlined = masks[own & known]
            share = float(outlined.mean()) if len(outlined) else math.nan
            shown = {name: values[name] for name in ("image_auroc", "pixel_auroc", "aupro")}
            lines[kind] = {"images": int(own.sum()), "share": share, **shown}
        columns = ["images", "share", "image_auroc", "pixel_auroc", "aupro"]
        return pd.DataFrame.from_dict(lines, orient="index", columns=columns).sort_values("image_auroc")

    def evaluate_legacy(self) -> tuple[dict[str, float], dict[str, str]]:
        """Compute the "PRO"s of three published codes, for comparison columns, and why one was left out."""
        masks, _, known = self._truth
        return legacy_metrics.evaluate(self.predicted.maps[known], masks[known])

    def row(self) -> results.Row:
        """Gather the metrics of a trained run with everything that explains them."""
        if self.history is None:
            raise ValueError("the run has not been trained: call fit() first")
        values, reasons = self.evaluate()
        legacy, left_out = self.evaluate_legacy()
        measured: dict[str, Any] = dict(values)
        labels = self.test.labels
        provenance = self.method.provenance
        return results.Row(
            **self.identity,
            **measured,
            legacy=legacy,
            notes=reasons | left_out | self.notes,
            config=self.config,
            steps=self.history.steps,
            batch=self.history.batch,
            image_size=IMAGE_SIZE,
            precision=self.precision,
            train_images=len(self.train),
            test_normal=int((labels == 0).sum()),
            test_defect=int((labels == 1).sum()),
            test_unmasked=int((~self.test.mask_known).sum()),
            trainable_parameters=sum(p.numel() for p in self.method.parameters() if p.requires_grad),
            final_loss=float(self.history.losses["loss"].iloc[-1]),
            seconds_train=self.history.seconds,
            seconds_test=self.seconds_test,
            peak_memory_mib=peak_memory(self.device),
            teacher_sha256=provenance.sha256,
            data_sha256=self.data_sha256,
            **environment(self.device),
        )

    def write(self, folder: str | Path | None = None, row: results.Row | None = None) -> Path:
        """Write a picture of the maps and then the row (by default a new one), below `folder` (by default `out_dir`).

        The row comes last, so that whoever finds it finds everything; the training state that it replaces goes then.
        """
        named = folder if folder is not None else self.out_dir
        if named is None:
            raise ValueError("no folder was given for the row: pass one, or out_dir to prepare")
        target = Path(named).expanduser()
        row = row or self.row()
        path = results.row_path(target, row)
        reached = "" if math.isnan(row.image_auroc) else f": image AUROC {row.image_auroc:.1%}"
        changed = f", {results.text_of(row.overrides)}" if row.overrides else ""
        of = f"{row.method} ({row.recipe}{changed}), {row.dataset}/{row.category}, {row.scale} scale"
        title = f"{of}, teacher {row.teacher}, seed {row.seed}{reached}"
        figure = plots.best_and_worst(self.test, self.predicted.maps, self.predicted.scores, title=title)
        with whole_file(path.with_suffix(".png")) as temporary:
            figure.savefig(temporary, dpi=80, format="png", bbox_inches="tight")
        plt.close(figure)
        results.write(row, target)
        self.forget()
        return path

    def forget(self) -> None:
        """Delete the state of the training, once its result is safe."""
        resume = self._resume_file()
        if resume is not None:
            resume.unlink(missing_ok=True)

    def scores(self) -> pd.DataFrame:
        """Set each test image's score beside its label and defect type, worst first."""
        found = self.predicted
        table = self.test.table[["image", "label", "defect"]].assign(score=found.scores)
        return table.sort_values("score", ascending=False, ignore_index=True)

    @property
    def _truth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks (N, H, W), labels (N,) and whether each mask is known (N,), of the test images."""
        return self.test.masks.cpu().numpy(), self.test.labels.cpu().numpy(), self.test.mask_known.cpu().numpy()

    def _resume_file(self) -> Path | None:
        return None if self.out_dir is None else results.row_path(self.out_dir, self.identity).with_suffix(".resume")

    def _corruption(self) -> Corruption | None:
        """Make the source of pseudo-anomalies, for a method that trains with some."""
        if "textures" not in self.notes:
            return None
        if self.textures:
            textures = images.load_textures(self.textures, IMAGE_SIZE)
        else:
            textures = procedural_textures(PROCEDURAL_TEXTURES, IMAGE_SIZE)
        c = self.method.config
        return Corruption(
            textures.to(self.device),
            rotation=c.rotation,
            probability=c.corruption_probability,
            threshold=c.perlin_threshold,
        )


def _texture_files(data_root: str | Path | None) -> tuple[list[str], str]:
    """Files of DTD for pseudo-anomalies, none where it is not in the data root, and what a row says of either."""
    try:
        found = dtd.images(datasets.data_root(data_root) / "dtd")
    except FileNotFoundError:
        return [], f"procedural, {PROCEDURAL_TEXTURES} images (no DTD in the data root)"
    return found, f"DTD, {len(found)} images"


def _label(category: str, data_root: str | Path | None) -> str:
    """Name a category in a row: the user's own folder goes by its last part."""
    if not {"/", os.sep} & set(category) and not category.startswith((".", "~")):
        return category
    return Path(os.path.abspath(Path(datasets.data_root(data_root), Path(category).expanduser()))).name  # no links
