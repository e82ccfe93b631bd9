"""Alerts: what is wrong now, and what the person wants to be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingest_pipelines import ledger
from ingest_pipelines.actions.subscribing import subscribe
from ingest_pipelines.actions.target import now
from ingest_pipelines.config import Project
from ingest_pipelines.config.notify import KINDS, SEVERITIES, AlertKind
from ingest_pipelines.studio.access import may_see
from ingest_pipelines.studio.people import Person, person_of
from ingest_pipelines.studio.render import done, fields_of, post, render
from ingest_pipelines.studio.state import studio_of

KIND_WORDS: Mapping[AlertKind, str] = {
    "failed": "an item failed, was refused, or its run died", "rejected": "a load rejected rows",
    "recovered": "what was wrong has ended", "late": "a delivery is late",
    "volume": "an item is far larger or smaller than usual",
    "columns": "a file has new columns", "source": "a source does not answer",
    "config": "the YAML of an import has a mistake",
    "stuck": "a run or the queue does not move",
}  # fmt: skip
"""Each kind of alert in words."""


def alerts(request: Request) -> Response:
    """The page."""
    studio, person = studio_of(request), person_of(request)
    project = studio.project
    with studio.ledger() as connection:
        every = ledger.list_alerts(connection)
    found = [alert for alert in (_as_seen(person, project, alert) for alert in every) if alert is not None]
    own = project.subscriptions.get(person.name)
    return render(
        request, "alerts.html", title="Alerts", alerts=found, kinds=KIND_WORDS, severities=SEVERITIES,
        on=own.on if own is not None else (), imports=", ".join(own.imports) if own is not None else "",
        subscribed=own is not None, possible=project.people is not None,
        names=sorted(name for name in {*project.imports, *project.broken} if may_see(person, project, name)),
    )  # fmt: skip


def _as_seen(person: Person, project: Project, alert: ledger.AlertRecord) -> ledger.AlertRecord | None:
    """The alert, if it is about the project, or about imports that the person may see.

    Of one that is about others as well, only what it is about: its words may name them.
    """
    names = [alert.import_name] if alert.import_name else list(alert.imports)
    seen = [name for name in names if may_see(person, project, name)]
    if names and not seen:
        return None
    return alert if seen == names else replace(alert, words="", next_step="")


def change(request: Request) -> Response:
    """Notes what the person wants to be told of. Viewers may, too: it concerns nobody else."""
    person, fields = person_of(request), fields_of(request)
    wanted = fields.get("on", [])
    kinds = [str(kind) for kind in (wanted if isinstance(wanted, list) else [wanted])]
    imports = [name.strip() for name in str(fields.get("imports", "")).split(",") if name.strip()]
    ordered = [kind for kind in KINDS if kind in kinds] + [kind for kind in kinds if kind not in KINDS]
    subscribe(studio_of(request).settings, person.name, ordered, imports, person.groups, now())
    return done("you get these alerts from now on" if kinds else "you get no alerts", goto="/alerts")


ROUTES = (Route("/alerts", alerts), post("/alerts", change))
