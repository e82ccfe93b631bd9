"""The embedded Postgres starts from anything that a crash can leave behind, and belongs to its user alone."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from ingest_pipelines import embedded
from ingest_pipelines.embedded import Server
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines_tests.open_to_others import open_to_others, umask

START = "import pathlib, sys; from ingest_pipelines import embedded; print(embedded.start(pathlib.Path(sys.argv[1])))"
"""A process that starts a server, prints it and ends."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose cluster is made and stopped; it is below a folder that only its owner may enter."""
    state = tmp_path_factory.mktemp("made")
    server = embedded.start(state, durable=False)
    with psycopg.connect(server.ensure_database("crm")) as connection:
        connection.execute("CREATE TABLE customers AS SELECT 1 AS customer_id")
    server.stop()
    return state


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of `made`; whatever a test leaves running in it is stopped."""
    subprocess.run(["cp", "-a", f"{made}/.", tmp_path], check=True)
    yield tmp_path
    embedded.stop(tmp_path)


def _customers(server: Server) -> int:
    with psycopg.connect(server.url("crm")) as connection:
        return len(connection.execute("SELECT * FROM customers").fetchall())


def test_a_second_start_finds_the_first_server(state: Path) -> None:
    assert embedded.start(state) == embedded.start(state)


def test_data_and_port_survive_a_stop(state: Path) -> None:
    first = embedded.start(state)
    first.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.url())
    second = embedded.start(state)
    assert _customers(second) == 1
    assert (second.port, second.password) == (first.port, first.password)


def test_processes_that_start_at_once_share_one_server(state: Path) -> None:
    starts = [
        subprocess.Popen([sys.executable, "-c", START, state], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in starts}) == 1
    assert all(process.returncode == 0 for process in starts)


def test_a_killed_server_comes_back_with_what_was_committed(state: Path) -> None:
    first = embedded.start(state)
    with psycopg.connect(first.url("crm")) as connection:
        connection.execute("INSERT INTO customers VALUES (2)")
    os.kill(first.pid, signal.SIGKILL)
    second = embedded.start(state)
    assert second.pid != first.pid
    assert _customers(second) == 2


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(state: Path) -> None:
    stale = state / "postgres" / "data" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{stale.parent}\n0\n1\n\n127.0.0.1\n\nready\n")
    assert _customers(embedded.start(state)) == 1


def test_a_killed_first_start_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (tmp_path / "postgres" / "password").write_text("old")
    (tmp_path / "postgres" / "password.new").write_text("old")
    with embedded.running(tmp_path, durable=False) as server:
        assert server.password != "old"
    assert not half.exists()
    assert not (tmp_path / "postgres" / "password.new").exists()


def test_another_program_on_the_port_moves_the_server_to_a_free_one(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        (state / "postgres" / "port").write_text(str(taken))
        server = embedded.start(state)
        assert server.port != taken
        assert _customers(server) == 1


def test_the_last_user_stops_the_server_and_no_other(state: Path) -> None:
    with embedded.running(state) as outer:
        with embedded.running(state) as inner:
            assert inner == outer
        assert _customers(outer) == 1
    assert not psutil.pid_exists(outer.pid)


def test_the_server_outlives_the_process_that_started_it(state: Path) -> None:
    started = subprocess.run([sys.executable, "-c", START, state], check=True, capture_output=True, text=True).stdout
    assert started.strip() == str(embedded.start(state))


def test_only_this_machine_and_only_the_password_get_in(state: Path) -> None:
    server = embedded.start(state)
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(server.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(), password="guess")
    secret = state / "postgres" / "password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text() == server.password


def test_nobody_else_reaches_its_files_also_where_an_earlier_version_let_them(state: Path) -> None:
    with umask(0):
        embedded.start(state)
        for loose in (state, state / "postgres"):
            loose.chmod(0o755)
        (state / "postgres" / "starting.lock").chmod(0o644)
        embedded.start(state)
    assert open_to_others(state) == []


def test_nobody_else_reaches_a_cluster_that_is_made_without_a_umask(tmp_path: Path) -> None:
    with umask(0), embedded.running(tmp_path / "state", durable=False):
        assert open_to_others(tmp_path / "state") == []


def test_the_product_keeps_commits_safe_on_disk_and_rows_out_of_the_log(state: Path) -> None:
    server = embedded.start(state)
    with psycopg.connect(server.url("crm"), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute("SELECT current_setting(%s)", [setting]).fetchone() == ("on",)
        connection.execute("CREATE UNIQUE INDEX ON customers (customer_id)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO customers VALUES (1), (987654321), (987654321)")
    assert "987654321" not in (state / "postgres" / "server.log").read_text()


def test_data_of_another_version_are_left_alone(state: Path) -> None:
    (state / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(TargetUnavailable, match="belong to Postgres 17"):
        embedded.start(state)


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    embedded.stop(tmp_path)
