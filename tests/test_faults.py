"""A run through every fault: nothing lost, nothing half-written, and what is resumed ends in the same row.

More: 20 kills in `benchmarks/faults.py`, full disks in `tests/test_results.py` and `tests/test_checkpoint.py`, damaged
images in `tests/test_images.py`, the engine in `tests/test_workflow.py`, a node in `tests/test_slurm.py`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import adlib
from adlib import results
from tests.conftest import write_category
from tests.engine import project, start

OVERRIDES = {"epochs": 3, "batch": 2}
CODE = f"""
import sys, torch; torch.set_num_threads(1)
import adlib
run = adlib.prepare("stpm", "mvtec", "bottle", teacher="random", scale="small", overrides={OVERRIDES},
                    device="cpu", data_root=sys.argv[1], out_dir=sys.argv[2])
run.fit()
run.write()
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory, one_thread):
    root = write_category(tmp_path_factory.mktemp("data"))
    run = adlib.prepare(
        "stpm", "mvtec", "bottle", teacher="random", scale="small", overrides=OVERRIDES, device="cpu", data_root=root
    )
    run.fit()
    return root, run.row()


def descendants(pid):
    """All processes that a process has started, by /proc."""
    found = []
    for folder in os.listdir("/proc"):
        try:
            stat = Path("/proc", folder, "stat").read_text() if folder.isdigit() else ") ? 0"
        except OSError:
            continue
        if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
            found += [int(folder), *descendants(int(folder))]
    return found


def kernel(pid):
    for child in descendants(pid):
        try:
            if "ipykernel" in Path(f"/proc/{child}/cmdline").read_text():
                return child
        except OSError:
            continue
    return None


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the kernel in /proc")
def test_a_killed_kernel_is_reported_and_its_run_made_by_the_same_engine(expected, tmp_path):
    pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install -e .[study]")
    root, row = expected
    grid = {"methods": ["stpm"], "datasets": {"mvtec": ["bottle"]}, "teacher": "random", "overrides": OVERRIDES}
    folder = project(tmp_path / "project", [grid])
    engine = start(folder, "--cores", "1", ADLIB_DATA=str(root))
    while (victim := kernel(engine.pid)) is None and engine.poll() is None:
        time.sleep(0.05)
    assert victim, (folder / "said").read_text()
    os.kill(victim, signal.SIGKILL)
    status, said = engine.wait(), (folder / "said").read_text()
    assert status == 0, said
    assert "Kernel died" in said
    (made,) = results.read(folder / "rows").to_dict("records")
    assert results.same(made, row), results.difference(made, row)
    names = {path.suffix for path in (folder / "rows").rglob("*") if path.is_file() and path.name != ".engine.lease"}
    assert names == {".json", ".ipynb", ".png"}


def test_a_full_disk_keeps_what_was_there_and_the_run_ends_well_once_there_is_room(expected, tmp_path):
    """A file system of its own that is full when the row comes; needs the right to mount one."""
    root, row = expected
    unshare = ["unshare", "--mount", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode:
        pytest.skip("no right to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    filled = f"""
{CODE.split("run.fit()")[0]}
import errno, os, shutil
from pathlib import Path
from adlib import results
run.fit()
old = results.write(run.row(), run.out_dir)
before = old.read_bytes()
filler = Path(run.out_dir, "filler").open("wb", buffering=0)
try:
    while True:
        filler.write(b"0" * 4096)
except OSError as error:
    assert error.errno == errno.ENOSPC
try:
    results.write(run.row(), run.out_dir)
    raise SystemExit("the disk was not full")
except OSError as error:
    assert "could not be written (No space left on device); make room" in str(error), error
try:
    run.write()
    raise SystemExit("the disk was not full")
except OSError as error:
    assert error.errno == errno.ENOSPC, error
assert old.read_bytes() == before
assert [path.name for path in old.parent.iterdir()] == [old.name], list(old.parent.iterdir())
os.unlink(filler.name)
filler.close()
shutil.copytree(run.write().parent, sys.argv[3])
"""
    shell = 'mount -t tmpfs -o size=2m none "$1" && shift && exec "$@"'
    command = [*unshare, "sh", "-c", shell, "sh", str(disk), sys.executable, "-c", filled]
    done = subprocess.run([*command, str(root), str(disk), str(tmp_path / "saved")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = results.read(tmp_path / "saved").to_dict("records")
    assert results.same(made, row), results.difference(made, row)


def test_a_damaged_image_in_the_middle_is_named_and_nothing_is_written(expected, tmp_path):
    root = shutil.copytree(expected[0], tmp_path / "data")
    bad = root / "mvtec/bottle/train/good/002.png"
    bad.write_bytes(bad.read_bytes()[:400] + b"\0" * 50)
    with pytest.raises(ValueError, match="002.png"):
        adlib.prepare(
            "stpm", "mvtec", "bottle", teacher="random", scale="small", data_root=root, out_dir=tmp_path / "rows"
        )
    assert not (tmp_path / "rows").exists()


def test_another_clock_and_another_locale_give_the_same_row(expected, tmp_path):
    root, row = expected
    # The clock jumps a year back and forth between any two looks at it; the language sorts and counts otherwise.
    jumps = "import itertools, time; looks = itertools.count(); now = time.time\n"
    jumps += "time.time = lambda: now() - 31e6 * (next(looks) % 2)\n"
    language = {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", jumps + CODE, str(root), str(tmp_path)],
        env=os.environ | language,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (made,) = results.read(tmp_path).to_dict("records")
    assert results.same(made, row), results.difference(made, row)
    assert made["created"].endswith("+00:00")
