"""The items that an import should load now: what its schedule's tick requests, and what a person asks for.

All of them are in the ledger. Nothing is launched here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from dagster import DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.runs.run_requests import NextRequest, next_requests
from ingest_pipelines.orchestration.schedules.query_items import WINDOWS_PER_TICK, find_query_items
from ingest_pipelines.orchestration.sensors.file_items import FileItems
from ingest_pipelines.orchestration.site import Site


@dataclass(frozen=True)
class DueItems:
    """Items to load, in order.

    Attributes:
        run_keys: per item, the run key of its request.
        why_none: why there is none.
    """

    run_keys: Mapping[ItemKey, str] = field(default_factory=dict)
    why_none: str = ""


def due_files(
    bound: BoundImport, file_items: FileItems, instance: DagsterInstance, now: datetime, *, by_hand: bool = False
) -> DueItems:
    """The files to load: the newest one, or all of them with `pick: all`.

    Args:
        by_hand: a person asks, so that the pause after a run that settled nothing does not count.
    """
    requests = next_requests(bound, file_items.waiting, file_items.states, instance, now)
    due = {key: request.run_key for key, request in requests.items() if _is_due(request, now, by_hand)}
    if not due:
        return DueItems(why_none=file_items.why_nothing(bound, requests))
    if bound.spec.source.pick != "all":
        due = dict(list(due.items())[-1:])
    return DueItems(due)


def due_queries(
    site: Site, bound: BoundImport, instance: DagsterInstance, *, tick: str, by_hand: bool = False
) -> DueItems:
    """The query's open item or a new one, or the windows that have ended.

    Args:
        tick: its time; a tick that is evaluated twice requests the same runs.
        by_hand: see `due_files`.

    Raises:
        TargetUnavailable: nothing is lost, the next call finds the same items.
    """
    query_items = find_query_items(site, bound)
    due = {item.key: f"{item.key}@{tick}" if query_items.retried else str(item.key) for item in query_items.items}
    due |= _windows_again(site, bound, due, instance, by_hand=by_hand)
    if not due:
        return DueItems(why_none="no window has ended since the last tick")
    return DueItems({key: due[key] for key in (sorted(due) if bound.spec.source.window is not None else due)})


def _windows_again(
    site: Site, bound: BoundImport, new: Collection[ItemKey], instance: DagsterInstance, *, by_hand: bool
) -> dict[ItemKey, str]:
    """Run keys of the oldest windows that earlier ticks requested and that no load has settled."""
    if bound.spec.source.window is None:
        return {}
    now = site.clock()
    with site.target.session() as connection:
        waiting = [each for each in ledger.unsettled_windows(connection, bound.name) if each.item.key not in new]
    states = {each.item.key: each.state for each in waiting}
    requests = next_requests(bound, [each.item for each in waiting], states, instance, now)
    due = {
        key: request.run_key
        for key, request in requests.items()
        # a window that never ran is this moment's, or housekeeping's
        if _is_due(request, now, by_hand) and (by_hand or request.standing != "never ran")
    }
    return dict(islice(due.items(), WINDOWS_PER_TICK))


def _is_due(request: NextRequest, now: datetime, by_hand: bool) -> bool:
    return request.at is not None if by_hand else request.is_due(now, tick=True)
