"""Where a number was made: the commit, the processor, and the fields of a row that say it."""

import subprocess

from adlib import environment, results
from tests.test_results import make


def git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True, capture_output=True,
    )  # fmt: skip


def test_a_processor_is_named_with_its_generation(tmp_path):
    """Two generations of one name, of which one computes twice as much a second."""
    core = "processor\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n\n"
    for name, family, model in (("older", 25, 17), ("newer", 26, 2)):
        (tmp_path / name).write_text(core.format(0, family, model) + core.format(1, family, model))
        assert environment._processor(tmp_path / name) == f"AMD EPYC (family {family} model {model})"
    (tmp_path / "arm").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")  # no name there
    assert environment._processor(tmp_path / "arm")


def test_commit_is_unknown_clean_or_dirty(tmp_path):
    assert environment.commit(tmp_path) == "unknown"
    git(tmp_path, "init")
    assert environment.commit(tmp_path) == "unknown"
    (tmp_path / "adlib").mkdir()
    (tmp_path / "adlib" / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    head = environment.commit(tmp_path)
    assert len(head) == 40
    (tmp_path / "result.json").write_text("{}")  # what a run writes is not code
    assert environment.commit(tmp_path) == head
    (tmp_path / "adlib" / "b.py").write_text("2")
    assert environment.commit(tmp_path) == head + "+dirty"
    # A folder inside somebody else's repository is no checkout of ours.
    assert environment.commit(tmp_path / "adlib") == "unknown"


def test_environment_fills_its_fields_of_a_row(tmp_path):
    found = environment.environment()
    assert set(found) == {"commit", "versions", "device", "threads", "created"}
    assert set(found["versions"]) == {"adlib", "python", "torch", "timm", "numpy", "scipy", "pillow"}
    assert found["device"].startswith("cpu: ")
    results.write(make(**found), tmp_path)
