"""A ledger of any version of the product is upgraded whole, whoever is killed meanwhile; then every command works.

`ledgers/REVISION.sql` is what that version's own command line left in a target; `ledgers/freeze.py` made it.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import typer

from ingest_pipelines.cli.app import app
from ingest_pipelines.ledger import migrate
from ingest_pipelines.ledger.migrate import HEAD, REVISIONS
from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.guarantees.killable import KillableLoader, Upgrade
from ingest_pipelines_tests.guarantees.ledgers import freeze
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.waiting import until

LEDGERS = Path(freeze.__file__).parent

OLD = REVISIONS[:-1]
EVERY_OLD = [OLD[0], *(pytest.param(revision, marks=pytest.mark.slow) for revision in OLD[1:])]
"""The oldest in the fast suite: its upgrade is made of all others'."""

LATER = datetime(2027, 1, 1, tzinfo=UTC)
"""After all that the old versions loaded."""

Contents = Mapping[str, Counter[str]]
"""By table, its rows as JSON."""


@dataclass(frozen=True)
class Frozen:
    """A target as one version left it."""

    revision: str
    url: str

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table of the ledger."""
        return [row for (row,) in self.rows(f"SELECT to_jsonb(t) FROM ingest.{name} t")]

    def tables(self) -> list[str]:
        return [
            str(name)
            for (name,) in self.rows(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('ingest', 'crm')"
                " AND tablename <> 'alembic_version' ORDER BY 1"
            )
        ]

    def contents(self, columns: Mapping[str, list[str]] | None = None) -> Contents:
        """Every row of every table, or of those tables and columns only."""
        found: dict[str, Counter[str]] = {}
        for table in columns or self.tables():
            rows = [row for (row,) in self.rows(f"SELECT to_jsonb(t) FROM {table} t")]
            kept = columns[table] if columns else None
            found[table] = Counter(
                json.dumps({k: v for k, v in row.items() if kept is None or k in kept}, sort_keys=True) for row in rows
            )
        return found

    def columns(self) -> dict[str, list[str]]:
        """By table, the names of its columns."""
        found: dict[str, list[str]] = {table: [] for table in self.tables()}
        for table, column in self.rows(
            "SELECT format('%I.%I', table_schema, table_name), column_name FROM information_schema.columns"
            " WHERE table_schema IN ('ingest', 'crm')"
        ):
            if table in found:
                found[table].append(column)
        return found

    def shape(self) -> list[tuple[Any, ...]]:
        """Every column, index, constraint and view of the ledger."""
        return self.rows(
            """
            SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || a.attstorage::text
                   || a.attnotnull::text || a.attidentity::text || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
            WHERE c.relnamespace = 'ingest'::regnamespace AND c.relkind IN ('r', 'v')
            UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'ingest'
            UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'ingest'
            UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'ingest'::regnamespace AND contype <> 'n'
            UNION ALL SELECT 'revision', version_num, '' FROM ingest.alembic_version ORDER BY 1, 2, 3
            """
        )


@contextmanager
def frozen(postgres_url: str, revision: str) -> Iterator[Frozen]:
    """A new database with that version's ledger."""
    with fresh_database(postgres_url) as url:
        with psycopg.connect(url) as connection:
            connection.execute((LEDGERS / f"{revision}.sql").read_bytes())
        yield Frozen(revision, url)


@pytest.fixture
def old(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Frozen]:
    with frozen(postgres_url, request.param) as ledger:
        yield ledger


@pytest.fixture(scope="module")
def new_shape(postgres_url: str) -> list[tuple[Any, ...]]:
    """The shape of a ledger that this version created."""
    with fresh_database(postgres_url) as url:
        migrate(url)
        return Frozen(HEAD, url).shape()


