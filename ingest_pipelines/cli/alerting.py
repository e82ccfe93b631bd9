"""`ingest alerts` and `ingest notify test`: what is wrong and who was told, and whether messages arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.boundary import Command, Group
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from ingest_pipelines.ledger import AlertRecord

group = typer.Typer(cls=Group, help="Addresses of alerts: test them.", no_args_is_help=True)


def alerts(json: Json = False) -> None:
    """List open alerts: since when, what is wrong, who has got a message and when; the oldest first."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.config import read_settings

    with ledger_of(read_settings()) as connection:
        found = ledger.list_alerts(connection)
        troubles = ledger.list_address_troubles(connection)
    if json:
        screen.as_json([_as_json(alert) for alert in found])
    elif not found:
        screen.say("no open alerts")
    else:
        rows = [
            (screen.moment(alert.since), alert.kind, alert.import_name or alert.cause, _what(alert), _told(alert))
            for alert in found
        ]
        for line in screen.columns(("since", "kind", "about", "what", "sent to"), rows):
            screen.say(line)
    for trouble in troubles.values():
        screen.note(
            f"{screen.painted('warning', 'warn')}: {trouble.recipient} gets no alerts since "
            f"{screen.moment(trouble.failing_since)}: {trouble.error}"
        )


@group.command("test", cls=Command)
def try_addresses(
    name: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="Only this group of notify.yaml; default: every address.")
    ] = None,
    json: Json = False,
) -> None:
    """Send a test message, and say of every address whether it was accepted. An address is named by its secret."""
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.alerts.recipients import notify_mistakes
    from ingest_pipelines.orchestration.alerts.trial import send_test_messages

    settings = read_settings()
    project = read_project(settings.home)
    mistakes = notify_mistakes(project)
    if mistakes:
        raise ConfigError(mistakes, hint="nothing was sent; fix it, then run: ingest notify test")
    outcomes = []
    with screen.progress("sending"):
        for delivery in send_test_messages(settings, project, name):
            recipient, error = delivery.message.recipient.name, delivery.error
            outcomes.append({"recipient": recipient, "accepted": not error, "error": error})
            if not json:
                mark = screen.painted("failed", "bad") if error else screen.painted("ok    ", "good")
                screen.say(f"  {mark}  {recipient}{f': {error}' if error else ''}")
    if json:
        screen.as_json(outcomes)
    failed = sum(not outcome["accepted"] for outcome in outcomes)
    if failed:
        raise Unavailable(
            f"{failed:,} of {screen.plural(len(outcomes), 'address', 'addresses')} did not accept the message",
            hint="check the secret that is named, then run: ingest notify test",
        )


def _what(alert: AlertRecord) -> str:
    what = alert.reason or alert.words.partition("\n")[0] or "-"
    return f"{what}; {screen.plural(len(alert.imports), 'import')}" if alert.imports else what


def _told(alert: AlertRecord) -> str:
    from datetime import datetime

    told = [
        f"{recipient} {screen.moment(datetime.fromisoformat(known['at']))}"
        for recipient, known in sorted(alert.told.items())
        if known.get("at")
    ]
    return ", ".join(told) or "not sent yet"


def _as_json(alert: AlertRecord) -> dict[str, Any]:
    return {
        "import": alert.import_name, "kind": alert.kind, "cause": alert.cause, "since": alert.since,
        "reason": alert.reason, "words": alert.words, "item": alert.item, "next_step": alert.next_step,
        "run_id": alert.run_id, "broken": alert.broken, "imports": list(alert.imports),
        "sent": {recipient: known["at"] for recipient, known in alert.told.items() if known.get("at")},
    }  # fmt: skip
