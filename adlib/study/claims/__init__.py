"""The papers' claims, judged by our rows. The rules, by the kind of claim:

**Relative** ("A beats B"). Rows of A and B that agree in images, category, seed, recipe, scale, teacher (and its file,
where both read one of the same network), precision, textures of pseudo-anomalies and all other overrides are pairs.

- The effect is the mean of A - B over categories, each the mean over its seeds, in percent points, with its 95 %
  interval over seeds (`intervals.over_seeds`). Above 0: supported; below 0: contradicted; else inconclusive.
- Where a conclusive effect lies on the other side of 0 without some one category, there is no verdict on all: it
  depends on that category. What is left of it without the categories in which neither side finds anything stands
  beside it.
- Categories with fewer than three seeds do not count, nor those of other datasets where all that a claim speaks of are
  there.
- Of several baselines ("A beats either", "A is best") the one with the highest mean counts.
- That a category gains most (the rule `gain_most`) has lines of its own: its gain less the largest of any other
  category of its dataset that was run. Supported only where all of these were run.
- MemKD is set against RD, and in lines of its own against itself without items, which is RD with the loss of MemKD's
  Eq. 1 and its schedule: RD's own text has another loss.

**Absolute** ("A reaches x"). Only rows under the paper's conditions count (`paper.departures` names none), with every
category of the claim and no other; a line a recipe. Supported where the whole interval reaches x up to half a percent
point, contradicted where all of it falls short by more, else inconclusive.

**Speed** ("A is n times as fast"). The median of the ratios of `results/speed`'s turns, on one machine, with its 95 %
interval (`intervals.of_median`).

- Supported where all of it reaches the claimed ratio up to a tenth; contradicted where all of it falls short. Either
  has to hold also with the interval 3 % wider on both sides, by which another run may differ.
- By the rule `about` the bounds are half and one and a half times what the ratio differs from 1 (that of the larger to
  the smaller: of a third, 1/2 to 1/4). Of S2-11's 6 % that is no further than those 3 % allow: it can be contradicted,
  and not supported.
- Two methods are set beside each other on one network, and each on its own (PatchCore's is a Wide ResNet-50-2;
  FastFlow's is assumed to be one, `peers.PEERS` says why).
  PatchCore's coreset is its library's, a tenth, of the 209 training images of MVTec AD's bottle: of more images its
  time is longer.
- A claim over several others holds against each of them or not at all.
- Peak memory, measured once, is not judged.
- Storage is counted: the numbers in the memories by those in PatchCore's. "Far less" is at most a tenth.

**Diagnostic**. `results/diagnostics/*.csv` has a number a category and seed, made so that the claim says it is above 0
(a difference in the claimed direction). Judged as a relative claim, but where a `why` beside the number says that it
tells nothing of the claim.

Real images and generated ones are judged apart, each in lines of their own: what holds of drawings need not hold of
photographs, so that one interval over both would be of nothing that exists. Where a dataset was not run, and for a set
of categories that we lack, the words are 'not tested here'; where there are too few seeds, or what was measured says
nothing of the claim, 'measured but not judged'; both with the reason.

The rules changed after rows existed: `docs/rule_changes.md` lists how, and the claims that each change concerns. Those
for scores have been as they stand since `verdicts.RULES_SINCE`; the column `rule` tells the lines whose rows were all
made after.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from adlib import speed
from adlib.errors import check_known
from adlib.metrics import METRICS
from adlib.study.claims import diagnostics as by_diagnostics
from adlib.study.claims import scores, storage, times
from adlib.study.claims.diagnostics import DIAGNOSTICS
from adlib.study.claims.verdicts import COLUMNS, Line, untested
from adlib.study.paper import FOLDER, names_in


def claims(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Read the list of claims, `claims.csv`: what is compared, where it is printed, and with which values.

    All columns are text. `kind` is relative, absolute or diagnostic; a relative claim has a `rule`, the others none:

    - gain: the variant is above the baseline, in the metric.
    - gain_most: as gain; and in lines of its own, the category gains more than any other of its dataset.
    - at_least: the variant has at least so many times the baseline's metric.
    - about: it has about so many times as much.
    - lower: it has less, whatever the ratio.

    What is printed is a number a metric, or one a baseline; both, with `;` between baselines (`scores.printed_of`).
    `ratio` is how many times as much, as a number or fraction, where the paper's text says it in words; else it follows
    from `paper_variant` and `paper_baseline`. Raises ValueError for another rule.
    """
    listed = pd.read_csv(Path(folder) / "claims.csv", dtype=str, keep_default_na=False)
    for name, kind, rule in zip(listed["id"], listed["kind"], listed["rule"], strict=True):
        check_known(
            f"rule of claim {name} in {folder}/claims.csv",
            rule,
            (*scores.RULES, *times.RULES) if kind == "relative" else ("",),
        )
    return listed


def judge(
    rows: pd.DataFrame,
    timings: str | Path = speed.RESULTS,
    diagnostics: str | Path = DIAGNOSTICS,
    listed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Judge claims: one line a claim, metric and setting (recipe, scale, teacher, ...), columns those of `Line`.

    `effect` with `low` and `high` is in `unit`; `stated`, in the same unit, is what the paper prints (NaN: nothing).
    `conditions` words what the columns of `pairs.SETTING` have for a program; those of times have a recipe alone.
    `rests_on` names the categories without any one of which the verdict would be another, and the effect without each;
    `p` is the chance of such an effect where there is none (`intervals.chance_over_seeds`), of each line for itself.

    Args:
        rows: as `results.read` gives them.
        timings: the folder of the speed tables.
        diagnostics: the folder of tables with the columns id, metric, value, parts, dataset, category, seed,
            conditions, device, and `why`, where there is a line without a value.
        listed: the claims to judge, of `claims`; None: all.
    """
    listed = claims() if listed is None else listed
    lines: list[Line] = []
    for claim in ({str(k): str(v) for k, v in line.items()} for line in listed.to_dict("records")):
        for i, metric in enumerate(names_in(claim["metric"])):
            lines += [
                replace(
                    line,
                    id=claim["id"],
                    source=claim["source"],
                    claim=claim["claim"],
                    where=claim["where"],
                    metric=metric,
                    printed=line.printed or _printed(claim, i, line.against),
                )
                for line in _judged(claim, metric, i, rows, Path(timings), Path(diagnostics))
            ]
    return pd.DataFrame([asdict(line) for line in lines], columns=COLUMNS)


def _judged(
    claim: Mapping[str, str], metric: str, i: int, rows: pd.DataFrame, timings: Path, diagnostics: Path
) -> list[Line]:
    """Judge the `i`th metric of a claim, by its kind."""
    if claim["kind"] == "diagnostic":
        return by_diagnostics.judge(claim, metric, diagnostics)
    if metric in times.RATIOS:
        return times.judge(claim, metric, timings)
    if metric == storage.METRIC:
        return storage.judge(claim["variant"])
    if metric not in METRICS:
        return [untested(f"{metric} is no column of a row")]
    return scores.judge(claim, metric, i, rows)


def _printed(claim: Mapping[str, str], i: int, against: str) -> str:
    if scores.MORE_THAN in against:
        return ""
    sides = [names_in(scores.printed_of(claim, against)), names_in(claim["paper_variant"])]
    count = len(names_in(claim["metric"]))
    # Several baselines of one metric are printed with a comma, too: they stand beside the first metric.
    shown = [part[i] if len(part) == count else ("" if i else ", ".join(part)) for part in sides]
    return " -> ".join(text for text in shown if text)
