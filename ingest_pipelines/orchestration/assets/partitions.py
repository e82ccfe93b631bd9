"""An import's items as partitions: a dynamic key per file or drain, which the ledger has first; or a time window."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from dagster import (
    AssetKey,
    DagsterInstance,
    DynamicPartitionsDefinition,
    PartitionsDefinition,
    TimeWindow,
    TimeWindowPartitionsDefinition,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import Window
from ingest_pipelines.config.outline import Outline
from ingest_pipelines.config.placement import Placement
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey

_HOUR = "%Y-%m-%dT%H-%MZ"
_DAY = "%Y-%m-%d"
_MINUTE = "%Y-%m-%dT%H-%M"
_LONGEST = timedelta(days=70)
"""Longer than two windows of any kind."""


def asset_key(bound: BoundImport) -> AssetKey:
    """`[database, import]`, below the project's key prefix."""
    return AssetKey([*bound.placement.key_prefix, bound.database_name, bound.name])


def partitions_name(bound: BoundImport) -> str:
    """`<database>/<import>`, below the key prefix: the name of the import's dynamic partitions."""
    return _partitions_name(bound.placement, bound.database_name, bound.name)


def partitions_of(bound: BoundImport) -> PartitionsDefinition[str]:
    """The import's items as Dagster partitions."""
    if bound.spec.source.window is not None:
        return windows_of(bound.spec.source.window)
    return DynamicPartitionsDefinition(name=partitions_name(bound))


def partitions_of_outline(name: str, outline: Outline, placement: Placement) -> PartitionsDefinition[str]:
    """The items of an import whose YAML is broken, as Dagster partitions."""
    if outline.window is not None:
        return windows_of(outline.window)
    return DynamicPartitionsDefinition(name=_partitions_name(placement, outline.database, name))


def add_partitions(bound: BoundImport, keys: Sequence[str], instance: DagsterInstance) -> None:
    """Adds the items' partitions to Dagster. Windows need none: their definition names them."""
    if bound.spec.source.window is None:
        instance.add_dynamic_partitions(partitions_name(bound), keys)


def windows_of(window: Window) -> TimeWindowPartitionsDefinition:
    """A window import's items: half-open and consecutive, by the wall clock of its time zone.

    Hours are hours of UTC, which skips and repeats none; days, weeks and months follow the zone's clock.
    """
    zone = ZoneInfo(window.timezone)
    start = _moment(window.start).replace(tzinfo=zone) + window.offset
    if window.every == "hour":
        start = start.astimezone(UTC)
        return TimeWindowPartitionsDefinition(
            start=start, fmt=_HOUR, timezone="UTC", cron_schedule=f"{start.minute} * * * *"
        )
    days = {"day": "* * *", "week": f"* * {start.isoweekday() % 7}", "month": "1 * *"}
    return TimeWindowPartitionsDefinition(
        start=start,
        fmt=_DAY if (start.hour, start.minute) == (0, 0) else _MINUTE,
        timezone=window.timezone,
        cron_schedule=f"{start.minute} {start.hour} {days[window.every]}",
    )


def window_item(bound: BoundImport, key: str, uri: str, now: datetime) -> Item:
    """The window with that key as an item. It is never stale: a window that is re-read has the source's present rows.

    Raises:
        UsageError: the import has no such window, or it has not ended.
    """
    assert bound.spec.source.window is not None
    windows = windows_of(bound.spec.source.window)
    try:
        window = windows.time_window_for_partition_key(key)
        named = windows.get_partition_key_for_timestamp(window.start.timestamp())
        is_window = named == key and windows.start <= window.start and window.end <= now
    except ValueError:
        is_window = False
    if not is_window:
        raise UsageError(
            f"import {bound.name}: no window {key} has ended",
            hint=f"its windows are named like {windows.get_first_partition_key()}",
        )
    start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
    bounds = f"{uri}\0{start.isoformat()}\0{end.isoformat()}"
    return Item(
        import_name=bound.name,
        key=ItemKey(key),
        kind="window",
        uri=uri,
        fingerprint=hashlib.sha256(bounds.encode()).hexdigest(),
        window_start=start,
        window_end=end,
    )


def ended_windows(bound: BoundImport, now: datetime, *, after: datetime | None) -> list[str]:
    """Keys of windows that have ended, oldest first: those that start at `after` or later; without it the last one."""
    assert bound.spec.source.window is not None
    windows = windows_of(bound.spec.source.window)
    since = now - _LONGEST if after is None else after
    keys = windows.get_partition_keys_in_time_window(TimeWindow(start=since, end=now)) if since < now else []
    ended = [key for key in keys if windows.time_window_for_partition_key(key).end <= now]
    return ended[-1:] if after is None else ended


def _partitions_name(placement: Placement, database: str, name: str) -> str:
    return "/".join((*placement.key_prefix, database, name))


def _moment(day: date | datetime) -> datetime:
    return day.replace(tzinfo=None) if isinstance(day, datetime) else datetime(day.year, day.month, day.day)
