"""Who is told of which import's alerts, also while a mistake in YAML hides it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from ingest_pipelines.config import Project
from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.notify import SEVERITIES, AlertKind, Notify, NotifyGroup, PersonalAddress
from ingest_pipelines.ledger import AlertRoute

PROJECT = ""
"""In place of an import's name: the project as a whole."""

_OF_NOTIFY = re.compile(r"(?:notify|subscriptions)\.yaml:|databases\.yaml:\d+: notify[.:]")


@dataclass(frozen=True)
class Recipient:
    """An address for alerts, and the kinds of alerts that it gets.

    Attributes:
        name: of the secret that holds the address; the address itself is never shown.
        recoveries: the kinds whose end it is told of.
    """

    name: str
    address: Secret
    kinds: frozenset[AlertKind]
    recoveries: frozenset[AlertKind]


def recipients_of_group(group: NotifyGroup) -> list[Recipient]:
    """Everybody in the group."""
    fit = frozenset(kind for kind, severity in SEVERITIES.items() if group.severity in {"warning", severity})
    kinds = fit & frozenset(group.on)
    return [Recipient(_name(to), to, kinds, fit if "recovered" in group.on else frozenset()) for to in group.to]


def merged(recipients: Iterable[Recipient]) -> list[Recipient]:
    """One recipient per address, with all kinds of alerts that it gets."""
    found: dict[str, Recipient] = {}
    for one in recipients:
        known = found.get(one.name)
        found[one.name] = (
            one
            if known is None
            else Recipient(one.name, one.address, known.kinds | one.kinds, known.recoveries | one.recoveries)
        )
    return list(found.values())


class Routes:
    """The recipients of every import's alerts.

    Where a mistake hides whom an import's alerts go to, they go to those that the ledger has from before.

    Attributes:
        current: as the YAML says now, by import; the project as a whole under PROJECT.
    """

    def __init__(self, project: Project, kept: Mapping[str, AlertRoute]) -> None:
        names = {*project.imports, *project.broken}
        by_import = {name: _of_import(project, name) for name in names}
        everyone = [
            *_of_notify(project.notify),
            *(one for group in project.groups.values() for one in recipients_of_group(group)),
            *(one for person in project.subscriptions for one in _of_person(project, person)),
            *(one for recipients in by_import.values() for one in recipients),
        ]
        self.current: dict[str, list[Recipient]] = {**by_import, PROJECT: merged(everyone)}
        hidden = notify_mistakes(project)
        unsure = {*names, PROJECT} if hidden else {*project.broken}
        self._told = {
            name: merged([*recipients, *(_kept(kept[name]) if name in unsure and name in kept else [])])
            for name, recipients in self.current.items()
        }
        if project.broken:
            self._told[PROJECT] = merged(one for recipients in self._told.values() for one in recipients)

    @property
    def anyone(self) -> bool:
        """Whether there is anybody to tell."""
        return any(self._told.values())

    def of(self, import_name: str, imports: Sequence[str] = ()) -> Sequence[Recipient]:
        """The recipients of an alert, by its import and the imports that it concerns; else everyone's."""
        if import_name or not imports:
            return self._told.get(import_name, ())
        return merged(one for name in imports for one in self._told.get(name, ()))


def notify_mistakes(project: Project) -> list[str]:
    """The mistakes that hide who is told of every import: of notify.yaml, subscriptions.yaml, `notify` of databases."""
    return [mistake for mistake in project.mistakes if _OF_NOTIFY.match(mistake)]


def as_route(recipients: Iterable[Recipient]) -> list[dict[str, Any]]:
    """The recipients for the ledger: references to addresses, never an address."""
    return [
        {
            "env": one.address.env,
            "file": one.address.file,
            "kinds": sorted(one.kinds),
            "recoveries": sorted(one.recoveries),
            **({"person": one.address.person} if isinstance(one.address, PersonalAddress) else {}),
        }
        for one in sorted(recipients, key=lambda one: one.name)
    ]


def _of_import(project: Project, name: str) -> list[Recipient]:
    spec = project.specs.get(name)
    if spec is None:
        return merged(_of_notify(project.notify))
    groups = (group for group in project.groups.values() if group.covers(name, spec.database, spec.source.connection))
    database = project.databases.get(spec.database)
    seen_by = spec.groups if spec.groups is not None else database.groups if database is not None else None
    people = (
        person
        for person, subscription in project.subscriptions.items()
        if (seen_by is not None or subscription.groups is None) and subscription.covers(name, seen_by or ())
    )
    return merged(
        [
            *_of_notify(spec.notify),
            *_of_notify(project.notify),
            *(one for group in groups for one in recipients_of_group(group)),
            *(one for person in people for one in _of_person(project, person)),
        ]
    )


def _of_person(project: Project, person: str) -> list[Recipient]:
    """The person who has subscribed; nobody where people have no address."""
    if project.people is None:
        return []
    address = PersonalAddress(env=project.people.env, file=project.people.file, person=person)
    subscription = project.subscriptions[person]
    group = NotifyGroup(to=(address,), on=subscription.on)
    return recipients_of_group(group)


def _of_notify(entries: Iterable[Notify]) -> list[Recipient]:
    every = frozenset(SEVERITIES)
    return [
        Recipient(
            _name(entry.to), entry.to, frozenset(entry.on) & every, every if "recovered" in entry.on else frozenset()
        )
        for entry in entries
    ]


def _kept(route: AlertRoute) -> list[Recipient]:
    """The recipients that the ledger has; without those whose secret is gone."""
    recipients = []
    for one in route.recipients:
        try:
            place = {"env": one.get("env"), "file": one.get("file")}
            person = one.get("person")
            address = PersonalAddress(**place, person=person) if person else Secret(**place)
        except ValidationError:
            continue
        kinds, recoveries = (
            frozenset(cast(AlertKind, kind) for kind in one.get(key, ()) if kind in SEVERITIES)
            for key in ("kinds", "recoveries")
        )
        recipients.append(Recipient(_name(address), address, kinds, recoveries))
    return recipients


def _name(address: Secret) -> str:
    name = address.env or str(address.file)
    return f"{name} for {address.person}" if isinstance(address, PersonalAddress) else name
