"""When a run of an item is requested, and requested again.

An item that no load has settled is asked for until one has, or until a person ended its run. The sensors, the
schedules, housekeeping and the list of open items all decide by `next_request`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from dagster import DagsterInstance, RunRequest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.ledger import ItemState
from ingest_pipelines.model import Item, ItemKey, ItemKind
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.runs.item_runs import ItemRuns, runs_of_items
from ingest_pipelines.orchestration.runs.signed_tags import signed_tags
from ingest_pipelines.orchestration.runs.tags import run_tags

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)
"""Between the end of a run that settled nothing and the next request; doubled with each run."""

CLOCKS_DIFFER = timedelta(seconds=30)
"""Two machines' clocks may differ so much. What lies further in the future was noted while a clock was ahead."""

BY_HAND: frozenset[ItemKind] = frozenset({"upload", "replay"})
"""Kinds of items whose file a person has: only that person loads them again."""

READ_ANEW: frozenset[ItemKind] = frozenset({"query", "cursor", "window"})
"""Kinds of items that hold the source's present rows: to read one again may succeed where the last reading failed."""

Standing = Literal["settled", "in progress", "never ran", "run ended", "terminated", "by hand", "failed"]
"""Where an item stands: `failed` needs a person, `run ended` does not: its runs ended and settled nothing."""


@dataclass(frozen=True)
class NextRequest:
    """Whether a run of an item is requested by itself.

    Attributes:
        at: from when on; None: not by itself.
        on_tick: a tick of the import's schedule requests it from `at` on, and nothing else does.
        run_key: Dagster launches one run per run key and sensor or schedule. "" where none is requested.
        pause: between the end of the last run and `at`.
    """

    standing: Standing
    at: datetime | None = None
    on_tick: bool = False
    run_key: str = ""
    pause: timedelta = timedelta(0)

    def is_due(self, now: datetime, *, tick: bool = False, after: timedelta = timedelta(0)) -> bool:
        """Whether a run is requested now. A time that a clock was ahead for is not waited for longer than `pause`.

        Args:
            tick: by a tick of the import's schedule.
            after: so long the import's own sensor or schedule has to request it.
        """
        if self.at is None or (self.on_tick and not tick):
            return False
        return self.at + after <= now or (not after and self.at > now + self.pause + CLOCKS_DIFFER)


def next_request(state: ItemState, kind: ItemKind, runs: ItemRuns | None) -> NextRequest:
    """Whether and when a run of an item is requested, from what ledger and Dagster have.

    Args:
        runs: None: the item has no run.
    """
    if state.status in {"committed", "skipped"}:
        return NextRequest("settled")
    if runs is not None and runs.in_progress:
        return NextRequest("in progress")
    if kind in BY_HAND:
        return NextRequest("by hand")
    if runs is None:
        rest, at, run_key = timedelta(0), state.created_at, str(state.key)
    else:
        rest = FIRST_PAUSE if runs.end == "gave way" else pause(runs.ended)
        at, run_key = runs.ended_at + rest, f"{state.key}@{runs.newest[:8]}"
    asked = partial(NextRequest, at=at, run_key=run_key, pause=rest)
    if runs is not None and runs.end == "terminated":
        read_anew = kind in READ_ANEW and kind != "window"
        return asked("terminated", on_tick=True) if read_anew else NextRequest("terminated")
    if state.status == "new" or state.retryable:
        return asked("never ran" if runs is None else "run ended")
    return asked("failed", on_tick=True) if kind in READ_ANEW else NextRequest("failed")


def pause(ended: int) -> timedelta:
    """Between the end of the newest run and the next request: 1, 2, 4 ... and at most 30 minutes.

    Args:
        ended: how many runs of the item have ended; at least 1.
    """
    doubled: int = 2 ** min(ended - 1, 10)
    return min(FIRST_PAUSE * doubled, LONGEST_PAUSE)


def next_requests(
    bound: BoundImport,
    items: Iterable[Item],
    states: Mapping[ItemKey, ItemState],
    instance: DagsterInstance,
    now: datetime,
) -> dict[ItemKey, NextRequest]:
    """`next_request` of each of the import's items; a bounded number of queries."""
    unsettled = [item for item in items if states[item.key].status not in {"committed", "skipped"}]
    runs = runs_of_items([(item.import_name, item.key) for item in unsettled], bound.placement, instance, now)
    return {
        item.key: next_request(states[item.key], item.kind, runs.get((item.import_name, item.key))) for item in items
    }


def run_request(bound: BoundImport, key: str, by: str, instance: DagsterInstance, *, run_key: str = "") -> RunRequest:
    """A request for a run of the item with that key.

    Args:
        by: the requester: `sensor`, `schedule` or `housekeeping`.
        run_key: of `NextRequest`; by default the item's key. Imports share sensors, such as housekeeping's, and two of
            them may have a window of one key: the request's run key begins with the import's name.
    """
    return RunRequest(
        run_key=f"{bound.name}/{run_key or key}",
        partition_key=key,
        asset_selection=[asset_key(bound)],
        tags=run_tags(bound) | signed_tags(bound, key, by, instance),
    )
