"""What the run queue lets through at once, when hundreds of runs wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace

import pytest
import yaml
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ingest_pipelines.orchestration.dagster_internals.queue_looks import (
    LOOK_SECONDS,
    WHOLE_LOOK_SECONDS,
    Looks,
    look_often,
)
from ingest_pipelines.orchestration.dagster_internals.retry_order import PATIENCE, count_retries_as_active
from ingest_pipelines.orchestration.instance import HERE, LOCATION

WINDOWS, IMPORTS = 60, 7
"""More than the hundred runs that the queue looks at in one go."""


@pytest.fixture
def queue() -> Iterator[DagsterInstance]:
    """An instance with the queue of `dagster.yaml`."""
    settings = yaml.safe_load((HERE / "dagster.yaml").read_text())
    overrides = {name: settings[name] for name in ("run_coordinator", "concurrency", "run_retries")}
    with DagsterInstance.local_temp(overrides=overrides) as instance:
        yield instance


@pytest.fixture
def clock(queue: DagsterInstance) -> list[float]:
    """The seconds that a retry is waited for, as the only number of a list."""
    now = [0.0]
    assert isinstance(queue.run_storage, SqlRunStorage)
    count_retries_as_active(queue.run_storage, lambda: now[0])
    return now


def _run(instance: DagsterInstance, name: str, item: str, status: str = "QUEUED", **tags: str) -> DagsterRun:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), "__repository__")
    run: DagsterRun = create_run_for_test(
        instance,
        status=DagsterRunStatus[status],
        tags={"ingest/import": name, "dagster/partition": item, **tags},
        remote_job_origin=RemoteJobOrigin(place, "a job"),
    )
    return run


def _next(instance: DagsterInstance) -> list[DagsterRun]:
    """The runs that may start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)


def test_a_backfill_of_hundreds_of_windows_does_not_stampede(queue: DagsterInstance) -> None:
    """One run of an import at a time, its oldest window first; four on one connection; ten in all."""
    for window in range(WINDOWS):
        for number in range(IMPORTS):
            connection = {"ingest/connection": "busy" if number < 6 else "quiet"}
            _run(queue, f"import_{number}", f"{window:03}", **connection)
    runs = _next(queue)
    assert {run.tags["dagster/partition"] for run in runs} == {"000"}
    assert Counter(run.tags["ingest/connection"] for run in runs) == {"busy": 4, "quiet": 1}
    assert max(Counter(run.tags["ingest/import"] for run in runs).values()) == 1


@pytest.mark.usefixtures("clock")
def test_a_run_whose_process_died_keeps_its_imports_place_until_its_retry_is_queued(queue: DagsterInstance) -> None:
    died = _run(queue, "points", "1", "STARTED")
    _run(queue, "points", "2")
    others = [_run(queue, "visits", "1").run_id]
    queue.report_run_failed(died, "its process died")
    assert [run.run_id for run in _next(queue)] == others
    retry = _run(queue, "points", "1", "NOT_STARTED", **{"dagster/priority": "1"})
    queue.add_run_tags(died.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    assert [run.run_id for run in _next(queue)] == others
    enqueued = DagsterEvent(DagsterEventType.RUN_ENQUEUED.value, retry.job_name)
    queue.report_dagster_event(enqueued, retry.run_id)
    assert [run.run_id for run in _next(queue)] == [retry.run_id, *others]


def test_a_retry_that_never_comes_does_not_hold_the_next_items_back(queue: DagsterInstance, clock: list[float]) -> None:
    died = _run(queue, "points", "1", "STARTED")
    newer = _run(queue, "points", "2")
    queue.report_run_failed(died, "its process died")
    assert _next(queue) == []
    clock[0] += PATIENCE.total_seconds()
    assert [run.run_id for run in _next(queue)] == [newer.run_id]


@pytest.mark.usefixtures("clock")
def test_a_run_that_failed_for_good_lets_the_next_item_pass(queue: DagsterInstance) -> None:
    died = _run(queue, "points", "1", "STARTED", **{"dagster/max_retries": "0"})
    newer = _run(queue, "points", "2")
    queue.report_run_failed(died, "its process died")
    assert [run.run_id for run in _next(queue)] == [newer.run_id]


class _Waits(Event):
    """An event that nobody waits for; the times that it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


def test_the_daemon_looks_into_the_queue_five_times_a_second_and_asks_little_while_it_is_empty(
    queue: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(self: QueuedRunCoordinatorDaemon, workspace: object, **_: object) -> Iterator[None]:
        looks.append("all of it")
        yield None

    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "core_loop", QueuedRunCoordinatorDaemon.core_loop)  # put back
    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "run_iteration", look)
    look_often()
    ends = _Waits()
    loop = QueuedRunCoordinatorDaemon(interval_seconds=1).core_loop(SimpleNamespace(instance=queue), ends)
    while len(ends.seconds) < 3:
        next(loop)
    assert looks == []
    _run(queue, "points", "2026-01-01")
    while not looks:
        next(loop)
    assert set(ends.seconds) == {LOOK_SECONDS}


def test_waiting_runs_are_read_when_one_comes_starts_or_ends_and_once_a_second(queue: DagsterInstance) -> None:
    seconds = 0.0
    looks = Looks(lambda: seconds)
    assert not looks.is_due(queue), "no run waits"
    first = _run(queue, "points", "2026-01-01")
    assert looks.is_due(queue)
    assert not looks.is_due(queue)
    second = _run(queue, "points", "2026-01-02")
    assert looks.is_due(queue)
    queue.report_dagster_event(DagsterEvent(DagsterEventType.RUN_STARTING.value, first.job_name), first.run_id)
    assert looks.is_due(queue)
    assert not looks.is_due(queue)
    queue.report_run_failed(first)
    assert looks.is_due(queue), "its place is free"
    assert not looks.is_due(queue)
    seconds += WHOLE_LOOK_SECONDS
    assert looks.is_due(queue), "a pool may be free"
    queue.report_run_canceled(second)
    assert not looks.is_due(queue)
