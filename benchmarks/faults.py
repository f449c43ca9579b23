"""Kill a run at random moments, again and again: is anything lost, half-written or different in the end?

    python benchmarks/faults.py [--out FILE] [--kills 20] [--seed 0]

The run trains STPM on the generated category gear and saves its state at every step. First it runs undisturbed, which
also tells how long it takes; then it is started in a process of its own and killed (SIGKILL) after a random part of
that time, and started again, until it was killed `--kills` times; a row that came before the next kill is put aside,
and the run begins anew. Each line is one kill: `after` seconds, what lay there then, and whether it was whole. `rows`
are those that came by then, `same` how many of them equal that of the undisturbed run.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from adlib import results, speed
from adlib.environment import PROJECT

RUN = """
import sys
import adlib
run = adlib.prepare("stpm", "synthetic", "gear", teacher="random", scale="small", device="cpu", out_dir=sys.argv[1],
                    overrides={"levels": [1], "epochs": 2, "batch": 8})
print("prepared", flush=True)
run.fit(save_every=0.0)
run.write()
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], float]:
    """Start the run and wait until it has read its images: the time before says nothing about it."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "prepared\n":
        raise SystemExit("the run did not begin")
    return process, time.monotonic()


def found(folder: Path) -> dict[str, Any]:
    """Say what a killed run left behind, and whether all of it that has a final name is whole."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    states = [path for path in files if path.suffix == ".resume"]
    step, whole = 0, True
    for path in states:
        try:
            step = torch.load(path, map_location="cpu", weights_only=True)["step"]
        except Exception:  # whatever a half-written file gives
            whole = False
    try:
        rows = len(results.read(folder))
    except ValueError:
        rows, whole = 0, False
    half = sum(path.suffix == ".tmp" for path in files)
    return {"state_at_step": step, "row_there": rows, "half_temporary": half, "whole": whole}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "results" / "faults" / "kills.csv")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        process, begin = start(Path(scratch, "whole"))
        if process.wait():
            raise SystemExit("the undisturbed run failed")
        duration = time.monotonic() - begin
        (expected,) = results.read(Path(scratch, "whole")).to_dict("records")
        folder, rows, same = Path(scratch, "run0"), 0, 0
        while len(lines) < options.kills:
            process, begin = start(folder)
            after = moments.uniform(0, duration)
            try:
                ended = process.wait(after) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                ended = False
                lines.append({"kill": len(lines) + 1, "after": after, "duration": duration, **found(folder)})
            if ended:
                (row,) = results.read(folder).to_dict("records")
                rows, same = rows + 1, same + results.same(row, expected)
                folder = Path(scratch, f"run{rows}")
            if lines:
                lines[-1] |= {"rows": rows, "same": same}
        process, _ = start(folder)  # the last one, undisturbed from where the kills left it
        if process.wait():
            raise SystemExit("the run did not go on after the last kill")
        (row,) = results.read(folder).to_dict("records")
        lines[-1] |= {"rows": rows + 1, "same": same + results.same(row, expected)}
    speed.write([line | speed.conditions() for line in lines], options.out)
    whole = all(line["whole"] for line in lines)
    print(f"{len(lines)} kills: everything whole: {whole}; {lines[-1]['same']} of {lines[-1]['rows']} rows the same")
    sys.exit(not whole or lines[-1]["same"] != lines[-1]["rows"])


if __name__ == "__main__":
    main()
