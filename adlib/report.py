"""The short report on a detector that was trained on a folder: one HTML file, and what lies beside it."""

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from adlib import plots
from adlib.files import UNPRINTABLE, check_writable, whole_file

if TYPE_CHECKING:
    from adlib.detector import Detector

PICTURES = 6  # of each group in the report
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: 0.2em 0.9em; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left } img { max-width: 100% } pre { background: #f4f4f4; padding: 0.8em }
.finding { border-left: 4px solid #c44e52; padding-left: 0.8em }
"""


def write(detector: "Detector", folder: Path) -> Path:
    """Write `detector.safetensors` (and `.json`), `scores.csv`, `overlays/`, `report.html`; return the last one.

    Those of an earlier report are replaced. ValueError, before anything is written, where a picture would take
    the place of another file in `overlays/`.
    """
    run = detector.trained
    check_writable(folder)
    detector.draw_tested(folder / "overlays")
    tested = detector.tested()
    with whole_file(folder / "scores.csv") as temporary:
        tested.to_csv(temporary, index=False, errors=UNPRINTABLE)
    detector.save(folder / "detector.safetensors")
    identity = run.identity
    parts = [
        f"<h1>{html.escape(identity['category'])}: {identity['method']}</h1>",
        f"<p>{html.escape(summary(detector))}</p>",
        "<h2>What looks wrong</h2>",
        *([f'<p class="finding">{html.escape(text)}</p>' for text in detector.findings] or ["<p>Nothing.</p>"]),
        "<h2>Threshold</h2>",
        f"<p>{html.escape(str(detector.threshold))}</p>",
        _picture(histogram(detector)),
        by_kind(tested).to_html(index=False, border=0),
        "<h2>Where it looks</h2>",
        "<p>The defects with the highest scores, those with the lowest, and the good images with the highest, each "
        "above its map; over it its kind and score. All maps of this detector have one colour scale; lines run "
        "around the true defects, where there are masks. A picture of every test image is in <code>overlays/</code>, "
        "all scores are in <code>scores.csv</code>.</p>",
        _picture(gallery(detector)),
        "<h2>To use it</h2>",
        '<pre>import adlib\n\ndetector = adlib.Detector.load("detector.safetensors")\n'
        'detector.score("new_parts").to_csv("scores.csv", index=False)\ndetector.export("detector.onnx")</pre>',
    ]
    page = f"<!doctype html><meta charset=utf-8><title>adlib</title><style>{STYLE}</style>\n" + "\n".join(parts)
    with whole_file(folder / "report.html") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8", errors=UNPRINTABLE)
    return folder / "report.html"


def summary(detector: "Detector") -> str:
    """Say in a few sentences what was trained on what, and how well it separates."""
    run, history = detector.trained, detector.trained.history
    identity, labels = run.identity, run.test.labels
    assert history is not None
    defects = int((labels == 1).sum())
    text = (
        f"{identity['method']} ({identity['recipe']} recipe, {identity['scale']} scale), teacher "
        f"{identity['teacher']}, {history.steps} steps on {len(run.train)} good images. Tested on "
        f"{len(labels) - defects} held-out good images and {defects} defects."
    )
    if defects:
        values, _ = run.evaluate()
        text += f" Image AUROC {100 * values['image_auroc']:.1f}%"
        if not np.isnan(values["pixel_auroc"]):
            text += f", pixel AUROC {100 * values['pixel_auroc']:.1f}%, AUPRO {100 * values['aupro']:.1f}%"
        text += "."
    return text


def by_kind(tested: pd.DataFrame) -> pd.DataFrame:
    """Count the alarms of each kind of test image, good ones first.

    Of the good ones, which chose the threshold, a share would be true by construction: it is said instead.
    """
    kinds = tested.groupby(["label", "defect"]).agg(
        images=("score", "size"), alarms=("alarm", "sum"), median=("score", "median")
    )
    table = kinds.reset_index().drop(columns="label").rename(columns={"defect": "kind", "median": "median score"})
    table.insert(3, "share", [f"{a / n:.0%}" for a, n in zip(table["alarms"], table["images"], strict=True)])
    table.loc[kinds.index.get_level_values("label") == 0, "share"] = "chose the threshold"
    return table.assign(**{"median score": table["median score"].map("{:.3g}".format)})


def histogram(detector: "Detector") -> Figure:
    """Draw the scores of good and defective test images with the threshold between them."""
    run, threshold = detector.trained, detector.threshold.value
    title = f"{len(run.test)} test images; right of the line is an alarm"
    return plots.histogram(run.predicted.scores, run.test.labels.numpy(), title, threshold)


def gallery(detector: "Detector", count: int = PICTURES) -> Figure:
    """Draw the defects that score highest and lowest, and the good images that score highest."""
    run = detector.trained
    return plots.best_and_worst(run.test, run.predicted.maps, run.predicted.scores, count)


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight")
    plt.close(figure)
    return f'<p><img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"></p>'
