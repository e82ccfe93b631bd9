"""What the watcher says of each part, for every way in which it can be well or not. By a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingest_pipelines.ledger import SourceTrouble
from ingest_pipelines.orchestration.monitoring.health import (
    HEARTBEAT_PATIENCE,
    Death,
    HealthFinding,
    StuckRun,
    Ticking,
    judge_code_server,
    judge_daemon,
    judge_processes,
    judge_project,
    judge_queue,
    judge_sources,
    judge_ticks,
    sensor_overdue,
)
from ingest_pipelines.orchestration.monitoring.source_troubles import DownSource

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PARTS = ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "BACKFILL", "MONITORING")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def death(seconds: float, how: str) -> Death:
    return Death("daemon", ago(seconds), how)


def down(connection: str, imports: str, seconds: float, trouble: SourceTrouble, step: str = "") -> DownSource:
    return DownSource(connection, tuple(imports.split()), ago(seconds), trouble, step)


def ticking(name: str = "customers__points__files", **more: object) -> Ticking:
    return Ticking(name, ago(10), NOW + timedelta(seconds=60), **more)  # type: ignore[arg-type]


WELL = {
    "daemon": judge_daemon(dict.fromkeys(PARTS, ago(80)), NOW),
    "ticks": judge_ticks([ticking(failed=2)], NOW),
    "queue": judge_queue([], 7, 3),
    "sources": judge_sources([], 12),
    "project": judge_project({}, None),
    "processes": judge_processes([death(61, "ended")], NOW),
    "code server": judge_code_server([ago(121)], load_error=False, now=NOW),
}
TROUBLES = [
    (judge_daemon(dict.fromkeys(PARTS, ago(125)), NOW), ago(125), "Dagster's daemon has given no sign of life"),
    (judge_daemon({**dict.fromkeys(PARTS, NOW), "SENSOR": ago(100)}, NOW), ago(100), "SENSOR of Dagster's daemon"),
    (judge_daemon(dict.fromkeys(PARTS), NOW), None, "has not run yet"),
    (judge_ticks([ticking(failed=3, failing_since=ago(90))], NOW), ago(90), "the last 3 ticks of customers__p"),
    (judge_ticks([Ticking("a__files", ago(300), ago(1))], NOW), ago(300), "a__files missed 3 ticks"),
    (judge_ticks([Ticking(f"a{n}__files", ago(300), ago(1)) for n in range(1000)], NOW), ago(300), "and 997 more"),
    (judge_code_server([ago(30), ago(100)], load_error=False, now=NOW), ago(100), "did not answer 2 sensors and sch"),
    (judge_code_server([], load_error=True, now=NOW), None, "has no definitions"),
    (judge_queue([StuckRun("0123456789", "points", ago(130), "counts as running, and its process is dead")], 5, 1),
     ago(130), "run 01234567 of import points counts as running"),
    (judge_sources([down("shop", "a b", 600, "hung", "list"), down("s3", "c", 5, "denied")], 9),
     ago(600), "connection shop is hung at list: a, b wait; and 1 other connection"),
    (judge_project({"points": "imports/points.yaml:3: unknown key 'colour'"}, ago(3)), ago(3), "imports/points.yaml:3"),
    (judge_processes([death(50, "ended by itself with signal 9"), death(9, "did not answer")], NOW),
     ago(50), "the daemon did not answer and was started again; 2 processes"),
]  # fmt: skip


@pytest.mark.parametrize("finding", WELL.values(), ids=WELL)
def test_what_is_well_needs_no_step(finding: HealthFinding) -> None:
    assert finding.ok
    assert (finding.since, finding.next_step) == (None, "")


@pytest.mark.parametrize(("finding", "since", "words"), TROUBLES, ids=lambda value: getattr(value, "name", None))
def test_a_trouble_says_what_it_is_since_when_and_what_to_do(
    finding: HealthFinding, since: datetime | None, words: str
) -> None:
    assert not finding.ok
    assert finding.since == since
    assert words in finding.words
    assert finding.next_step


@pytest.mark.parametrize("silent", PARTS)
def test_each_part_of_the_daemon_is_missed_when_its_heartbeat_is(silent: str) -> None:
    beats = {**dict.fromkeys(PARTS, NOW), silent: NOW - HEARTBEAT_PATIENCE}
    assert judge_daemon(beats, NOW).ok
    later = judge_daemon(beats, NOW + timedelta(seconds=1))
    assert not later.ok
    assert silent in later.words


@pytest.mark.parametrize("seconds", [1, 5, 30, 60, 3600])
def test_a_sensor_is_overdue_after_three_of_its_own_periods(seconds: int) -> None:
    period = timedelta(seconds=seconds)
    overdue = sensor_overdue(NOW, period) - NOW
    assert overdue >= 3 * period
    assert overdue <= 3 * max(period, timedelta(seconds=30)) + timedelta(minutes=1)
