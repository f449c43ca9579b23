"""What is derived from the committed rows and committed beside them: claims.csv, docs/claims.md, the README's tables.

    python -m adlib.study.publish      # after rows were added; a test compares all three with the rows

No number in them is typed by hand.
"""

import argparse

import pandas as pd

from adlib import results
from adlib.environment import PROJECT
from adlib.files import replace_between, whole_file
from adlib.study import claims, claims_page, readme

CLAIMS = PROJECT / "results" / "claims.csv"
PAGE = PROJECT / "docs" / "claims.md"
README = PROJECT / "README.md"
BEGIN, END = "<!-- written by python -m adlib.study.publish -->", "<!-- end -->"


def claims_csv(judged: pd.DataFrame) -> str:
    """Return the text of `results/claims.csv`: what `claims.judge` gives, with four digits."""
    return judged.to_csv(index=False, float_format="%.4g", lineterminator="\n")


def main() -> None:
    """Write all three, and say so."""
    argparse.ArgumentParser(prog="python -m adlib.study.publish", description=__doc__.splitlines()[0]).parse_args()
    rows = results.read(results.RUNS)
    judged = claims.judge(rows)
    for path, text in ((CLAIMS, claims_csv(judged)), (PAGE, claims_page.text(judged))):
        with whole_file(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    replace_between(README, BEGIN, END, readme.text(rows, judged))
    print(f"{CLAIMS}, {PAGE} and the tables of {README}, from {len(rows)} rows")


if __name__ == "__main__":
    main()
