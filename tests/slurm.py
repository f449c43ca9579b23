"""A real Slurm of two nodes on this host, with its own configuration and folders, for as long as a test needs it."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where Debian has the daemons
NODES = ("node1", "node2")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=600
MessageTimeout=100
BatchStartTimeout=300
KillWait=2
InactiveLimit=0
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch
PartitionName=test Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return why there can be no cluster here; empty if there can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    return f"no {', '.join(absent)} here: apt-get install slurm-wlm munge" if absent else ""


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Start munge, a controller and two nodes, and give the environment that its commands need; end all of them."""
    # Not in pytest's folder: a job's socket lies below, and the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, _started(Path(folder)) as environment:
        yield environment


@contextmanager
def _started(folder: Path) -> Iterator[dict[str, str]]:
    folder.chmod(0o755)
    for name in ("state", "spool-node1", "spool-node2"):
        (folder / name).mkdir()
    environment = os.environ | {"PATH": f"{folder}/bin:{PATH}", "SLURM_CONF": str(folder / "slurm.conf")}
    # Within a job Snakemake forgets all variables of Slurm, and with them where this configuration lies.
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=PATH)} "$@"\n')
    srun.chmod(0o755)
    ports = _free_ports(3)
    text = CONFIGURATION.format(folder=folder, host=socket.gethostname(), user=getpass.getuser(), controller=ports[0])
    for node, port in zip(NODES, ports[1:], strict=True):
        text += f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} "
        text += "CPUs=1 RealMemory=64000 State=UNKNOWN\n"
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    files = {name: f"{folder}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
    munge = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={files['socket']}"]
    munge += [f"--{name}-file={files[name]}" for name in ("pid", "log", "seed")]
    with ExitStack() as stack:
        for name, command in {
            "munged": munge,
            "slurmctld": ["slurmctld", "-D", "-c"],
            **{f"slurmd-{node}": ["slurmd", "-D", "-N", node] for node in NODES},
        }.items():
            stack.enter_context(_daemon(command, environment, folder / f"{name}.out"))
            if name == "munged":
                _wait_for(lambda: Path(files["socket"]).exists(), "munge's socket", folder)
        _wait_for(lambda: states(environment) == dict.fromkeys(NODES, "idle"), "two idle nodes", folder)
        try:
            yield environment
        finally:  # a test that failed leaves jobs behind
            subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment)
            _wait_for(lambda: not jobs(environment), "end of the jobs", folder)


def states(environment: dict[str, str]) -> dict[str, str]:
    """Return the state of each node."""
    command = ["sinfo", "--Node", "--noheader", "--format=%N %t"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines())


def jobs(environment: dict[str, str], state: str = "all") -> dict[str, str]:
    """Return the jobs that have not ended, or those in one state, each with its node."""
    command = ["squeue", "--noheader", "--format=%i %N"] + ([] if state == "all" else [f"--states={state}"])
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return {job: node for job, _, node in (line.partition(" ") for line in done.stdout.splitlines())}


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    if shutil.which("setpriv"):  # so that it also ends where the tests are killed
        command = ["setpriv", "--pdeathsig", "TERM", *command]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(holds, what: str, folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in folder.glob("*.out"))
            raise TimeoutError(f"no {what} after {seconds} s\n{logs}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
