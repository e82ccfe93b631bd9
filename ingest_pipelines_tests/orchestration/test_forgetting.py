"""A forgotten person in Dagster: a run leaves the person out and says how many rows that were; files of runs go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dagster import DagsterInstance

from ingest_pipelines import pipeline
from ingest_pipelines.orchestration.erasure import forget_files
from ingest_pipelines.orchestration.runs import run_files, run_locks
from ingest_pipelines.orchestration.runs.run_files import purge_runs
from ingest_pipelines.pipeline.forgetting import Scope
from ingest_pipelines_tests.orchestration.conftest import HEADER, NOW, Shop

KEY = "C-100177"
TWO = f"{HEADER}\n{KEY},Gold,10,2024-05-01\nC-200177,Silver,20,2024-06-01\n"
ONE_BAD = TWO.replace("10,", "many,")


def forget(shop: Shop, *keys: str) -> Scope:
    """The people, forgotten; whose keys they were."""
    bound = shop.bound()
    scope = Scope(bound.database_name, bound.database, [bound])
    pipeline.forget(keys, scope, shop.site().target, "ann@desk", NOW)
    return scope


def test_a_run_that_removes_its_files_meanwhile_is_no_trouble_for_another_run(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files, "_runs_in", lambda folder: [folder / "ended-a-moment-ago"])
    assert purge_runs(shop.site().settings, shop.now, instance) == 0


def test_a_run_leaves_a_forgotten_person_out_and_dagster_shows_how_many_rows_that_were(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", TWO, age=timedelta(hours=2))
    assert shop.run(instance, shop.arrive(instance)).success
    forget(shop, KEY)
    shop.deliver("Points_2.csv", ONE_BAD)  # a bad row of a forgotten person is not a reject
    result = shop.run(instance, shop.arrive(instance))
    assert result.success
    loads = shop.rows("SELECT status, read, unchanged, skipped, rejected, suppressed FROM ingest.loads ORDER BY id")
    assert loads[-1] == ("committed", 2, 1, 1, 0, 1)
    assert shop.rows("SELECT customer_id FROM crm.customers") == [("C-200177",)]
    [event] = [
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path[-1] == "points"
    ]
    assert event.metadata["suppressed"].value == 1
    assert "keeps out" in str(event.metadata["warnings"].value)
    assert KEY not in "".join(map(str, instance.all_logs(result.run_id)))


def test_files_of_failed_runs_go_at_once_and_those_of_a_run_in_progress_when_it_has_ended(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    failed = shop.run(instance, shop.arrive(instance))
    assert not failed.success
    site = shop.site()
    folders = [folder / failed.run_id for folder in (site.settings.spool, site.settings.spill)]
    assert all(folder.is_dir() for folder in folders)
    scope = forget(shop, KEY)
    run_locks.hold(shop.state, failed.run_id)  # as if it were being executed again
    try:
        assert forget_files(site, instance, scope, plan=True) == (0, 1)
        assert forget_files(site, instance, scope) == (0, 1)
        assert purge_runs(site.settings, shop.now, instance) == 0
        assert all(folder.is_dir() for folder in folders)
    finally:
        run_locks.release(shop.state, failed.run_id)
    assert purge_runs(site.settings, shop.now, instance) > 0
    assert not any(folder.exists() for folder in folders)

    again = shop.run(instance, shop.arrive(instance))  # of the same item: the person is left out, nothing is bad
    assert again.success
    assert forget_files(site, instance, scope)[1] == 0
    assert not any((folder / again.run_id).exists() for folder in (site.settings.spool, site.settings.spill))
