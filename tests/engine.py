"""A copy of the project in which Snakemake runs, and a stand-in for papermill where only the engine is in question."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[1]

# Writes a line for each run it begins, waits as long as a file tells it to, then fails if told so, else writes the row.
STAND_IN = """
import os, sys, time
from pathlib import Path
notebook = Path(sys.argv[2])
if "-r" in sys.argv and "out_dir" in sys.argv:
    with open("begun", "a") as file:
        file.write(f"{notebook.with_suffix('')}\\n")
    while Path("wait").exists():
        time.sleep(0.05)
    notebook.write_text("executed")
    if Path("fail").exists() and Path("fail").read_text() in str(notebook):
        sys.exit("told to fail")
    temporary = notebook.with_suffix(".new")
    temporary.write_text(str(os.getpid()))
    temporary.replace(notebook.with_suffix(".json"))
else:
    notebook.write_text("the table")
"""
NBCONVERT = "import sys; from pathlib import Path; Path(sys.argv[-1]).with_suffix('.html').write_text('the table')"


def project(folder: Path, grids: list, rows: str = "rows") -> Path:
    """Copy what the engine reads, with a study of these grids, and return the folder."""
    shutil.copytree(PROJECT / "adlib", folder / "adlib", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    shutil.copytree(PROJECT / "profiles", folder / "profiles")
    shutil.copytree(PROJECT / "results/paper", folder / "results/paper")
    (folder / "notebooks").mkdir()
    for name in ("notebooks/run.ipynb", "notebooks/summary.ipynb", "Snakefile"):
        shutil.copy(PROJECT / name, folder / name)
    study = {"rows": rows, "report": "report", "tables": ["summary"], "grids": grids}
    (folder / "config.yaml").write_text(yaml.safe_dump(study))
    return folder


def stand_in(folder: Path) -> Path:
    """Put the stand-ins for papermill and nbconvert where only this copy finds them."""
    (folder / "papermill.py").write_text(STAND_IN)
    (folder / "nbconvert.py").write_text(NBCONVERT)
    return folder


def start(folder: Path, *words: str, profile: str = "local", **variables: str) -> subprocess.Popen:
    """Start Snakemake in a copy, on one core for each run, with what it says going to the file `said`."""
    environment = os.environ | {"PYTHONPATH": str(folder), "ADLIB_CACHE": "off", "OMP_NUM_THREADS": "1"} | variables
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each job imports torch; compiling it takes longer than the rest
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{profile}", *words]
    with (folder / "said").open("w") as said:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)


def snakemake(folder: Path, *words: str, **options: str) -> tuple[int, str]:
    """Run Snakemake in a copy, and return its exit status and what it said."""
    status = start(folder, *words, **options).wait()
    return status, (folder / "said").read_text()


def begun(folder: Path) -> list[str]:
    """The rows whose making the stand-in has begun, in order."""
    file = folder / "begun"
    return file.read_text().splitlines() if file.exists() else []
