"""Where a project's definitions are in a Dagster code location: beside a team's own, or beside another project's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest_pipelines.errors import ConfigError

OWN = "ingest"
"""The word by which the names of all that is not an import's own begin: resources, ops, sensors of the project."""

_PART = re.compile(r"(?!.*__)[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?")
"""Part of a key prefix. Names are joined by `__`, so that no two prefixes make the same names."""

_EXAMPLE = f"a part is a letter, then letters, digits and single _, and not '{OWN}': crm, or crm/eu"

LONGEST_PREFIX = 60
"""A prefix is the value of a tag, and Dagster's tags have 63 characters."""


@dataclass(frozen=True)
class Placement:
    """The place of a project's definitions.

    Attributes:
        key_prefix: first parts of the key of every asset.
        group: of every asset; None: imports and tables are in the group of their database, sources in `sources`.
    """

    key_prefix: tuple[str, ...] = ()
    group: str | None = None

    @property
    def namespace(self) -> str:
        """How the names of the project's resources, ops and sensors begin; no other project's do."""
        return "__".join((*self.key_prefix, OWN))

    @property
    def tag(self) -> str:
        """The project's name on its runs; "" without a prefix."""
        return ".".join(self.key_prefix)

    def named(self, name: str) -> str:
        """The name, within the project's namespace."""
        return f"{self.namespace}__{name}"


ALONE = Placement()
"""A project that has its code location to itself."""


def key_prefix_of(prefix: str | Sequence[str]) -> tuple[str, ...]:
    """The parts of a prefix: `crm`, `crm/eu`, or a list of them.

    Raises:
        ConfigError: a part is no name.
    """
    if type(prefix) not in {str, list, tuple} or not all(isinstance(part, str) for part in prefix):  # no AssetKey
        raise ConfigError(["key_prefix: not a text or a list of texts"], hint=_EXAMPLE)
    parts = tuple(prefix.split("/")) if isinstance(prefix, str) else tuple(prefix)
    if parts == ("",):
        return ()
    wrong = [part for part in parts if _PART.fullmatch(part) is None or part == OWN]
    if wrong or len("__".join(parts)) > LONGEST_PREFIX:
        what = f"'{wrong[0]}' is no part of a key prefix" if wrong else f"longer than {LONGEST_PREFIX} characters"
        raise ConfigError(
            [f"key_prefix: {what}"],
            hint=_EXAMPLE,
        )
    return parts
