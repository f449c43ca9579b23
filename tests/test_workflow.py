"""The engine: what is missing is made, once, and nothing else. The stand-in for papermill is in `tests/engine.py`."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.engine import begun, project, snakemake, stand_in, start

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install -e .[study]")

GRIDS = [
    {"methods": ["stpm", "rd"], "datasets": {"synthetic": ["gear"]}},
    {"methods": ["stpm"], "datasets": {"synthetic": ["canvas"]}, "overrides": {"epochs": 3}},
]


def wait_for(holds, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def rows(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in (folder / "rows").rglob("*.json")}


def test_a_study_from_missing_to_complete_through_failure_and_change(tmp_path):
    folder = stand_in(project(tmp_path / "project", GRIDS, rows="./rows/"))

    # One method fails: it is tried three times, its notebook stays, and the rest goes on.
    (folder / "fail").write_text("rows/rd/")
    status, said = snakemake(folder)
    assert status != 0
    assert sorted(path.split("/")[1] for path in rows(folder)) == ["stpm", "stpm"], said
    assert [path.split("/")[1] for path in begun(folder)].count("rd") == 3
    assert next((folder / "rows/rd").rglob("*.ipynb")).read_text() == "executed"
    assert not (folder / "report/summary.html").exists()

    # Once repaired, only what is missing is made.
    (folder / "fail").unlink()
    (folder / "begun").unlink()
    before = rows(folder)
    status, said = snakemake(folder)
    assert status == 0, said
    assert [path.split("/")[1] for path in begun(folder)] == ["rd"]
    assert before.items() < rows(folder).items()
    assert (folder / "report/summary.html").exists()

    # Times say nothing, content does: a changed method makes that method's rows again.
    for file in folder.rglob("*.py"):
        os.utime(file)
    with (folder / "adlib/methods/rd.py").open("a") as file:
        file.write("# changed\n")
    status, said = snakemake(folder, "--dry-run")
    assert status == 0
    planned = [line for line in said.splitlines() if line.startswith("    output: rows/")]
    assert len(planned) == 1, said
    assert "rows/rd/" in planned[0]
    assert "Params have changed" in said

    # A clone has the rows, but none of the engine's records, and files of any age.
    clone = stand_in(project(tmp_path / "clone", GRIDS))
    shutil.copytree(folder / "rows", clone / "rows", ignore=shutil.ignore_patterns("*.ipynb"))
    for age, file in enumerate(sorted((clone / "rows").rglob("*.json"))):
        os.utime(file, (age * 1e9, age * 1e9))  # 1970, 2001 and 2033: also what a clock that was wrong leaves behind
    before = rows(clone)
    status, said = snakemake(clone)
    assert status == 0, said
    assert begun(clone) == []
    assert rows(clone) == before


def test_an_engine_keeps_others_out_and_a_killed_one_is_followed_by_the_next(tmp_path):
    folder = stand_in(project(tmp_path / "one", GRIDS))
    other = stand_in(project(tmp_path / "two", GRIDS, rows=str(folder / "rows")))
    (folder / "wait").touch()
    engine = start(folder)
    wait_for(lambda: begun(folder) or engine.poll() is not None)

    # A second engine on the same rows touches nothing.
    status, said = snakemake(other)
    assert status != 0
    assert ".engine.lease: start again when it is done" in said
    assert begun(other) == []

    # The engine is killed, its run goes on, and the next engine does not begin before that has ended.
    engine.kill()
    assert engine.wait() == -signal.SIGKILL
    status, said = snakemake(other)
    assert status != 0
    assert ".json.lease: start again when it is done" in said
    (folder / "wait").unlink()
    wait_for(lambda: rows(folder) and not list(folder.rglob(".*.json.lease")))

    # Nothing to unlock: what is missing is made, and all of it once.
    status, said = snakemake(folder)
    assert status == 0, said
    assert len(begun(folder)) == len(set(begun(folder))) == 3
    assert len(rows(folder)) == 3


BROKEN = """
import sys
from pathlib import Path
before = Path("asked").exists()
Path("asked").touch()
sys.exit(not before)
"""


def test_a_download_that_breaks_is_asked_for_again(tmp_path):
    folder = stand_in(project(tmp_path / "project", [{"methods": ["stpm"], "datasets": {"mtd": ["split0"]}}]))
    (folder / "adlib/datasets/download.py").write_text(BROKEN)
    status, said = snakemake(folder, ADLIB_DATA=str(tmp_path / "data"))
    assert status == 0, said
    assert len(rows(folder)) == 1


def test_folders_may_have_any_name(tmp_path):
    names = ["my parts", "part (1)", "c++"]
    grids = [{"methods": ["stpm"], "datasets": {"folder": [str(tmp_path / name) for name in names]}}]
    folder = stand_in(project(tmp_path / "one project", grids, rows="my rows"))
    assert "no folder of images" in snakemake(folder)[1]
    for name in names:
        (tmp_path / name).mkdir()
    status, said = snakemake(folder)
    assert status == 0, said
    for name in names:  # what has its row needs no images
        (tmp_path / name).rmdir()
    assert snakemake(folder)[0] == 0
    assert sorted(Path(path).parent.name for path in begun(folder)) == sorted(names)
    assert len(list((folder / "my rows").rglob("*.json"))) == 3


def test_the_package_never_imports_the_engine():
    for file in (Path(__file__).parents[1] / "adlib").rglob("*.py"):
        assert "import snakemake" not in file.read_text()
        assert "from snakemake" not in file.read_text()
