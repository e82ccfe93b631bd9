"""The run server: a process is ready for each run; a kill loses no run and doubles none. Commands use it, too."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, EventLogEntry
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import serialize_value

from ingest_pipelines.cli.run_server import KILLED
from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.dagster_internals.warm_launcher import (
    ANSWER_SECONDS,
    MODULE,
    WarmRunLauncher,
    is_of_own_module,
)
from ingest_pipelines.orchestration.definitions import MANY
from ingest_pipelines.orchestration.instance import dagster_home
from ingest_pipelines.orchestration.monitoring.deaths import read_deaths
from ingest_pipelines.orchestration.run_server import keep
from ingest_pipelines.orchestration.run_server.keep import RUN_SERVER, RunServers
from ingest_pipelines.orchestration.run_server.process import SPARE
from ingest_pipelines.orchestration.run_server.request import (
    GO,
    LEAVING,
    SERVING,
    RunRequest,
    ask_for_run,
    connected,
    pack,
    socket_path,
)
from ingest_pipelines.orchestration.run_server.request import READY as PROCESS_READY
from ingest_pipelines.orchestration.run_server.worker import NAME, SPARE_NAME
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.serving.orphans import end_groups
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop, new_shop
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.storages import fresh_storage

JOB = "__ASSET_JOB"
TARGET = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
LOCATION = ManagedGrpcPythonEnvCodeLocationOrigin(TARGET, "ingest_pipelines")
HERE = JobPythonOrigin(JOB, RepositoryPythonOrigin(sys.executable, ModuleCodePointer(MODULE, "defs", None)))


@dataclass
class Served:
    """A run server, and for each test an import of its own, all into one table that is there."""

    shop: Shop
    instance: DagsterInstance
    process: subprocess.Popen[bytes]
    import_name: str = ""
    _imports: int = 0
    _items: int = 0

    def begin(self) -> None:
        """An import of its own for a test, instead of that of the test before."""
        for path in (self.shop.home / "imports").glob("points_*.yaml"):
            path.unlink()
        self._imports += 1
        self.import_name = f"points_{self._imports}"
        self.write_import()

    def write_import(self, **changes: Any) -> None:
        source = {"connection": "uploads", "file": f"points/{self.import_name}", "settle": "1s"}
        self.shop.write_import(self.import_name, source=source, **changes)

    def new_run(self) -> DagsterRun:
        """A run of one more file, not started."""
        self._items += 1
        self.shop.deliver(f"{self.import_name}_{self._items}.csv", GOOD.replace("C1", f"C{self._items}0"))
        item = self.shop.arrive(self.instance, self.import_name)
        job = self.shop.definitions().resolve_implicit_global_asset_job_def()
        key = asset_key(self.shop.bound(self.import_name))
        run: DagsterRun = self.instance.create_run_for_job(
            job.get_subset(asset_selection={key}),
            status=DagsterRunStatus.STARTING,
            tags={"dagster/partition": str(item.key)},
            asset_selection={key},
            job_code_origin=HERE,
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), JOB),
        )
        return run

    def request(self, run: DagsterRun) -> RunRequest:
        assert run.remote_job_origin is not None
        arguments = ExecuteExternalJobArgs(
            job_origin=run.remote_job_origin, run_id=run.run_id, instance_ref=self.instance.get_ref()
        )
        return RunRequest(run.run_id, serialize_value(arguments))

    def ask(self, run: DagsterRun) -> bool:
        return ask_for_run(self.shop.state, self.request(run), ANSWER_SECONDS)

    def ended(self, run: DagsterRun) -> DagsterRunStatus:
        return wait_for(
            lambda: now.status if (now := self.instance.get_run_by_id(run.run_id)) and now.is_finished else None
        )

    def process_of(self, run: DagsterRun) -> int:
        """The id of the process that executed the run."""
        said = [re.fullmatch(r"Started process for run \(pid: (\d+)\)\.", e.message) for e in self.logs(run)]
        [pid] = [int(match[1]) for match in said if match is not None]
        return pid

    def logs(self, run: DagsterRun) -> Sequence[EventLogEntry]:
        return self.instance.all_logs(run.run_id)

    def executed(self) -> DagsterRun:
        """A run that has succeeded, and whose process is ready for the next one."""
        run = self.new_run()
        assert self.ask(run)
        assert self.ended(run) is DagsterRunStatus.SUCCESS
        wait_for(lambda: self.names() <= {SPARE_NAME})
        return run

    def used_processes(self) -> set[int]:
        """Processes of the server that have executed a run, and wait for another one."""
        processes: set[int] = set()
        while (pid := self.process_of(self.executed())) not in processes:
            processes.add(pid)
        return processes

    def runs(self) -> list[psutil.Process]:
        """The processes that execute runs, whoever forked them."""
        return [process for process in psutil.process_iter() if _is_run_of(process, self.shop)]

    def names(self) -> set[str]:
        """Of the server's children."""
        return {child.name() for child in psutil.Process(self.process.pid).children()}

    def statuses(self) -> list[str]:
        """Of the loads of this test's import."""
        query = f"SELECT status FROM ingest.loads WHERE import = '{self.import_name}' ORDER BY id"
        return [status for (status,) in self.shop.rows(query)]

    def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(60)


