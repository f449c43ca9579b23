"""Make the committed pictures again: `make picture`, about fifteen minutes on two cores.

`localised.png` is the README's. For the notebooks: `maps/` are what runs on generated canvas write beside their rows,
`layers.png` sets an early stage of the mixed teacher's EfficientNet against a late one.
"""

import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import adlib
from adlib import plots
from adlib.study.diagnostics import BOTTOM_AND_TOP

HERE = Path(__file__).parent
MAPS = {"memory_destseg": "bf16", "mixed_teacher": "fp32", "memkd": "fp32", "dskd": "fp32"}  # precision of its rows


def localised() -> None:
    """Draw a defect of each of three kinds, its outline and its map."""
    run = adlib.prepare("stpm", "synthetic", "canvas", scale="small", overrides={"epochs": 30, "batch": 8})
    run.fit(progress=True)
    rows = three_kinds(run)
    title = "STPM, teacher bundled, 30 epochs, generated canvas, seed 0"
    plots.localised(run.test, run.predict().maps, rows, title).savefig(HERE / "localised.png", dpi=90)


def three_kinds(run: adlib.run.Run) -> list[int]:
    """Choose the defect with the highest score of each of three kinds: indices of test images."""
    worst = run.scores().groupby("defect").head(1).query("label == 1").image
    return [run.test.table.image.tolist().index(path) for path in worst][:3]


def layers() -> None:
    """Draw the maps of an early and a late stage of EfficientNet beside each other, each on a scale of its own."""
    overrides = {"efficient_stages": [*BOTTOM_AND_TOP.values()]}
    run = adlib.prepare("mixed_teacher", "synthetic", "canvas", scale="small", overrides=overrides)
    run.fit(progress=True)
    index = three_kinds(run)
    with torch.inference_mode():
        found = {
            f"stage {stage}": run.method.efficient_level_map(
                run.test.normalised(torch.arange(len(run.test))), level
            ).numpy()
            for level, stage in enumerate(overrides["efficient_stages"])
        }
    figure, axes = plt.subplots(len(index), 3, figsize=(7.4, 2.2 * len(index) + 0.4), layout="constrained")
    for row, i in zip(axes, index, strict=True):
        plots.show_image(row[0], run.test.pixels[i].numpy(), run.test.masks[i].numpy())
        row[0].set_title(run.test.table.defect.iloc[i], fontsize=8)
    for column, (name, maps) in zip(axes[:, 1:].T, found.items(), strict=True):
        scale = plots.scale_of(maps)
        for axis, i in zip(column, index, strict=True):
            drawn = axis.imshow(maps[i], cmap=plots.CMAP, norm=scale)
            axis.set_axis_off()
        column[0].set_title(f"EfficientNet, {name}", fontsize=9)
        figure.colorbar(drawn, ax=column.tolist(), label="distance", shrink=0.8)
    title = "MixedTeacher with these stages, small scale, teacher bundled, generated canvas, seed 0"
    figure.suptitle(title, fontsize=9)
    figure.savefig(HERE / "layers.png", dpi=80)


def maps() -> None:
    """Train each method on canvas and keep the picture of its run."""
    for method, precision in MAPS.items():
        run = adlib.prepare(method, "synthetic", "canvas", scale="small", precision=precision)
        run.fit(progress=True)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(run.write(folder).with_suffix(".png"), HERE / "maps" / f"{method}.png")


if __name__ == "__main__":
    localised()
    maps()
    layers()
