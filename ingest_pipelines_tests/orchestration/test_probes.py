"""What the watcher reads from Dagster's storage, the ledger and the project, without a code server."""

from __future__ import annotations

import http.server
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from ingest_pipelines import ledger
from ingest_pipelines.ledger import SourceTrouble
from ingest_pipelines.orchestration.monitoring.health import HealthFinding
from ingest_pipelines.orchestration.monitoring.probes import (
    ProjectProbe,
    QueueProbe,
    TickProbe,
    judge_webserver,
    look_at_daemon,
    look_at_sources,
    look_at_target,
    look_at_webserver,
)
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines_tests.orchestration.conftest import Shop

SENSOR = "customers__points__files"


def origin(name: str) -> RemoteInstigatorOrigin:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ingest_pipelines"), "__repository__")
    return RemoteInstigatorOrigin(repository_origin=repository, instigator_name=name)


def add_sensor(
    instance: DagsterInstance, ticked: datetime, *, name: str = SENSOR, status: InstigatorStatus | None = None
) -> InstigatorState:
    data = SensorInstigatorData(last_tick_timestamp=ticked.timestamp(), min_interval=30)
    state = InstigatorState(origin(name), InstigatorType.SENSOR, status or InstigatorStatus.RUNNING, data)
    return instance.add_instigator_state(state)


def add_tick(
    instance: DagsterInstance, at: datetime, status: TickStatus, error: str = "", cause: str = "",
    *, name: str = SENSOR, kind: InstigatorType = InstigatorType.SENSOR,
) -> None:  # fmt: skip
    because = SerializableErrorInfo("no", [], cause) if cause else None
    failure = SerializableErrorInfo("C1 wants 4711", [], error, cause=because) if error else None
    instigator = origin(name)
    instance.create_tick(
        TickData(instigator.get_id(), name, kind, status, at.timestamp(), error=failure,
                 selector_id=instigator.get_selector().get_id(), run_ids=[])
    )  # fmt: skip


@pytest.fixture
def watched(shop: Shop) -> Shop:
    """A shop whose import has a sensor, at an hour that Dagster's storage can be in."""
    shop.now = datetime.now(UTC)
    shop.add_vendor()
    shop.write_import(source={"connection": "vendor", "file": "points/Points"}, sensor={"every": "30s"})
    return shop


@pytest.fixture
def storage(own_instance: DagsterInstance) -> DagsterInstance:
    """Dagster's storage without runs, ticks and heartbeats."""
    own_instance.wipe_all_schedules()
    own_instance.run_storage.wipe()
    own_instance.wipe_daemon_heartbeats()
    return own_instance


def ticks_of(
    shop: Shop, instance: DagsterInstance, started: datetime | None = None
) -> tuple[HealthFinding, tuple[datetime, ...]]:
    return TickProbe(started or shop.now - timedelta(hours=1)).look(shop.site(), instance, shop.now)


def test_the_daemon_is_judged_by_its_heartbeats(watched: Shop, storage: DagsterInstance) -> None:
    assert not look_at_daemon(storage, watched.now).ok
    for part in storage.get_required_daemon_types():
        storage.add_daemon_heartbeat(DaemonHeartbeat(watched.now.timestamp(), part, "id"))
    assert look_at_daemon(storage, watched.now + timedelta(seconds=90)).ok
    assert not look_at_daemon(storage, watched.now + timedelta(seconds=91)).ok


@pytest.mark.parametrize(
    ("minutes", "status", "name", "ok"),
    [
        (1, InstigatorStatus.RUNNING, SENSOR, True),
        (3, InstigatorStatus.RUNNING, SENSOR, False),
        (3, InstigatorStatus.DECLARED_IN_CODE, SENSOR, False),
        (3, InstigatorStatus.STOPPED, SENSOR, True),
        (3, InstigatorStatus.RUNNING, "customers__gone__files", True),
        (3, InstigatorStatus.RUNNING, "ingest__housekeeping", False),
    ],
)
def test_a_sensor_that_is_on_and_in_the_project_must_tick(
    watched: Shop, storage: DagsterInstance, minutes: int, status: InstigatorStatus, name: str, ok: bool
) -> None:
    add_sensor(storage, watched.now - timedelta(minutes=minutes), name=name, status=status)
    assert ticks_of(watched, storage)[0].ok is ok


