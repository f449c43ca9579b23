"""Make the committed pictures again: `make picture`, about ten minutes on two cores.

`localised.png` is the README's; `maps/` are what runs on generated gears write beside their rows, for the notebooks.
"""

import shutil
import tempfile
from pathlib import Path

import adlib

HERE = Path(__file__).parent
MAPS = {
    "memory_destseg": {"map": "dest", "student_steps": 60, "batch": 4},
    "mixed_teacher": {},
    "memkd": {},
    "dskd": {},
}


def localised() -> None:
    """Draw a defect of each of three kinds, its outline and its map."""
    run = adlib.prepare("stpm", "synthetic", "canvas", scale="small", overrides={"epochs": 30, "batch": 8})
    run.fit(progress=True)
    worst = run.scores().groupby("defect").head(1).query("label == 1").image
    rows = [run.test.table.image.tolist().index(path) for path in worst][:3]
    title = "STPM, teacher bundled, 30 epochs, generated canvas, seed 0"
    adlib.plots.localised(run.test, run.predict().maps, rows, title).savefig(HERE / "localised.png", dpi=90)


def maps() -> None:
    """Train each method on gears and keep the picture of its run."""
    for method, overrides in MAPS.items():
        run = adlib.prepare(method, "synthetic", "gear", scale="small", overrides=overrides)
        run.fit(progress=True)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(run.write(folder).with_suffix(".png"), HERE / "maps" / f"{method}.png")


if __name__ == "__main__":
    localised()
    maps()