@pytest.fixture
def team(old: Frozen, postgres_url: str, tmp_path: Path) -> Iterator[Team]:
    with fresh_database(postgres_url) as source, fresh_database(postgres_url) as runs:
        freeze.write_project(tmp_path, source)
        freeze.fill_source(source, range(1, 9))
        environment = {
            "INGEST_HOME": str(tmp_path / "project"), "INGEST_STATE": str(tmp_path / "state"),
            "INGEST_DATABASE_URL": old.url, "INGEST_DAGSTER_URL": runs, "SHOP_PW": str(urlsplit(source).password),
        }  # fmt: skip
        yield Team(tmp_path, old, Terminal(tmp_path, environment))


@dataclass(frozen=True)
class Team:
    """Who installed this version, with the project of before."""

    folder: Path
    ledger: Frozen
    terminal: Terminal

    def ingest(self, *words: object, code: int = 0) -> Answer:
        answer = self.terminal.ingest(*words)
        assert answer.code == code, f"ingest {words} ended with {answer.code}: {answer.out}{answer.err}"
        return answer


def test_a_ledger_is_kept_of_every_version() -> None:
    """Whoever adds a revision freezes the one before it: the last moment at which this is possible without effort."""
    assert [path.stem for path in sorted(LEDGERS.glob("*.sql"))] == list(OLD)


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_the_upgrade_keeps_every_row_and_makes_the_ledger_of_a_new_installation(
    old: Frozen, new_shape: list[tuple[Any, ...]]
) -> None:
    columns, before = old.columns(), old.contents()
    assert sum(map(len, before.values())) > 30
    assert migrate(old.url)
    assert old.contents(columns) == before
    assert old.shape() == new_shape


@pytest.mark.parametrize("old", EVERY_OLD, indirect=True)
def test_every_command_that_reads_shows_what_the_old_version_wrote(team: Team, old: Frozen) -> None:
    loads, rejects, audit = old.table("loads"), old.table("rejects"), old.table("audit")
    batches, cursors = old.table("event_batches"), old.table("cursors")
    shown = {
        load["load"]: (load["import"], load["item"], load["status"], load["read"], load["inserted"])
        for name in freeze.IMPORTS
        for load in team.ingest("report", name, "--json").json
    }
    assert shown == {
        load["id"]: (load["import"], load["item"], load["status"], load["read"], load["inserted"]) for load in loads
    }
    listed = team.ingest("rejects", "list", "points", "--json").json
    of_points = {load["id"] for load in loads if load["import"] == "points"}
    assert {(row["load"], row["line"], row["resolved_at"] is None) for row in listed} == {
        (row["load"], row["line"], row["resolved_at"] is None) for row in rejects if row["load"] in of_points
    }
    events = [json.loads(line) for line in team.ingest("events", "--after", "0", "--json").out.splitlines()]
    assert Counter(event["load"] for event in events) == Counter(
        {load: sum(len(batch["keys"]) for batch in batches if batch["load"] == load) for load in
         {batch["load"] for batch in batches}}
    )  # fmt: skip
    assert len(team.ingest("audit", "--json").json) == len(audit)
    [cursor] = cursors
    assert team.ingest("cursor", "show", "orders", "--json").json["value"] == cursor["value"]
    team.ingest("alerts", "--json")
    team.ingest("purge", "--dry-run")
    assert old.rows("SELECT version_num FROM ingest.alembic_version") == [(HEAD,)]


