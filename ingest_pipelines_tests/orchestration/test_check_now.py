"""Check now: a run without a partition looks for what is new, and what it finds is loaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance, ExecuteInProcessResult, SensorResult, SkipReason

from ingest_pipelines.orchestration.check_now import check_now_sensor, find_new_items
from ingest_pipelines.orchestration.runs.prune import KEPT_RUNS, prune_runs
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.servers.postgres import connection_to

POINTS = AssetKey(["customers", "points"])


@pytest.fixture
def present(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose clock is the machine's, which Dagster's runs have too."""
    shop.now = datetime.now(UTC)
    monkeypatch.setenv("SHOP_PW", str(urlsplit(shop.database_url).password))
    return shop


@pytest.mark.parametrize("door", ["asset", "job"])
def test_a_run_without_a_partition_finds_the_new_file_and_the_sensor_requests_its_run_once(
    present: Shop, instance: DagsterInstance, door: str
) -> None:
    present.deliver("Points_1.csv", GOOD)
    check = _check(present, instance, door)
    assert check.success
    assert _tag(instance, check) == "found"
    [key] = instance.get_dynamic_partitions("customers/points")
    result = _tick(present, instance)
    assert isinstance(result, SensorResult)
    [request] = result.run_requests or ()
    assert (request.partition_key, request.asset_selection) == (key, [POINTS])
    assert request.tags["ingest/by"] == "check_now"
    _run(present, instance, key, request.tags)
    assert present.rows("SELECT status FROM ingest.items") == [("committed",)]
    assert isinstance(_tick(present, instance), SkipReason)
    assert _tag(instance, check) == "requested"
    again = _check(present, instance, door)
    assert (again.success, _tag(instance, again)) == (True, "nothing new")
    assert isinstance(_tick(present, instance), SkipReason)


def test_an_item_whose_run_failed_since_the_check_is_not_requested_again(
    present: Shop, instance: DagsterInstance
) -> None:
    present.deliver("Points_1.csv", ONE_BAD)
    _check(present, instance)
    [key] = instance.get_dynamic_partitions("customers/points")
    assert not _run(present, instance, key).success
    assert isinstance(_tick(present, instance), SkipReason)
    assert _tag(instance, _check(present, instance)) == "nothing new"


def test_every_kind_of_import_is_checked(present: Shop, instance: DagsterInstance) -> None:
    _make_queries(present)
    for name, found in (("all_visits", 1), ("new_visits", 1), ("days", 1)):
        check = _check(present, instance, "job", name)
        assert (check.success, _tag(instance, check)) == (True, "found")
        requests = _requested(present, instance)
        assert [request.asset_selection for request in requests] == [[AssetKey(["customers", name])]] * found
        for request in requests:
            assert _run(present, instance, str(request.partition_key), request.tags, name).success
    assert present.rows("SELECT import, status FROM ingest.items ORDER BY 1") == [
        ("all_visits", "committed"), ("days", "committed"), ("new_visits", "committed"),
    ]  # fmt: skip
    for name, words in (("new_visits", "no row after the cursor"), ("days", "no window has ended")):
        check = _check(present, instance, "job", name)
        assert (check.success, _tag(instance, check)) == (True, "nothing new")
        assert words in _log(instance, check)


def test_several_imports_without_a_partition_are_each_checked(present: Shop, instance: DagsterInstance) -> None:
    _make_queries(present)
    present.deliver("Points_1.csv", GOOD)
    names = ("points", "all_visits", "days")
    job = present.definitions().resolve_implicit_global_asset_job_def()
    check = job.execute_in_process(
        asset_selection=[AssetKey(["customers", name]) for name in names], instance=instance, raise_on_error=False
    )
    assert check.success
    assert {request.asset_selection[0].path[-1] for request in _requested(present, instance)} == set(names)


def test_windows_of_one_day_of_two_imports_are_two_runs_of_a_check(present: Shop, instance: DagsterInstance) -> None:
    _make_queries(present)
    path = present.home / "imports" / "days.yaml"
    path.with_name("nights.yaml").write_text(path.read_text())
    names = ("days", "nights")
    job = present.definitions().resolve_implicit_global_asset_job_def()
    check = job.execute_in_process(
        asset_selection=[AssetKey(["customers", name]) for name in names], instance=instance, raise_on_error=False
    )
    assert check.success
    requests = _requested(present, instance)
    days = {name: {r.partition_key for r in requests if r.tags["ingest/import"] == name} for name in names}
    assert days["days"] == days["nights"] != set()
    assert len({request.run_key for request in requests}) == len(requests)


def test_a_check_waits_until_a_new_file_has_been_stable_for_the_settle_time(
    present: Shop, instance: DagsterInstance
) -> None:
    present.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "10s"})
    site, waited = present.site(), list[float]()
    present.deliver("Points_1.csv", GOOD, age=timedelta(seconds=1))

    def rest(seconds: float) -> None:
        waited.append(seconds)
        present.now += timedelta(seconds=seconds)

    due = find_new_items(site, site.project.require("points"), instance, tick="check", rest=rest)
    assert (len(due.run_keys), waited) == (1, [10.0])


