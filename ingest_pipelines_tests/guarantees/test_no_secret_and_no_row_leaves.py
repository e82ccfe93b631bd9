"""Every stage fails, in a server's own language: no secret and no value of a row is in anything that is told or kept.

Looked through: stdout, stderr, the ledger but for rejected rows and the keys of events, all tables of Dagster's
storage, messages of alerts, and every file of the project and its state that is no landed row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import DagsterInstance
from psycopg import sql

from ingest_pipelines.config import read_project, read_settings
from ingest_pipelines.orchestration.alerts.send_alerts import send_alerts
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.servers.http_endpoint import Endpoint
from ingest_pipelines_tests.servers.postgres import connection_to, fresh_database
from ingest_pipelines_tests.servers.postgres_debian import LANGUAGES
from ingest_pipelines_tests.waiting import until

ROW = "zqrow"
"""In every cell, in letters of any case."""
SECRET = "zqsecret"
"""In every credential."""

PLAINLY = {"rejects", "event_batches"}
"""Tables of the ledger that hold cells or keys of rows on purpose: docs/security.md."""

TRIGGER = (
    "CREATE FUNCTION crm.f() RETURNS trigger LANGUAGE plpgsql AS $t$ BEGIN {} RETURN NEW; END $t$;"
    " CREATE TRIGGER f BEFORE INSERT OR UPDATE ON crm.people FOR EACH ROW EXECUTE FUNCTION crm.f()"
)
NEW = "id !~ '[01]$'"
"""Rows that no load has brought yet."""
NO_TRIGGER = "DROP TRIGGER f ON crm.people; DROP FUNCTION crm.f()"
MERGES: dict[str, tuple[str, str]] = {
    "a trigger that says the row": (TRIGGER.format("RAISE EXCEPTION 'no: %', NEW;"), NO_TRIGGER),
    "a trigger that warns of the row": (TRIGGER.format("RAISE WARNING 'see: %', NEW;"), NO_TRIGGER),
    "a trigger whose error is the row": (
        TRIGGER.format("RAISE EXCEPTION USING MESSAGE = NEW.note, DETAIL = NEW.note, HINT = NEW.note,"
                       " COLUMN = NEW.note,"
                       " CONSTRAINT = NEW.note, TABLE = NEW.note, SCHEMA = NEW.note, DATATYPE = NEW.note;"), NO_TRIGGER,
    ),
    "a trigger that runs the row": (TRIGGER.format("EXECUTE NEW.note;"), NO_TRIGGER),
    "a unique note": (f"CREATE UNIQUE INDEX one ON crm.people (note) WHERE {NEW}", "DROP INDEX crm.one"),
    "a check": (
        "ALTER TABLE crm.people ADD CONSTRAINT c CHECK (note NOT LIKE 'zq%') NOT VALID",
        "ALTER TABLE crm.people DROP CONSTRAINT c",
    ),
    "a foreign key": (
        "CREATE TABLE crm.notes (n text PRIMARY KEY);"
        " ALTER TABLE crm.people ADD CONSTRAINT k FOREIGN KEY (note) REFERENCES crm.notes NOT VALID",
        "ALTER TABLE crm.people DROP CONSTRAINT k; DROP TABLE crm.notes",
    ),
    "an index that casts": (f"CREATE INDEX i ON crm.people (cast_note(note)) WHERE {NEW}", "DROP INDEX crm.i"),
}  # fmt: skip
"""What makes a merge fail, or talk, and what takes it away again."""

FILES: dict[str, str] = {
    "a quote that never closes": f'id,note,points\n{ROW}1,"{ROW},1\n',
    "text after a quote": f'id,note,points\n{ROW}1,"{ROW}"{ROW},1\n',
    "too many cells": f"id,note,points\n{ROW}1,{ROW},1,{ROW}\n",
    "no header": f"{ROW}1,{ROW},1\n{ROW}2,{ROW},1\n",
    "no header, and cells that repeat": f"{ROW},{ROW},1\n{ROW}2,{ROW},1\n",
    "no header, and cells like names": f"{ROW},id-{ROW},notes-{ROW}\nidd,nota,point\n",
    "another delimiter": f"id;note;points\n{ROW}1;{ROW};1\n",
    "a large cell": f"id,note,points\n{ROW}1,{ROW}{'x' * 1_100_000},1\n",
    "Latin-1": f"id,note,points\n{ROW}1,{ROW}\xe9,1\n",
    "rejects": f"id,note,points\n{ROW}1,{ROW},{ROW}\n{ROW}2,{ROW},1\n{ROW}2,{ROW},1\n",
}

FAST = {
    "rejects", "a quote that never closes", "no header, and cells that repeat", "a trigger whose error is the row",
    "a trigger that warns of the row", "a unique note", "an index that casts",
}  # fmt: skip
"""Faults of the fast test, in German; the slow ones try all, in other languages."""


@dataclass
class Listener:
    """Keeps all that was told."""

    project: Project
    heard: list[tuple[str, str]] = field(default_factory=list)

    def run(self, *words: object, fails: bool = True, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """Types the command, and keeps what it says."""
        answer = self.project.terminal.ingest(*words, **environment)
        self.heard.append((f"ingest {' '.join(map(str, words))}", answer.out + answer.err))
        assert (answer.code != 0) == fails, answer

    def load(self, text: str, *, fails: bool = True) -> None:
        file = self.project.folder / "delivery.csv"
        file.write_bytes(text.encode("latin-1"))
        self.run("run", "people", "--file", file, "--force", fails=fails)

    def look(self) -> None:
        """Fails where a value or a secret is in what was told, or in what is kept."""
        self._tables(self.project.url, "ingest", PLAINLY)
        self._tables(self.project.terminal.environment["INGEST_DAGSTER_URL"], "public", set())
        for path in self.project.folder.rglob("*"):
            rows = {"spool", "spill", "replays"} & set(path.relative_to(self.project.folder).parts)
            if path.is_file() and not rows and path.name not in {"delivery.csv", "rejects.csv"}:
                self.heard.append((str(path), path.read_bytes().decode("latin-1")))
        for place, text in self.heard:
            found = re.search(rf".{{0,60}}(?:{ROW}|{SECRET})", text, re.IGNORECASE | re.DOTALL)
            assert found is None, f"{place}: {found[0]}"

    def _tables(self, url: str, schema: str, besides: set[str]) -> None:
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace(%s)", (schema,)
            ).fetchall()
            assert len(tables) > 5
            for (table,) in tables:
                if table not in besides:
                    query = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} t")
                    (text,) = connection.execute(query.format(sql.Identifier(schema, table))).fetchone() or ("",)
                    self.heard.append((f"{schema}.{table}", text))


def _with(url: str, **changes: str) -> str:
    parts = urlsplit(url)
    password = changes.get("password", parts.password)
    return parts._replace(
        netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}", path=changes.get("path", parts.path)
    ).geturl()


@pytest.fixture(params=["de", *(pytest.param(language, marks=pytest.mark.slow) for language in ("fr", "ja", "ru"))])
def server_url(request: pytest.FixtureRequest) -> str:
    """A superuser's URL, with a sentinel for a password, of a server that speaks the language."""
    if request.param == "de":
        url = str(request.getfixturevalue("german_postgres").url)
    else:
        url = str(request.getfixturevalue("polyglot_postgres_url"))
    name = f"speaks_{request.param}_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchall():  # else of the last test
            admin.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{SECRET}-of-the-target'".encode())
        admin.execute(f"ALTER ROLE {name} SET lc_messages = '{LANGUAGES[request.param]}'".encode())
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}:{SECRET}-of-the-target@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def listener(server_url: str, tmp_path: Path, http_endpoint: Endpoint) -> Iterator[Listener]:
    """A project in which every credential is a sentinel, and each field may hold data of a person."""
    with (
        fresh_database(server_url) as shop,
        new_project(
            server_url, tmp_path, SHOP_PW=f"{SECRET}-of-the-target", WRONG_PW=f"{SECRET}-wrong",
            HOOK=f"{http_endpoint.url}?token={SECRET}", DEAD=f"json://user:{SECRET}@127.0.0.1:1/{SECRET}",
        ) as project,
    ):  # fmt: skip
        _write(project, shop)
        project.execute("CREATE FUNCTION public.cast_note(text) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1::int'")
        with psycopg.connect(shop) as source:
            source.execute("CREATE TABLE sales (id text, note text, points bigint)")
            source.execute("INSERT INTO sales VALUES (%s, %s, 1)", (f"{ROW}s", ROW))
        yield Listener(project)


