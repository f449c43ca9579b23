"""Names that a user may mistype: methods, recipes, fields, datasets, categories."""

import difflib
from collections.abc import Iterable


def known(kind: str, name: object, names: Iterable[object]) -> None:
    """Raise a ValueError that lists the known names, and the nearest one, if `name` is not among `names`."""
    listed = sorted({str(one) for one in names})
    if name in listed:
        return
    close = difflib.get_close_matches(str(name), listed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(listed)}")
