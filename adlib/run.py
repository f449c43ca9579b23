"""One prepared run (`adlib.prepare`) from training to row: trained, predicted, measured, written.

`notebooks/run.ipynb` shows what stands here step by step; a script gets the same row with

    run = adlib.prepare("stpm", "synthetic", "gear", scale="small")
    run.fit()
    run.write("results/local")
"""

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from adlib import images, legacy_metrics, metrics, plots, results
from adlib.corrupt import Corruption
from adlib.device import memory_explained
from adlib.environment import environment, peak_memory
from adlib.files import whole_file
from adlib.images import IMAGE_SIZE
from adlib.methods import Method
from adlib.predict import Prediction, predict
from adlib.textures import procedural_textures
from adlib.train import History, fit


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
        with memory_explained(f"the textures of pseudo-anomalies were brought to {self.device}"):
            corruption = self._corruption()
        begun, self.begun = self.begun, True
        self.prediction = None
        made_of = {
            "run": self.identity,
            "config": self.config,
            "precision": self.precision,
            "teacher": self.method.provenance.sha256,
            "images": self.data_sha256,
            "textures": self.notes.get("textures", ""),
        }
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
                    identity="\n".join(f"{name}: {value}" for name, value in made_of.items()),
                    save_every=save_every,
                    progress=progress,
                    compile=compile,
                )
        except ValueError:  # what was given does not fit, and no step was made
            self.begun = begun
            raise
        except KeyboardInterrupt:
            if resume is not None and resume.exists():
                print(f"Interrupted. The training so far is kept in {resume}: the same call goes on from there.")
            raise
        if self.history.made_by != [self.history.ended_by]:  # of which the row has the commit and the device
            self.notes["resumed"] = "trained by " + "; then by ".join(self.history.made_by)
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
        names, lines = ["image_auroc", "pixel_auroc", "aupro"], {}
        for kind in sorted(set(kinds[labels == 1])):
            own = (kinds == kind) & (labels == 1)
            of = own | (labels == 0)
            values, _ = metrics.evaluate(found.maps[of], masks[of], found.scores[of], labels[of], known[of])
            outlined = masks[own & known]
            share = float(outlined.mean()) if len(outlined) else math.nan
            lines[kind] = {"images": int(own.sum()), "share": share, **{name: values[name] for name in names}}
        columns = ["images", "share", *names]
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
        results.validate(results.document(row), str(path))  # before the picture takes the place of an earlier one
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
            textures = procedural_textures(size=IMAGE_SIZE)
        c = self.method.config
        return Corruption(
            textures.to(self.device),
            rotation=c.rotation,
            probability=c.corruption_probability,
            threshold=c.perlin_threshold,
        )
