"""Regular expressions for the names of an import's files, and what their named groups say. Pure.

`source.pattern` names files that are items, `source.parts.pattern` those that are an item together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest_pipelines.config.spellings import pattern_mistake, python_pattern

SERIAL = "serial"
"""The group that holds a serial of one of the usual shapes."""

PART, OF = "part", "of"
"""Groups of the pattern of parts: what tells the files of an item apart, and how many they are."""

WHOLE = "whole_name"

DAY = ("year", "month", "day")
CLOCK = ("hour", "minute", "second")
"""Groups that hold the parts of a moment in any order, each of digits. A moment has a whole day."""


def groups_of(pattern: str) -> tuple[str, ...]:
    """The names of the pattern's groups, in their order."""
    return tuple(re.compile(python_pattern(pattern)).groupindex)


def file_pattern_mistake(pattern: str) -> str:
    """Why the pattern can't name an import's files, or ""."""
    if mistake := pattern_mistake(pattern):
        return mistake
    groups = groups_of(pattern)
    if mistake := _groups_mistake(groups, (SERIAL, *DAY, *CLOCK)):
        return mistake
    if SERIAL not in groups and not set(DAY) <= set(groups):
        return r"name what orders the files: (?P<serial>\d+), or the groups year, month and day"
    return _engine_mistake(pattern)


def parts_pattern_mistake(pattern: str) -> str:
    """Why the pattern can't name the parts of an import's items, or ""."""
    if mistake := pattern_mistake(pattern):
        return mistake
    groups = groups_of(pattern)
    if mistake := _groups_mistake(groups, (PART, OF, SERIAL, *DAY, *CLOCK)):
        return mistake
    if PART not in groups:
        return r"name what tells the parts apart: (?P<part>\d+)"
    if set(groups) & set(DAY) and not set(DAY) <= set(groups):
        return "a moment has the groups year, month and day"
    return _engine_mistake(pattern)


def _groups_mistake(groups: Sequence[str], known: Sequence[str]) -> str:
    if unknown := [name for name in groups if name not in known]:
        return f"the group '{unknown[0]}' is not known; groups are called {', '.join(known)}"
    if SERIAL in groups and set(groups) & {*DAY, *CLOCK}:
        return "'serial' is the whole serial; leave out the other groups, or name year, month and day instead"
    missing = [before for before, after in (("hour", "minute"), ("minute", "second")) if after in groups]
    if missing and not set(missing) <= set(groups):
        return "hours come before minutes, and minutes before seconds: one of them has no group"
    return ""


def whole_name(pattern: str) -> str:
    """The pattern for the engine that matches names, as that of whole names; the group of it all is WHOLE."""
    return rf"\A(?P<{WHOLE}>{pattern})\z"


def _engine_mistake(pattern: str) -> str:
    import polars as pl  # slow to import, and few imports have a pattern

    try:
        pl.Series([""]).str.extract_groups(whole_name(pattern))
    except pl.exceptions.ComputeError as error:
        why = "is too large" if "size limit" in str(error) else "is no regular expression of the engine"
        return f"{why}; write it more simply"
    return ""
