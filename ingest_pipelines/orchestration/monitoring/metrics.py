"""The text of /metrics, in Prometheus' exposition format 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from ingest_pipelines.ledger import ImportMetrics, OpenItemCount
from ingest_pipelines.orchestration.monitoring.health import HealthFinding
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LOADS = ("committed", "skipped", "refused", "failed")
ROWS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected", "deleted")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Snapshot:
    """What the watcher saw when it last looked.

    Attributes:
        imports: counts per import; empty until the ledger was read once.
        open_items: of every import that has open items.
        counted_at: when `imports` and `open_items` were read; None: not yet.
    """

    at: datetime
    findings: Sequence[HealthFinding] = ()
    imports: Sequence[ImportMetrics] = ()
    open_items: Sequence[OpenItemCount] = ()
    counted_at: datetime | None = None


def count_open_items(items: Iterable[OpenItem]) -> list[OpenItemCount]:
    """Per import and state, how many there are, and since when the oldest is."""
    ages: dict[tuple[str, str], list[datetime]] = {}
    for item in items:
        ages.setdefault((item.import_name, item.state), []).append(item.since)
    return [OpenItemCount(name, state, len(since), min(since)) for (name, state), since in sorted(ages.items())]


def exposition(snapshot: Snapshot | None, now: datetime) -> str:
    """The snapshot's numbers as text; ends with a line end."""
    return "".join(f"{line}\n" for line in _lines(snapshot, now))


def _lines(snapshot: Snapshot | None, now: datetime) -> Iterator[str]:
    yield from _family("ingest_build_info", "gauge", "The version of Ingest Pipelines.", [
        ((("version", version("ingest-pipelines")),), 1.0)
    ])  # fmt: skip
    if snapshot is None:
        return
    yield from _family("ingest_snapshot_age_seconds", "gauge", "Time since the watcher last looked.", [
        ((), (now - snapshot.at).total_seconds())
    ])  # fmt: skip
    yield from _family("ingest_health", "gauge", "1: this part is well; 0: see /healthz.", [
        ((("part", finding.name),), float(finding.ok)) for finding in snapshot.findings
    ])  # fmt: skip
    if snapshot.counted_at is None:
        return
    yield from _family("ingest_counts_age_seconds", "gauge", "Time since the ledger was counted.", [
        ((), (now - snapshot.counted_at).total_seconds())
    ])  # fmt: skip
    yield from _family("ingest_loads_total", "counter", "Loads that ended, by how they ended.", [
        (_labels(one, status=status), getattr(one, f"loads_{status}")) for one in snapshot.imports for status in LOADS
    ])  # fmt: skip
    yield from _family("ingest_rows_total", "counter", "Rows of committed loads, by what became of them.", [
        (_labels(one, outcome=outcome), getattr(one, f"rows_{outcome}")) for one in snapshot.imports for outcome in ROWS
    ])  # fmt: skip
    gauges: tuple[tuple[str, str, Callable[[ImportMetrics], float | None]], ...] = (
        ("ingest_loads_running", "Loads in progress.", lambda one: one.loads_running),
        ("ingest_rejects_open", "Rejected values that are not resolved.", lambda one: one.rejects_open),
        ("ingest_last_committed_timestamp_seconds", "When the last load committed, as Unix time.",
         lambda one: one.last_committed_at.timestamp() if one.last_committed_at else None),
        ("ingest_lag_seconds", "Time since the source last delivered, or had nothing new.",
         lambda one: None if one.lag_seconds is None
         else one.lag_seconds + (now - snapshot.counted_at).total_seconds() if snapshot.counted_at else None),
        ("ingest_source_up", "1: the source answered when it was last looked at.", lambda one: float(one.source_up)),
        ("ingest_oldest_open_item_seconds", "Age of the oldest item that should be in the table and is not.",
         lambda one: (now - one.oldest_item_at).total_seconds() if one.oldest_item_at else 0.0),
    )  # fmt: skip
    for name, about, read in gauges:
        samples = [(_labels(one), value) for one in snapshot.imports if (value := read(one)) is not None]
        yield from _family(name, "gauge", about, samples)
    yield from _family("ingest_open_items", "gauge", "Items that should be in the table and are not, by state.", [
        ((("import", count.import_name), ("state", count.state)), count.items) for count in snapshot.open_items
    ])  # fmt: skip


def _labels(one: ImportMetrics, **more: str) -> Labels:
    return (("import", one.import_name), *more.items())


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        yield f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
