"""The papers' tables by our names: every alias is used, every number is the printed one."""

import pandas as pd
import pytest

from adlib import METHODS
from adlib.study import paper, peers, variants


def value(dataset, category, method, metric, source):
    rows = paper.paper_numbers(dataset, category, method)
    rows = rows[(rows.metric == metric) & (rows.source == source)]
    assert rows["value"].nunique() == 1
    return rows["value"].iloc[0]


def test_long_tables_only():
    numbers = paper.paper()
    assert len(numbers) == 558 + 362  # the papers' own, then the five lists beside them
    assert not {"prose.csv", "dataset_counts.csv", "aliases.csv"} & set(numbers["file"])
    assert numbers["value"].notna().all()
    assert set(numbers.columns) == {*paper.COLUMNS, "printed", "page", "file"}


@pytest.mark.parametrize(
    ("dataset", "category", "method", "metric", "source", "expected"),
    [
        ("mvtec", "mean", "destseg", "image_auroc", "seed000", 0.983),
        ("mvtec", "mean", "memory_destseg", "image_auroc", "seed000", 0.985),
        ("mvtec", "bottle", "memory_destseg", "image_auroc", "seed000", 1.0),
        ("mvtec", "mean_textures", "stpm", "image_auroc", "seed001", 0.967),
        ("mvtec", "mean", "rd", "aupro", "seed002", 0.939),
        ("mvtec", "mean", "mem_mkd", "image_auroc", "seed002", 0.987),
        ("mvtec", "mean", "mkd", "aupro", "seed002", 0.917),
        ("mvtec", "mean", "memkd", "image_auroc", "seed002", 0.996),
        ("btad", "02", "mixed_teacher", "image_auroc", "seed001", 0.97),
        ("mvtec3d", "potato", "memkd", "image_auroc", "seed002", 0.679),
        ("visa", "mean", "memkd", "image_ap", "seed002", 0.986),
    ],
)
def test_printed_numbers_by_our_names(dataset, category, method, metric, source, expected):
    assert value(dataset, category, method, metric, source) == pytest.approx(expected)


def test_ours_depends_on_the_table():
    rows = paper.paper_numbers("mvtec", "mean_textures")
    ours = rows[(rows.paper_method == "Ours") & (rows.source == "seed001")]
    assert dict(zip(ours.table, ours.method, strict=True)) == {
        "Table 2": "reduced_student",
        "Table 4": "mixed_teacher",
        "Table 5": "mixed_teacher",
    }


def test_a_mean_over_textures_is_no_mean_over_mvtec():
    rows = paper.paper_numbers("mvtec", "mean")
    assert "seed001" not in set(rows["source"])


def test_the_captioned_mpdd_numbers_are_visas():
    by_table = {
        table: paper.paper_numbers("visa", "mean", "rd").query("table == @table") for table in ("Table 1(b)", "Table 3")
    }
    for metric in ("image_auroc", "pixel_ap", "aupro"):
        one, other = (rows.loc[rows.metric == metric, "value"].item() for rows in by_table.values())
        assert one == other


def test_every_alias_is_used_and_names_a_method():
    aliases = pd.read_csv(paper.FOLDER / "aliases.csv", dtype=str, keep_default_na=False)
    printed = paper.paper().rename(columns={"method": "paper_method"})[["source", "table", "paper_method"]]
    assert len(aliases.merge(printed.drop_duplicates())) == len(aliases)
    assert set(aliases["method"]) <= {*METHODS, *variants.VARIANTS, *peers.PEERS}
    assert paper.paper_numbers()["value"].between(0, 1).all()


def test_no_match_is_empty_and_no_folder_an_error(tmp_path):
    assert len(paper.paper_numbers("mvtec", "bottle", "dskd")) == 0
    with pytest.raises(FileNotFoundError, match="no table with the columns"):
        paper.paper(tmp_path)


def test_a_page_column_is_kept(tmp_path):
    header = ",".join((*paper.COLUMNS, "page"))
    (tmp_path / "a.csv").write_text(f"{header}\ns,t,VisA,mean,Ours,image_auroc_pct,99.0,7\n")
    numbers = paper.paper(tmp_path)
    assert numbers[["value", "printed", "page"]].iloc[0].tolist() == [99.0, "99.0", "7"]
