"""Leases by file lock: one process at a time. The kernel frees them when the process dies, however it dies.

    python adlib/lease.py ROW COMMAND ...

runs the command that makes ROW, alone: while another process makes the same row this one waits, and then there is
nothing left to do. This file imports nothing of the package, so that a run costs no second start of torch.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_taken: list[IO[bytes]] = []  # closing them would end the lease
EVENTS = Path("/proc/vmstat")  # Linux counts here how many processes it killed for want of memory


def take(path: Path) -> IO[bytes] | None:
    """Take the lease on a file, made if need be, or return None if another process has it.

    The lease lasts until the returned file is closed in this process and in all that inherited it.
    """
    import fcntl  # not on Windows

    path.parent.mkdir(parents=True, exist_ok=True)
    while (file := _opened(path)) is None:
        pass
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:  # a network file system that was mounted without locks
        file.close()
        raise OSError(
            error.errno, f"{error.strerror}: mount its file system with locks, or name a folder elsewhere", str(path)
        ) from error
    return file


def _opened(path: Path) -> IO[bytes] | None:
    """Open the file of a lease, made if need be; None where its last holder removed it between the two."""
    with suppress(FileExistsError):  # a new file alone, and never what a link points to, is made one for all users
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.fchmod(made, 0o666)  # whatever the umask of the first
        os.close(made)
    try:
        try:
            return path.open("r+b", buffering=0)
        except PermissionError:  # another user's, in a folder for all: reading is enough to lock
            return path.open("rb", buffering=0)
    except FileNotFoundError:
        if path.is_symlink():  # to nothing: no file to lock will come
            raise
        return None


@contextmanager
def alone(path: Path, poll: float = 1.0) -> Iterator[tuple[IO[bytes], bool]]:
    """Hold the lease on a file that exists for it only; give it, and whether another process had to end before."""
    waited = False
    while (file := take(path)) is None or not _still_there(file, path):
        if file is not None:
            file.close()
            continue
        if not waited:
            print(f"another process holds {path}: waiting until it is done", file=sys.stderr, flush=True)
            waited = True
        time.sleep(poll)
    try:
        yield file, waited
    finally:
        path.unlink(missing_ok=True)
        file.close()


def take_folder(rows: Path) -> Path | None:
    """Take a folder of rows for one engine, until its process ends; where others are at work, return one's lease.

    Others are another engine, and the runs that a killed one left behind.
    """
    engine = rows / ".engine.lease"
    for path in (engine, *rows.rglob(".*.json.lease")):
        if (file := take(path)) is None:
            _taken.clear()
            return path
        if path == engine:
            _taken.append(file)
        else:
            path.unlink(missing_ok=True)
            file.close()
    return None


def _still_there(file: IO[bytes], path: Path) -> bool:
    """Whether the name still means the locked file: its last holder may just have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _state(row: Path) -> tuple[int, int] | None:
    """Identify a file: another of the same name has another identity."""
    try:
        found = row.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _killed_for_memory() -> int:
    lines = EVENTS.read_text().splitlines() if EVENTS.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def main(arguments: list[str]) -> int:
    """Make a row by a command, unless another process has made it meanwhile; return the exit status."""
    if len(arguments) < 2:
        print("usage: lease.py ROW.json COMMAND...: what makes the row, once at a time", file=sys.stderr)
        return 2
    row, command = Path(arguments[0]), arguments[1:]
    old = _state(row)
    with alone(row.with_name(f".{row.name}.lease")) as (lease, waited):
        if waited and row.exists() and _state(row) != old:
            print(f"{row} was made meanwhile: nothing to do", file=sys.stderr)
            return 0
        for left in row.parent.glob(f".{row.stem}.*.tmp"):  # half-written by a process that was killed
            left.unlink(missing_ok=True)
        before = _killed_for_memory()
        # The command inherits the lease: it is at work also where only this process is killed.
        try:
            process = subprocess.Popen(command, pass_fds=(lease.fileno(),))
        except OSError as error:
            print(f"{command[0]} could not be started ({error.strerror}): nothing was made", file=sys.stderr)
            return 127  # as shells say it
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:  # the command got it too, and is leaving its state behind
                pass
    if status and _killed_for_memory() > before:
        print(
            f"out of memory: the system killed a process while {row} was in work. Give it more memory or fewer "
            "neighbours, or set a smaller `batch` in the overrides",
            file=sys.stderr,
        )
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
