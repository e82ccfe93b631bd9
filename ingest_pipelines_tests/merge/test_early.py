"""Rows that are staged while others are judged become the same load, or none: nothing depends on it but time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early import EarlyStage
from ingest_pipelines.model import Counts, Validated
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR, bound_import, delivery
from ingest_pipelines_tests.merge.targets import Rows

CUSTOMERS = "SELECT customer_id, tier, points FROM crm.customers ORDER BY customer_id"
LOADERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def _staged(validated: Validated, target: Target) -> EarlyStage:
    early = EarlyStage(bound_import(), target)
    for run in validated.accepted:
        early.add(run)
    return early


def test_rows_staged_early_are_merged_like_any_others(target: Target, query: Rows, tmp_path: Path) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C2", None, 2), ("C3", "Silver", 3)], runs=2)
    copied: list[str] = []
    report = apply(validated, bound, target, SENSOR, NOW, early=_staged(validated, target), fault=copied.append)
    assert "copying" not in copied
    assert report.counts == Counts(read=3, inserted=3)
    assert query(CUSTOMERS) == [("C1", "Gold", 1), ("C2", None, 2), ("C3", "Silver", 3)]
    assert query(LOADERS) == [(0,)]


def test_rows_that_turn_out_to_repeat_after_they_were_staged_are_not_merged(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import()
    judged = delivery(tmp_path, bound, [("C1", "Gold", 1), ("C1", "Gold", 2), ("C3", "Silver", 3)])
    early = _staged(judged, target)
    left = delivery(tmp_path, bound, [("C3", "Silver", 3)])
    validated = replace(left, read=3, rejected_rows=2)
    bound = bound_import(rejects={"unlimited": True})
    report = apply(validated, bound, target, SENSOR, NOW, early=early)
    assert report.counts == Counts(read=3, inserted=1, rejected=2)
    assert query(CUSTOMERS) == [("C3", "Silver", 3)]
    assert query(LOADERS) == [(0,)]


def test_a_run_that_could_not_be_staged_early_is_staged_by_the_load(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    nowhere = Target(target.url.rsplit("/", 1)[0] + "/no_such_database")
    report = apply(validated, bound, target, SENSOR, NOW, early=_staged(validated, nowhere))
    assert report.counts == Counts(read=1, inserted=1)


def test_a_stage_whose_connection_broke_while_it_waited_is_filled_again(
    target: Target, query: Rows, tmp_path: Path
) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [("C1", "Gold", 1)])
    early = _staged(validated, target)
    early.finish()
    query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ingest_pipelines%%'")
    assert apply(validated, bound, target, SENSOR, NOW, early=early).counts == Counts(read=1, inserted=1)


def test_a_stage_that_nobody_takes_leaves_nothing(target: Target, query: Rows, tmp_path: Path) -> None:
    early = _staged(delivery(tmp_path, bound_import(), [("C1", "Gold", 1)]), target)
    early.discard()
    assert query("SELECT to_regclass('crm.customers')") == [(None,)]
    assert query("SELECT count(*) FROM pg_class WHERE relname = 'ingest_stage'") == [(0,)]
    assert query(LOADERS) == [(0,)]