@pytest.mark.parametrize("old", EVERY_OLD, indirect=True)
def test_work_goes_on_after_the_upgrade_where_it_was(team: Team, old: Frozen) -> None:
    """Cursor, windows, open rejects, locked mapping, a paused import, a failed item: all as they were left."""
    before = dict(old.rows("SELECT customer_id, points FROM crm.customers"))
    loads = len(old.table("loads"))
    status = {found["import"]: found for found in team.ingest("status", "--json").json}
    assert status["refunds"]["status"] == "failed"

    freeze.deliver(team.folder, "points/Points_2.csv", LATER)  # the bytes of the last delivery
    team.ingest("run", "points")
    assert dict(old.rows("SELECT customer_id, points FROM crm.customers")) == before
    assert len(old.table("loads")) == loads + 1

    team.ingest("run", "orders")  # from where the cursor was set to
    assert old.rows("SELECT customer_id, amount FROM crm.customers WHERE amount IS NOT NULL ORDER BY 1") == [
        (f"o{number}", number * 100) for number in range(1, 9)
    ]
    [first, *_] = [load for load in old.table("loads")[loads:] if load["import"] == "orders"]
    assert (first["read"], first["unchanged"], first["inserted"]) == (3, 1, 2)

    export, corrected = team.folder / "export.csv", team.folder / "corrected.csv"
    team.ingest("rejects", "export", "points", "--output", export)
    with export.open(newline="") as rows:
        header, open_reject = csv.reader(rows)
    assert open_reject[header.index("CID")] == "c4"
    open_reject[header.index("Points")] = "40"
    with corrected.open("w", newline="") as rows:
        csv.writer(rows).writerows([header, open_reject])
    team.ingest("rejects", "replay", "points", corrected)
    assert [row for row in old.table("rejects") if row["resolved_at"] is None and row["field"] == "points"] == []
    assert old.rows("SELECT points FROM crm.customers WHERE customer_id = 'c4'") == [(40,)]

    team.ingest("resume", "visits")
    team.ingest("run", "visits", "--item", "2026-01-02")
    assert old.rows("SELECT visits FROM crm.customers WHERE customer_id = 'v2'") == [(2,)]

    (team.folder / "uploads" / "refunds" / "Refunds_2.csv").write_text("CID,Refunds\nc1,3\n")
    team.ingest("run", "refunds")
    assert old.rows("SELECT refunds FROM crm.customers WHERE customer_id = 'c1'") == [(3,)]
    [failed] = [load for load in old.table("loads") if load["status"] == "failed"]
    team.ingest("skip", "refunds", "--item", failed["item"], "--reason", "the vendor sent it again", "--yes")
    team.ingest("purge")
    team.ingest("unlock", "points", "--yes")
    assert {found["import"]: found["open"] for found in team.ingest("status", "--json").json}["refunds"] == []


@pytest.mark.parametrize(
    ("old", "step"),
    [(OLD[0], 9), *(pytest.param(revision, 1, marks=pytest.mark.slow) for revision in OLD)],
    indirect=["old"],
)
def test_an_upgrade_killed_at_any_statement_leaves_the_ledger_as_it_was_and_the_next_one_goes_on(
    old: Frozen, step: int, loader: KillableLoader, new_shape: list[tuple[Any, ...]]
) -> None:
    shape, columns, before = old.shape(), old.columns(), old.contents()
    for statement in range(1, 10_000, step):
        if loader.run(Upgrade(old.url, dies_at=statement)):
            break
        assert (old.shape(), old.contents()) == (shape, before), f"killed at statement {statement}"
    assert statement > 10
    assert (old.shape(), old.contents(columns)) == (new_shape, before)


@pytest.mark.parametrize("old", EVERY_OLD, indirect=True)
def test_processes_that_upgrade_at_once_do_it_once(
    old: Frozen, new_shape: list[tuple[Any, ...]], loader: KillableLoader
) -> None:
    columns, before = old.columns(), old.contents()
    with ThreadPoolExecutor(5) as pool:
        killed = pool.submit(loader.run, Upgrade(old.url, dies_at=20))
        outcomes = list(pool.map(migrate, [old.url] * 4))
        killed.result()
    assert any(outcomes)
    assert (old.shape(), old.contents(columns)) == (new_shape, before)


