"""A test message to every address, or to those of one group."""

from __future__ import annotations

from collections.abc import Iterator

from ingest_pipelines.config import Project, Settings
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.alerts.alert_messages import Message
from ingest_pipelines.orchestration.alerts.outbox import Outbox, Sending
from ingest_pipelines.orchestration.alerts.recipients import PROJECT, Recipient, Routes, merged, recipients_of_group

SECONDS = 30.0


def send_test_messages(settings: Settings, project: Project, group: str | None) -> Iterator[Sending]:
    """Sends the message, and yields what became of it at each address, as soon as it is known.

    Raises:
        UsageError: there is no such group, or no address at all.
    """
    prefix = f"[{settings.environment}] " if settings.environment else ""
    body = f"This is a test: alerts of {project.home.name} reach this address.\nnext: nothing is to be done"
    messages = [
        Message(recipient, "failed", True, (), f"{prefix}test: {group or 'alerts'}", f"{body}\n{settings.ui_url}/")
        for recipient in _recipients(project, group)
    ]
    yield from Outbox().deliver(messages, SECONDS)


def _recipients(project: Project, group: str | None) -> list[Recipient]:
    if group is None:
        found = list(Routes(project, {}).of(PROJECT))
    elif group in project.groups:
        found = merged(recipients_of_group(project.groups[group]))
    else:
        raise UsageError(f"there is no group '{group}' in notify.yaml", hint=nearest(group, project.groups))
    if not found:
        raise UsageError(
            "no alert has an address", hint="name one in notify.yaml, or in notify of an import or of databases.yaml"
        )
    return found
