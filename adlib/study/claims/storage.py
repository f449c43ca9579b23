"""Judge the claim on storage: the numbers in a method's memories, counted, by those in PatchCore's memory bank.

A count needs no run and has no spread. The bank is the one whose time is measured beside ours, of MVTec AD's bottle.
"""

from adlib.study.claims.verdicts import RATIO, Line, far_less
from adlib.study.memories import memory_numbers
from adlib.study.paper import PRINTED_MEMORY, paper
from adlib.study.peers import BANK, BANK_NUMBERS, CORESET, PEERS

METRIC = "memory_items"  # as the list of claims names it


def judge(variant: str) -> list[Line]:
    """Judge whether a method or variant of ours (`variants.VARIANTS`) keeps far less than PatchCore: one line.

    `stated` is the ratio of the sizes that MemKD's table 3 prints of itself and of PatchCore.
    """
    numbers = paper().set_index(["metric", "method"])["value"]
    theirs, printed = numbers[PRINTED_MEMORY, "PatchCore"].item(), numbers[PRINTED_MEMORY, "Ours"].item()
    own = memory_numbers(variant)
    ratio = own / BANK_NUMBERS
    kept = f"{own:,} of {variant} (paper) by {BANK_NUMBERS:,} of patchcore"
    bank = f"{100 * CORESET:.0f} % of the patches of {BANK} images, {PEERS['patchcore']}"
    return [
        Line(
            against="patchcore",
            unit=RATIO,
            printed=f"{theirs:g}M -> {printed:g}M",
            stated=printed / theirs,
            effect=ratio,
            low=ratio,
            high=ratio,
            recipe="paper",
            conditions=f"numbers in the memories, counted: {kept} ({bank})",
            verdict=far_less(ratio),
        )
    ]
