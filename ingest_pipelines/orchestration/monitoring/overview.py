"""What is open and what is running now, for commands: they may ask again and again, over one Dagster instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from dagster import DagsterInstance

from ingest_pipelines.config import Project, Settings
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.orchestration.instance import open_instance, storage_broke_off
from ingest_pipelines.orchestration.monitoring.open_items import ItemSurvey, survey
from ingest_pipelines.orchestration.runs.live_status import next_tick
from ingest_pipelines.orchestration.site import Site


@dataclass(frozen=True)
class Overview:
    """The state of a project's imports at one moment.

    Attributes:
        survey: open items, running imports, and what the ledger has of each import.
        ticks: per import with a schedule its next tick; None: there is none.
    """

    survey: ItemSurvey
    ticks: dict[str, datetime | None]


@contextmanager
def looking(settings: Settings, warn: Callable[[str], None]) -> Iterator[Callable[[Project, datetime], Overview]]:
    """A function that returns the project's overview at that time.

    Args:
        warn: is called if Dagster's storage does not answer; the overview is then the ledger's alone, without runs.
    """
    instance: DagsterInstance | None = None
    unanswered = ""
    planned: dict[str, tuple[Schedule, datetime]] = {}

    def tick_of(name: str, plan: Schedule, now: datetime) -> datetime | None:
        """The schedule's next tick; one that was computed earlier is the next one until it passes."""
        known = planned.get(name)
        if known is not None and known[0] is plan and now < known[1]:
            return known[1]
        tick = next_tick(plan, now)
        if tick is not None:
            planned[name] = (plan, tick)
        return tick

    try:
        instance = open_instance(settings)
    except TargetUnavailable as error:
        unanswered = error.message

    def look(project: Project, now: datetime) -> Overview:
        nonlocal unanswered
        plans = {name: bound.spec.schedule for name, bound in project.imports.items() if bound.spec.schedule}
        site = Site(settings, project)
        try:
            seen = survey(site, instance, now, summaries=True)
        except Exception as error:
            if not storage_broke_off(error):
                raise
            unanswered = "Dagster's storage broke off"
            seen = survey(site, None, now, summaries=True)
        if unanswered:  # once, and not where the ledger does not answer either
            warn(unanswered)
            unanswered = ""
        return Overview(seen, {name: tick_of(name, plan, now) for name, plan in plans.items()})

    try:
        yield look
    finally:
        if instance is not None:
            instance.dispose()
