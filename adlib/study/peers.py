"""The times of other libraries' detectors, and of ours that took turns with them: the one reader of `peers.csv`."""

from pathlib import Path

import pandas as pd

from adlib import speed
from adlib.methods import METHODS, resolve

# The network taken for a peer's own beside MixedTeacher, whose table of times names none: PatchCore's is its library's;
# FastFlow's an assumption, as the paper's columns of its accuracy are anomalib's of a Wide ResNet-50-2
# (`contradictions.copies`), while the library's default is a ResNet-18; of STFPM the library has but one.
PEERS = {"patchcore": "wide_resnet50_2", "fastflow": "wide_resnet50_2", "stfpm": "resnet18"}
CORESET = 0.1  # the share of patches that PatchCore's library keeps by itself
BANK = 209  # images whose patches PatchCore's memory is taken from: of more it is slower
PATCHES, CHANNELS = 32 * 32, 512 + 1024  # of an image of 256 x 256: layers 2 and 3 of the Wide ResNet-50-2
BANK_NUMBERS = round(CORESET * BANK * PATCHES) * CHANNELS
COLUMNS = ["environment", "method", "recipe", "backbone", "coreset", "variant", "version", "batch"]
COLUMNS += ["p50_ms", "each_ms", "precision", "commit", "device", "threads"]


def peers(folder: str | Path) -> pd.DataFrame:
    """Read the times of single images in `peers.csv`, columns `COLUMNS`: of `PEERS`, and of ours beside them.

    `environment` is 'adlib' for ours, whose `variant` is 'plain' or 'optimised'; another library's is 'model'.
    `recipe` is ours alone, else ''. `coreset` is a share, PatchCore's alone, else NaN; only its library's own
    (`CORESET`) is kept. No lines where there is no such file.
    """
    found = speed.read("peers", folder).reindex(columns=COLUMNS)
    ours = found["environment"] == "adlib"
    known = ours | found["method"].isin(list(PEERS))
    whole = found["coreset"].isna() | (found["coreset"] == CORESET)
    found = found[known & whole & (found["batch"] == 1)]
    return found.assign(recipe=found["recipe"].astype(object).fillna(""))


def own_backbone(method: str) -> str:
    """Return the network that is a method's own: by default of ours, of another library's that of `PEERS`."""
    return str(resolve(method).backbone) if method in METHODS else PEERS[method]
