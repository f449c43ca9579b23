"""Leases: real processes, killed as the kernel kills them."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adlib import lease

FILE = lease.__file__
HOLD = f"""
import sys; sys.path.insert(0, {str(Path(FILE).parent)!r})
import lease, time
from pathlib import Path
held = lease.take(Path(sys.argv[1]))
print("held" if held else "refused", flush=True)
time.sleep(600)
"""
MAKE = "import sys, time; from pathlib import Path; row = Path(sys.argv[1]); open(str(row) + '.begun', 'a').write('x');"
SLOW = MAKE + "\nwhile not Path(str(row) + '.go').exists(): time.sleep(0.02)\nrow.write_text('row')"


def holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def make(row, code=SLOW):
    command = [sys.executable, "-P", FILE, str(row), sys.executable, "-c", code, str(row)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_process_holds_a_lease_and_its_death_frees_it(tmp_path):
    path = tmp_path / "new folder" / "lock"
    process, said = holder(path)
    assert said == "held"
    assert lease.take(path) is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    mine = lease.take(path)
    assert mine is not None
    assert lease.take(path) is None  # of one process too: it is the open file that holds it
    mine.close()
    lease.take(path).close()


def test_a_lock_file_is_for_all_users_whatever_the_umask_of_its_first(tmp_path):
    path, before = tmp_path / "lock", os.umask(0o077)
    try:
        lease.take(path).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666


def test_what_a_planted_link_points_to_keeps_its_mode(tmp_path):
    own, link = tmp_path / "own", tmp_path / "lock"
    own.touch(mode=0o600)
    link.symlink_to(own)
    lease.take(link).close()
    assert own.stat().st_mode & 0o777 == 0o600


def test_a_row_of_before_is_not_taken_for_what_was_waited_for(tmp_path):
    """The first one fails, and what lies there is what it was to replace."""
    row = tmp_path / "row.json"
    row.write_text("old")
    first = make(row, SLOW.replace("row.write_text('row')", "sys.exit(1)"))
    wait_for(lambda: Path(f"{row}.begun").exists())
    second = make(row)
    assert "waiting until it is done" in second.stderr.readline()
    Path(f"{row}.go").touch()
    assert (first.wait(), second.wait()) == (1, 0)
    assert "made meanwhile" not in second.stderr.read()
    assert row.read_text() == "row"
    first.stderr.close()
    second.stderr.close()


def test_a_row_is_made_by_one_of_two_and_the_other_waits(tmp_path):
    row = tmp_path / "row.json"
    first = make(row)
    wait_for(lambda: Path(f"{row}.begun").exists())
    second = make(row)
    assert "waiting until it is done" in second.stderr.readline()
    Path(f"{row}.go").touch()
    assert first.wait() == second.wait() == 0
    assert "made meanwhile" in second.stderr.read()
    assert Path(f"{row}.begun").read_text() == "x"
    assert not list(tmp_path.glob(".*"))  # no lease file stays
    first.stderr.close()
    second.stderr.close()


def test_an_old_row_is_made_again(tmp_path):
    row = tmp_path / "row.json"
    row.write_text("old")
    Path(f"{row}.go").touch()
    process = make(row)
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    assert row.read_text() == "row"


def test_a_folder_is_taken_once_other_engines_and_what_they_left_behind_have_ended(tmp_path):
    (tmp_path / "stpm").mkdir()
    run, engine = tmp_path / "stpm" / ".row.json.lease", tmp_path / ".engine.lease"
    for path in (run, engine):
        process, said = holder(path)
        assert said == "held"
        assert lease.take_folder(tmp_path) == path
        process.kill()
        process.wait()
        process.stdout.close()
    assert lease.take_folder(tmp_path) is None
    assert lease.take(engine) is None
    assert not run.exists()
    while lease._taken:
        lease._taken.pop().close()


def test_the_lease_outlives_its_keeper_as_long_as_the_command_works(tmp_path):
    row = tmp_path / "row.json"
    first = make(row)
    wait_for(lambda: Path(f"{row}.begun").exists())
    first.kill()
    first.wait()
    first.stderr.close()
    assert lease.take(tmp_path / ".row.json.lease") is None
    Path(f"{row}.go").touch()
    with lease.alone(tmp_path / ".row.json.lease", poll=0.05):
        assert row.read_text() == "row"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    left = [tmp_path / name for name in (".row.json.7-ab.tmp", ".row.resume.7.tmp", ".row.png.7.tmp")]
    others = [tmp_path / name for name in (".row2.json.8-ab.tmp", "row.resume", ".row.json.lease")]
    for file in left + others:
        file.touch()
    Path(f"{tmp_path}/row.json.go").touch()
    process = make(tmp_path / "row.json")
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    assert not [file for file in left if file.exists()]
    assert all(file.exists() for file in others[:2])


@pytest.mark.parametrize(("code", "expected"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_failure_is_handed_on(tmp_path, code, expected):
    process = make(tmp_path / "row.json", MAKE + code)
    assert process.wait() == expected
    assert "out of memory" not in process.stderr.read()
    process.stderr.close()


def test_a_process_killed_for_memory_is_reported_as_such(tmp_path, monkeypatch, capsys):
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 9\noom_kill 4\n")
    monkeypatch.setattr(lease, "EVENTS", counts)
    killed = f"from pathlib import Path; Path({str(counts)!r}).write_text('oom_kill 5'); exit(1)"
    assert lease.main([str(tmp_path / "row.json"), sys.executable, "-c", killed]) == 1
    assert "out of memory: the system killed a process" in capsys.readouterr().err


def test_without_a_command_it_says_what_it_takes(capsys):
    assert lease.main(["row.json"]) == 2
    assert "usage: lease.py ROW.json COMMAND" in capsys.readouterr().err


def test_a_command_that_is_not_there_is_named(tmp_path, capsys):
    assert lease.main([str(tmp_path / "row.json"), "no-such-program"]) == 127
    assert "no-such-program could not be started (No such file or directory)" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match=r"No locks available: mount its file system with locks.*held"):
        lease.take(tmp_path / "held")


def test_a_lease_that_its_last_holder_removes_while_it_is_taken_is_made_again(tmp_path, monkeypatch):
    path, opened = tmp_path / "a.lease", Path.open

    def removed_once(self, *arguments, **options):
        monkeypatch.setattr(Path, "open", opened)
        self.unlink()
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", removed_once)
    with lease.alone(path) as (_, waited):
        assert path.exists()
        assert not waited