@pytest.mark.parametrize("old", [OLD[0]], indirect=True)
def test_a_command_that_cannot_upgrade_now_says_who_is_in_the_way_and_changes_nothing(team: Team, old: Frozen) -> None:
    """A load of the old version is under way. The next command goes on."""
    shape = old.shape()
    impatient = Terminal(team.folder, {**team.terminal.environment, "INGEST_LOCK_TIMEOUT": "0.2"})
    with psycopg.connect(old.url, application_name="an old loader") as loader:
        loader.execute("LOCK TABLE ingest.loads IN ROW EXCLUSIVE MODE")
        answer = impatient.ingest("report", "points")
        assert answer.code == 3, answer.err
        assert "an old loader" in answer.err
        assert "Traceback" not in answer.err
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(migrate, old.url)
            until(lambda: old.rows("SELECT FROM pg_locks WHERE NOT granted"))
            loader.rollback()
            assert waiting.result(60)
    assert shape != old.shape()
    assert impatient.ingest("report", "points").code == 0


NEEDS_THE_LEDGER: Mapping[str, Callable[[Path], tuple[object, ...]]] = {
    "status": lambda folder: ("status",),
    "report": lambda folder: ("report", "points"),
    "run": lambda folder: ("run", "points"),
    "plan": lambda folder: ("plan", "points", "--file", folder / "uploads/points/Points_1.csv"),
    "activate": lambda folder: ("activate", "visits", "--yes"),
    "pause": lambda folder: ("pause", "visits"),
    "resume": lambda folder: ("resume", "visits"),
    "unlock": lambda folder: ("unlock", "points", "--yes"),
    "purge": lambda folder: ("purge",),
    "forget": lambda folder: ("forget", "customers", "C1", "--yes"),
    "remember": lambda folder: ("remember", "customers", "C1"),
    "history": lambda folder: ("history", "customers", "C1"),
    "events": lambda folder: ("events",),
    "audit": lambda folder: ("audit",),
    "alerts": lambda folder: ("alerts",),
    "skip": lambda folder: ("skip", "refunds", "--failed"),
    "rejects list": lambda folder: ("rejects", "list", "points"),
    "rejects export": lambda folder: ("rejects", "export", "points"),
    "rejects replay": lambda folder: ("rejects", "replay", "points", folder / "export.csv"),
    "cursor show": lambda folder: ("cursor", "show", "orders"),
    "cursor set": lambda folder: ("cursor", "set", "orders", "7", "--yes"),
}


NEEDS_NO_LEDGER = {
    "demo", "init", "new", "browse", "check", "schema", "dbt-sources", "up", "watch", "studio", "notify test",
}  # fmt: skip
"""They are about the project or a source, or serve: then a process or a page says it. `check` checks the rest."""


def _commands() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # it is a group
        yield from (f"{name} {each}" for each in command.commands) if hasattr(command, "commands") else [name]


@pytest.mark.parametrize("old", [OLD[-1]], indirect=True)
def test_an_older_program_on_a_newer_ledger_says_so_and_changes_nothing(team: Team, old: Frozen) -> None:
    """Whatever command is typed: a program that does not know the ledger must not write to it, nor read it wrongly."""
    assert set(NEEDS_THE_LEDGER) == set(_commands()) - NEEDS_NO_LEDGER
    freeze.deliver(team.folder, "points/Points_1.csv", LATER)
    team.ingest("rejects", "export", "points", "--output", team.folder / "export.csv")
    databases = next(team.folder.rglob("databases.yaml"))
    databases.write_text(databases.read_text().replace("    key:", "    history: true\n    key:", 1))
    with psycopg.connect(old.url) as connection:
        connection.execute("UPDATE ingest.alembic_version SET version_num = '9999'")
        # As a later version may have it:
        connection.execute("ALTER TABLE ingest.loads RENAME finished_at TO ended_at")
    shape, before = old.shape(), old.contents()
    for command, words in NEEDS_THE_LEDGER.items():
        answer = team.terminal.ingest(*words(team.folder))
        said = " ".join((answer.out + answer.err).split())
        assert answer.code == 3, f"{command}: {answer.code} {said}"
        assert "made by a later version" in said, f"{command}: {said}"
        assert "its revision is 9999" in said, f"{command}: {said}"
    assert (old.shape(), old.contents()) == (shape, before)
