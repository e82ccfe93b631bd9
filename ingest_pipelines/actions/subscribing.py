"""What a person wants to be told of, in subscriptions.yaml, which the product writes: it has no comments to lose."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

from ingest_pipelines.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import Settings

_ONE_AT_A_TIME = threading.Lock()


def subscribe(
    settings: Settings,
    person: str,
    kinds: Sequence[str],
    imports: Sequence[str],
    groups: Collection[str] | None,
    now: datetime,
) -> None:
    """Notes what the person wants to be told of; without kinds she is told of nothing. It is in the audit trail.

    Args:
        imports: names or patterns; empty: all.
        groups: that the person is in; None: all.

    Raises:
        UsageError: nobody can subscribe, or no address can be made of the person's name.
        ConfigError: a kind or an import that there is not, or the file has a mistake already; nothing was written.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.checking import write_drafts
    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.config import read_project
    from ingest_pipelines.config.notify import PERSON
    from ingest_pipelines.config.project import SUBSCRIPTIONS_FILE

    if re.fullmatch(PERSON, person) is None:
        raise UsageError(f"no address can be made of the name {person}", hint="nothing was changed")
    with _ONE_AT_A_TIME:
        project = read_project(settings.home)
        if project.people is None:
            raise UsageError("notify.yaml has no address for people", hint="nothing was changed; docs/studio.md#alerts")
        if mistakes := [mistake for mistake in project.mistakes if mistake.startswith(SUBSCRIPTIONS_FILE)]:
            raise ConfigError(mistakes, hint="nothing was changed")
        people: dict[str, dict[str, Any]] = {
            name: one.model_dump(mode="json", exclude_unset=True) for name, one in project.subscriptions.items()
        }
        people.pop(person, None)
        if kinds:
            own: dict[str, Any] = {"on": list(kinds)}
            if imports:
                own["imports"] = list(imports)
            if groups is not None:
                own["groups"] = sorted(groups)
            people[person] = own
        text = yaml.safe_dump({"people": dict(sorted(people.items()))}, sort_keys=False, allow_unicode=True)
        drafted = read_project(settings.home, {SUBSCRIPTIONS_FILE: text})
        if mistakes := [mistake for mistake in drafted.mistakes if mistake.startswith(SUBSCRIPTIONS_FILE)]:
            raise ConfigError(mistakes, hint="nothing was changed")
        write_drafts(settings.home, {SUBSCRIPTIONS_FILE: text})
    with ledger_of(settings, writes=True) as connection:
        detail = {"on": ", ".join(kinds) or "nothing", "imports": ", ".join(imports) or "all"}
        ledger.record_audit(connection, person, "subscribed", now, detail=detail)
