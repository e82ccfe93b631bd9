"""`source.parts`: several files that are one item, and the proof that all of them are there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from ingest_pipelines.config.base import Strict
from ingest_pipelines.config.file_pattern import OF, PART, groups_of, parts_pattern_mistake

MAX_PARTS = 1_000

_PLACE = re.compile(r"\{([^{}]*)\}")


class Parts(Strict):
    """How the files of an item are called, and what proves that they are all there. At least one proof is given.

    Attributes:
        pattern: a regular expression for a file's name. Its group `part` tells the parts of an item apart; the groups
            of `source.pattern` (serial, year ...) tell the items apart; the group `of` is the number of parts.
        count: how many parts each item has.
        done: the name of a file that the sender writes when all parts are there; `{serial}` is that of the parts.
        manifest: the name of a file with a line per part: its name, and its number of rows or its SHA-256, or both.
    """

    pattern: StrictStr
    count: Annotated[StrictInt, Field(ge=1, le=MAX_PARTS)] | None = None
    done: Annotated[StrictStr, Field(min_length=1)] | None = None
    manifest: Annotated[StrictStr, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _proves(self) -> Self:
        if mistake := parts_pattern_mistake(self.pattern):
            raise ValueError(f"pattern: {mistake}")
        groups = groups_of(self.pattern)
        if OF in groups and self.count is not None:
            raise ValueError("count: the group 'of' of the pattern says how many parts there are already")
        if OF not in groups and self.count is None and self.done is None and self.manifest is None:
            raise ValueError(
                "what proves that all parts are there? give count: 5, done: NAME.done or manifest: NAME, or a group "
                "(?P<of>...) in pattern"
            )
        items = [group for group in groups if group not in {PART, OF}]
        for key in ("done", "manifest"):
            name = getattr(self, key)
            if name is None:
                continue
            if "/" in name:
                raise ValueError(f"{key}: a name without folders: it lies beside the parts")
            named = _PLACE.findall(name)
            if unknown := [group for group in named if group not in items]:
                known = f"the pattern's groups are {', '.join(items)}" if items else "the pattern tells no items apart"
                raise ValueError(f"{key}: {{{unknown[0]}}} is not known; {known}")
            if missing := [group for group in items if group not in named]:
                raise ValueError(f"{key}: it needs {{{missing[0]}}}, or it would be the same file for every item")
        return self

    def done_name(self, groups: Mapping[str, str | None]) -> str | None:
        """The name of the marker of the item whose parts have these groups."""
        return _filled(self.done, groups)

    def manifest_name(self, groups: Mapping[str, str | None]) -> str | None:
        """The name of its manifest."""
        return _filled(self.manifest, groups)


def _filled(name: str | None, groups: Mapping[str, str | None]) -> str | None:
    return None if name is None else _PLACE.sub(lambda match: groups.get(match[1]) or "", name)
