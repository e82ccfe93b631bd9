"""What a role or a database has set ends none of our sessions, and a loader that vanishes leaves no lock behind."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from ctypes import addressof, create_string_buffer
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge import Target, kept_session
from ingest_pipelines.merge.kept_session import KEPT
from ingest_pipelines.merge.session import LOADS, UNLIMITED, prepare
from ingest_pipelines.merge.target import lock_table, prepare_session
from ingest_pipelines_tests.servers.pgbouncer import PgBouncer
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.waiting import until

LIMITS = (
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout",
    "idle_session_timeout",
)  # fmt: skip


@pytest.fixture
def limited(server_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database that has the limits of the test's parameter, as short as can be."""
    with fresh_database(server_url) as url, psycopg.connect(server_url, autocommit=True) as admin:
        for limit in request.param:
            if admin.execute("SELECT current_setting(%s, true)", (limit,)).fetchone() != (None,):
                # far below the statements' 50 ms, and above what a busy machine takes between two statements of ours
                shortest = 100 if limit == "idle_session_timeout" else 20
                change = sql.SQL("ALTER DATABASE {} SET {} = {}")
                name = sql.Identifier(urlsplit(url).path[1:])
                admin.execute(change.format(name, sql.Identifier(limit), sql.Literal(shortest)))
        yield url


def every_kind_of_session_works(target: Target) -> None:
    """The ledger is made, migrated again, read; a load begins, and a session waits in it."""
    target.migrate()
    target.migrate()
    with target.ledger() as connection:
        assert connection.execute("SELECT count(*), pg_sleep(0.05) FROM ingest.loads").fetchone() == (0, "")
    with target.begin("people", LOADS) as connection:
        connection.execute("CREATE TEMPORARY TABLE slow AS SELECT 1 AS one FROM pg_sleep(0.05)")
        connection.rollback()
        prepare(connection, {})
        connection.execute("SELECT pg_sleep(0.05)")


@pytest.mark.parametrize("limited", [*((limit,) for limit in LIMITS), LIMITS], indirect=True, ids=" ".join)
def test_no_limit_of_a_database_ends_a_session(limited: str) -> None:
    every_kind_of_session_works(Target(limited))


@pytest.mark.parametrize("limited", [LIMITS[:-2]], indirect=True, ids=" ".join)
def test_nor_does_it_behind_a_pooler(limited: str, server_url: str, poolers: Mapping[str, PgBouncer]) -> None:
    """The last two limits would end the pooler's own sessions, at their login and before it uses them."""
    every_kind_of_session_works(Target(poolers[server_url].url(limited)))


@pytest.mark.parametrize("limited", [LIMITS], indirect=True, ids=" ".join)
def test_a_session_that_waits_for_news_is_not_ended(limited: str) -> None:
    with Target(limited).connect(UNLIMITED) as listener, Target(limited).begin() as other:
        listener.autocommit = True
        listener.execute("LISTEN news")
        assert list(listener.notifies(timeout=0.4)) == []
        other.execute("NOTIFY news")
        other.commit()
        assert [notify.channel for notify in listener.notifies(timeout=30, stop_after=1)] == ["news"]


def vanish(connection: psycopg.Connection) -> None:
    """The connection's end is gone as with its machine: no packet is answered any more, none is sent.

    The kernel drops what arrives for the socket before it acknowledges it: a filter that accepts no byte.
    """
    accept_nothing = create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, addressof(accept_nothing))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


_SO_ATTACH_FILTER = 26

HOLDS = {
    "between statements": "",
    "in a statement": "SELECT pg_sleep(600)",
    "in COPY": "COPY held FROM STDIN",
}


@pytest.mark.parametrize("statement", HOLDS.values(), ids=HOLDS.keys())
def test_a_loader_that_vanishes_leaves_no_lock(target: Target, statement: str) -> None:
    lost = target.connect()
    prompt = {"tcp_keepalives_idle": "1", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "1"}
    prepare_session(lost, target, "lost", {**LOADS, **prompt, "tcp_user_timeout": "1s"})
    lost.execute("CREATE TABLE held (value int)")
    lock_table(lost, "crm", "people")
    if statement:
        lost.pgconn.send_query(statement.encode())
        lost.pgconn.flush()
    with psycopg.connect(target.url, autocommit=True) as onlooker:
        active = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = %s"
        state = "active" if statement else "idle in transaction"
        until(lambda: onlooker.execute(active, (lost.info.backend_pid, state)).fetchone())
        vanish(lost)
        until(lambda: not onlooker.execute(active, (lost.info.backend_pid, state)).fetchone(), seconds=15)
        with target.session() as other:
            lock_table(other, "crm", "people")


def test_every_session_asks_for_a_sign_of_life(target: Target) -> None:
    """Both ends ask: the server about us, and we about the server."""
    names = ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"]
    read = "SELECT array_agg(current_setting(name) ORDER BY at) FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, at)"
    for connection in (target.begin(), target.begin("people", LOADS)):
        with connection, socket.socket(fileno=os.dup(connection.fileno())) as end:
            assert connection.execute(read, (names,)).fetchone() == (["30", "10", "3", "60000"],)
            ours = [end.getsockopt(socket.IPPROTO_TCP, option) for option in (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            )]  # fmt: skip
            assert ours == [30, 10, 3, 60_000]
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def backend(target: Target) -> int:
    """The server's process of a session that commits."""
    with target.session() as connection:
        connection.execute("SELECT set_config('application_name', 'changed', true)")
        return connection.info.backend_pid


def test_the_sessions_of_a_run_take_turns_on_one_login(target: Target) -> None:
    with KEPT.keeping():
        first = backend(target)
        with KEPT.keeping():
            assert backend(target) == first
        with target.session() as outer:
            assert backend(target) != outer.info.backend_pid  # at the same time each has its own
        assert backend(Target(target.url + "?application_name=other")) != first
        with target.session() as connection:
            kept = connection
            names = ("application_name", "statement_timeout", "timezone")
            settings = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
            assert settings == [("ingest_pipelines",), ("0",), ("UTC",)]
    assert kept.closed
    assert backend(target) != backend(target)


def test_a_session_that_failed_leaves_no_connection_to_the_next(target: Target) -> None:
    with KEPT.keeping():
        first = backend(target)
        for statement, error in (("CREATE TABLE not_kept ()", ZeroDivisionError), ("SELECT no_column", IngestError)):
            with pytest.raises(error), target.session() as connection:
                raise ZeroDivisionError(connection.execute(statement).statusmessage)
            assert connection.closed
        with target.session() as connection:
            assert connection.info.backend_pid != first
            assert connection.execute("SELECT to_regclass('not_kept')").fetchone() == (None,)


def test_a_kept_connection_that_broke_or_rested_too_long_is_replaced(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KEPT.keeping(), psycopg.connect(target.url, autocommit=True) as admin:
        first = backend(target)
        admin.execute("SELECT pg_terminate_backend(%s, 30000)", (first,))
        second = backend(target)
        assert second != first
        assert backend(target) == second
        monkeypatch.setattr(kept_session, "LONGEST_REST_SECONDS", -1)
        assert backend(target) != second


@pytest.mark.parametrize("limited", [LIMITS], indirect=True, ids=" ".join)
def test_a_limit_that_ends_the_kept_connection_ends_no_session(limited: str) -> None:
    target = Target(limited)
    with KEPT.keeping(), psycopg.connect(limited, autocommit=True, options="-c statement_timeout=0") as admin:
        first = backend(target)
        gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        until(lambda: not admin.execute(gone, (first,)).fetchone())
        assert backend(target) != first