@pytest.mark.parametrize(
    ("name", "changes", "tags", "words"),
    [
        ("points", {"source": {"connection": "uploads"}}, {}, "ingest run points --file F"),
        ("points", {}, {"ingest/dry_run": "true"}, "choose a partition"),
        ("pionts", {}, {}, "did you mean 'points'"),
        ("points", {"modus": "add_only"}, {}, "imports/points.yaml"),
    ],
)
def test_a_check_that_cannot_be_made_says_in_a_sentence_what_to_do(
    present: Shop, instance: DagsterInstance, name: str, changes: dict[str, Any], tags: dict[str, str], words: str
) -> None:
    present.write_import(**changes)
    check = _check(present, instance, "job", name, tags)
    assert not check.success
    [failed] = check.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert words in str(failed.step_failure_data.user_failure_data)


def test_a_source_that_does_not_answer_fails_the_check_and_nothing_is_requested(
    present: Shop, instance: DagsterInstance
) -> None:
    present.files.rmdir()
    check = _check(present, instance)
    assert not check.success
    assert isinstance(_tick(present, instance), SkipReason)


def test_old_checks_are_deleted_like_other_runs_that_loaded_nothing(present: Shop, instance: DagsterInstance) -> None:
    for _ in range(2):
        _check(present, instance)
        present.files.rename(present.files.with_name("gone"))
        _check(present, instance)
        present.files.with_name("gone").rename(present.files)
    present.now += KEPT_RUNS * 2
    assert prune_runs(present.site(), instance, present.now) == (4, "")
    assert instance.get_runs() == []


def test_a_range_of_partitions_in_one_run_says_what_to_launch(present: Shop, instance: DagsterInstance) -> None:
    _make_queries(present)
    day = f"{present.now - 3 * timedelta(days=1):%Y-%m-%d}"
    tags = {"dagster/asset_partition_range_start": day, "dagster/asset_partition_range_end": day}
    job = present.definitions().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[AssetKey(["customers", "days"])], tags=tags, instance=instance, raise_on_error=False
    )
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failures
    assert "a range of partitions" in str(failures[0].user_failure_data)


def _check(
    shop: Shop, instance: DagsterInstance, door: str = "asset", name: str = "points", tags: dict[str, str] | None = None
) -> ExecuteInProcessResult:
    definitions = shop.definitions()
    if door == "asset":
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[AssetKey(["customers", name])], instance=instance, raise_on_error=False, tags=tags
        )
    return definitions.resolve_job_def("ingest__check_now").execute_in_process(
        run_config={"import": name}, instance=instance, raise_on_error=False, tags=tags
    )


def _run(
    shop: Shop, instance: DagsterInstance, key: str, tags: Any = None, name: str = "points"
) -> ExecuteInProcessResult:
    return (
        shop.definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            asset_selection=[AssetKey(["customers", name])],
            partition_key=key,
            instance=instance,
            raise_on_error=False,
            tags=dict(tags or {}),
        )
    )


def _tick(shop: Shop, instance: DagsterInstance) -> object:
    site = shop.site()
    return sensor_tick(check_now_sensor(site, site.project.imports), instance)


def _requested(shop: Shop, instance: DagsterInstance) -> list[Any]:
    result = _tick(shop, instance)
    assert isinstance(result, SensorResult)
    return list(result.run_requests or ())


def _tag(instance: DagsterInstance, check: ExecuteInProcessResult) -> str | None:
    run = instance.get_run_by_id(check.run_id)
    assert run is not None
    return run.tags.get("ingest/check")


def _log(instance: DagsterInstance, check: ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(check.run_id))


def _make_queries(shop: Shop) -> None:
    """Three imports of one table in the target itself: the whole query, a cursor, and a window per day."""
    shop.add_vendor(shop_db=connection_to(shop.database_url))
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("CREATE TABLE visits (who text, n int, at timestamptz)")
        connection.execute(
            "INSERT INTO visits SELECT 'V' || n, n, now() - interval '1 day' FROM generate_series(1, 3) n"
        )
    columns = {"who": "customer_id", "n": {"field": "points", "type": "int"}}
    queries: dict[str, dict[str, Any]] = {
        "all_visits": {"query": "SELECT who, n FROM visits"},
        "new_visits": {
            "query": "SELECT who, n FROM visits WHERE n > {lastItem} ORDER BY n",
            "cursor": {"column": "n", "start": 0},
        },
        "days": {
            "query": "SELECT who, n FROM visits WHERE at >= {windowStart} AND at < {windowEnd}",
            "window": {"every": "day", "start": "2026-01-01"},
        },
    }
    for name, source in queries.items():
        shop.write_import(name, source={"connection": "shop_db", **source}, columns=columns)