def _is_run_of(process: psutil.Process, shop: Shop) -> bool:
    try:
        return bool(process.name() == NAME and process.environ().get("INGEST_HOME") == str(shop.home))
    except psutil.Error:
        return False


def start_server(words: Sequence[str] = RUN_SERVER) -> subprocess.Popen[bytes]:
    """A run server that takes runs; signals of a terminal do not reach it, as with the daemon of `ingest up`.

    Args:
        words: arguments for Python.
    """
    process = subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == SERVING.encode()
    return process


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Shop]:
    """A project, with the environment in which its daemon would work."""
    with (
        fresh_target(postgres_url) as target,
        fresh_storage(postgres_url) as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        shop = new_shop(tmp_path_factory.mktemp("served"), target)
        patch.delenv("DAGSTER_HOME", raising=False)
        for name, value in {
            "INGEST_HOME": str(shop.home),
            "INGEST_STATE": str(shop.state),
            "INGEST_DATABASE_URL": shop.database_url,
            "INGEST_DAGSTER_URL": storage,
        }.items():
            patch.setenv(name, value)
        yield shop


@pytest.fixture(scope="module")
def shared(environment: Shop) -> Iterator[Served]:
    """A server that has executed a run, which made the table."""
    with DagsterInstance.from_config(str(dagster_home(read_settings()))) as instance:
        served = Served(environment, instance, start_server())
        served.begin()
        run = served.new_run()
        assert served.ask(run)
        assert served.ended(run) is DagsterRunStatus.SUCCESS
        yield served
        served.stop()


@pytest.fixture
def served_or_not(shared: Served) -> Iterator[Served]:
    """For tests that need no server of ours, or start their own: the one of the test before, if that left it."""
    shared.begin()
    yield shared
    for run in shared.runs():
        run.kill()


@pytest.fixture
def served(served_or_not: Served) -> Served:
    """With a server, which is another one if the test before ended it."""
    if served_or_not.process.poll() is not None:
        served_or_not.process = start_server()
    return served_or_not


@contextmanager
def held_table(shop: Shop) -> Iterator[None]:
    """During the block no load can merge into the target table, which exists already."""
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("LOCK TABLE crm.customers")
        yield


def test_the_process_of_a_small_run_executes_another_one_and_never_two_at_once(served: Served) -> None:
    used = served.used_processes()
    assert set(served.statuses()) == {"committed"}
    assert run_locks.runs_with_locks(served.shop.state) == []
    with held_table(served.shop):
        runs = [served.new_run() for _ in range(2)]
        assert all(map(served.ask, runs))
        assert len({process.pid for process in served.runs()}) == 2
    assert {served.ended(run) for run in runs} == {DagsterRunStatus.SUCCESS}
    assert any(served.process_of(served.executed()) in used for _ in range(6))


def test_a_process_that_executes_another_run_uses_the_project_as_it_is_then(served: Served) -> None:
    used = served.used_processes()
    served.write_import(mode="add_only")
    while served.process_of(served.executed()) not in used:
        used |= served.used_processes()
    query = f"SELECT inserted, skipped FROM ingest.loads WHERE import = '{served.import_name}' ORDER BY id"
    assert served.shop.rows(query)[-1] == (1, 1)


def test_of_many_imports_a_process_defines_that_of_each_run(served: Served) -> None:
    for number in range(MANY):
        served.shop.write_import(f"points_of_others_{number}")
    names = [served.import_name, f"{served.import_name}_b"]
    executed: dict[int, set[str]] = defaultdict(set)
    for turn in (0, 1, 1, 0, 1, 0, 0, 1) * 5:  # in whatever order the processes take turns, one gets both
        served.import_name = names[turn]
        served.write_import()
        executed[process := served.process_of(served.executed())].add(served.import_name)
        if len(executed[process]) == len(names):
            break
    else:
        raise AssertionError(f"no process executed runs of both: {executed}")
    assert [set(served.shop.rows(f"SELECT status FROM ingest.loads WHERE import = '{n}'")) for n in names] == [
        {("committed",)}
    ] * 2


def test_the_process_of_a_run_that_fails_ends_with_all_that_the_run_had(served: Served) -> None:
    run = served.new_run()
    (served.shop.home / "imports" / f"{served.import_name}.yaml").unlink()
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.FAILURE
    wait_for(lambda: not psutil.pid_exists(served.process_of(run)))


def test_a_killed_process_that_waits_for_another_run_leaves_the_server_to_the_others(served: Served) -> None:
    for pid in served.used_processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert served.ask(run := served.new_run())
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    assert served.process.poll() is None


def test_a_process_that_somebody_is_about_to_interrupt_executes_no_other_run(served: Served) -> None:
    run = served.new_run()
    with ExitStack() as stack:
        with connected(served.shop.state, 60) as connection:
            connection.sendall(pack(served.request(run)))
            assert connection.recv(100).startswith(PROCESS_READY)
            holder = stack.enter_context(run_locks.keeping(served.shop.state, run.run_id))
            connection.sendall(GO)
        assert served.ended(run) is DagsterRunStatus.SUCCESS
        served.executed()
        assert holder is not None
        assert not psutil.pid_exists(holder.pid)
    with run_locks.keeping(served.shop.state, run.run_id) as nobody:
        assert nobody is None


def test_the_server_has_one_thread_and_no_connection_before_and_after_a_run(served: Served) -> None:
    run = served.new_run()
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    server = psutil.Process(served.process.pid)
    assert server.num_threads() == 1
    assert server.net_connections("inet") == []
    wait_for(lambda: [child.name() for child in server.children()] == [SPARE_NAME] * SPARE)
    assert [child.net_connections("inet") for child in server.children()] == [[]] * SPARE


def test_what_a_run_prints_is_in_its_log(served: Served) -> None:
    run = served.new_run()
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    [event] = [
        e
        for e in served.instance.all_logs(run.run_id)
        if e.dagster_event and e.dagster_event.event_type_value == "LOGS_CAPTURED"
    ]
    assert event.dagster_event is not None
    log_key = [run.run_id, "compute_logs", event.dagster_event.logs_captured_data.file_key]
    wait_for(lambda: served.instance.compute_log_manager.is_capture_complete(log_key))
    data = served.instance.compute_log_manager.get_log_data(log_key)
    assert data.stderr is not None
    assert b"STEP_SUCCESS" in data.stderr


def test_an_edited_yaml_is_used_by_the_next_run(served: Served) -> None:
    run = served.new_run()
    served.write_import(mode="add_only")
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    query = f"SELECT inserted, skipped FROM ingest.loads WHERE import = '{served.import_name}'"
    assert served.shop.rows(query) == [(1, 1)]


def test_a_killed_run_is_reported_as_failed_at_once_and_the_table_is_as_it_was(served: Served) -> None:
    with held_table(served.shop):
        run = served.new_run()
        assert served.ask(run)
        wait_for(lambda: served.instance.get_run_stats(run.run_id).steps_succeeded >= 2)
        [process] = served.runs()
        process.kill()
        assert served.ended(run) is DagsterRunStatus.FAILURE
    words = [event.message for event in served.instance.all_logs(run.run_id)]
    assert any("was terminated by signal 9 (SIGKILL)" in word for word in words)
    assert served.statuses() == []
    assert run_locks.life_of(served.shop.state, run.run_id) == "dead"


def test_a_process_that_took_much_memory_for_a_run_gives_it_back(served_or_not: Served) -> None:
    served = served_or_not
    served.stop()
    frugal = "from ingest_pipelines.orchestration.run_server import worker; worker.MOST_GROWTH = 1"
    served.process = start_server(("-c", f"{frugal}; {RUN_SERVER[1]}"))
    assert len({served.process_of(served.executed()) for _ in range(4)}) == 4


def test_a_run_goes_on_when_its_server_is_killed_and_the_next_one_has_none(served: Served) -> None:
    with held_table(served.shop):
        run = served.new_run()
        assert served.ask(run)
        served.process.kill()
        served.process.wait()
        assert not served.ask(served.new_run())
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    assert served.statuses() == ["committed"]


def test_a_server_that_is_told_to_end_lets_its_runs_end_first(served: Served) -> None:
    with held_table(served.shop):
        run = served.new_run()
        assert served.ask(run)
        assert served.process.stdin is not None
        served.process.stdin.close()
        assert served.process.stdout is not None
        assert served.process.stdout.readline() == LEAVING.encode()
        assert not served.ask(served.new_run())
        assert served.process.poll() is None
    served.process.wait(60)
    assert served.ended(run) is DagsterRunStatus.SUCCESS


def test_when_ingest_up_ends_its_runs_roll_back_and_say_so(served: Served) -> None:
    server = served.process
    assert server.stdin is not None
    with held_table(served.shop):
        run = served.new_run()
        assert served.ask(run)
        wait_for(lambda: served.instance.get_run_stats(run.run_id).steps_succeeded >= 2)
        server.stdin.close()  # as the daemon's end does
        end_groups([server.pid], lambda: server.poll() is not None and served.runs() == [])
        assert served.ended(run) is DagsterRunStatus.FAILURE
    assert server.wait(60) == 0, "it waited for its run"
    assert "committed" not in served.statuses()
    assert run_locks.life_of(served.shop.state, run.run_id) == "unknown", "it holds nothing"


def _has_not_run_and_may(served: Served, run: DagsterRun) -> None:
    now = served.instance.get_run_by_id(run.run_id)
    assert now is not None
    assert now.status is DagsterRunStatus.STARTING
    assert served.statuses() == []
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.SUCCESS


@pytest.mark.parametrize("how", ["leaves", "is killed"])
def test_a_process_whose_caller_does_not_wait_any_more_runs_nothing(served: Served, how: str) -> None:
    run = served.new_run()
    request = served.request(run)
    with connected(served.shop.state, 60) as connection:
        connection.sendall(pack(request))
        assert connection.recv(100).startswith(PROCESS_READY)
        [process] = served.runs()
        if how == "is killed":
            process.kill()
            assert connection.recv(100) == b""  # so that the caller knows that no process has the run
    wait_for(lambda: served.runs() == [])
    wait_for(lambda: served.names() <= {SPARE_NAME})
    _has_not_run_and_may(served, run)


def test_a_server_that_hangs_has_no_run_and_begins_none_when_it_goes_on(served: Served) -> None:
    wait_for(lambda: _ready_spares(served) == SPARE)
    run, server = served.new_run(), psutil.Process(served.process.pid)
    hanging = [server, *server.children()]
    for process in hanging:
        process.suspend()
    assert not ask_for_run(served.shop.state, served.request(run), 0.5)
    for process in hanging:
        process.resume()
    wait_for(lambda: served.runs() == [] and _ready_spares(served) == SPARE)
    _has_not_run_and_may(served, run)


def test_a_server_that_hangs_delays_one_run_and_not_those_after_it(
    environment: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served_or_not: Served
) -> None:
    served = served_or_not
    stock = _stock_launches(monkeypatch)
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    launcher = WarmRunLauncher()
    launcher.register_instance(served.instance)
    launcher.answer_seconds = 0.5
    run = served.new_run()
    with socket.socket(socket.AF_UNIX) as hangs, socket_path(tmp_path) as path:
        hangs.bind(str(path))
        hangs.listen(8)
        for _ in range(3):
            launcher.launch_run(LaunchRunContext(run, None))
        hangs.setblocking(False)
        hangs.accept()[0].close()
        with pytest.raises(BlockingIOError):
            hangs.accept()
    assert stock == [run.run_id] * 3


def test_a_run_that_the_server_takes_is_not_started_the_stock_way_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = _stock_launches(monkeypatch)
    launcher = WarmRunLauncher()
    launcher.register_instance(served.instance)
    launcher.answer_seconds = 60.0
    run = served.new_run()
    launcher.launch_run(LaunchRunContext(run, None))
    assert served.ended(run) is DagsterRunStatus.SUCCESS
    assert served.statuses() == ["committed"]
    assert stock == []


@pytest.mark.parametrize("before", ["none has begun", "one is killed"])
def test_a_run_waits_for_a_server_that_is_about_to_start(
    served_or_not: Served, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own would cost a busy machine ten times the run."""
    served = served_or_not
    stock = _stock_launches(monkeypatch)
    run = served.new_run()
    served.stop()
    launcher = WarmRunLauncher()
    launcher.register_instance(served.instance)
    started: list[subprocess.Popen[bytes]] = []
    servers = RunServers(served.shop.state, _starts(started))
    servers.start()
    try:
        if before == "one is killed":
            wait_for(lambda: _listens(served.shop.state))
            started[0].kill()
            started[0].wait()
        launcher.launch_run(LaunchRunContext(run, None))
        assert stock == []
        assert served.ended(run) is DagsterRunStatus.SUCCESS
        assert served.statuses() == ["committed"]
    finally:
        servers.close()


def test_no_run_waits_for_a_server_that_cannot_start(
    environment: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served_or_not: Served
) -> None:
    served = served_or_not
    stock = _stock_launches(monkeypatch)
    monkeypatch.setattr(keep, "FIRST_PAUSE_SECONDS", keep.BROKEN_PAUSE_SECONDS)
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    launcher = WarmRunLauncher()
    launcher.register_instance(served.instance)
    run = served.new_run()
    broken = [sys.executable, "-c", "raise SystemExit(1)"]
    servers = RunServers(tmp_path, lambda: subprocess.Popen(broken, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    servers.start()
    try:
        launcher.launch_run(LaunchRunContext(run, None))
    finally:
        servers.close()
    assert stock == [run.run_id]


def test_a_run_of_an_import_that_is_deleted_meanwhile_fails_and_loads_nothing(served: Served) -> None:
    run = served.new_run()
    (served.shop.home / "imports" / f"{served.import_name}.yaml").unlink()
    assert served.ask(run)
    assert served.ended(run) is DagsterRunStatus.FAILURE
    assert served.statuses() == []


def test_of_two_callers_at_once_each_run_is_executed_once(served: Served) -> None:
    runs = [served.new_run() for _ in range(4)]
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda run=run: answers.append(served.ask(run))) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4
    assert {served.ended(run) for run in runs} == {DagsterRunStatus.SUCCESS}
    assert served.statuses() == ["committed"] * 4


def test_a_terminated_run_is_canceled_and_leaves_the_table_as_it_was(served: Served) -> None:
    with held_table(served.shop):
        run = served.new_run()
        assert served.ask(run)
        wait_for(lambda: served.instance.get_run_stats(run.run_id).steps_succeeded >= 2)
        assert served.instance.run_launcher.terminate(run.run_id)
        assert served.ended(run) is DagsterRunStatus.CANCELED
    assert "committed" not in served.statuses()


def test_a_server_whose_files_changed_takes_no_run_and_makes_room_for_another(
    environment: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    code = tmp_path / "sitecustomize.py"  # a module that every process imports
    code.write_text("")
    monkeypatch.setenv("INGEST_STATE", str(state))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = start_server()
    assert process.stdout is not None
    os.utime(code, (1, 1))
    wait_for(lambda: not ask_for_run(state, RunRequest("none", "{}")) and process.poll() is not None)
    assert process.stdout.readline() == LEAVING.encode()
    assert process.returncode == 0


def test_a_server_whose_socket_is_gone_makes_room_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    first = start_server()
    second = start_server()  # of a second daemon: it takes the first one's place
    assert second.stdin is not None
    second.stdin.close()
    assert second.wait(60) == 0
    assert first.wait(60) == 0


def test_the_daemon_starts_a_server_again_that_is_killed(
    environment: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    started: list[subprocess.Popen[bytes]] = []
    servers = RunServers(tmp_path, _starts(started))
    servers.start()
    try:
        wait_for(lambda: _listens(tmp_path))
        os.kill(started[0].pid, signal.SIGKILL)
        wait_for(lambda: len(started) == 2 and _listens(tmp_path))
        assert [(death.name, death.how) for death in read_deaths(tmp_path)] == [
            ("run server", "ended by itself with exit code -9")
        ]
    finally:
        servers.close()
    assert [process.poll() for process in started] == [-9, 0]


def test_only_runs_of_our_own_module_on_this_machine_are_warm(served_or_not: Served) -> None:
    served = served_or_not
    run = served.new_run()
    assert is_of_own_module(run)
    others = (
        RegisteredCodeLocationOrigin("ingest_pipelines"),
        ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="team.definitions"), "team"),
        ManagedGrpcPythonEnvCodeLocationOrigin(
            LoadableTargetOrigin(module_name=MODULE, executable_path="/other/python"), "ingest_pipelines"
        ),
    )
    for origin in others:
        elsewhere = RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), JOB)
        assert not is_of_own_module(run._replace(remote_job_origin=elsewhere))
    assert isinstance(served.instance.run_launcher, WarmRunLauncher)


def _stock_launches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that are started the stock way from now on, and are not executed."""
    started: list[str] = []
    monkeypatch.setattr(DefaultRunLauncher, "launch_run", lambda _, context: started.append(context.dagster_run.run_id))
    return started


def _ready_spares(served: Served) -> int:
    """How many processes wait for a run and have imported everything: Polars starts threads."""
    spares = [child for child in psutil.Process(served.process.pid).children() if child.name() == SPARE_NAME]
    return sum(spare.num_threads() > 1 for spare in spares)


def _starts(started: list[subprocess.Popen[bytes]]) -> Callable[[], subprocess.Popen[bytes]]:
    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *RUN_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process

    return start


def _listens(state: Path) -> bool:
    try:
        with connected(state):
            return True
    except OSError:
        return False


def test_a_command_that_is_handed_over_prints_and_ends_as_it_would_by_itself(served: Served) -> None:
    good = served.shop.deliver("good.csv", GOOD)
    bad = served.shop.deliver("bad.csv", ONE_BAD)
    for words, code in ((("--file", str(good)), 0), (("--file", str(bad), "--json"), 4), (("--item", "none"), 2)):
        here = _command("run", served.import_name, *words)
        assert _imports_dagster(here) is False
        assert here.returncode == code, (here.stdout, _said(here))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{served.shop.home}:{os.environ.get('PYTHONPATH', '')}")  # other code: no
            alone = _command("run", served.import_name, *words)
        assert _imports_dagster(alone) is True
        assert alone.returncode == code
        assert _without_ids(here.stdout) == _without_ids(alone.stdout)
        assert _without_ids(_said(here)) == _without_ids(_said(alone))


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_a_command_without_a_standard_file_is_handed_over_too(served: Served, closed: str) -> None:
    words = (
        sys.executable,
        "-c",
        _INGEST.format(60),
        "run",
        served.import_name,
        "--file",
        str(served.shop.deliver("a.csv", GOOD)),
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ("committed" in done.stdout) is (">&-" not in closed.split())
    assert served.statuses() == ["committed"]


def test_ctrl_c_ends_a_command_that_was_handed_over_and_leaves_the_table_as_it_was(served: Served) -> None:
    with (
        held_table(served.shop),
        _started("run", served.import_name, "--file", str(served.shop.deliver("two.csv", GOOD))) as command,
    ):
        wait_for(lambda: _waits_for_the_table(served.shop))
        assert len(served.runs()) == 1
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 130
    assert "committed" not in served.statuses()


def test_a_command_that_is_killed_takes_its_load_along(served: Served) -> None:
    with (
        held_table(served.shop),
        _started("run", served.import_name, "--file", str(served.shop.deliver("two.csv", GOOD))) as command,
    ):
        wait_for(lambda: _waits_for_the_table(served.shop))
        assert len(served.runs()) == 1
        command.kill()
        command.wait()
        wait_for(lambda: served.runs() == [])
    assert "committed" not in served.statuses()


def test_a_command_whose_process_is_killed_says_so(served: Served) -> None:
    with (
        held_table(served.shop),
        _started("run", served.import_name, "--file", str(served.shop.deliver("two.csv", GOOD))) as command,
    ):
        wait_for(lambda: _waits_for_the_table(served.shop))
        [process] = served.runs()
        process.kill()
        assert command.wait(60) == KILLED
        assert command.stderr is not None
        assert "the process that executed the command was killed" in command.stderr.read()


def test_a_command_that_waits_for_the_run_server_says_so_and_ctrl_c_ends_it_at_once(served: Served) -> None:
    wait_for(lambda: _ready_spares(served) == SPARE)
    file = served.shop.deliver("two.csv", GOOD)
    hanging = [psutil.Process(served.process.pid), *psutil.Process(served.process.pid).children()]
    for process in hanging:
        process.suspend()
    try:
        with _started("run", served.import_name, "--file", str(file), silent_seconds=0) as command:
            assert command.stderr is not None
            assert command.stderr.readline().startswith("waiting for `ingest up`")
            command.send_signal(signal.SIGINT)
            assert command.wait(60) == 130
            said = [command.stderr.readline() for _ in range(2)]  # not all of it: what hangs has its files, too
            assert said == ["\n", "stopped before it began; nothing changed\n"]
    finally:
        for process in hanging:
            process.resume()
    wait_for(lambda: served.runs() == [] and _ready_spares(served) == SPARE)
    assert served.statuses() == []


_INGEST = "from ingest_pipelines.cli import main, run_server; run_server.SILENT_SECONDS = {}; main()"
"""The command, which says that it waits for a process of the run server after so many seconds."""


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, with the modules that its own process imports on stderr."""
    argv = [sys.executable, "-X", "importtime", "-c", _INGEST.format(60), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def _started(*words: str, silent_seconds: int = 60) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", _INGEST.format(silent_seconds), *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _imports_dagster(done: subprocess.CompletedProcess[str]) -> bool:
    return any(line.endswith(" dagster") for line in done.stderr.splitlines())


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("import time:"))


def _without_ids(text: str) -> str:
    """Without what differs between two loads of one file: numbers of loads and rows, times, ids of runs."""
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+|inserted|unchanged", "", text)


def _waits_for_the_table(shop: Shop) -> bool:
    return bool(shop.rows("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'crm.customers'::regclass"))
