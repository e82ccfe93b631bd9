"""The known name nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from ingest_pipelines.errors import UsageError, printable

SHOWN = 12
"""Known names that a message lists at most; more would bury the mistake."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `name`; None if none is."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    matches = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def nearest(name: str, known: Iterable[str], *, shown: int | None = SHOWN) -> str:
    """`did you mean 'host'?`, or the list of what is known.

    Args:
        shown: names that the list has at most; None: all.
    """
    names = sorted(known)
    close = closest(name, names)
    if close is not None:
        return f"did you mean '{close}'?"
    if not names:
        return "none is defined yet"
    listed = names[:shown]
    more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
    return f"known are: {', '.join(listed)}{more}"


def no_such_file(path: Path) -> UsageError:
    """The error for a file that a person named and that is not there: names the one beside it that was meant."""
    try:
        close = closest(path.name, (each.name for each in path.parent.iterdir() if each.name[0] != "."))
    except OSError:
        close = None
    hint = f"nothing ran; did you mean '{printable(close)}'?" if close is not None else "nothing ran; check the path"
    return UsageError(f"{printable(str(path))} does not exist", hint=hint)
