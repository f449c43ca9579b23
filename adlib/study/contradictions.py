"""Where a paper contradicts itself or another, found again from printed tables: means, captions, prose, copied columns.

Everything stands in `results/paper/`: the tables as printed, and what the texts say of them (`prose.csv`)
and of the datasets (`sizes.csv`).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from adlib.study.paper import DATASETS, FOLDER, METRICS, paper

COLUMNS = ["source", "where", "check", "stated", "found", "verdict"]
CONTRADICTED, ROUNDING, AGREES = "contradicted", "within rounding", "agrees"
COUNTED, COPIED, DIFFERS = "counted", "copied", "differs"  # nothing that the paper says is denied by any of these
MEAN, WHOLE = "mean", ("mean", "all")  # categories that stand for a whole dataset
CAPTIONED = " (as captioned)"
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

    `against` is a method of a table, "second best", or a number that a text gives; by its `unit` a statement is about
    percent points, percent, two prints of the same, what another paper prints of the same method (`DIFFERS`: a re-run,
    whatever it is called), or only about being ahead. Raises ValueError for a
    statement about a number that no table has.
    """
    statements = pd.read_csv(Path(folder) / "prose.csv", keep_default_na=False)
    lines = []
    for said in statements.to_dict("records"):
        at = (
            (numbers["source"] == said["source"])
            & (numbers["metric"] == said["metric"])
            & numbers["category"].isin(WHOLE)
        )
        table = numbers[at & (numbers["table"] == said["table"]) & (numbers["dataset"] == said["dataset"])]
        own = table.loc[table["method"] == said["method"], "value"]
        if said["against"] == "second best":
            other = table.loc[table["method"] != said["method"], "value"].nlargest(1)
        elif said["against"].replace(".", "").isdigit():
            other = pd.Series([float(said["against"])])
        else:
            other = numbers.loc[at & (numbers["table"] == said["against_table"]), :]
            other = other.loc[(other["method"] == said["against"]) & (other["dataset"] == said["dataset"]), "value"]
        if len(own) != 1 or len(other) != 1:
            raise ValueError(
                f"prose.csv, {said['says']!r}: {len(own)} and {len(other)} printed numbers, expected one each"
            )
        a, b = float(own.iloc[0]), float(other.iloc[0])
        percent = said["unit"] == "percent"
        stated, found = float(said["stated"]), 100 * (a / b - 1) if percent else a - b
        verdict = _verdict(stated, found, exact=0.5 if percent else STEP / 10)
        if said["unit"] == "same" and verdict == ROUNDING:
            verdict = CONTRADICTED  # one thing printed twice is rounded alike
        if said["unit"] == "elsewhere" and verdict != AGREES:
            verdict = DIFFERS
        unit = " %" if percent else ""
        texts = [f"{x:+.{0 if percent else 2}f}{unit}" for x in (stated, found)]
        if said["unit"] == "ahead":
            verdict, texts[0] = (AGREES if found > 0 else CONTRADICTED), "ahead"
        lines.append((said["source"], f"{said['place']} on {said['table']}", said["says"], *texts, verdict))
    return pd.DataFrame(lines, columns=COLUMNS)


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
    known = numbers[numbers["dataset"].isin(list(DATASETS)) & numbers["metric"].isin(list(METRICS))]
    known = known[~known["category"].isin(WHOLE)]
    to_percent = 100 / known["metric"].map(lambda name: METRICS[name][1])
    known = known.assign(
        dataset=known["dataset"].map(DATASETS),
        metric=known["metric"].map(lambda name: METRICS[name][0]),
        percent=(to_percent * known["value"]).round(1),
    )
    ours = known["source"].str.startswith("seed")
    pairs = known[ours].merge(known[~ours], on=["dataset", "metric", "category"], suffixes=("", "_other"))
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
            mean = f"mean {gain.mean():+.2f}"
            lines.append(
                (
                    source,
                    f"{table}, {metric}",
                    f"{method} over {baseline}, {of} by {of}",
                    mean,
                    counts,
                    COUNTED,
                )
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def _verdict(stated: float, found: float, exact: float) -> str:
    """Judge a difference: up to `exact` it agrees, up to a tenth it is rounding."""
    gap = abs(stated - found)
    if gap <= exact + 1e-9:
        return AGREES
    return ROUNDING if gap <= STEP + 1e-9 else CONTRADICTED
