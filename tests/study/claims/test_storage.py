"""The claim on storage: counts known in closed form, and a memory that is too large."""

import pytest

from adlib.study.claims import storage, verdicts
from adlib.study.peers import BANK_NUMBERS
from tests.study.planted import judged, made

PATCHES = 209 * 32 * 32 // 10  # a tenth of those of 209 images
KEYS_AND_VALUES = 2 * 50 * (512 + 1024 + 2048)  # 50 items a level of a Wide ResNet-50-2


def test_memories_are_far_smaller_than_a_bank():
    (line,) = storage.judge("memkd")
    assert line.effect == line.low == line.high == pytest.approx(KEYS_AND_VALUES / (PATCHES * (512 + 1024)), rel=1e-4)
    assert line.stated == pytest.approx(0.3 / 48.4)
    assert line.verdict == verdicts.SUPPORTED
    assert f"{KEYS_AND_VALUES:,} of memkd (paper) by {BANK_NUMBERS:,} of patchcore" in line.conditions


@pytest.mark.parametrize(("share", "verdict"), [(0.09, verdicts.SUPPORTED), (0.11, verdicts.CONTRADICTED)])
def test_far_less_is_a_tenth(monkeypatch, share, verdict):
    monkeypatch.setattr(storage, "memory_numbers", lambda variant: round(share * BANK_NUMBERS))
    (line,) = storage.judge("memkd")
    assert line.verdict == verdict


def test_the_list_asks_for_it_of_memkd(row):
    line = judged(made(row, "memkd", "bottle", [0.9]), "S2-11", storage.METRIC)
    assert (line["against"], line["verdict"]) == ("patchcore", verdicts.SUPPORTED)
    assert line["printed"] == "48.4M -> 0.3M"
