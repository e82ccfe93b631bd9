"""Who is told of what: `notify` in imports and databases.yaml, groups in notify.yaml, people in subscriptions.yaml."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args
from urllib.parse import quote

from pydantic import AfterValidator, Field

from ingest_pipelines.config.base import Group, Name, Secret, Strict, in_one_of, spelled

AlertKind = Literal["failed", "rejected", "recovered", "late", "volume", "columns", "source", "config", "stuck"]
Severity = Literal["failure", "warning"]

KINDS: tuple[AlertKind, ...] = get_args(AlertKind)

SEVERITIES: Mapping[AlertKind, Severity] = {
    "failed": "failure",
    "source": "failure",
    "config": "failure",
    "stuck": "failure",
    "late": "warning",
    "rejected": "warning",
    "volume": "warning",
    "columns": "warning",
}
"""Of each kind of problem, the most severe first. `recovered` has the severity of what has ended."""

Pattern = Annotated[
    str,
    AfterValidator(
        spelled(r"[A-Za-z*?][A-Za-z0-9_*?]{0,62}", "write the name of an import, or a pattern such as crm_*")
    ),
]
"""An import's name; `*` stands for any letters, `?` for one."""


class Notify(Strict):
    """Who is notified of what. `to` is an Apprise URL, kept out of YAML."""

    on: tuple[AlertKind, ...] = Field(min_length=1)
    to: Secret


class NotifyGroup(Strict):
    """People who are told of the same. An import is theirs if each of imports, databases, connections fits it.

    Attributes:
        to: an Apprise URL per person or service, kept out of YAML.
        on: the kinds of alerts; default: all.
        severity: the lowest that is told: `warning` is every alert.
        imports: names, or patterns such as `crm_*`; empty: all. So are the others.
    """

    to: tuple[Secret, ...] = Field(min_length=1)
    on: tuple[AlertKind, ...] = Field(default=KINDS, min_length=1)
    severity: Severity = "warning"
    imports: tuple[Pattern, ...] = ()
    databases: tuple[Name, ...] = ()
    connections: tuple[Name, ...] = ()
    description: str = ""

    def covers(self, import_name: str, database: str, connection: str) -> bool:
        """Whether the group is told of that import."""
        return (
            (not self.imports or any(fnmatchcase(import_name, pattern) for pattern in self.imports))
            and (not self.databases or database in self.databases)
            and (not self.connections or connection in self.connections)
        )


class PersonalAddress(Secret):
    """An address for every person: `{person}` in its text is replaced by the name."""

    person: str = Field(min_length=1)

    def reveal(self) -> str:
        """The person's address. Never log it, never put it into a message."""
        return super().reveal().replace("{person}", quote(self.person, safe=""))


PERSON = r"[\w.@+-]{1,200}"
"""A person's name that can be a part of an address."""


class AlertSubscription(Strict):
    """What a person wants to be told of.

    Attributes:
        groups: that the person was in when she subscribed: an import of other groups is none of hers. None: all.
    """

    on: tuple[AlertKind, ...] = Field(default=KINDS, min_length=1)
    imports: tuple[Pattern, ...] = ()
    groups: tuple[Group, ...] | None = None

    def covers(self, import_name: str, groups: Collection[str]) -> bool:
        """Whether the person is told of that import."""
        named = not self.imports or any(fnmatchcase(import_name, pattern) for pattern in self.imports)
        return named and in_one_of(self.groups, groups)


class AlertSubscriptions(Strict):
    """The whole of `subscriptions.yaml`, which the studio writes."""

    people: dict[Annotated[str, Field(pattern=f"^{PERSON}$")], AlertSubscription]


class NotifyGroups(Strict):
    """The whole of `notify.yaml`.

    Attributes:
        people: the address of everybody who subscribes in the studio, an Apprise URL with `{person}` in it.
    """

    groups: dict[Name, NotifyGroup] = Field(default_factory=dict)
    people: Secret | None = None

    def names(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every name of an import, a database or a connection, and where it stands; patterns are no names."""
        for group, members in self.groups.items():
            for key in ("imports", "databases", "connections"):
                for index, name in enumerate(getattr(members, key)):
                    if not {"*", "?"} & set(name):
                        yield ("groups", group, key, index), name
