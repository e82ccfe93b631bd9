"""Dagster's storage over one kept connection: it outlives a cut, is not read anew, and who waits for a pool rests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

import psycopg
import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    EventLogEntry,
    Output,
    asset,
    materialize,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from ingest_pipelines.config import read_settings
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.orchestration.dagster_internals import event_writes, storage
from ingest_pipelines.orchestration.dagster_internals.pool_wait import (
    FIRST_REST_SECONDS,
    REST_SECONDS,
    rest_between_claims,
)
from ingest_pipelines.orchestration.instance import command_instance, open_instance
from ingest_pipelines_tests.orchestration.served import wait_for


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


@asset(check_specs=[AssetCheckSpec("is_good", asset="judged")])
def judged() -> Iterator[Output[None] | AssetCheckResult]:
    yield Output(None)
    yield AssetCheckResult(check_name="is_good", passed=True)


@asset(pool="one_at_a_time")
def alone() -> None: ...


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
        catalog = [each for each in statements if re.search(r"\bpg_(catalog|tables|class|attribute)\b", each)]
    assert len(catalog) == 1, catalog


def test_a_storage_of_an_earlier_version_is_asked_for_what_it_lacks(place: str, statements: list[str]) -> None:
    with open_instance(read_settings()) as first:
        _run(first)
    with psycopg.connect(place) as admin:
        admin.execute("ALTER TABLE runs DROP COLUMN backfill_id")
    with open_instance(read_settings()) as second:
        assert second.run_storage.has_backfill_id_column() is False  # type: ignore[attr-defined]  # of SQL's
        assert second.run_storage.has_run_stats_index_cols() is True  # type: ignore[attr-defined]


def test_an_event_is_written_without_a_notice_and_shows_what_it_is_about(place: str, statements: list[str]) -> None:
    with open_instance(read_settings()) as instance:
        result = materialize([judged], instance=instance, tags={"team": "crm"})
        assert not [each for each in statements if "NOTIFY" in each]
        events = [record.event_log_entry for record in instance.get_records_for_run(result.run_id).records]
        kinds = [event.dagster_event_type for event in events if event.is_dagster_event]
        assert kinds[-1] is DagsterEventType.RUN_SUCCESS
        [record] = instance.fetch_materializations(judged.key, limit=1).records
        assert record.run_id == result.run_id
        assert instance.get_asset_records([judged.key])[0].asset_entry.last_run_id == result.run_id
        [check] = judged.check_keys
        [verdict] = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        assert verdict.status is AssetCheckExecutionRecordStatus.SUCCEEDED


def test_the_details_of_a_step_are_written_with_what_follows_them_and_before_it(
    place: str, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance(read_settings()) as instance:
        run_id = materialize([judged], instance=instance).run_id
        writes = [each for each in statements if each.startswith("INSERT INTO event_logs")]
        together = _events(instance, run_id)
        assert len(writes) < 0.7 * len(together), "with one statement for each event as many"
        monkeypatch.setattr(event_writes, "DETAILS", frozenset())
        assert together == _events(instance, materialize([judged], instance=instance).run_id)


def test_an_event_that_could_not_be_written_is_not_written_twice_and_loses_none_before_it(place: str) -> None:
    kinds = ["LOADED_INPUT", "HANDLED_OUTPUT", "PIPELINE_START"]
    with open_instance(read_settings()) as instance:
        run = instance.create_run_for_job(Definitions(assets=[nothing]).resolve_implicit_global_asset_job_def())
        for kind in kinds[:2]:
            _store(instance, run.run_id, kind)
        with psycopg.connect(place, autocommit=True) as admin:
            admin.execute("ALTER TABLE event_logs RENAME TO away")
            with pytest.raises(SQLAlchemyError):
                _store(instance, run.run_id, kinds[2])
            admin.execute("ALTER TABLE away RENAME TO event_logs")
        _store(instance, run.run_id, kinds[2])
        assert _events(instance, run.run_id)[-3:] == kinds


def _store(instance: DagsterInstance, run_id: str, kind: str) -> None:
    happened = DagsterEvent(kind, "a job")
    entry = EventLogEntry(None, 10, "", run_id, monotonic(), "a step", "a job", happened)  # type: ignore[no-untyped-call]
    instance.event_log_storage.store_event(entry)


def _events(instance: DagsterInstance, run_id: str) -> list[str]:
    """The kinds of the run's events, in the order of the storage."""
    entries = [record.event_log_entry for record in instance.get_records_for_run(run_id).records]
    return [entry.dagster_event.event_type_value for entry in entries if entry.dagster_event is not None]


