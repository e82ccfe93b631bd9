"""Two projects that cannot share a code location or a target: said before Dagster's own words, or a mixed ledger."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines.config.placement import Placement
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.orchestration.site import Site


@dataclass(frozen=True)
class Neighbour:
    """A project of this process.

    Attributes:
        target: what names its target: a URL, or the variable that holds it; None: an embedded server of its own.
        imports: their names.
    """

    home: Path
    placement: Placement
    target: str | None
    imports: frozenset[str]


_neighbours: list[Neighbour] = []
"""The projects that this process has defined, the newest of each prefix."""


def report_clashes(site: Site, *, stacklevel: int = 2) -> None:
    """Warns if the project has the key prefix of an earlier one, or its target and names of imports.

    An error only where Dagster validates the definitions: another process may define projects that it does not merge,
    as tests do. Two of one prefix that are merged are refused by Dagster, which names neither of the two folders.

    Raises:
        ConfigError: Dagster was asked to validate the definitions.
    """
    settings, project = site.settings, site.project
    own = Neighbour(
        project.home,
        project.placement,
        settings.database_variable or settings.database_url,
        frozenset({*project.imports, *project.broken}),
    )
    clashes = [words for other in _neighbours if (words := _clash(other, own))]
    if clashes and settings.validating:
        raise ConfigError(clashes, hint="then run it again")
    for words in clashes:
        warnings.warn(words, stacklevel=stacklevel)
    _neighbours[:] = [other for other in _neighbours if other.placement.key_prefix != own.placement.key_prefix]
    _neighbours.append(own)


def _clash(other: Neighbour, own: Neighbour) -> str | None:
    """Why the two cannot be in one code location; None if they can."""
    if other.placement.key_prefix == own.placement.key_prefix:
        return _same_prefix(other, own) if other.home != own.home else None
    same_target = own.target is not None and other.target == own.target
    return _same_names(other, own) if same_target and other.imports & own.imports else None


def _same_prefix(other: Neighbour, own: Neighbour) -> str:
    prefix = "/".join(own.placement.key_prefix)
    same = f"have the key prefix '{prefix}'" if prefix else "have no key prefix"
    return (
        f"the projects {other.home} and {own.home} both {same}: in one code location, or on one Dagster instance, "
        "each needs its own; give one of them another key_prefix"
    )


def _same_names(other: Neighbour, own: Neighbour) -> str:
    names = ", ".join(f"imports/{name}.yaml" for name in sorted(other.imports & own.imports)[:3])
    return (
        f"the projects {other.home} and {own.home} have one target, and both have {names}: the ledger in the target "
        "knows an import by its name, and would take the two for one; rename one of them"
    )
