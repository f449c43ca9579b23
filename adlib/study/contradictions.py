"""Where a paper contradicts itself or another, found again from printed tables: means, captions, prose, copied columns.

Everything stands in `results/paper/`: the tables as printed, and what the texts say of them (`prose.csv`)
and of the datasets (`sizes.csv`).
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adlib.errors import check_known
from adlib.study.filters import with_values
from adlib.study.paper import FOLDER, PRINTED_DATASETS, PRINTED_METRICS, paper

COLUMNS = ["source", "where", "check", "stated", "found", "verdict"]
CONTRADICTED, ROUNDING, AGREES = "contradicted", "within rounding", "agrees"
COUNTED, COPIED, DIFFERS = "counted", "copied", "differs"  # nothing that the paper says is denied by any of these
MEAN, WHOLE = "mean", ("mean", "all")  # categories that stand for a whole dataset
CAPTIONED = " (as captioned)"
Judged = tuple[str, str, str]  # what is stated, what is found, and the verdict
STEP = 0.1  # percent points: the last printed digit of the tables' percentages


def contradictions(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Check all tables of the papers in every way below: one line a check, `COLUMNS`, the contradicted ones first."""
    everything = paper(folder)
    numbers = everything[everything["source"].str.startswith("seed")]
    checks = [means(numbers), captions(numbers), prose(numbers, folder), sizes(folder), copies(everything)]
    checks += [losses(numbers)]
    found = pd.concat(checks, ignore_index=True)
    order = found["verdict"].map({CONTRADICTED: 0, ROUNDING: 1, DIFFERS: 2, COPIED: 3, COUNTED: 4, AGREES: 5})
    return found.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def means(numbers: pd.DataFrame) -> pd.DataFrame:
    """Compare each printed mean with the mean of the values it is printed beside.

    Values rounded to a tenth have a mean that is exact to half of that, and so has the printed one: a difference of up
    to a tenth follows from rounding.
    """
    lines = []
    for (source, table, method, metric), group in numbers.groupby(["source", "table", "method", "metric"], sort=False):
        values = group.loc[~group["category"].str.startswith(MEAN), "value"]
        printed = group.loc[group["category"] == MEAN, "value"]
        if len(values) < 2 or len(printed) != 1:
            continue
        stated, mean = float(printed.iloc[0]), float(values.mean())
        where = f"{table}, {method}, {metric}"
        verdict = _verdict(stated, mean, exact=STEP / 2)
        lines.append((source, where, f"mean of {len(values)} values", f"{stated:.1f}", f"{mean:.2f}", verdict))
    return pd.DataFrame(lines, columns=COLUMNS)


def captions(numbers: pd.DataFrame) -> pd.DataFrame:
    """Compare a table's numbers with the other tables of its paper: do they fit the dataset of its caption?

    Counts for each dataset how many values (same method, same metric) are the same; contradicted where another dataset
    than that of the caption has more. Of the others it says whose values these are.
    """
    whole = numbers[numbers["category"].isin(WHOLE)].copy()
    # One and the same method has two names: in the table of the complexity the baseline is RD.
    whole["method"] = whole["method"].replace({"Baseline": "RD"})
    lines = []
    for (source, table), group in whole.groupby(["source", "table"], sort=False):
        captioned = group["dataset"].iloc[0]
        others = whole[(whole["source"] == source) & (whole["table"] != table)]
        pairs = group.merge(others, on=["source", "method", "metric"], suffixes=("", "_other"))
        if not captioned.endswith(CAPTIONED) or pairs.empty:
            continue
        same = pairs["value"].eq(pairs["value_other"])
        equal = same.groupby(pairs["dataset_other"]).agg(["sum", "size"])
        best = equal["sum"].idxmax()
        name = captioned.removesuffix(CAPTIONED)
        few = pairs[same & (pairs["dataset_other"] != best)]
        whose = {str(dataset): part["method"].unique() for dataset, part in few.groupby("dataset_other")}
        text = ", ".join(
            f"{dataset} {line['sum']} of {line['size']}"
            + (f" ({', '.join(whose[str(dataset)])})" if dataset in whose else "")
            for dataset, line in equal.iterrows()
        )
        verdict = AGREES if best == name else CONTRADICTED
        lines.append((source, table, "values equal to those of", name, text, verdict))
    return pd.DataFrame(lines, columns=COLUMNS)


