"""`ingest skip`: a person decides that an item will never be loaded; it leaves the list of open items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.asking import confirmed
from ingest_pipelines.cli.naming import ImportName
from ingest_pipelines.cli.steering import Yes
from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import Settings
    from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
    from ingest_pipelines.orchestration.site import Site


def skip(
    name: ImportName,
    item: Annotated[str, typer.Option("--item", metavar="KEY", help="The item that will never be loaded.")] = "",
    failed: Annotated[
        bool, typer.Option("--failed", help="Skip all items that failed, or are held for a removed import.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit trail.")] = "",
    yes: Yes = False,
) -> None:
    """Never load an item: it leaves `ingest status` and the alerts. Nothing in the table changes.

    To load it after all: ingest run NAME --item KEY
    """
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.monitoring.skip import skip_items
    from ingest_pipelines.orchestration.site import Site

    if bool(item) == failed:
        raise UsageError("name an item, or take all that failed", hint=f"ingest skip {name} --item KEY, or --failed")
    settings = read_settings()
    site = Site(settings, read_project(settings.home))
    chosen = [item] if item else [found.item for found in _failed(settings, site, name)]
    if not chosen:
        screen.say(f"import {name} has no failed item")
        return
    for key in chosen[:_SHOWN]:
        screen.say(f"  {key}")
    if len(chosen) > _SHOWN:
        screen.say(f"  and {len(chosen) - _SHOWN} more")
    if not confirmed(f"never load {screen.plural(len(chosen), 'item')}?", yes=yes):
        screen.note("nothing was changed")
        raise typer.Exit(1)
    skip_items(site, name, chosen, by=_user(), reason=reason, open_now=_of_import(settings, site, name))
    screen.say(
        f"{screen.painted('skipped', 'good')}: {screen.plural(len(chosen), 'item')} of import {name};"
        f" to load one after all: ingest run {name} --item {chosen[0]}"
    )


_SHOWN = 10


def _failed(settings: Settings, site: Site, name: str) -> Sequence[OpenItem]:
    from ingest_pipelines.orchestration.monitoring.open_item import BROKEN

    is_removed = name not in site.project.imports and name not in site.project.broken
    return [
        found
        for found in _of_import(settings, site, name)
        if found.state in BROKEN or (is_removed and found.state == "held")
    ]


def _of_import(settings: Settings, site: Site, name: str) -> Sequence[OpenItem]:
    from ingest_pipelines.actions.target import now
    from ingest_pipelines.orchestration.monitoring.overview import looking

    with looking(settings, screen.note) as look:
        return [found for found in look(site.project, now()).survey.open_items if found.import_name == name]


def _user() -> str:
    from ingest_pipelines.actions.launcher import user

    return user()
