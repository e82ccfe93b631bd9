"""People who replay the same rejects at the same time, or above the limit, and what `status` says of replays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ingest_pipelines.merge.target import lock_table
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.waiting import until_it

IMPORT = """\
status: active
database: customers
source: {{connection: uploads}}
columns: {{id: customer_id, pts: {{field: replayed_points, type: int}}}}
rejects: {limit}
"""


class Rejected:
    """An import of which one load has rejected three rows, and its export."""

    def __init__(self, project: Terminal, limit: str = "{unlimited: true}") -> None:
        self.project, self.name = project, f"at_once_{uuid4().hex[:8]}"
        (project.folder / "imports" / f"{self.name}.yaml").write_text(IMPORT.format(limit=limit))
        (project.folder / "d.csv").write_text(f"id,pts\n{self.name}a,x\n{self.name}b,y\n{self.name}c,z\n")
        self.load = project.ingest("run", self.name, "--file", "d.csv", "--json").json[0]["load"]
        assert project.ingest("rejects", "export", self.name, "-o", "rejects.csv").code == 0

    def corrected(self, name: str, *points: object) -> Path:
        """The export with these points, row by row; None leaves a row out."""
        with (self.project.folder / "rejects.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        saved = [[row[0], str(value), *row[2:]] for row, value in zip(rows, points, strict=True) if value is not None]
        path = self.project.folder / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *saved])
        return path

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.project.environment["INGEST_DATABASE_URL"]) as connection:
            return connection.execute(text.encode(), {"name": self.name, "load": self.load}).fetchall()

    @property
    def points(self) -> list[tuple[str, int]]:
        """Row and points of the import's customers."""
        return self.query(
            "SELECT right(customer_id, 1), replayed_points FROM crm.customers"
            " WHERE starts_with(customer_id, %(name)s) ORDER BY 1"
        )

    @property
    def open(self) -> list[int]:
        """Lines that nobody has resolved."""
        return [line for (line,) in self.query(
            "SELECT line FROM ingest.rejects WHERE load = %(load)s AND resolved_at IS NULL ORDER BY line"
        )]  # fmt: skip

    @contextmanager
    def table_locked(self) -> Iterator[psycopg.Connection]:
        """Loads of the table get as far as its lock."""
        with psycopg.connect(self.project.environment["INGEST_DATABASE_URL"]) as connection:
            lock_table(connection, "crm", "customers")
            yield connection

    def waiting(self) -> int:
        """Loads that wait for the table."""
        [(count,)] = self.query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return int(count)


@pytest.fixture
def rejected(starter: Terminal) -> Rejected:
    return Rejected(starter)


def test_two_people_who_replay_the_same_file_at_once_load_it_once(rejected: Rejected) -> None:
    file = rejected.corrected("fix.csv", 1, 2, "still wrong")
    processes = [rejected.project.process("rejects", "replay", rejected.name, file) for _ in range(2)]
    ended = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert rejected.points == [("a", 1), ("b", 2)]
    assert rejected.open == [4]
    loads = rejected.query(
        "SELECT read, inserted, unchanged, rejected FROM ingest.loads WHERE import = %(name)s ORDER BY id"
    )
    # The second one finds only the row that is still wrong.
    assert loads == [(3, 0, 0, 3), (3, 2, 0, 1), (1, 0, 0, 1)]


def test_a_replay_begins_again_without_the_rows_that_another_one_resolved_meanwhile(rejected: Rejected) -> None:
    file = rejected.corrected("fix.csv", 1, 2, None)
    with rejected.table_locked() as theirs:
        ours = rejected.project.process("rejects", "replay", rejected.name, file, "--json")
        until_it(ours, lambda: rejected.waiting() == 1)
        # As the load of another machine does, which has the table now.
        theirs.execute("UPDATE ingest.rejects SET resolved_at = now() WHERE load = %s AND line = 2", (rejected.load,))
    out, err = ours.communicate(timeout=200)
    assert ours.returncode == 0, err
    assert [(load["read"], load["resolved"]) for load in json.loads(out)] == [(1, 1)]
    assert rejected.points == [("b", 2)], "the row that they corrected is not loaded over theirs"
    assert rejected.open == [4]


def test_a_replay_above_the_limit_resolves_nothing_and_says_what_to_leave_out(starter: Terminal) -> None:
    rejected = Rejected(starter, "{max_rows: 0}")
    file = rejected.corrected("fix.csv", 1, "still wrong", 3)
    answer = starter.ingest("rejects", "replay", rejected.name, file)
    assert answer.code == 4
    assert "or remove them" in answer.err
    assert (rejected.points, rejected.open) == ([], [2, 3, 4])
    listed = starter.ingest("rejects", "list", rejected.name, "--json").json
    assert {reject["load"] for reject in listed} == {rejected.load}, "the first load is where they are open"
    rejected.corrected("fix.csv", 1, None, 3)
    assert starter.ingest("rejects", "replay", rejected.name, file).code == 0
    assert (rejected.points, rejected.open) == ([("a", 1), ("c", 3)], [3])


def test_status_shows_the_delivery_after_a_replay_that_passed_and_one_that_failed(rejected: Rejected) -> None:
    def status() -> Any:
        every = rejected.project.ingest("status", "--json").json
        return next(line for line in every if line["import"] == rejected.name)

    before = status()
    assert before["load"] == rejected.load
    rejected.project.ingest("rejects", "replay", rejected.name, rejected.corrected("fix.csv", 1, None, None))
    broken = rejected.corrected("broken.csv", None, 2, None)
    broken.write_text(broken.read_text().replace("id,pts,", "id,points,"))
    assert rejected.project.ingest("rejects", "replay", rejected.name, broken).code == 1
    after = status()
    assert {**after, "age_seconds": 0} == {**before, "age_seconds": 0}
    assert rejected.project.ingest("run", rejected.name, "--failed").err.startswith(f"import {rejected.name}: no item")
