"""What the pages of the UI show of an item that is not in the table: the reason, the next step, and no stack trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance

from ingest_pipelines.orchestration.assets import step_errors
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop, new_shop, verdicts

KEY = AssetKey(["customers", "points"])
_ENDS = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Shop]:
    """A shop with one committed file of four rows."""
    with fresh_target(postgres_url) as url, DagsterInstance.ephemeral() as instance:
        shop = new_shop(tmp_path_factory.mktemp("shop"), url)
        rows = "".join(f"C{row},Gold,10,2024-05-01\n" for row in range(4))
        shop.deliver("Points_10.csv", f"{HEADER}\n{rows}")
        assert shop.run(instance, shop.arrive(instance)).success
        yield shop


def rejected(shop: Shop, instance: DagsterInstance) -> str:
    shop.deliver("Points_11.csv", ONE_BAD, age=timedelta(minutes=50))
    return str(shop.arrive(instance).key)


def refused(shop: Shop, instance: DagsterInstance) -> str:
    shop.deliver("Points_12.csv", f'{HEADER}\nC1,"Gold,10,2024-05-01\n', age=timedelta(minutes=49))
    return str(shop.arrive(instance).key)


def shrunk(shop: Shop, instance: DagsterInstance) -> str:
    shop.deliver("Points_13.csv", f"{HEADER}\nC1,Gold,10,2024-05-01\n", age=timedelta(minutes=48))
    return str(shop.arrive(instance).key)


def stale(shop: Shop, instance: DagsterInstance) -> str:
    for path in shop.files.rglob("*.csv"):
        path.unlink()
    shop.deliver("Points_1.csv", GOOD, age=timedelta(days=1))
    return str(shop.arrive(instance).key)


def gone(shop: Shop, instance: DagsterInstance) -> str:
    path = shop.deliver("Points_14.csv", GOOD, age=timedelta(minutes=47))
    key = str(shop.arrive(instance).key)
    path.unlink()
    return key


def added_by_hand(shop: Shop, instance: DagsterInstance) -> str:
    instance.add_dynamic_partitions(partitions_name(shop.bound()), ["by-hand"])
    return "by-hand"


WAYS: dict[Callable[[Shop, DagsterInstance], str], tuple[str, str, str]] = {
    rejected: ("failed", "1 of 2 rows were rejected", "ingest rejects list points"),
    refused: ("refused", "line 2", "quote"),
    shrunk: ("failed", "1 row is less than", "ingest run points"),
    stale: ("refused", "older", "ingest run points"),
    gone: ("refused", "does not exist", "ingest report points"),
    added_by_hand: ("failed", "the ledger has no item by-hand", "ingest run points"),
}
"""How an item ends -> its status, words of the reason, words of the next step."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_failed_items_pages_say_why_and_what_next_without_a_stack(
    shop: Shop, instance: DagsterInstance, way: Callable[[Shop, DagsterInstance], str]
) -> None:
    status, reason, next_step = WAYS[way]
    key = way(shop, instance)
    _, run_id = run(shop, instance, key)
    shown = observed(instance, key)
    assert shown["status"] == status
    assert reason in str(shown["reason"])
    assert next_step in str(shown["next"])
    errors = pages_errors(instance, run_id)
    assert errors
    for error in errors:
        assert reason in error
        assert "Stack Trace" not in error
        assert "Traceback" not in error
    assert unanswered_checks(instance, run_id) == set(), "Dagster shows a check without an answer as failed"
    failed = {name for name, check in verdicts(instance, run_id).items() if not check.passed}
    assert failed == ({"types"} if way is rejected else set())


def test_samples_and_counts_of_a_failed_item_are_on_its_pages(shop: Shop, instance: DagsterInstance) -> None:
    key = rejected(shop, instance)
    run(shop, instance, key)
    shown = observed(instance, key)
    assert (shown["read"], shown["rejected"]) == (2, 1)
    assert str(shown["uri"]).endswith("Points_11.csv")
    [sample] = shown["rejects"].records
    assert (sample.data["line"], sample.data["field"], sample.data["code"]) == (3, "points", "bad_int")


def test_a_target_that_stays_away_is_on_the_items_pages_too(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has nothing then: the item was found before, and no step reaches the target."""
    monkeypatch.setattr(step_errors, "RETRIES", 1)
    shop.deliver("Points_15.csv", GOOD, age=timedelta(minutes=46))
    key = str(shop.arrive(instance).key)
    there = shop.database_url
    monkeypatch.setattr(shop, "database_url", there.replace(there.rsplit("/", 1)[1], "no_such_database"))
    _, run_id = run(shop, instance, key)
    assert observed(instance, key)["status"] == "failed"
    assert unanswered_checks(instance, run_id) == set()
    assert "Stack Trace" not in "".join(pages_errors(instance, run_id))


def test_a_plan_that_would_fail_leaves_no_failed_item(shop: Shop, instance: DagsterInstance) -> None:
    key = rejected(shop, instance)
    success, _ = run(shop, instance, key, **{"ingest/dry_run": "true"})
    assert success
    assert "status" not in observed(instance, key)


def run(shop: Shop, instance: DagsterInstance, key: str, **tags: str) -> tuple[bool, str]:
    """Whether the run succeeded, and its id."""
    result = (
        shop.definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            asset_selection=[KEY], partition_key=key, instance=instance, raise_on_error=False, tags=tags
        )
    )
    return result.success, result.run_id


def unanswered_checks(instance: DagsterInstance, run_id: str) -> set[str]:
    """The checks that the run was to evaluate and did not."""
    records = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    planned = {record.get_dagster_event().asset_check_planned_data.check_name for record in records}
    assert planned
    return planned - verdicts(instance, run_id).keys()


def observed(instance: DagsterInstance, key: str) -> dict[str, Any]:
    """Metadata of the partition's newest observation."""
    found = instance.fetch_observations(AssetRecordsFilter(KEY, asset_partitions=[key]), limit=1).records
    assert found
    observation = found[0].asset_observation
    assert observation is not None
    return {name: value.value for name, value in observation.metadata.items()}


def pages_errors(instance: DagsterInstance, run_id: str) -> list[str]:
    """The errors of the run's events, as the page shows them."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event is not None]
    errors = [getattr(event.event_specific_data, "error", None) for event in events if event.event_type in _ENDS]
    return [error.to_string() for error in errors if error is not None]
