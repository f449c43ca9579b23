"""What errors say: the names that were meant by a mistyped one, and the first line of what a library said."""

import difflib
from collections.abc import Iterable


def check_known(kind: str, name: object, names: Iterable[object]) -> None:
    """Raise a ValueError that lists the known names, and the nearest one, if `name` is not among `names`."""
    listed = sorted({str(one) for one in names})
    if name in listed:
        return
    any_case = {one.lower(): one for one in listed}
    close = difflib.get_close_matches(str(name).lower(), any_case, n=1)
    hint = f"; did you mean {any_case[close[0]]!r}?" if close else "."
    raise ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(listed)}")


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message, or where it has none its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