def test_what_nothing_ran_before_the_watcher_did_is_not_overdue_yet(watched: Shop, storage: DagsterInstance) -> None:
    add_sensor(storage, watched.now - timedelta(days=3))
    assert ticks_of(watched, storage, started=watched.now)[0].ok


def test_a_schedule_that_is_due_and_not_looked_at_is_missed(watched: Shop, storage: DagsterInstance) -> None:
    source = {"connection": "vendor", "file": "points/Points"}
    watched.write_import(source=source, sensor={"every": "30s"}, schedule={"every": "5m"})
    assert watched.site().project.mistakes == ()
    looked = (watched.now - timedelta(minutes=9)).timestamp()
    data = ScheduleInstigatorData("*/5 * * * *", looked, looked)
    name = "customers__points__schedule"
    state = InstigatorState(origin(name), InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    storage.add_instigator_state(state)
    finding = ticks_of(watched, storage)[0]
    assert not finding.ok
    assert name in finding.words


@pytest.mark.parametrize(("ticked", "ok"), [(2, True), (40, False)])
def test_a_schedules_last_tick_counts_and_not_dagsters_hourly_note_that_it_looked(
    watched: Shop, storage: DagsterInstance, ticked: int, ok: bool
) -> None:
    source = {"connection": "vendor", "file": "points/Points"}
    watched.write_import(source=source, sensor={"every": "30s"}, schedule={"every": "5m"})
    name, noted = "customers__points__schedule", (watched.now - timedelta(minutes=50)).timestamp()
    data = ScheduleInstigatorData("*/5 * * * *", noted, noted)
    storage.add_instigator_state(InstigatorState(origin(name), InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data))
    at = watched.now - timedelta(minutes=ticked)
    add_tick(storage, at, TickStatus.SKIPPED, name=name, kind=InstigatorType.SCHEDULE)
    finding = ticks_of(watched, storage)[0]
    assert finding.ok is ok, finding.words


@pytest.mark.parametrize(
    ("statuses", "failed"),
    [("FFF", True), ("FF", False), ("FFFG", False), ("FFFGFF", False), ("GFFF", True), ("FSFF", False)],
)
def test_three_failed_ticks_in_a_row_are_told_without_their_errors_words(
    watched: Shop, storage: DagsterInstance, statuses: str, failed: bool
) -> None:
    add_sensor(storage, watched.now)
    kinds = {"F": TickStatus.FAILURE, "G": TickStatus.SUCCESS, "S": TickStatus.SKIPPED}
    for number, letter in enumerate(statuses):
        at = watched.now - timedelta(seconds=30 * (len(statuses) - number))
        add_tick(storage, at, kinds[letter], "SomeError" if letter == "F" else "")
    finding, unreached = ticks_of(watched, storage)
    assert (finding.ok, unreached) == (not failed, ())
    assert "4711" not in finding.words


@pytest.mark.parametrize("cause", ["", "DagsterUserCodeUnreachableError"])
def test_ticks_that_do_not_reach_the_code_server_are_the_code_servers_trouble(
    watched: Shop, storage: DagsterInstance, cause: str
) -> None:
    add_sensor(storage, watched.now)
    for seconds in (120, 90, 60):
        error = "SomeError" if cause else "DagsterUserCodeUnreachableError"
        add_tick(storage, watched.now - timedelta(seconds=seconds), TickStatus.FAILURE, error, cause)
    finding, unreached = ticks_of(watched, storage)
    assert finding.ok
    assert [round((watched.now - at).total_seconds()) for at in unreached] == [60]


def add_run(shop: Shop, instance: DagsterInstance, status: str, name: str = "points") -> str:
    tags = {"dagster/partition": "p", "ingest/import": name}
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ingest_pipelines"), "__repository__")
    queued = RemoteJobOrigin(repository, "__ASSET_JOB")
    run = instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus(status), remote_job_origin=queued)
    return run.run_id


