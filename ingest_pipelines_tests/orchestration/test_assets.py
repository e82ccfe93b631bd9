"""What a run of an import does, and what the Dagster UI shows of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from dagster import AssetCheckSeverity, AssetKey, DagsterEventType, DagsterInstance, TableSchema

from ingest_pipelines.merge.early_load import EarlyLoad
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.model import Validated
from ingest_pipelines.orchestration import early_loads
from ingest_pipelines.orchestration.io_managers import target
from ingest_pipelines.rules.codes import FAMILIES
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, IMPORT, ONE_BAD, Shop, go_on, verdicts

KEY = AssetKey(["customers", "points"])
_MINUTE = timedelta(minutes=1)


def test_a_run_merges_the_item_and_its_materialization_says_how(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    assert shop.run(instance, item).success
    assert shop.rows("SELECT customer_id, tier, points FROM crm.customers ORDER BY 1") == [
        ("C1", "Gold", 10),
        ("C2", "Silver", 20),
    ]
    shown = _shown(instance)
    assert (shown["status"], shown["read"], shown["inserted"], shown["rejected"]) == ("committed", 2, 2, 0)
    assert shown["dagster/partition_row_count"] == 2
    assert shown["uri"] == item.uri
    assert shop.stages == ["land", "validate", "merge"]


def test_the_assets_page_has_its_table_and_columns_before_the_first_load(shop: Shop) -> None:
    [spec] = [spec for spec in shop.definitions().resolve_all_asset_specs() if spec.key == KEY]
    assert spec.metadata["dagster/table_name"].value == "crm.customers"
    assert [(column.name, column.type) for column in spec.metadata["dagster/column_schema"].value.columns] == [
        ("customer_id", "character varying(64)"),
        ("tier", "character varying(20)"),
        ("points", "bigint"),
        ("joined_on", "date"),
    ]


def test_rejects_above_the_limit_fail_the_run_before_anything_is_merged(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    result = shop.run(instance, item)
    assert not result.success
    [failed] = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert failed.step_key == "customers__points.validate"
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    assert told.description is not None
    assert f"import points, item {item.key}" in told.description
    assert "ingest rejects list points" in told.description
    assert "many" not in told.description
    assert instance.get_latest_materialization_event(KEY) is None
    assert shop.rows("SELECT to_regclass('crm.customers')") == [(None,)]
    assert shop.rows("SELECT status, read, rejected FROM ingest.loads") == [("failed", 2, 1)]
    assert shop.rows("SELECT line, field, code FROM ingest.rejects") == [(3, "points", "bad_int")]


def test_the_checks_of_a_failed_run_name_the_broken_family(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    result = shop.run(instance, shop.arrive(instance))
    passed = {name: verdict.passed for name, verdict in verdicts(instance, result.run_id).items()}
    assert passed == {
        "keys": True, "types": False, "dates": True, "text": True, "volume": True, "reject_rate": True,
        "columns": True, "table": True,
    }  # fmt: skip


def test_the_checks_of_an_import_judge_its_own_rows_by_its_own_rules(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(rejects={"max_rows": 1})
    shop.deliver("Points_1.csv", ONE_BAD)
    undated = {column: field for column, field in IMPORT["columns"].items() if column != "Joined"}
    shop.write_import("loyalty", columns=undated, source={**IMPORT["source"], "file": "points/Loyalty"})
    shop.deliver("Loyalty_1.csv", "CID,Tier,Points\nC3,Gold,10\n")
    ran = {name: shop.run(instance, shop.arrive(instance, name)) for name in ("points", "loyalty")}
    checks = {name: verdicts(instance, result.run_id) for name, result in ran.items()}
    assert checks["points"].keys() - checks["loyalty"].keys() == {"dates"}
    assert {name: of_import["types"].passed for name, of_import in checks.items()} == {"points": False, "loyalty": True}
    assert {each.asset_key.path[-1] for each in checks["loyalty"].values()} == {"loyalty"}


def test_rejects_within_the_limit_warn_and_the_good_rows_are_merged(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(rejects={"max_rows": 1})
    shop.deliver("Points_1.csv", ONE_BAD)
    result = shop.run(instance, shop.arrive(instance))
    assert result.success
    assert shop.rows("SELECT customer_id FROM crm.customers") == [("C1",)]
    checks = verdicts(instance, result.run_id)
    assert (checks["types"].passed, checks["types"].severity) == (False, AssetCheckSeverity.WARN)
    assert checks["keys"].passed
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["ingest/status"] == "completed_with_rejects"
    [record] = _shown(instance)["rejects"]
    assert record.data == {
        "line": 3, "key": "a9", "field": "points", "code": "bad_int", "reason": record.data["reason"], "value": "aaaa",
    }  # fmt: skip


def test_the_ui_never_shows_a_personal_value(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(
        rejects={"unlimited": True},
        columns={"CID": "customer_id", "Tier": "email", "Points": {"field": "points", "type": "int"}},
    )
    shop.deliver("Points_1.csv", f"{HEADER}\nC1,private.address,1,2024-05-01\n")
    result = shop.run(instance, shop.arrive(instance))
    assert result.success
    assert "private.address" not in "\n".join(str(event) for event in instance.all_logs(result.run_id))


def test_every_check_has_its_numbers(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(rejects={"max_rows": 1})
    shop.deliver("Points_1.csv", ONE_BAD)
    checks = verdicts(instance, shop.run(instance, shop.arrive(instance)).run_id)
    for family in ("keys", "types", "dates", "text"):
        numbers = {code: value.value for code, value in checks[family].metadata.items()}
        assert numbers == {code: int(code == "bad_int") for code in FAMILIES[family]}


def test_the_tables_page_has_its_columns_as_they_are_with_words_for_each(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    shop.run(instance, shop.arrive(instance))
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("ALTER TABLE crm.customers ADD COLUMN note text")
    shop.deliver("Points_2.csv", GOOD.replace("20", "30"))
    shop.run(instance, shop.arrive(instance))
    event = instance.get_latest_materialization_event(AssetKey(["table", "crm", "customers"]))
    assert event is not None
    assert event.asset_materialization is not None
    schema = event.asset_materialization.metadata["dagster/column_schema"].value
    assert isinstance(schema, TableSchema)
    assert {column.name: column.type for column in schema.columns} == {
        "customer_id": "character varying(64)", "tier": "character varying(20)", "email": "text", "points": "bigint",
        "joined_on": "date", "note": "text", "profile_id": "bigint",
    }  # fmt: skip
    words = {column.name: column.description for column in schema.columns}
    assert words["points"] == "Filled by points (from Points)."
    assert words["note"] is None


def test_a_refused_item_says_which_line_and_is_not_tried_again(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", f'{HEADER}\nC1,"Gold,10,2024-05-01\n')
    result = shop.run(instance, shop.arrive(instance))
    [failed] = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert "line 2" in str(failed.step_failure_data.user_failure_data)
    assert not result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_UP_FOR_RETRY)
    assert shop.rows("SELECT status FROM ingest.loads") == [("refused",)]


def test_a_busy_target_is_tried_again_until_it_is_free(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    shop.run(instance, shop.arrive(instance))
    shop.deliver("Points_2.csv", GOOD.replace("Gold", "Bronze"), age=_MINUTE)
    item = shop.arrive(instance)
    with psycopg.connect(shop.database_url) as holder:
        holder.execute("LOCK TABLE crm.customers IN ACCESS EXCLUSIVE MODE")

        def free_at_second_try(stage: str) -> None:
            tries.append(stage)
            if tries.count("merge") == 2:
                holder.rollback()

        tries: list[str] = []
        result = shop.run(instance, item, defs=shop.definitions(watch=free_at_second_try, lock_timeout_seconds=0.1))
    assert result.success
    assert tries == ["land", "validate", "merge", "merge"]
    assert shop.rows("SELECT tier FROM crm.customers WHERE customer_id = 'C1'") == [("Bronze",)]


def test_files_of_a_committed_load_are_removed_and_those_of_a_failed_one_wait(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    done = shop.run(instance, shop.arrive(instance))
    assert not list((shop.state / "spool").glob(f"{done.run_id}/*"))
    assert {path.suffix for path in (shop.state / "spill" / done.run_id).iterdir()} == {".handle"}
    shop.deliver("Points_2.csv", ONE_BAD, age=_MINUTE)
    failed = shop.run(instance, shop.arrive(instance))
    assert list((shop.state / "spool").glob(f"{failed.run_id}/*"))


def test_a_loaded_file_is_moved_into_the_archive_and_a_failed_one_stays(shop: Shop, instance: DagsterInstance) -> None:
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "archive": "points/done"}
    shop.write_import(source=source)
    shop.deliver("Points_1.csv", ONE_BAD)
    assert not shop.run(instance, shop.arrive(instance)).success
    assert sorted(path.relative_to(shop.files).as_posix() for path in shop.files.rglob("*.csv")) == [
        "points/Points_1.csv"
    ]
    shop.now += _MINUTE
    shop.deliver("Points_2.csv", GOOD)
    assert shop.run(instance, shop.arrive(instance)).success
    assert sorted(path.relative_to(shop.files).as_posix() for path in shop.files.rglob("*.csv")) == [
        "points/Points_1.csv",
        "points/done/Points_2.csv",
    ]


def test_a_partition_added_by_hand_is_explained(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    shop.rows("SELECT 1")
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("DELETE FROM ingest.items")
    result = shop.run(instance, item)
    [failed] = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert "the ledger has no item" in str(failed.step_failure_data.user_failure_data)


def _shown(instance: DagsterInstance) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    return {
        name: getattr(value, "records", None) or getattr(value, "schema", None) or value.value
        for name, value in event.asset_materialization.metadata.items()
    }


def test_a_large_item_is_loaded_while_it_is_validated(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []

    class Watched(EarlyLoad):
        def take(self, validated: Validated) -> tuple[LoadState, psycopg.Connection] | None:
            load = super().take(validated)
            taken.append(load is not None and load[0].early == "merged")
            return load

    monkeypatch.setattr(early_loads, "LARGE", 0)
    monkeypatch.setattr("ingest_pipelines.merge.early_load.EarlyLoad", Watched)
    shop.write_import(rejects={"unlimited": True})
    shop.deliver("Points_1.csv", f"{HEADER}\nC1,Gold,10,\nC2,Gold,many,\nC3,Gold,1,\nC3,Silver,2,\nC4,,4,\n")
    assert shop.run(instance, shop.arrive(instance)).success
    assert shop.rows("SELECT customer_id, tier, points FROM crm.customers ORDER BY 1") == [
        ("C1", "Gold", 10),
        ("C4", None, 4),
    ]
    assert shop.rows("SELECT line, code FROM ingest.rejects ORDER BY 1") == [
        (3, "bad_int"), (4, "duplicate_key"), (5, "duplicate_key"),
    ]  # fmt: skip
    shop.write_import()
    shop.deliver("Points_2.csv", ONE_BAD, age=timedelta(minutes=30))
    assert not shop.run(instance, shop.arrive(instance)).success
    assert taken == [True]
    assert shop.rows(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    ) == [(0,)]


@pytest.mark.parametrize("point", ["write_report", "forget_rows", "table_metadata"])
def test_a_run_that_dies_after_its_commit_is_ended_well_by_its_retry(
    shop: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Whether its rows are still on disk or not: the retry goes on from the merge."""
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(kept_instance)
    works = getattr(target, point)

    def dies(*arguments: Any) -> None:
        works(*arguments)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(target, point, dies)
        died = shop.run(kept_instance, item)
    assert not died.success
    go_on(shop.definitions(), died.run_id, kept_instance)
    assert {status for (status,) in shop.rows("SELECT status FROM ingest.loads")} == {"committed"}
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(2,)]
    assert kept_instance.get_materialized_partitions(KEY) == {str(item.key)}
