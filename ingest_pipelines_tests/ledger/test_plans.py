"""No statement reads a large table of the ledger from end to end, as Postgres itself reports what it executed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from ingest_pipelines import embedded
from ingest_pipelines.ledger import migrate
from ingest_pipelines.merge import kept_rows
from ingest_pipelines_tests.ledger.calls import CALLS, COUNTS_EVERYTHING, cases, functions, undone
from ingest_pipelines_tests.ledger.large_ledger import LARGE, NOW, fill
from ingest_pipelines_tests.ledger.plans import PlanLog, write_plans


@dataclass(frozen=True)
class LargeLedger:
    """A ledger with so many rows that the planner has a choice, on a server whose log nobody else writes plans to."""

    url: str
    log: PlanLog


@pytest.fixture(scope="module")
def large_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LargeLedger]:
    """20,000 loads and 30,000 rejects."""
    folder = tmp_path_factory.mktemp("large_ledger")
    server = embedded.start(folder, durable=False)
    try:
        url = server.ensure_database("large_ledger")
        migrate(url)
        with psycopg.connect(url) as connection:
            fill(connection, loads=20_000, rejects=30_000)
        write_plans(url, "large_ledger")
        yield LargeLedger(url, PlanLog(server.folder / "server.log"))
    finally:
        server.stop()


def _read_from_end_to_end(large_ledger: LargeLedger, connection: psycopg.Connection) -> dict[str, str]:
    """Per function that reads a large table so, the table and the statement."""
    found: dict[str, str] = {}
    for case in list(cases(connection)):
        for name, call in CALLS.items():
            if name in COUNTS_EVERYTHING:
                continue
            with large_ledger.log.recorded() as recorded, undone(connection):
                call(connection, case)
            for plan in recorded.plans:
                if tables := plan.sequential(LARGE):
                    found[name] = f"{case.import_name}: {', '.join(tables)}: {plan.statement}"
    return found


def _keep_a_row(connection: psycopg.Connection) -> None:
    """What `merge` sends to the list of rows that wait, which it alone writes."""
    one = {"import": "points_1", "target": "crm.customers_1", "load": 1, "match": "{}", "until": NOW, "most": 1_000}
    connection.execute(kept_rows.CREATE_KEPT)
    connection.execute("""INSERT INTO ingest_kept VALUES (1, '["C1"]', NULL, '{"points": 8}')""")
    connection.execute("ANALYZE ingest_kept")
    connection.execute(kept_rows.END_EXPIRED, {**one, "now": NOW})
    connection.execute(kept_rows.STORE, one)


def test_every_function_of_the_ledger_is_called() -> None:
    assert functions() - CALLS.keys() == set(), "calls.py needs a call of each"
    assert CALLS.keys() - functions() == set(), "the ledger has no such function"


def test_no_function_of_the_ledger_reads_a_large_table_from_end_to_end(large_ledger: LargeLedger) -> None:
    with psycopg.connect(large_ledger.url) as connection:
        connection.prepare_threshold = None
        assert _read_from_end_to_end(large_ledger, connection) == {}


def test_each_index_is_there_for_a_function_that_would_read_everything(large_ledger: LargeLedger) -> None:
    with psycopg.connect(large_ledger.url) as connection:
        connection.prepare_threshold = None
        own = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
            " WHERE relnamespace = 'ingest'::regnamespace AND NOT indisprimary AND relname NOT LIKE 'pg_%'"
        ).fetchall()
        with large_ledger.log.recorded() as recorded, undone(connection):
            _keep_a_row(connection)
        used = {f"ingest.{scan.index}" for plan in recorded.plans for scan in plan.scans}
        for case in list(cases(connection)):
            for call in CALLS.values():
                with large_ledger.log.recorded() as recorded, undone(connection):
                    call(connection, case)
                used |= {f"ingest.{scan.index}" for plan in recorded.plans for scan in plan.scans}
        assert {name for (name,) in own} - used == set()
