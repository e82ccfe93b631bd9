"""A clock that is set back holds up nothing: not the daemon, no tick, no request for a run, no alert."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import get_args

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)
from dagster._daemon.sensor import get_elapsed
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.ledger import ItemState
from ingest_pipelines.model import ItemKey, ItemKind
from ingest_pipelines.orchestration.clock_watch import CLOCK_SET_BACK, SET_BACK_SECONDS, ClockWatch, watch_clock
from ingest_pipelines.orchestration.dagster_internals.future_ticks import forget_future_ticks
from ingest_pipelines.orchestration.monitoring.health import HEARTBEAT_PATIENCE, judge_daemon
from ingest_pipelines.orchestration.runs.item_runs import ItemRuns
from ingest_pipelines.orchestration.runs.run_requests import LONGEST_PAUSE, next_request, pause
from ingest_pipelines_tests.guarantees.on_call.wall_clock import WallClock
from ingest_pipelines_tests.orchestration.test_probes import SENSOR, add_sensor, add_tick, origin
from ingest_pipelines_tests.waiting import until

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
AHEAD = [timedelta(seconds=45), timedelta(minutes=20), timedelta(days=2)]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-5000, 5000)), max_size=30))
def test_the_watch_knows_how_far_the_clock_is_behind_its_best(steps: list[tuple[float, float]]) -> None:
    """Each step: so many seconds pass, then somebody turns the clock."""
    steady, turned, most = 1000.0, 0.0, 0.0
    watch = ClockWatch(lambda: steady + turned, lambda: steady)
    for seconds, jump in steps:
        steady += seconds
        turned += jump
        most = max(most, turned)
        assert watch.set_back_by() == pytest.approx(most - turned, abs=1e-6)


def test_a_process_that_stood_still_between_two_readings_has_no_clock_that_was_set_back() -> None:
    steady, day = iter([0.0, 0.0, 10.0, 100.0, 100.0, 100.0]), iter([1000.0, 1010.0, 1100.0])
    watch = ClockWatch(lambda: next(day), lambda: next(steady))
    assert watch.set_back_by() == 0.0


@pytest.mark.parametrize(("seconds", "acts"), [(SET_BACK_SECONDS + 1, True), (SET_BACK_SECONDS - 1, False)])
def test_the_thread_acts_once_on_what_would_be_waited_for(
    monkeypatch: pytest.MonkeyPatch, seconds: float, acts: bool
) -> None:
    monkeypatch.setattr("ingest_pipelines.orchestration.clock_watch.CHECK_SECONDS", 0.01)
    turned, reads, found, stop = 0.0, 0, list[float](), Event()

    def day() -> float:
        nonlocal reads
        reads += 1
        if reads > 50:
            stop.set()
        return time.monotonic() + turned

    watch = ClockWatch(day)
    turned = -seconds
    watch_clock(found.append, watch, stop).join(30)
    assert len(found) == acts
    assert all(one == pytest.approx(seconds, abs=0.1) for one in found)


@pytest.fixture
def storage(own_instance: DagsterInstance) -> Iterator[DagsterInstance]:
    own_instance.wipe_all_schedules()
    yield own_instance
    own_instance.wipe_all_schedules()


@pytest.mark.parametrize("ahead", AHEAD, ids=str)
def test_sensors_and_schedules_tick_again_at_once_whatever_the_clock_was(
    storage: DagsterInstance, ahead: timedelta
) -> None:
    later, before = NOW + ahead, NOW - timedelta(minutes=1)
    add_sensor(storage, before, name="in_time")
    add_sensor(storage, later, name=SENSOR)
    for name, moments in {"every": (later.timestamp(), later.timestamp()), "at": (before.timestamp(), None)}.items():
        plan = ScheduleInstigatorData("* * * * *", *moments)
        state = InstigatorState(origin(name), InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, plan)
        storage.add_instigator_state(state)
    for at in (before, later):
        add_tick(storage, at, TickStatus.SUCCESS)
    assert forget_future_ticks(storage, NOW) == sorted([SENSOR, "every"])
    for state in storage.all_instigator_state():
        data = state.instigator_data
        if isinstance(data, SensorInstigatorData):
            assert data.last_tick_timestamp in {before.timestamp(), NOW.timestamp()}
            assert (get_elapsed(state) or 0) >= 0 or datetime.now(UTC) < NOW
        elif isinstance(data, ScheduleInstigatorData):
            assert max(filter(None, (data.start_timestamp, data.last_iteration_timestamp))) <= NOW.timestamp()
    instigator = origin(SENSOR)
    ticks = storage.get_ticks(instigator.get_id(), instigator.get_selector().get_id())
    assert [tick.timestamp for tick in ticks] == [before.timestamp()]
    assert forget_future_ticks(storage, NOW) == []


@pytest.mark.parametrize("kind", get_args(ItemKind))
@pytest.mark.parametrize("ahead", AHEAD, ids=str)
def test_no_run_is_asked_for_later_than_its_pause(kind: ItemKind, ahead: timedelta) -> None:
    """What was noted while the clock was ahead: the item itself, and the end of its last run."""
    new = next_request(ItemState(ItemKey("key"), "new", NOW + ahead), kind, None)
    assert new.is_due(NOW) == (kind not in {"upload", "replay"})
    for ended in (1, 4, 60):
        runs = ItemRuns("0123456789", DagsterRunStatus.FAILURE, NOW, "failed", NOW + ahead, ended)
        again = next_request(ItemState(ItemKey("key"), "new", NOW), kind, runs)
        assert again.is_due(NOW + LONGEST_PAUSE) or kind in {"upload", "replay"} or ahead < LONGEST_PAUSE
        waits = next_request(
            ItemState(ItemKey("key"), "new", NOW), kind,
            ItemRuns("0123456789", DagsterRunStatus.FAILURE, NOW, "failed", NOW, ended),
        )  # fmt: skip
        assert not waits.is_due(NOW + pause(ended) - timedelta(seconds=1)), "a pause is still kept"


def test_a_heartbeat_of_the_future_is_no_sign_of_life() -> None:
    ahead = HEARTBEAT_PATIENCE + timedelta(seconds=30)
    found = judge_daemon({"SENSOR": NOW + ahead, "SCHEDULER": NOW + ahead}, NOW)
    assert (found.ok, found.next_step) == (False, "restart the daemon")
    assert "the clock was set back by 2 min" in found.words


TICKING = """
from pathlib import Path
from dagster import Definitions, SensorDefinition, SkipReason