def prose(numbers: pd.DataFrame, folder: str | Path = FOLDER) -> pd.DataFrame:
    """Compare each difference that the text states with the one that the tables give.

    `against` is a method of a table, "second best", or a number that a text gives; by its `unit` (`UNITS`) a statement
    is about percent points, percent, two prints of what may be one training, what another paper prints of the same
    method, or only about being ahead. Of a difference that its own table denies, `found` also names the datasets whose
    table gives it.
    Raises ValueError for a statement about a number that no table has, or in another unit.
    """
    statements = pd.read_csv(Path(folder) / "prose.csv", keep_default_na=False)
    lines = []
    for said in statements.to_dict("records"):
        own, other = _numbers_compared(numbers, said)
        check_known(f"unit of {said['says']!r} in prose.csv", said["unit"], UNITS)
        stated, found, verdict = UNITS[said["unit"]](float(said["stated"]), own, other)
        if verdict == CONTRADICTED and said["unit"] == "points":
            found = "; what is stated fits ".join([found, *_where_it_holds(numbers, said)])
        lines.append((said["source"], f"{said['place']} on {said['table']}", said["says"], stated, found, verdict))
    return pd.DataFrame(lines, columns=COLUMNS)


def _where_it_holds(numbers: pd.DataFrame, said: Mapping[Hashable, Any]) -> list[str]:
    """Name the datasets of a paper's other tables that give the difference which the text states of this one."""
    others = numbers[(numbers["source"] == said["source"]) & (numbers["table"] != said["table"])]
    named = []
    for table, dataset in sorted({*zip(others["table"], others["dataset"], strict=True)}):
        try:
            own, other = _numbers_compared(
                numbers, {**said, "table": table, "against_table": table, "dataset": dataset}
            )
        except ValueError:  # that table does not compare them
            continue
        if not dataset.endswith(CAPTIONED) and _points(float(said["stated"]), own, other)[2] == AGREES:
            named.append(dataset)
    return named


def _numbers_compared(numbers: pd.DataFrame, said: Mapping[Hashable, Any]) -> tuple[float, float]:
    """Find the two numbers that a statement compares; ValueError where a table has none, or several."""
    whole = numbers[numbers["category"].isin(WHOLE)]
    alike = with_values(whole, {name: said[name] for name in ("source", "metric")})
    table = with_values(alike, {name: said[name] for name in ("table", "dataset")})
    own = table.loc[table["method"] == said["method"], "value"]
    if said["against"] == "second best":
        other = table.loc[table["method"] != said["method"], "value"].nlargest(1)
    elif said["against"].replace(".", "").isdigit():
        other = pd.Series([float(said["against"])])
    else:
        theirs = {"table": said["against_table"], "dataset": said["dataset"], "method": said["against"]}
        other = with_values(alike, theirs)["value"]
    if len(own) != 1 or len(other) != 1:
        raise ValueError(f"prose.csv, {said['says']!r}: {len(own)} and {len(other)} printed numbers, expected one each")
    return float(own.iloc[0]), float(other.iloc[0])


def _points(stated: float, own: float, other: float) -> Judged:
    found = own - other
    return f"{stated:+.2f}", f"{found:+.2f}", _verdict(stated, found, exact=STEP / 10)


def _percent(stated: float, own: float, other: float) -> Judged:
    found = 100 * (own / other - 1)
    return f"{stated:+.0f} %", f"{found:+.0f} %", _verdict(stated, found, exact=0.5)


def _same(stated: float, own: float, other: float) -> Judged:
    """Judge two prints of what may be one training: rounded alike, so that nothing is within rounding."""
    said, found, verdict = _points(stated, own, other)
    return said, found, AGREES if verdict == AGREES else DIFFERS


def _elsewhere(stated: float, own: float, other: float) -> Judged:
    """Judge what another paper prints of the same method: where it differs it is a re-run, whatever it is called."""
    said, found, verdict = _points(stated, own, other)
    return said, found, AGREES if verdict == AGREES else DIFFERS


def _ahead(stated: float, own: float, other: float) -> Judged:
    """Judge a statement that says only that one is ahead of the other."""
    return "ahead", f"{own - other:+.2f}", AGREES if own > other else CONTRADICTED


# How a statement is judged by its unit: (stated, own, other) -> the texts of what is stated and found, and the verdict.
UNITS: dict[str, Callable[[float, float, float], Judged]] = {
    "points": _points,
    "percent": _percent,
    "same": _same,
    "elsewhere": _elsewhere,
    "ahead": _ahead,
}


