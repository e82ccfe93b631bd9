"""Dagster's storage over one kept connection: it outlives a cut, and a ready storage is not read anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterInstance, asset, materialize
from sqlalchemy import Engine, event

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration import storage
from ingest_pipelines.orchestration.instance import open_instance


@pytest.fixture
def place(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The storage's URL, known to every process of this test."""
    monkeypatch.setenv("INGEST_DAGSTER_URL", database_url)
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return database_url


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that SQLAlchemy sends."""
    seen: list[str] = []

    def see(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", see)
    yield seen
    event.remove(Engine, "before_cursor_execute", see)


@asset
def nothing() -> None: ...


def _run(instance: DagsterInstance) -> None:
    assert materialize([nothing], instance=instance).success


def test_an_empty_database_gets_its_tables_and_the_next_process_asks_for_them_once(
    place: str, statements: list[str]
) -> None:
    with open_instance(read_settings()) as first:
        _run(first)
    statements.clear()
    with open_instance(read_settings()) as second:
        _run(second)
        catalog = [each for each in statements if "pg_catalog" in each or "pg_tables" in each]
    assert len(catalog) < 10, catalog


def test_a_connection_that_was_cut_while_it_rested_is_replaced(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_REST_SECONDS", 0)
    with open_instance(read_settings()) as instance:
        _run(instance)
        with psycopg.connect(place, autocommit=True) as admin:
            cut = admin.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        assert cut == (1,)
        _run(instance)
        assert len(instance.get_run_ids()) == 2
