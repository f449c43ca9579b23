"""From a folder of your own good images to a detector with a threshold, and from there to scores, a report and ONNX.

    detector = adlib.Detector("stpm").fit("my_parts", progress=True)
    detector.score("new_parts").to_csv("scores.csv", index=False)
    detector.save("my_parts.safetensors")

and elsewhere `adlib.Detector.load("my_parts.safetensors").score("more_parts")`, or in a shell
`python -m adlib my_parts.safetensors more_parts`. `fit` reads a folder as
`adlib.datasets.folder` describes; only good images are needed.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.colors import Normalize
from tqdm import tqdm

from adlib import checkpoint, checks, datasets, images, plots, report, unlabelled
from adlib.backbones import check_source, sources
from adlib.datasets.folder import masks_below
from adlib.datasets.table import found_in
from adlib.device import resolve_device
from adlib.export import export_onnx
from adlib.files import check_writable, is_overlay, printable
from adlib.images import IMAGE_SIZE
from adlib.methods import Method, mapping, name_of, resolve
from adlib.predict import Prediction, predict
from adlib.preparation import prepare
from adlib.run import Run
from adlib.threshold import FALSE_ALARM_RATE, Threshold, check_rate
from adlib.training_state import waiting_folder


@dataclass(frozen=True)
class _Learned:
    """What `fit` makes or `load` reads, whole: a detector has all of it or nothing."""

    method: Method
    threshold: Threshold
    held_out: tuple[float, ...]  # scores of good images, which the threshold was chosen from
    colours: Normalize  # the one range for all maps of this detector
    looks: dict[str, tuple[float, float]]  # least and greatest of what `checks.looks` found of good images
    findings: tuple[str, ...] = ()  # of `fit`, but for those that hang on the threshold
    run: Run | None = None  # of `fit`, with its images


class Detector:
    """A method, the folder it learned from, and a threshold: what tells good parts from bad ones.

    Args:
        method: a name in `adlib.METHODS`.
        teacher: 'bundled', 'imagenet', 'random', or the path of a `.safetensors` file; see `adlib.backbones`.
        recipe: 'paper' or 'code', see `adlib.methods`.
        scale: 'full' trains as long as the source does, 'small' for minutes.
        seed: of all random draws.
        device: 'auto' (a free GPU, else the CPU), 'cpu', 'cuda'.
        overrides: fields of the method's config.

    After `fit` there are `threshold`, `method`, `findings` (what looks wrong, in sentences) and `trained` (the run,
    with its images); after `load`, `threshold` and `method` alone.
    """

    def __init__(
        self,
        method: str = "stpm",
        *,
        teacher: str | Path = "bundled",
        recipe: str = "paper",
        scale: str = "full",
        seed: int = 0,
        device: str = "auto",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        teacher = str(teacher)
        resolve(method, recipe, scale, **mapping(overrides))  # a wrong name is an error here, not after the images
        for source in sources(teacher):
            check_source(source)
        self.device = resolve_device(device)
        self._options: dict[str, Any] = {
            "method": method,
            "teacher": teacher,
            "recipe": recipe,
            "scale": scale,
            "seed": seed,
            "device": self.device,
            "overrides": overrides,
        }
        self._learned: _Learned | None = None
        self._root = Path()  # the folder of `fit`, which the paths of its images are relative to

    def __repr__(self) -> str:
        state = "not trained" if self._learned is None else f"alarm above {self.threshold.value:.4g}"
        return f"<Detector {self._options['method']}, {state}>"

    @property
    def method(self) -> Method:
        """The trained method; ValueError before `fit`."""
        return self._known().method

    @property
    def threshold(self) -> Threshold:
        """The threshold; ValueError before `fit`."""
        return self._known().threshold

    @property
    def trained(self) -> Run:
        """The run of `fit`, with the training and the test images; ValueError for a detector that was loaded."""
        run = self._known().run
        if run is None:
            raise ValueError("a detector that was loaded does not know its test images: use score(folder)")
        return run

    @property
    def findings(self) -> tuple[str, ...]:
        """What looks wrong with the images of `fit` and their scores, in sentences; none for a loaded detector."""
        if self._learned is None or self._learned.run is None:
            return ()
        run, threshold = self._learned.run, self._learned.threshold
        table = run.test.table.assign(score=run.predicted.scores)
        return (
            *self._learned.findings,
            *checks.check_enough_held_out(threshold.held_out, threshold.asked),
            *checks.check_scores(table, threshold.value),
        )

    def fit(
        self,
        root: str | Path,
        *,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        out_dir: str | Path | None = None,
        progress: bool = False,
    ) -> "Detector":
        """Learn what good parts look like and choose the threshold from good images that were held out; return itself.

        Defects in `root`, where there are any, are only tested on. An interrupt (Ctrl-C) keeps the training so far in
        `out_dir` (else for a month in the cache folder of the user's home) and says where; the same call goes on from
        it. So it does until `save`: what a script loses between the two costs no second training.

        Raises FileNotFoundError or ValueError, saying what was expected and found, for a folder that cannot be read.
        """
        if self._learned is not None and self._learned.run is None:
            raise ValueError("this detector was loaded, to score with: to train one, make a new Detector(method, ...)")
        check_rate(false_alarm_rate)
        if not isinstance(root, str | PathLike):
            raise ValueError(
                f"fit takes a folder of images, got {root!r}; papermill takes a name that is a number as text with -r: "
                "-r root 2024"
            )
        root = Path(root).expanduser().absolute()
        if not root.is_dir():
            raise FileNotFoundError(f"no folder of images {root}; {root.parent} holds: {found_in(root.parent)}")
        samples = datasets.load("folder", str(root))
        findings = checks.check_files(samples) + checks.check_masks(samples, masks_below(root))
        unfinished = waiting_folder(datasets.fingerprint(samples)) if out_dir is None else Path(out_dir).expanduser()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", images.UnknownMask)  # masks are welcome here, not expected
            run = prepare(dataset="folder", category=str(root), out_dir=unfinished, **self._options)
        findings += checks.check_dark(run.train) + checks.check_areas(run.test)
        findings += checks.check_duplicates(run.train, run.test) + checks.check_brightness(run.test)
        good = run.test.labels.numpy() == 0
        early = [*findings, *checks.check_enough_held_out(int(good.sum()), false_alarm_rate)]
        for finding in early if progress else ():
            print(printable(finding))
        run.fit(progress=progress)
        scores = run.predicted.scores
        threshold = Threshold.of(scores[good], false_alarm_rate)
        seen = predict(run.method, run.train, device=self.device).scores
        findings += checks.check_held_out(seen, scores[good]) + checks.check_border(run.predicted.maps[good])
        if self._options["scale"] == "small":
            findings.append(
                "The training was a short one (scale='small'), a first look: before you judge the method or use the"
                " detector, train with scale='full', as long as its source does."
            )
        if self._options["teacher"] == "random":
            findings.append(
                "The teacher is untrained: teacher='random' shows that everything works, and is a poor detector."
            )
        # All at once: a fit that fails leaves the detector of before as it was.
        colours = plots.scale_of(run.predicted.maps)
        looks = pd.concat([checks.looks(run.train), checks.looks(run.test)[good]])
        known = {name: (float(column.min()), float(column.max())) for name, column in looks.items()}
        held_out = tuple(scores[good].tolist())
        self._learned = _Learned(run.method, threshold, held_out, colours, known, tuple(findings), run)
        self._root = root
        for finding in self.findings if progress else ():
            if finding not in early:
                print(printable(finding))
        return self

    def choose_threshold(self, false_alarm_rate: float) -> Threshold:
        """Choose another threshold from the same held-out good images, without a training, also after `load`.

        Return it; ValueError for a rate that is not between 0 and 1.
        """
        learned = self._known()
        threshold = Threshold.of(learned.held_out, false_alarm_rate)
        self._learned = replace(learned, threshold=threshold)
        return threshold

    def score(self, folder: str | Path, *, overlays: str | Path | None = None, progress: bool = False) -> pd.DataFrame:
        """Score all images in a folder and its sub-folders, or one image: image, score, alarm; the worst first.

        Paths are relative to the folder. Mask folders and overlays of adlib are left out. `overlays`: a folder that
        then gets a picture of each image, as the method sees it (256 x 256), with its anomaly map, all on one scale;
        what is there and is no overlay is never replaced. An image that cannot be read has no score (NaN) and raises an
        alarm, as nobody knows that it is good; a warning names it, and one says where most are of another light or
        resolution than the good images were. ValueError where none can be read, or where an overlay would replace
        another file.
        """
        threshold = self.threshold  # an untrained detector is an error now
        if not isinstance(folder, str | PathLike):
            raise ValueError(
                f"score takes a folder or an image file, got {type(folder).__name__}; images in memory are scored by "
                "adlib.optimised(detector.method), as uint8 tensors of the size trained at"
            )
        folder = Path(folder).expanduser().absolute()
        home = folder if folder.is_dir() else folder.parent
        paths = unlabelled.images_at(folder)
        names = {path: path.relative_to(home).as_posix() for path in paths}
        drawn = None if overlays is None else Path(overlays).expanduser().absolute()
        if drawn is not None:
            check_writable(drawn)
            _check_overlays(drawn, names.values())
        rows, broken, looks = [], dict[str, str](), []
        with tqdm(total=len(paths), disable=not progress, unit="image", desc="scoring") as bar:
            for loaded, unreadable in unlabelled.decode(paths, self.method.preprocess):
                broken |= {names[path]: why for path, why in unreadable.items()}
                if loaded is not None:
                    found = self._predict(loaded)
                    looks.append(checks.looks(loaded))
                    known = [names[Path(path)] for path in loaded.table["image"]]
                    rows += list(zip(known, found.scores.tolist(), strict=True))
                    if drawn is not None:
                        self._draw(loaded, found, known, drawn)
                bar.update(len(loaded or ()) + len(unreadable))
        if broken:
            first = next(iter(broken.values()))
            if not rows:
                raise ValueError(first)
            warnings.warn(f"{len(broken)} of {len(paths)} images have no score: {first}", stacklevel=2)
        for finding in checks.check_alike(self._known().looks, pd.concat(looks)):
            warnings.warn(finding, stacklevel=2)
        table = pd.DataFrame([*rows, *((name, math.nan) for name in broken)], columns=["image", "score"])
        table["alarm"] = ~(table["score"] <= threshold.value)
        return table.sort_values("score", ascending=False, ignore_index=True, na_position="first")

    def tested(self) -> pd.DataFrame:
        """Return the test images of `fit`: image, defect, label, score, alarm; the worst first."""
        run = self.trained
        table = run.scores()
        table["alarm"] = table["score"] > self.threshold.value
        table["image"] = [self._name(path) for path in table["image"]]
        return table[["image", "defect", "label", "score", "alarm"]]

    def save(self, path: str | Path) -> Path:
        """Write the detector to `path` (`.safetensors`), its threshold and description beside it (`.json`)."""
        learned = self._known()
        more = {
            "threshold": asdict(learned.threshold),
            "held_out": list(learned.held_out),
            "looks": learned.looks,
            "colours": [float(learned.colours.vmin or 0), float(learned.colours.vmax or 1)],
        }
        written = checkpoint.save(learned.method, path, more)
        if learned.run is not None:
            learned.run.forget()  # the unfinished training is no longer needed
        return written

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "Detector":
        """Read a detector that `save` wrote, to score with; errors as `adlib.load`."""
        method = checkpoint.load(path)
        saved = checkpoint.read_detector(path)
        detector = cls(str(name_of(method)), device=device)
        try:
            low, high = saved["colours"]
            colours = Normalize(float(low), float(high), clip=True)
            numbers = {name: float(value) for name, value in saved["threshold"].items()}
            threshold = Threshold(held_out=int(numbers.pop("held_out")), **numbers)
            held_out = tuple(float(score) for score in saved["held_out"])
            looks = {name: (float(low), float(high)) for name, (low, high) in saved["looks"].items()}
            detector._learned = _Learned(method, threshold, held_out, colours, looks)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{Path(path).with_suffix('.json')} does not describe a detector of this version: {error!r}"
            ) from error
        return detector

    def export(self, path: str | Path) -> Path:
        """Write the detector as ONNX, its threshold in the file's metadata; see `adlib.export_onnx` for the rest."""
        return export_onnx(self.method, path, IMAGE_SIZE, {"threshold": repr(self.threshold.value)})

    def report(self, out_dir: str | Path) -> Path:
        """Write the checkpoint, `scores.csv`, `overlays/` and `report.html` to a folder; return the report's path."""
        return report.write(self, Path(out_dir).expanduser())

    def draw_tested(self, folder: Path) -> None:
        """Write a picture of each test image of `fit` with its map, and delete those that were drawn there before.

        Raises ValueError, before anything is drawn, where it would replace another file.
        """
        run = self.trained
        names = [self._name(path) for path in run.test.table["image"]]
        _check_overlays(folder, names)
        for old in [path for path in folder.rglob("*") if is_overlay(path)]:  # .PNG, too
            old.unlink()
        self._draw(run.test, run.predicted, names, folder)

    def _predict(self, loaded: images.Images) -> Prediction:
        return predict(self.method, loaded, device=self.device)

    def _name(self, path: str) -> str:
        return Path(path).relative_to(self._root).as_posix()

    def _draw(self, loaded: images.Images, found: Prediction, names: Sequence[str], folder: Path) -> None:
        for i, name in enumerate(names):
            picture = plots.overlay(loaded.pixels[i].cpu().numpy(), found.maps[i], self._known().colours)
            plots.save_overlay(picture, _overlay_of(name, folder))

    def _known(self) -> _Learned:
        if self._learned is None:
            raise ValueError(
                "the detector has not been trained: call fit(folder), or read one with Detector.load(path)"
            )
        return self._learned


def _overlay_of(name: str, folder: Path) -> Path:
    return folder / (name if name.lower().endswith(".png") else f"{name}.png")  # a.jpg is not a.bmp


def _check_overlays(folder: Path, names: Iterable[str]) -> None:
    """Raise ValueError, before the work, if the picture of an image would replace something else, or another's."""
    drawn: dict[Path, str] = {}
    for name in names:
        path = _overlay_of(name, folder)
        plots.check_overlay(path)
        if drawn.setdefault(path, name) != name:
            raise ValueError(f"{path} would be the picture of {drawn[path]} and of {name}: rename one of them")