def tick(context):
    with Path({ticks!r}).open("a") as file:
        file.write("tick ")
    return SkipReason("nothing to do")

defs = Definitions(sensors=[SensorDefinition("ticking", evaluation_fn=tick, minimum_interval_seconds=1,
                                             default_status=__import__("dagster").DefaultSensorStatus.RUNNING)])
"""


def test_a_daemon_whose_clock_is_set_back_ends_and_the_next_one_ticks_at_once(tmp_path: Path) -> None:
    clock, ticks, home = WallClock(tmp_path), tmp_path / "ticks", tmp_path / "home"
    assert clock.environment, "a clock that can be set takes a C compiler"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    code = tmp_path / "ticking.py"
    code.write_text(TICKING.format(ticks=str(ticks)))
    environment = {
        **os.environ,
        **clock.environment,
        "DAGSTER_HOME": str(home),
        "INGEST_STATE": str(tmp_path / "state"),
    }
    words = [sys.executable, "-m", "ingest_pipelines.orchestration.daemon", "run", "-f", str(code)]

    def ticked() -> int:
        return len(ticks.read_text().split()) if ticks.exists() else 0

    for is_first in (True, False):
        before, log = ticked(), tmp_path / f"{is_first}.log"
        with log.open("w") as file, subprocess.Popen(words, env=environment, stdout=file, stderr=file) as daemon:
            try:
                until(lambda before=before: ticked() > before or daemon.poll() is not None, 240)  # type: ignore[misc]
                assert daemon.poll() is None, log.read_text()
                clock.jump(-3600 if is_first else -9000)
                assert daemon.wait(60) == CLOCK_SET_BACK, log.read_text()
            finally:
                daemon.kill()
        by = 3600 if is_first else 5400
        assert f"the clock was set back by {by} s" in log.read_text()
    assert "they tick again now: ticking" in log.read_text()