def test_a_connection_that_was_cut_while_it_rested_is_replaced(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_REST_SECONDS", 0)
    with open_instance(read_settings()) as instance:
        _run(instance)
        with psycopg.connect(place, autocommit=True) as admin:
            cut = admin.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        assert cut in {(1,), (2,)}, "ours, and one for the catalog that Dagster 1.12 keeps open"
        _run(instance)
        assert len(instance.get_run_ids()) == 2


def _connections(place: str) -> int:
    with psycopg.connect(place) as admin:
        found = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(found[0]) if found else -1


def test_a_process_keeps_one_connection_however_many_instances_it_opens_and_none_after_the_last(place: str) -> None:
    with open_instance(read_settings()) as longest:
        opened = []
        for _ in range(5):
            with open_instance(read_settings()) as one:
                assert one.get_runs() == []
            abandoned = open_instance(read_settings())
            assert abandoned.get_runs() == []
            opened += [one, abandoned]  # nothing is left to the garbage collector
        assert longest.get_runs() == []
        assert _connections(place) == 1
        for one in opened:
            one.dispose()
        assert _connections(place) == 1
    wait_for(lambda: _connections(place) == 0, "the last connection to close")
    assert one.get_runs() == []


def test_a_connection_that_breaks_under_a_command_is_told_without_the_drivers_words(place: str) -> None:
    def use() -> None:
        with command_instance(read_settings()) as instance:
            with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]  # of SQL's
                with pytest.raises(SQLAlchemyError) as broken:
                    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
                assert str(broken.value) == "Dagster's storage does not answer"
            assert instance.get_runs() == []  # over a new connection
            raise RuntimeError("what Dagster makes of it") from broken.value

    with pytest.raises(TargetUnavailable, match="Dagster's storage broke off during the command"):
        use()


def test_what_is_no_fault_of_the_storage_stays_as_it_is(place: str) -> None:
    with pytest.raises(TargetUnavailable, match="the source"), command_instance(read_settings()):
        raise TargetUnavailable("the source") from SQLAlchemyError("not this one")
    with pytest.raises(ZeroDivisionError), command_instance(read_settings()):
        raise ZeroDivisionError


def test_of_two_first_runs_in_a_pool_the_second_finds_its_limit(place: str) -> None:
    with open_instance(read_settings()) as instance:
        events = instance.event_log_storage
        for _ in range(2):
            assert events.initialize_concurrency_limit_to_default("target_crm_customers")
        [limit] = events.get_pool_limits()
        assert (limit.name, limit.limit, limit.from_default) == ("target_crm_customers", 1, True)
        assert events.get_concurrency_info("target_crm_customers").slot_count == 1


def test_a_run_that_waits_for_a_pool_rests_and_goes_on_soon_after_it_is_free(place: str) -> None:
    asked: list[tuple[float, float]] = []
    with open_instance(read_settings()) as instance, ThreadPoolExecutor(1) as other:
        events = instance.event_log_storage
        events.set_concurrency_slots("one_at_a_time", 1)
        assert events.claim_concurrency_slot("one_at_a_time", "another run", "a step").is_claimed
        ask = events.claim_concurrency_slot

        def claim(*claimed: Any) -> Any:
            asked.append((monotonic(), thread_time()))
            return ask(*claimed)

        events.claim_concurrency_slot = claim  # type: ignore[method-assign, assignment]
        run = other.submit(materialize, [alone], instance=instance)
        wait_for(lambda: len(asked) > 4, "the run to ask for its turn")
        events.free_concurrency_slot_for_step("another run", "a step")
        freed = monotonic()
        assert run.result(timeout=60).success
    assert asked[-1][0] - freed < 3
    (began, cpu_before), (later, cpu_after) = asked[0], asked[4]
    assert cpu_after - cpu_before < 0.4 * (later - began)  # without the rest all of it; its first look compiles queries


def test_only_the_run_that_is_first_in_line_for_a_pool_looks_often_and_goes_on_at_once(place: str) -> None:
    rests: list[float] = []
    with open_instance(read_settings()) as instance:
        events: Any = instance.event_log_storage
        events.set_concurrency_slots("one_at_a_time", 1)
        stock = PostgresEventLogStorage.claim_concurrency_slot

        def rest(seconds: float) -> None:
            rests.append(seconds)
            if len(rests) == 3:
                events.free_concurrency_slot_for_step("holder", "a step")

        assert stock(events, "one_at_a_time", "holder", "a step").is_claimed
        assert not stock(events, "one_at_a_time", "first", "a step").is_claimed
        assert not stock(events, "one_at_a_time", "second", "a step").is_claimed
        events.claim_concurrency_slot = partial(stock, events)
        rest_between_claims(events, read_settings().state, rest)
        assert not events.claim_concurrency_slot("one_at_a_time", "second", "a step").is_claimed
        assert rests == [REST_SECONDS]
        assert not events.claim_concurrency_slot("one_at_a_time", "first", "a step").is_claimed
        assert rests == [REST_SECONDS, *[FIRST_REST_SECONDS] * 2]
        assert events.claim_concurrency_slot("one_at_a_time", "first", "a step").is_claimed