def stuck(shop: Shop, instance: DagsterInstance, minutes: float = 3) -> HealthFinding:
    """The finding when the same is so for that long."""
    probe, site = QueueProbe(), shop.site()
    assert "points" not in probe.look(site, instance, shop.now).words
    return probe.look(site, instance, shop.now + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("active", "queued", "ok"),
    [
        ([], ["points"], False),
        (["points"], ["points"], True),  # one run per import
        (["other"], ["points"], False),
        (["other", "third"], ["points"], True),  # two runs at most
        (["points", "other"], ["points", "fourth"], True),
        (["points"], ["points", "other"], False),
    ],
)
def test_a_run_in_the_queue_is_stuck_only_where_no_limit_holds_it_back(
    watched: Shop, storage: DagsterInstance, active: list[str], queued: list[str], ok: bool
) -> None:
    for name in active:
        add_run(watched, storage, "STARTED", name)
    for name in queued:
        add_run(watched, storage, "QUEUED", name)
    probe, site = QueueProbe(), watched.site()
    assert probe.look(site, storage, watched.now).ok
    assert probe.look(site, storage, watched.now + timedelta(minutes=1)).ok
    assert probe.look(site, storage, watched.now + timedelta(minutes=3)).ok is ok


def test_a_run_waits_for_another_one_of_its_table_as_long_as_that_takes(
    watched: Shop, storage: DagsterInstance
) -> None:
    watched.write_import("twin", source={"connection": "vendor", "file": "points/Twin"})
    add_run(watched, storage, "STARTED", "twin")
    add_run(watched, storage, "QUEUED", "points")
    assert stuck(watched, storage, minutes=60).ok


def test_a_run_whose_process_is_dead_is_named(watched: Shop, storage: DagsterInstance) -> None:
    run_id = add_run(watched, storage, "STARTED")
    pid = os.fork()
    if pid == 0:
        run_locks.hold(watched.state, run_id)
        os._exit(0)
    os.waitpid(pid, 0)
    finding = stuck(watched, storage)
    assert f"run {run_id[:8]} of import points counts as running, and its process is dead" in finding.words


@pytest.mark.parametrize(("status", "words"), [("STARTING", "has not begun"), ("CANCELING", "does not end")])
def test_a_run_that_does_not_begin_or_end_in_time_is_named(
    watched: Shop, storage: DagsterInstance, status: str, words: str
) -> None:
    add_run(watched, storage, status)
    finding = stuck(watched, storage, minutes=20)
    assert words in finding.words
    assert (watched.now - (finding.since or watched.now)) < timedelta(minutes=1)


@pytest.mark.parametrize("trouble", ["unreachable", "hung", "denied"])
def test_a_live_imports_source_that_does_not_answer_is_told_by_its_connection(
    watched: Shop, trouble: SourceTrouble
) -> None:
    site = watched.site()
    with site.target.session() as connection:
        for name in ("points", "removed"):
            ledger.record_trouble(connection, name, "vendor", watched.now, trouble, step="list", error="no")
    finding = look_at_sources(site, look_at_target(site))
    assert f"connection vendor is {trouble} at list: points waits" == finding.words
    with site.target.session() as connection:
        ledger.record_success(connection, "points", "vendor", watched.now)
    assert look_at_sources(site, look_at_target(site)).ok


def test_a_live_import_whose_yaml_breaks_is_told_with_file_and_line_until_it_is_right(watched: Shop) -> None:
    site = watched.site()
    probe = ProjectProbe(watched.home, site.project)
    facts = look_at_target(site)

    def finding() -> HealthFinding:
        probe.look()
        return probe.judge(facts.states, watched.now)

    assert finding().ok
    good = (watched.home / "imports" / "points.yaml").read_text()
    (watched.home / "imports" / "points.yaml").write_text(good + "colour: red\n")
    broken = finding()
    assert "import points cannot run: imports/points.yaml:" in broken.words
    assert broken.since == watched.now
    (watched.home / "imports" / "points.yaml").write_text(good + "colour: red\nstatus: draft\n")
    assert finding().ok
    (watched.home / "imports" / "points.yaml").write_text(good)
    assert finding().ok


class Page(http.server.BaseHTTPRequestHandler):
    """A webserver whose definitions could not be loaded."""

    hangs = threading.Event()

    def do_GET(self) -> None:
        self._say(b"{}")

    def do_POST(self) -> None:
        self._say(b'{"__typename": "PythonError"}')

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_webserver_without_definitions_and_none_at_all_are_told_apart() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    answer = look_at_webserver(url)
    assert (answer.load_error, judge_webserver(answer).ok) == (True, True)
    server.shutdown()
    server.server_close()
    gone = judge_webserver(look_at_webserver(url))
    assert (gone.ok, gone.words) == (False, "the webserver: nothing answers at its address")