def sizes(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Compare the number of images that a text gives of a dataset with the sum of its published parts."""
    parts = pd.read_csv(Path(folder) / "dataset_counts.csv").set_index("dataset")
    images = parts[["train", "val", "test_normal", "test_anomalous"]].sum(axis=1)
    lines = []
    for said in pd.read_csv(Path(folder) / "sizes.csv").to_dict("records"):
        found = int(images[images.index.str.startswith(said["dataset"])].sum())
        verdict = AGREES if found == said["images"] else CONTRADICTED
        check = f"images of {said['dataset']}"
        lines.append((said["source"], said["place"], check, str(said["images"]), str(found), verdict))
    return pd.DataFrame(lines, columns=COLUMNS)


def copies(numbers: pd.DataFrame) -> pd.DataFrame:
    """Find the columns of the papers' tables that are those of another source, category by category: `COPIED`.

    They are results of others then, with other networks and trainings, whatever the table says of its own. A column
    with fewer than three categories is none.
    """
    named = numbers[numbers["dataset"].isin(list(PRINTED_DATASETS)) & numbers["metric"].isin(list(PRINTED_METRICS))]
    named = named[~named["category"].isin(WHOLE)]
    to_percent = 100 / named["metric"].map(lambda name: PRINTED_METRICS[name][1])
    named = named.assign(
        dataset=named["dataset"].map(PRINTED_DATASETS),
        metric=named["metric"].map(lambda name: PRINTED_METRICS[name][0]),
        percent=(to_percent * named["value"]).round(1),
    )
    papers = named["source"].str.startswith("seed")
    pairs = named[papers].merge(named[~papers], on=["dataset", "metric", "category"], suffixes=("", "_other"))
    pairs["equal"] = pairs["percent"] == pairs["percent_other"]
    lines = []
    columns = ["source", "table", "method", "metric", "source_other", "method_other"]
    for (source, table, method, metric, other, theirs), group in pairs.groupby(columns, sort=False):
        if len(group) >= 3 and group["equal"].all():
            where, counts = f"{table}, {method}, {metric}", f"{theirs}: {len(group)} of {len(group)}"
            lines.append((source, where, "values equal to those of another's table", other, counts, COPIED))
    return pd.DataFrame(lines, columns=COLUMNS)


def losses(numbers: pd.DataFrame) -> pd.DataFrame:
    """Count where the proposed method is below its own baseline: `COUNTED`, as no paper denies it.

    Category by category, and of the tables of whole datasets dataset by dataset; no line where it never is.
    """
    lines = []
    pairs = (("seed000", "DeSTSeg(memory)", "DeSTSeg(origin)"), ("seed002", "Ours", "RD"))
    for source, method, baseline in pairs:
        part = numbers[(numbers["source"] == source) & numbers["method"].isin([method, baseline])]
        whole = part["category"].isin(WHOLE)
        # One table for all datasets, each of which has one number a method there.
        datasets = part[whole & ~part["dataset"].str.endswith(CAPTIONED)].assign(of="dataset", table="all tables")
        datasets = datasets.assign(category=datasets["dataset"]).drop_duplicates(["category", "method", "metric"])
        for (table, metric, of), group in pd.concat([part[~whole].assign(of="category"), datasets]).groupby(
            ["table", "metric", "of"], sort=False
        ):
            values = group.pivot(index="category", columns="method", values="value")
            if not {method, baseline} <= set(values) or len(values) < 2:
                continue
            gain = (values[method] - values[baseline]).round(6)
            if not (gain < 0).any():
                continue
            worse = ", ".join(f"{name} {value:+.1f}" for name, value in gain[gain < 0].items())
            counts = f"{(gain > 0).sum()} up, {(gain < 0).sum()} down, {(gain == 0).sum()} equal; down: {worse}"
            check, mean = f"{method} over {baseline}, {of} by {of}", f"mean {gain.mean():+.2f}"
            lines.append((source, f"{table}, {metric}", check, mean, counts, COUNTED))
    return pd.DataFrame(lines, columns=COLUMNS)


def _verdict(stated: float, found: float, exact: float) -> str:
    """Judge a difference: up to `exact` it agrees, up to a tenth it is rounding."""
    gap = abs(stated - found)
    if gap <= exact + 1e-9:
        return AGREES
    return ROUNDING if gap <= STEP + 1e-9 else CONTRADICTED
