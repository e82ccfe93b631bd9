"""Whatever the target's role, database or pooler has set: every command works, and the table holds the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.config.projects import write_project
from ingest_pipelines_tests.servers.pgbouncer import PgBouncer
from ingest_pipelines_tests.servers.postgres import fresh_database

SETTINGS: Mapping[str, str] = {
    # how values are written and read as text
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "America/St_Johns",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "array_nulls": "off",
    "client_encoding": "LATIN1",
    # how statements are read
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "search_path": "shadows, pg_catalog, pg_temp",
    "restrict_nonsystem_relation_kind": "view",
    "check_function_bodies": "off",
    "row_security": "off",
    # what a transaction may do, and for how long
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "transaction_timeout": "100ms",  # at 1 ms the server ends a session before our first word is there
    "idle_session_timeout": "1ms",
    "synchronous_commit": "off",
    "client_min_messages": "debug5",
    "exit_on_error": "on",
    # how it is planned
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_hashjoin": "off",
    "enable_sort": "off",
    "jit": "off",  # on, it compiles every query of a plan that the settings above made costly
    "plan_cache_mode": "force_generic_plan",
    "debug_parallel_query": "regress",
    "work_mem": "64kB",
    "temp_buffers": "800kB",
    "from_collapse_limit": "1",
    "gin_fuzzy_search_limit": "1",
    "application_name": "somebody else",
}
"""Settings that a role or a database may bring; those that a server does not know are left out."""

LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "idle_session_timeout")
"""Those that end a session or a statement after a millisecond."""

SUPERUSERS: Mapping[str, str] = {"lc_messages": "C", "track_counts": "off"}
"""Settings that only an administrator can make for a role or a database."""

SHADOWS = """
    CREATE SCHEMA shadows;
    CREATE TABLE shadows.ingest_stage (trap int);
    CREATE TABLE shadows.ingest_written (trap int);
    CREATE TABLE shadows.pg_namespace (trap int);
    CREATE FUNCTION shadows.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''trap''';
    CREATE FUNCTION shadows.concat(VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT ''trap''';
    CREATE FUNCTION shadows.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''trap''';
    GRANT USAGE ON SCHEMA shadows TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA shadows TO PUBLIC
"""
"""What a search path that names Postgres's own schema last would find first."""

PROJECT: Mapping[str, str] = {
    "connections.yaml": "connections:\n  uploads: {type: csv, directory: uploads}\n",
    "databases.yaml": """\
databases:
  people:
    table: crm.people
    key: id
    fields:
      id: {type: string}
      email: {type: email}
      born: {type: date}
      seen: {type: datetime}
      paid: {type: "decimal(12,2)"}
      score: {type: float}
      more: {type: object}
      phones: {type: phones}
      note: {type: string}
""",
    "imports/people.yaml": """\
database: people
source: {connection: uploads, file: People}
events: true
rejects: {unlimited: true}
columns:
  id: id
  email: email
  born: born
  seen: seen
  paid: paid
  score: score
  more: more
  phones: phones
  note: note
""",
    "imports/notes.yaml": """\
database: people
source: {connection: uploads, file: Notes}
mode: update_only
match: {by: email}
events: false
rejects: {unlimited: true}
columns: {email: email, note: note}
""",
    "people.csv": (
        "id,email,born,seen,paid,score,more,phones,note\n"
        'a,a@example.com,2001-02-03,2026-03-04T05:06:07Z,12.50,0.1,"{""k"": 0.1}",+442079460018,"5\\6\'"\n'
        "b,b@example.com,1999-12-11,2026-11-29T23:30:00+02:00,-1.05,1.7976931348623157e308,{},+33612345678,Zoë €\n"
        "c,c@example.com,2001-02-30,,,,,,\n"
        "d,d@example.com,,,,,,,\n"
    ),
    "people_2.csv": (
        "id,email,born,seen,paid,score,more,phones,note\n"
        "a,a@example.com,2001-02-03,2026-03-04T05:06:07Z,12.50,0.1,\"{\"\"k\"\": 0.1}\",+442079460018,new\n"
        "e,e@example.com,,,,-0.30000000000000004,,,\n"
    ),
    "notes.csv": "email,note\nb@example.com,matched\nnobody@example.com,lost\n",
}  # fmt: skip

HELD = [
    ("a", "a@example.com", "2001-02-03", "2026-03-04 05:06:07+00", "12.50", "0.1", '{"k": 0.1}',
     "{+442079460018}", "new"),
    ("b", "b@example.com", "1999-12-11", "2026-11-29 21:30:00+00", "-1.05", "1.7976931348623157e+308", "{}",
     "{+33612345678}", "matched"),
    ("d", "d@example.com", None, None, None, None, None, None, None),
    ("e", "e@example.com", None, None, None, "-0.30000000000000004", None, None, None),
]  # fmt: skip
"""The table afterwards, as a session without any settings writes it."""


@contextmanager
def loader(admin_url: str) -> Iterator[tuple[str, str]]:
    """A role that is no superuser, and the URL of a database that it owns."""
    role = f"loader_{uuid4().hex[:8]}"
    with fresh_database(admin_url) as url, psycopg.connect(url, autocommit=True) as admin:
        database = urlsplit(url).path[1:]
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw'").format(sql.Identifier(role)))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(role)))
        admin.execute(SHADOWS)
        try:
            parts = urlsplit(url)
            yield role, parts._replace(netloc=f"{role}:pw@{parts.hostname}:{parts.port}").geturl()
        finally:
            admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def known_by(admin_url: str, setting: str) -> bool:
    """Whether the server has the setting."""
    with psycopg.connect(admin_url) as admin:
        return admin.execute("SELECT current_setting(%s, true) IS NOT NULL", (setting,)).fetchone() == (True,)


def make_hostile(admin_url: str, url: str, whose: sql.Composed) -> None:
    """All settings, on the role or on the database."""
    with psycopg.connect(urlsplit(admin_url)._replace(path=urlsplit(url).path).geturl(), autocommit=True) as admin:
        known = {name for (name,) in admin.execute("SELECT lower(name) FROM pg_settings WHERE context <> 'internal'")}
        assert set(SETTINGS) - known <= {"transaction_timeout", "debug_parallel_query"}  # which 15 does not have
        for name, value in {**SETTINGS, **SUPERUSERS}.items():
            if name in known:
                text = sql.SQL(value) if name == "search_path" else sql.Literal(value)
                admin.execute(sql.SQL("ALTER {} SET {} = {}").format(whose, sql.Identifier(name), text))


def every_command_works(folder: Path, url: str, storage: str, admin_url: str) -> None:
    """A project from its first check to its last report; the table and the ledger hold what they should.

    Args:
        admin_url: of the target's server, for a look at what is there.
    """
    terminal = Terminal(write_project(folder, PROJECT), {"INGEST_DATABASE_URL": url, "INGEST_DAGSTER_URL": storage})
    (folder / "uploads").mkdir()

    def ingest(*words: str, code: int = 0) -> str:
        answer = terminal.ingest(*words)
        assert answer.code == code, (words, answer.out, answer.err)
        return answer.out + answer.err

    ingest("check", "--connect")
    ingest("status")
    ingest("plan", "people", "--file", "people.csv")
    ingest("run", "people", "--file", "people.csv")
    ingest("run", "people", "--file", "people_2.csv")
    ingest("run", "notes", "--file", "notes.csv")
    ingest("report", "people", "--json")
    ingest("rejects", "list", "people")
    ingest("rejects", "list", "notes")
    ingest("events", "people")
    ingest("audit")
    ingest("status", "--json")
    there = urlsplit(admin_url)._replace(path=urlsplit(url).path).geturl()
    free = " ".join(f"-c {name}=0" for name in LIMITS if known_by(admin_url, name))
    with psycopg.connect(there, options=free) as plain:
        plain.execute(
            "SET datestyle = ISO; SET timezone = UTC; SET extra_float_digits = 1; SET search_path = pg_catalog;"
            " SET client_encoding = UTF8; SET statement_timeout = 0; SET transaction_read_only = off"
        )
        columns = "id, email, born::text, seen::text, paid::text, score::text, more::text, phones::text, note"
        held = plain.execute(sql.SQL(f"SELECT {columns} FROM crm.people ORDER BY id")).fetchall()
        loads = plain.execute("SELECT import, inserted, updated, unmatched, rejected FROM ingest.loads ORDER BY id")
        assert held == HELD
        assert loads.fetchall() == [("people", 3, 0, 0, 1), ("people", 1, 1, 0, 0), ("notes", 0, 1, 1, 0)]


@pytest.mark.parametrize(("server", "on"), [("postgres_url", "role"), ("postgres_15_url", "database")])
def test_settings_of_a_role_or_a_database_change_nothing(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, server: str, on: str
) -> None:
    admin_url = str(request.getfixturevalue(server))
    with loader(admin_url) as (role, url):
        name = role if on == "role" else urlsplit(url).path[1:]
        make_hostile(admin_url, url, sql.SQL("ROLE {}" if on == "role" else "DATABASE {}").format(sql.Identifier(name)))
        every_command_works(tmp_path, url, database_url, admin_url)


@pytest.mark.parametrize("server", ["postgres_url", pytest.param("postgres_15_url", marks=pytest.mark.slow)])
def test_a_pooler_that_gives_each_transaction_another_session_changes_nothing(
    request: pytest.FixtureRequest, poolers: Mapping[str, PgBouncer], tmp_path: Path, database_url: str, server: str
) -> None:
    admin_url = str(request.getfixturevalue(server))
    with fresh_database(admin_url) as url, psycopg.connect(admin_url, autocommit=True) as admin:
        for limit in LIMITS[:2]:  # the others would end the pooler's own sessions
            if known_by(admin_url, limit):
                change = sql.SQL("ALTER DATABASE {} SET {} = 1")
                admin.execute(change.format(sql.Identifier(urlsplit(url).path[1:]), sql.Identifier(limit)))
        every_command_works(tmp_path, poolers[admin_url].url(url), database_url, admin_url)
