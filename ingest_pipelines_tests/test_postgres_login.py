"""A refused login has a code, in whatever language the server speaks, and is tried once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines.postgres_login import BROKEN, CANNOT_CONNECT, LOGIN_REFUSED, REFUSED, connect
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault


@pytest.mark.parametrize("server", ["postgres_url", "postgres_15_url"])
def test_a_login_is_a_connection_like_any_other(request: pytest.FixtureRequest, server: str) -> None:
    url = request.getfixturevalue(server)
    with connect(url, application_name="it's me", connect_timeout=5) as connection:
        row = connection.execute("SELECT current_setting('application_name'), 1 + %s", (1,)).fetchone()
    assert row == ("it's me", 2)


LOGS_IN = """\
import os, psutil
from ingest_pipelines.postgres_login import connect

def log_in(times):
    for _ in range(times):
        connect(os.environ["URL"], connect_timeout=10, application_name="ingest").close()
    return psutil.Process().memory_full_info().uss

before = log_in(100)
print(log_in(400) - before)
"""


def test_a_login_leaves_no_memory_behind(postgres_url: str) -> None:
    program = [sys.executable, "-c", LOGS_IN]
    answer = subprocess.run(
        program, env={**os.environ, "URL": postgres_url}, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) < 400_000  # a code server logs in with every tick: a kilobyte of each is 100 MB a day


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"password": "sentinel"}, "28P01"),
        ({"password": ""}, "28P01"),
        ({"user": "sentinel"}, "28P01"),
        ({"user": "no_login", "password": "sentinel"}, "28000"),
        ({"user": "one_login", "password": "sentinel"}, "53300"),
        ({"dbname": "sentinel"}, "3D000"),
        ({"sslmode": "require"}, REFUSED),
        ({"options": "-c sentinel=x"}, "42704"),
        ({"options": "-c work_mem=sentinel"}, "22023"),
        ({"host": "sentinel.invalid"}, CANNOT_CONNECT),
        ({"port": 1}, CANNOT_CONNECT),
    ],
)
def test_every_refusal_has_its_code_and_none_of_the_server_s_words(
    postgres_url: str, settings: dict[str, object], state: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for role, rest in (("no_login", "NOLOGIN"), ("one_login", "LOGIN CONNECTION LIMIT 0")):
            made = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            verb = sql.SQL("ALTER" if made else "CREATE")
            connection.execute(
                sql.SQL("{} ROLE {} PASSWORD 'sentinel' {}").format(verb, sql.Identifier(role), sql.SQL(rest))
            )
    with pytest.raises(psycopg.Error) as refused:
        connect(postgres_url, connect_timeout=5, **settings)
    assert refused.value.sqlstate == state
    assert str(refused.value) == f"the login failed ({state})"


@pytest.mark.parametrize("settings", [{"sslmodee": "x"}, {"sslmode": "x"}, {"keepalives_idle": "x"}])
def test_a_parameter_that_libpq_does_not_take_is_no_broken_connection(
    postgres_url: str, settings: dict[str, str]
) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        connect(postgres_url, **settings)


@pytest.mark.parametrize(("settings", "state"), [({}, ""), ({"password": "wrong"}, "28P01")])
def test_one_call_is_one_login(
    postgres_url: str, cut_proxy: Callable[[str, int], CutProxy], settings: dict[str, str], state: str
) -> None:
    proxy = _in_front_of(postgres_url, cut_proxy)
    assert _state(postgres_url, port=proxy.port, **settings) == state
    assert proxy.connections == 1


def test_a_login_that_breaks_off_anywhere_is_a_broken_connection(
    postgres_url: str, cut_proxy: Callable[[str, int], CutProxy]
) -> None:
    proxy = _in_front_of(postgres_url, cut_proxy)
    for received in range(0, 600, 7):
        proxy.break_with(Fault(cut_after_received=received, reset=received % 2 == 0))
        assert _state(postgres_url, port=proxy.port) in ({BROKEN} if received < 400 else {BROKEN, ""})


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({}, ""),
        ({"password": "sentinel"}, LOGIN_REFUSED),
        ({"password": ""}, "28P01"),
        ({"dbname": "sentinel"}, LOGIN_REFUSED),
        ({"sslmode": "require"}, REFUSED),
        ({"sslmode": "prefer", "password": "sentinel"}, LOGIN_REFUSED),
    ],
)
def test_where_the_protocol_cannot_be_read_a_refusal_is_still_final(
    postgres_url: str, cut_proxy: Callable[[str, int], CutProxy], monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str], state: str,
) -> None:  # fmt: skip
    monkeypatch.delattr(os, "memfd_create")  # as off Linux
    proxy = _in_front_of(postgres_url, cut_proxy)
    assert _state(postgres_url, port=proxy.port, **settings) == state
    assert proxy.connections == (2 if state == REFUSED else 1)


def test_where_the_protocol_cannot_be_read_a_break_is_still_a_break(
    postgres_url: str, cut_proxy: Callable[[str, int], CutProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    proxy = _in_front_of(postgres_url, cut_proxy)
    for received in range(1, 400, 13):
        proxy.break_with(Fault(cut_after_received=received, reset=received % 2 == 0))
        assert _state(postgres_url, port=proxy.port) == BROKEN
    assert _state(postgres_url, port=1) == CANNOT_CONNECT


def test_a_server_that_accepts_and_says_nothing_is_left_in_time(postgres_url: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(psycopg.Error) as refused:
            connect(postgres_url, port=listener.getsockname()[1], connect_timeout=2)
    assert refused.value.sqlstate == BROKEN


def _in_front_of(url: str, cut_proxy: Callable[[str, int], CutProxy]) -> CutProxy:
    parts = urlsplit(url)
    return cut_proxy(str(parts.hostname), int(parts.port or 0))


def _state(url: str, **settings: object) -> str | None:
    """The code of the failure; "" where there is none."""
    try:
        connect(url, **settings).close()
    except psycopg.Error as error:
        return error.sqlstate
    return ""
