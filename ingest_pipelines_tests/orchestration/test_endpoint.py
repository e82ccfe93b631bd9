"""/healthz, /livez and /metrics, over a socket, as Prometheus and a probe ask them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ingest_pipelines.ledger import ImportMetrics, OpenItemCount
from ingest_pipelines.orchestration.monitoring.endpoint import serve
from ingest_pipelines.orchestration.monitoring.health import HealthFinding
from ingest_pipelines.orchestration.monitoring.metrics import CONTENT_TYPE, LOADS, ROWS, Snapshot, exposition

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
WELL = HealthFinding("daemon", True, "8 parts give signs of life")
ILL = HealthFinding("queue", False, "run 01234567 of import points does not go on", NOW, "ingest status")
COUNTS = ImportMetrics("points", 5, 4, 3, 2, 1, 90, 80, 70, 60, 50, 40, 30, 20, NOW - timedelta(hours=1), 60.0, 2,
                       NOW - timedelta(minutes=10), False)  # fmt: skip


@dataclass
class World:
    """The watcher's snapshot and clock, and the port at which they are served."""

    snapshot: Snapshot | None = None
    now: datetime = NOW
    port: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        self.headers = dict(answer.getheaders())
        text = answer.read().decode()
        connection.close()
        return answer.status, text


@contextmanager
def served(world: World) -> Iterator[World]:
    server = serve("127.0.0.1", 0, {"ingest.example.com"}, lambda: world.snapshot, lambda: world.now)
    world.port = server.server_port
    yield world
    server.shutdown()
    server.server_close()


@pytest.fixture
def world() -> Iterator[World]:
    with served(World()) as world:
        yield world


def test_healthz_is_503_until_the_watcher_has_looked_and_while_anything_is_wrong_or_the_watcher_hangs(
    world: World,
) -> None:
    statuses = [world.get("/healthz")[0]]
    world.snapshot = Snapshot(NOW, [WELL])
    statuses.append(world.get("/healthz")[0])
    world.snapshot = Snapshot(NOW, [WELL, ILL])
    status, text = world.get("/healthz")
    statuses.append(status)
    assert json.loads(text)["findings"][0] == {
        "name": "queue", "ok": False, "words": ILL.words, "since": NOW.isoformat(), "next_step": "ingest status",
    }  # fmt: skip
    world.snapshot, world.now = Snapshot(NOW, [WELL]), NOW + timedelta(seconds=61)
    status, text = world.get("/healthz")
    statuses.append(status)
    assert json.loads(text)["age_seconds"] == 61.0
    assert "last looked 61 s ago" in text
    assert statuses == [503, 200, 503, 503]


def test_livez_asks_only_whether_the_watcher_looks(world: World) -> None:
    assert world.get("/livez")[0] == 200
    world.snapshot = Snapshot(NOW, [ILL])
    assert world.get("/livez")[0] == 200
    world.now += timedelta(seconds=61)
    assert world.get("/livez")[0] == 503


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/metrics", "/"])
@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost", True),
        ("127.0.0.1:3100", True),
        ("[::1]:3100", True),
        ("10.1.2.3:3100", True),  # a pod's address: no page elsewhere can have it
        ("[fd00::1]", True),
        ("ingest.example.com", True),
        ("INGEST.example.com:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_no_name_of_another_site_is_answered(world: World, path: str, host: str, answered: bool) -> None:
    assert (world.get(path, host)[0] != 403) is answered


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_reading_is_allowed(world: World, method: str) -> None:
    assert world.get("/healthz", method=method)[0] == 501


def test_prometheus_reads_every_number(world: World) -> None:
    world.snapshot = Snapshot(NOW, [WELL, ILL], [COUNTS], [OpenItemCount("points", "failed", 2, NOW)], NOW)
    world.now = NOW + timedelta(seconds=5)
    status, text = world.get("/metrics")
    assert (status, world.headers["Content-Type"]) == (200, CONTENT_TYPE)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    points = ("import", "points")
    for status_name in LOADS:
        assert samples["ingest_loads_total", points, ("status", status_name)] == getattr(COUNTS, f"loads_{status_name}")
    for outcome in ROWS:
        assert samples["ingest_rows_total", points, ("outcome", outcome)] == getattr(COUNTS, f"rows_{outcome}")
    assert samples["ingest_snapshot_age_seconds",] == 5
    assert samples["ingest_lag_seconds", points] == 65
    assert samples["ingest_oldest_open_item_seconds", points] == 605
    assert samples["ingest_open_items", points, ("state", "failed")] == 2
    assert samples["ingest_source_up", points] == 0
    assert samples["ingest_rejects_open", points] == 20
    assert samples["ingest_last_committed_timestamp_seconds", points] == (NOW - timedelta(hours=1)).timestamp()
    assert (samples["ingest_health", ("part", "daemon")], samples["ingest_health", ("part", "queue")]) == (1, 0)


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), number=st.integers(0, 2**63))
def test_any_name_and_any_number_reach_prometheus_as_they_are(name: str, number: int) -> None:
    counts = replace(COUNTS, import_name=name, loads_committed=number)
    text = exposition(Snapshot(NOW, [], [counts], [], NOW), NOW)
    [value] = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "ingest_loads_total" and sample.labels == {"import": name, "status": "committed"}
    ]
    assert value == number
