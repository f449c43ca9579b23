"""The papers' contradictions are those that a reader finds by hand; what is planted is found, too."""

import shutil

import pandas as pd
import pytest

from adlib.study import paper
from adlib.study.contradictions import CONTRADICTED, COUNTED, DIFFERS, ROUNDING, contradictions, copies, means, sizes


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(paper.FOLDER, tmp_path / "paper")


def change(path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def contradicted(found) -> set[str]:
    return set(found.loc[found["verdict"] == CONTRADICTED, "check"])


def test_what_a_reader_finds_by_hand_is_found():
    found = contradictions()
    assert contradicted(found) == {
        "values equal to those of",
        "the reduced student takes 30 % less inference time than STPM",
        "the new state of the art on textures; Sec. 5.3.1 has 99.9 from FastFlow's own paper",
        "gain over the best distillation method: image AP on VisA",
        "leading localisation on these benchmarks: pixel AP on MVTec AD",
        "leading localisation on these benchmarks: pixel AUC on VisA",
        "behind PatchCore on MPDD: pixel AUC",
        "ahead of the second best on MPDD: pixel AP",
        "ahead of the second best on MPDD: PRO",
        "images of Eyecandies",
    }
    twice, (rerun,) = (
        found[(found["verdict"] == DIFFERS) & (found["where"].str.startswith("Table 4") == of)].to_dict("records")
        for of in (True, False)
    )
    assert [of["found"] for of in twice] == ["+0.50", "+0.10", "+0.10"]  # no items, and no memory
    assert rerun["check"] == "the baseline is as its own paper prints it: image AUROC"
    assert rerun["found"] == "-0.30"
    datasets = found[found["check"] == "Ours over RD, dataset by dataset"].set_index("where")["found"]
    assert datasets["all tables, pixel_auroc_pct"] == "2 up, 1 down, 0 equal; down: MPDD -0.3"
    assert "all tables, image_auroc_pct" not in datasets  # never below it
    fallen = found[found["check"].str.endswith("category by category")]
    assert set(fallen["verdict"]) == {COUNTED}
    assert fallen["found"].str.contains("down").all()
    caption = found[found["check"] == "values equal to those of"].iloc[0]
    assert (caption["stated"], caption["where"]) == ("MPDD", "Table 3")
    assert "MPDD 2 of 15 (CFA)" in caption["found"]
    assert "VisA 13 of 15" in caption["found"]


def test_columns_that_are_anothers_results_are_found_whole_or_not_at_all(folder):
    found = copies(paper.paper())
    places = {"Table 2, STPM, image_auroc", *(f"Table 2(b), {name}, image_auroc" for name in ("ST", "PADiM", "AE"))}
    flows = [("2", "image"), ("4", "image"), ("5", "pixel")]  # of the Wide ResNet-50, not of the ResNet-18
    places |= {f"Table {number}, FastFlow, {of}_auroc" for number, of in flows}
    assert set(found["where"]) == places
    change(folder / "seed002_table2b_eyecandies.csv", "lollipop,AE,image_auroc_pct,", "lollipop,AE,image_auroc_pct,1")
    assert set(copies(paper.paper(folder))["where"]) == places - {"Table 2(b), AE, image_auroc"}


def test_35_means_are_checked_and_two_are_off_by_rounding():
    found = means(paper.paper())
    found = found[found["source"].str.startswith("seed")]
    assert len(found) == 35
    assert set(found.loc[found["verdict"] == ROUNDING, "where"]) == {
        "Table 5, CutPaste, pixel_auroc_pct",
        "Table 2(a), GANomaly, image_auroc_pct",
    }
    assert CONTRADICTED not in set(found["verdict"])


def test_planted_contradictions_are_found(folder):
    change(
        folder / "seed000_table1_image_auroc.csv",
        "mean,DeSTSeg(memory),image_auroc_pct,98.5",
        "mean,DeSTSeg(memory),image_auroc_pct,99.5",
    )
    change(folder / "prose.csv", "Ours,Table 2(b),RD,2.7,points", "Ours,Table 2(b),RD,3.7,points")
    new = contradicted(contradictions(folder)) - contradicted(contradictions())
    assert new == {"mean of 15 values", "gain over the baseline on Eyecandies"}


def test_a_difference_that_fits_another_table_of_the_paper_says_which(folder):
    """What the text says of MPDD is what VisA's table gives."""
    found = contradictions(folder).set_index("check")["found"]
    assert found["behind PatchCore on MPDD: pixel AUC"] == "-0.60; what is stated fits VisA"
    assert found["ahead of the second best on MPDD: pixel AP"] == "+0.60; what is stated fits VisA"
    assert found["ahead of the second best on MPDD: PRO"] == "+0.60"
    change(
        folder / "seed002_table1_main.csv",
        "VisA,mean,PatchCore,pixel_auroc_pct,98.8",
        "VisA,mean,PatchCore,pixel_auroc_pct,98.7",
    )
    assert contradictions(folder).set_index("check")["found"]["behind PatchCore on MPDD: pixel AUC"] == "-0.60"


def test_sizes_that_are_the_sum_of_their_parts_agree(folder):
    found = sizes().set_index("check")
    assert found.loc["images of VisA", "verdict"] == "agrees"
    assert (found.loc["images of Eyecandies", "found"], found.loc["images of Eyecandies", "stated"]) == (
        "15500",
        "15000",
    )
    change(folder / "dataset_counts.csv", "VisA (1-class split),candle,900,", "VisA (1-class split),candle,901,")
    assert "images of VisA" in contradicted(contradictions(folder))


def test_a_statement_about_a_number_that_no_table_has_is_an_error(folder):
    change(folder / "prose.csv", "Table 2(b),RD,2.7,points", "Table 2(b),RD4AD,2.7,points")
    with pytest.raises(ValueError, match="gain over the baseline on Eyecandies.*1 and 0 printed"):
        contradictions(folder)


def test_being_ahead_of_a_number_of_the_text_is_all_that_such_a_statement_says(folder):
    change(folder / "prose.csv", "Sec. 5.3.1,99.9,0,ahead", "Sec. 5.3.1,99.7,0,ahead")
    found = contradictions(folder).set_index("check")
    line = found.loc["the new state of the art on textures; Sec. 5.3.1 has 99.9 from FastFlow's own paper"]
    assert (line["stated"], line["found"], line["verdict"]) == ("ahead", "+0.10", "agrees")


def test_two_equal_categories_are_no_copied_column():
    lines = [
        (source, "Table 1", "MVTec AD", category, "STPM", "image_auroc_pct", value)
        for source in ("seed001", "stpm")
        for category, value in (("bottle", 99.0), ("pill", 95.0), ("wood", 98.0))
    ]
    numbers = pd.DataFrame(lines, columns=["source", "table", "dataset", "category", "method", "metric", "value"])
    assert len(copies(numbers)) == 1
    assert copies(numbers[numbers["category"] != "wood"]).empty
