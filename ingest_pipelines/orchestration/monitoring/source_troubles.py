"""Whose trouble a source's is: the connection's, which every import of it waits for, or an import's own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from ingest_pipelines.errors import printable
from ingest_pipelines.ledger import SourceCheck
from ingest_pipelines.ledger.source_checks import SourceTrouble

OF_AN_IMPORT = frozenset({"folder", "list", "listing", "permission", "read"})
"""Steps at which a server that refuses may refuse one import's folder, file or query only."""


_VERBS: Mapping[SourceTrouble, str] = {
    "unreachable": "does not answer",
    "hung": "hangs",
    "denied": "refuses",
}


def verb_of(trouble: SourceTrouble, step: str) -> str:
    """`hangs at login`."""
    return _VERBS[trouble] + (f" at {printable(step)}" if step else "")


def described_trouble(connection: str, trouble: SourceTrouble, step: str, since: datetime) -> str:
    """`connection shop hangs at login, since 2026-11-29 12:01 UTC`."""
    return f"connection {connection} {verb_of(trouble, step)}, since {since:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class DownSource:
    """A connection that imports wait for.

    Attributes:
        imports: the live ones that wait, by name.
        since: the first failed look.
        step: what failed: connect, login, list ...; "": not known.
        error: the message of the import that has waited longest, its own line breaks included.
    """

    connection: str
    imports: tuple[str, ...]
    since: datetime
    trouble: SourceTrouble
    step: str
    error: str = ""


def down_sources(waiting: Mapping[str, SourceCheck]) -> list[DownSource]:
    """One per connection, trouble and step; the oldest first.

    Args:
        waiting: of `waiting_imports`.
    """
    of_one: dict[tuple[str, SourceTrouble, str], list[SourceCheck]] = {}
    for check in waiting.values():
        if check.trouble is not None:
            of_one.setdefault((check.connection, check.trouble, check.step), []).append(check)
    found = []
    for (connection, trouble, step), checks in of_one.items():
        first = min(checks, key=attrgetter("since"))
        names = tuple(sorted(check.import_name for check in checks))
        found.append(DownSource(connection, names, first.since, trouble, step, first.error))
    return sorted(found, key=lambda down: (down.since, down.connection, down.step))


def waiting_imports(checks: Mapping[str, SourceCheck], connections: Mapping[str, str]) -> dict[str, SourceCheck]:
    """The imports that cannot read their source now, each with what is wrong.

    An import whose own look failed waits; one whose last look was at another connection does not. Where the connection
    as a whole does not answer, its other imports wait too, although nobody has looked for them since.

    Args:
        checks: the last look at each import's source.
        connections: the connection of each import that counts.
    """
    own = {
        name: check
        for name, check in checks.items()
        if check.trouble is not None and connections.get(name) == check.connection
    }
    troubled = {check.connection for check in own.values()}
    waiting = dict(own)
    for connection in troubled:
        members = [name for name, other in connections.items() if other == connection]
        whole = [check for check in own.values() if check.connection == connection and _is_of_all(check)]
        answered = list(_answers(checks, members, connection))
        whole = [check for check in whole if all(at <= check.checked_at for at in answered)]
        if whole:
            first = min(whole, key=attrgetter("since"))
            waiting |= {name: replace(first, import_name=name) for name in members if name not in own}
    return waiting


def _answers(checks: Mapping[str, SourceCheck], members: list[str], connection: str) -> Iterator[datetime]:
    """When the source last answered each import that it does not fail."""
    for name in members:
        check = checks.get(name)
        if check is not None and check.trouble is None and check.connection == connection:
            yield check.checked_at


def _is_of_all(check: SourceCheck) -> bool:
    return check.trouble != "denied" or check.step not in OF_AN_IMPORT
