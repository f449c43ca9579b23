"""The committed split of Magnetic Tile Defects is what `make_splits` draws."""

import pandas as pd
import pytest

from adlib.datasets import mtd


@pytest.fixture(scope="module")
def splits() -> pd.DataFrame:
    return pd.read_csv(mtd.SPLITS)


def test_committed_csv_is_the_function_s(splits):
    again = mtd.make_splits(reversed(splits["image"].tolist()))
    pd.testing.assert_frame_equal(again, splits)


@pytest.mark.parametrize("column", mtd.CATEGORIES)
def test_totals_and_stratification(splits, column):
    assert splits[column].value_counts().to_dict() == {"train": 762, "test": 190}
    group = splits["image"].str.extract(r"^exp(\d)_num_\d+\.jpg$", expand=False)
    assert group.value_counts().to_dict() == {
        **{"0": 1, "1": 157, "2": 159, "3": 157},
        **{"4": 160, "5": 160, "6": 158},
    }
    test = (splits[column] == "test").groupby(group).sum()
    # 0.2 of each group, to the nearest image that the total of 190 allows
    assert ((test - 0.2 * group.value_counts()).abs() < 1).all()


def test_seeds_differ(splits):
    assert (splits["split0"] != splits["split1"]).sum() > 200
    assert (splits["split1"] != splits["split2"]).sum() > 200


def test_totals_hold_for_other_group_sizes():
    names = [f"exp{e}_num_{e}{n}.jpg" for e, size in enumerate((3, 1, 7, 14)) for n in range(size)]
    assert (mtd.make_splits(names)["split0"] == "test").sum() == 5
