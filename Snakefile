# Datasets -> rows -> tables, each run by papermill. What to run stands in config.yaml, or in what --configfile names.
#   snakemake --profile profiles/local -n                              what is missing
#   snakemake --profile profiles/slurm --configfile full.yaml          the full study on a cluster
# A row that exists is complete, so rows are the only state. One is made again only when what it rests on changes;
# that is seen by content, not by time, so a clone, a touch or a wrong clock costs nothing.
import os
import re
import shlex
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

from adlib import datasets, lease, results
from adlib.study import grids

configfile: "config.yaml"

PYTHON = shlex.quote(sys.executable)
RUNS = grids.runs(config)  # the path of each row -> the parameters of its run
ROWS, REPORT = (str(Path(config[name]).expanduser()) for name in ("rows", "report"))  # normalised, as in RUNS
INTO = shlex.quote(ROWS)
MADE = {row for row in RUNS if Path(row).exists()}
grids.check_folders(run for row, run in RUNS.items() if row not in MADE)

onstart:  # one engine at a time on a folder of rows, and none beside the runs that a killed one left behind
    if busy := lease.take_folder(Path(ROWS)):
        raise WorkflowError(f"another process is at work on {ROWS} and holds {busy}: start again when it is done")
    if any(row not in MADE and Path(row).exists() for row in RUNS):
        raise WorkflowError(f"another engine has just made rows in {ROWS}: start again")
    for row in MADE:  # a clock that was ahead dated it into the future, which Snakemake takes for an error
        if Path(row).stat().st_mtime > time.time():
            os.utime(row)

localrules: report, data, table


rule report:
    default_target: True
    input: expand(f"{REPORT}/{{table}}.html", table=config["tables"])


def parameters(wildcards):
    """The parameters of the run whose row is asked for."""
    return RUNS[f"{ROWS}/{wildcards.row}.json"]


def fetch(dataset):
    """The command that gets a dataset, which is nothing where the data root has all categories that are asked for."""
    asked = {run["category"] for run in RUNS.values() if run["dataset"] == dataset}
    return "true" if asked <= set(datasets.categories(dataset)) else f"{PYTHON} -m adlib.datasets.download {dataset}"


rule data:
    output: touch(".snakemake/data/{dataset}")
    params: command=lambda wildcards: fetch(wildcards.dataset)
    retries: 3  # a download goes on from where its connection broke
    shell: "{params.command}"


def dataset_marker(wildcards):
    """What says that a dataset is there; a row that came with the clone needs none."""
    marker = Path(".snakemake/data", parameters(wildcards)["dataset"])
    generated = marker.name in ("synthetic", "folder")
    cloned = Path(f"{ROWS}/{wildcards.row}.json").exists() and not marker.exists()
    return [] if generated or cloned else str(marker)


rule run:
    input: ancient(dataset_marker)
    output: f"{ROWS}/{{row}}.json"
    log: notebook=f"{ROWS}/{{row}}.ipynb"  # as a log it outlives a failure
    wildcard_constraints: row="|".join(re.escape(Path(row).relative_to(ROWS).with_suffix("").as_posix()) for row in RUNS)
    params:  # of the wildcards only: Snakemake does not compare what is derived from `output`
        command=lambda wildcards: results.command(parameters(wildcards), f"{ROWS}/{wildcards.row}.ipynb"),
        code=lambda wildcards: grids.code(parameters(wildcards)),
    threads: 4
    resources: gpu=1, mem_mb=16000, runtime=1440
    retries: 2  # a killed run goes on from its last state
    shell:
        "{PYTHON} -P adlib/lease.py {output:q} "
        "{PYTHON} -m {params.command} -r out_dir {INTO} -p progress True --log-output --no-progress-bar"


rule table:
    input: rows=list(RUNS), notebook="notebooks/{table}.ipynb"
    output: f"{REPORT}/{{table}}.html"
    log: notebook=f"{REPORT}/{{table}}.ipynb"
    wildcard_constraints: table="[^/]+"
    shell:
        "{PYTHON} -m papermill {input.notebook:q} {log.notebook:q} -r rows {INTO} --log-output --no-progress-bar && "
        "{PYTHON} -m nbconvert --to html --log-level ERROR {log.notebook:q}"