def _write(project: Project, shop: str) -> None:
    source = connection_to(shop, retries=0)
    connections = {"shop": source, "closed": {**source, "password": {"env": "WRONG_PW"}}}
    project.write("connections", {"connections": {"uploads": {"type": "csv", "directory": "uploads"}, **connections}})
    text = {"type": "string", "max_length": 8000, "pii": True}
    fields = {"id": text, "note": text, "points": {"type": "int", "pii": True}}
    project.write("databases", {"databases": {"people": {"table": "crm.people", "key": "id", "fields": fields}}})
    project.write("notify", {"groups": {"ops": {"to": [{"env": "HOOK"}]}, "crm": {"to": [{"env": "DEAD"}]}}})
    project.write_import(rejects={"max_rows": 0})
    for name, connection, query in (
        ("casts", "shop", "SELECT id, note, points + note::int AS points FROM sales"),
        ("divides", "shop", "SELECT id, note, points / (length(note) - length(note)) AS points FROM sales"),
        ("misses", "shop", "SELECT id, nota AS note, points FROM sales"),
        ("closed", "closed", "SELECT id, note, points FROM sales"),
    ):
        project.write_import(name, source={"connection": connection, "query": query})


def test_whatever_fails_in_whatever_language(
    listener: Listener, server_url: str, http_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = listener.project
    listener.load(f"id,note,points\n{ROW}0,{ROW}0,1\n", fails=False)
    thorough = "speaks_de" not in server_url
    for name, text in FILES.items():
        if thorough or name in FAST:
            listener.load(text)
    listener.run("rejects", "export", "people", "--output", "rejects.csv", fails=False)
    listener.run("rejects", "replay", "people", "rejects.csv")
    for number, (name, (made, unmade)) in enumerate(MERGES.items()):
        if thorough or name in FAST:
            project.execute(made)
            rows = f"{ROW}a{number},{ROW},1\n{ROW}b{number},{ROW},1\n"
            listener.load(f"id,note,points\n{rows}", fails="warns" not in name)
            project.execute(unmade)
    for name in ("casts", "divides", "misses", "closed"):
        listener.run("run", name)
    listener.run("plan", "casts")
    listener.run("check", "--connect")
    here = project.terminal.environment
    for variable in ("INGEST_DATABASE_URL", "INGEST_DAGSTER_URL"):
        for wrong in ({"password": f"{SECRET}-wrong"}, {"path": f"/{SECRET}"}):
            listener.run(
                "run", "people", "--file", "delivery.csv", environment={variable: _with(here[variable], **wrong)}
            )
    listener.run("rejects", "export", "people", "--output", "rejects.csv", fails=False)
    listener.run("rejects", "replay", "people", "rejects.csv", fails=False)  # the table refuses these rows no more
    listener.run("status", fails=False)
    listener.run("report", "people", "--json", fails=False)
    listener.run("notify", "test")
    _send_alerts(listener, http_endpoint, monkeypatch)
    assert len([message for place, message in listener.heard if place == "alert"]) > 1
    listener.look()


def _send_alerts(listener: Listener, http_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name, value in listener.project.terminal.environment.items():
            patch.setenv(name, value)
        patch.setenv("INGEST_STATE", str(listener.project.terminal.folder / ".ingest"))  # not that of a demo, here
        settings = read_settings()
        with DagsterInstance.ephemeral() as instance:
            send_alerts(Site(settings, read_project(settings.home)), instance, datetime.now(UTC))
    listener.heard += [("alert", f"{body['title']}\n{body['message']}") for body in http_endpoint.got]


@pytest.mark.slow
def test_no_secret_is_in_the_list_of_processes(listener: Listener) -> None:
    """While a load waits for its table, and while `ingest up` runs."""
    project = listener.project
    listener.load(f"id,note,points\n{ROW}0,{ROW}0,1\n", fails=False)
    with psycopg.connect(project.url) as holder:
        holder.execute("LOCK TABLE crm.people")
        with project.terminal.process("run", "people", "--file", "delivery.csv", "--force") as waiting:
            until(lambda: project.rows("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)])
            seen = _command_lines()
            holder.rollback()
            waiting.communicate(timeout=120)
    assert any(str(project.folder) in line or "delivery.csv" in line for line in seen)
    assert not [line for line in seen if SECRET in line or ROW in line]


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:  # it has ended
            continue
    return lines
