"""The small grid through a real Slurm of two nodes: same rows as without, also when a node goes and a job is killed."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

import adlib
from adlib import results
from adlib.study import grids
from tests import slurm
from tests.conftest import write_category
from tests.engine import project, snakemake, start

pytest.importorskip("snakemake_executor_plugin_slurm", reason="no Slurm plugin: pip install -e .[study]")
pytestmark = pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing())

GRIDS = [
    {
        "methods": ["stpm", "reduced_student"],
        "datasets": {"mvtec": ["bottle"]},
        "seeds": [0, 1],
        "teacher": "random",
        "overrides": {"epochs": 2, "batch": 2},
    }
]
# Without accounting, only squeue knows how a job ended.
OPTIONS = ["--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=1", "--latency-wait=10"]
OPTIONS += ["--default-resources", "slurm_partition=test", "--set-threads", "run=1"]
OPTIONS += ["--set-resources", "run:gpu=0", "run:mem_mb=2000"]


def kernel_of(job):
    """The process that trains within a Slurm job, once there is one."""
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                line = Path("/proc", folder, "cmdline").read_text()
                variables = Path("/proc", folder, "environ").read_text().split("\0")
            except OSError:
                continue
            if "ipykernel" in line and f"SLURM_JOB_ID={job}" in variables:
                return int(folder)
    return None


def wait_for(found, engine, what):
    deadline = time.monotonic() + 300
    while not (result := found()):
        assert engine.poll() is None, f"the engine ended before there was {what}"
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.1)
    return result


def test_rows_from_slurm_are_those_of_this_machine_whatever_happens(tmp_path, one_thread):
    folder = project(tmp_path / "project", GRIDS)
    root = write_category(tmp_path / "data")
    with slurm.cluster() as environment:
        variables = {name: environment[name] for name in ("PATH", "SLURM_CONF")} | {"ADLIB_DATA": str(root)}
        engine = start(folder, *OPTIONS, profile="slurm", **variables)
        running = wait_for(lambda: slurm.jobs(environment, "RUNNING"), engine, "job")
        (victim, node), *_ = running.items()
        # The node takes no more jobs, and its present one is killed in the middle: its retry goes to the other node.
        subprocess.run(
            ["scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test"], env=environment, check=True
        )
        wait_for(lambda: kernel_of(victim), engine, "kernel")
        subprocess.run(["scancel", "--signal=KILL", "--full", victim], env=environment, check=True)
        status, said = engine.wait(timeout=600), (folder / "said").read_text()
        assert status == 0, said
        assert "Trying to restart job" in said
        assert slurm.states(environment)[node] == "drain"
        # Nothing is left to do, and the engine says so.
        status, again = snakemake(folder, *OPTIONS, "--dry-run", profile="slurm", **variables)
        assert "Nothing to be done" in again, again
    rows = results.read(folder / "rows").to_dict("records")  # raises for a half or a double row
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert len(rows) == len(grids.runs(config)) == 4
    assert not list((folder / "rows").rglob("*.tmp"))
    assert not list((folder / "rows").rglob("*.resume"))
    for row in rows:
        run = adlib.prepare(
            row["method"], "mvtec", "bottle", seed=row["seed"], scale="small", teacher="random",
            overrides=row["overrides"], data_root=root, device="cpu",
        )  # fmt: skip
        run.fit()
        assert results.same(row, run.row()), results.difference(row, run.row())
