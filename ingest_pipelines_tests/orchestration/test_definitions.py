"""The code location: what it holds, what it costs to load, and that one bad YAML file never takes it down."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetKey, Definitions, FreshnessPolicy

from ingest_pipelines.errors import ConfigError
from ingest_pipelines.orchestration.definitions import build_definitions
from ingest_pipelines_tests.orchestration.conftest import IMPORT, Shop

POINTS = {
    "group": "customers",
    "owners": ["team:crm"],
    "tags": ["ingest/connection", "ingest/import", "tills"],
    "checks": ["columns", "dates", "keys", "reject_rate", "table", "text", "types", "volume"],
    "ops": ["ingest__land", "ingest__merge_crm__customers", "ingest__validate_crm__customers"],
    "pools": ["target_crm_customers"],
    "downstream": ["table/crm/customers"],
}
HEAVY = (
    "dagster_aws", "dagster_gcp", "dagster_snowflake", "pandas", "pandera", "snowflake.connector", "boto3",
    "google.cloud.storage", "paramiko",
)  # fmt: skip


def test_everything_that_dagster_shows_of_a_project(shop: Shop) -> None:
    shop.add_vendor()
    shop.write_import("tills", source={"connection": "vendor", "file": "tills/Points"}, status="paused")
    shop.write_import(
        "loyalty",
        source={"connection": "vendor", "file": "loyalty/Customers"},
        schedule={"every": "6h", "start": "2026-11-22T06:30", "timezone": "Europe/London"},
        sensor={"every": "5m"},
    )
    assert _snapshot(shop.definitions()) == {
        "assets": {
            "customers/loyalty": {
                "kinds": ["postgres", "sftp"], "partitions": "customers/loyalty", **POINTS,
                "checks": ["columns", "dates", "freshness", "keys", "reject_rate", "table", "text", "types", "volume"],
                "upstream": ["source/vendor/loyalty/Customers"],
            },
            "customers/points": {
                "kinds": ["csv", "postgres"], "partitions": "customers/points", **POINTS,
                "upstream": ["source/uploads/points/Points"],
            },
            "customers/tills": {
                "kinds": ["postgres", "sftp"], "partitions": "customers/tills", **POINTS,
                "upstream": ["source/vendor/tills/Points"],
            },
        },
        "sensors": {
            "customers__loyalty__files": [300, "RUNNING"],
            "customers__tills__files": [60, "RUNNING"],
            "ingest__check_now_runs": [5, "RUNNING"],
            "ingest__housekeeping": [120, "RUNNING"],
        },
        "schedules": {"customers__loyalty__schedule": [["30 0,6,12,18 * * *"], "Europe/London", "RUNNING"]},
        "jobs": ["ingest__check_now"],
        "resources": ["ingest__handles", "ingest__site", "ingest__target"],
    }  # fmt: skip


def test_automation_off_starts_nothing_by_itself(shop: Shop) -> None:
    shop.add_vendor()
    shop.write_import(source={"connection": "vendor", "file": "tills/Points"}, schedule={"every": "1h"})
    shown = _snapshot(shop.definitions(automation=False))
    on = [name for name, (_, status) in shown["sensors"].items() if status != "STOPPED"]
    assert on == ["ingest__check_now_runs"]  # which requests what a person asked for, and nothing else
    assert {status for _, _, status in shown["schedules"].values()} == {"STOPPED"}


def test_an_import_that_is_due_regularly_has_a_freshness_policy(shop: Shop) -> None:
    shop.add_vendor()
    shop.write_import(source={"connection": "vendor", "file": "tills/Points"}, schedule={"every": "6h"})
    shop.write_import("whenever")
    graph = shop.definitions().resolve_asset_graph()
    policy = graph.get(AssetKey(["customers", "points"])).freshness_policy_or_from_metadata
    assert policy == FreshnessPolicy.time_window(fail_window=timedelta(hours=7.5))
    assert graph.get(AssetKey(["customers", "whenever"])).freshness_policy_or_from_metadata is None


def test_a_cursor_whose_quiet_source_needs_no_runs_has_no_freshness_policy_and_keeps_its_check(shop: Shop) -> None:
    shop.add_vendor(shop_db={"type": "postgresql", "host": "db.example.com", "database": "shop", "username": "ingest"})
    for lag in (0, 10):
        source = {
            "connection": "shop_db",
            "query": "SELECT * FROM tills WHERE n > {lastItem} ORDER BY n LIMIT 10",
            "cursor": {"column": "n", "start": 0, "lag": lag},
        }
        shop.write_import(f"lag_{lag}", source=source, schedule={"every": "6h"})
    definitions = shop.definitions()
    graph = definitions.resolve_asset_graph()
    policies = {
        lag: graph.get(AssetKey(["customers", f"lag_{lag}"])).freshness_policy_or_from_metadata for lag in (0, 10)
    }
    assert policies == {0: None, 10: FreshnessPolicy.time_window(fail_window=timedelta(hours=7.5))}
    checks = {(key.asset_key.path[-1], key.name) for key in graph.asset_check_keys}
    assert {("lag_0", "freshness"), ("lag_10", "freshness")} <= checks


def test_a_bad_yaml_file_is_a_placeholder_that_shows_its_mistakes(shop: Shop) -> None:
    (shop.home / "imports" / "loyalty.yaml").write_text(yaml.safe_dump({**IMPORT, "modus": "add_only"}))
    graph = shop.definitions().resolve_asset_graph()
    broken = graph.get(AssetKey(["customers", "loyalty"]))
    assert "imports/loyalty.yaml" in str(broken.description)
    assert "did you mean 'mode'" in str(broken.description)
    assert broken.kinds == {"invalid"}
    assert graph.has(AssetKey(["customers", "points"]))


def test_two_imports_whose_names_are_one_in_dagster_do_not_take_the_location_down(shop: Shop) -> None:
    databases = yaml.safe_load((shop.home / "databases.yaml").read_text())["databases"]
    other = {**databases["customers"], "table": "crm.others"}
    databases = {"databases": {"customers": databases["customers"], "customers__vip": other}}
    (shop.home / "databases.yaml").write_text(yaml.safe_dump(databases))
    shop.write_import("points", database="customers__vip")
    shop.write_import("vip__points")
    graph = shop.definitions().get_repository_def().asset_graph
    assert graph.has(AssetKey(["customers__vip", "points"]))
    assert "customers__vip__points" in str(graph.get(AssetKey(["invalid", "vip__points"])).description)


def test_a_schedule_that_dagster_cannot_take_is_a_placeholder_too(shop: Shop) -> None:
    """30 February is valid cron, however it is written, and Dagster refuses a schedule without ticks."""
    shop.add_vendor()
    shop.write_import(
        "loyalty",
        source={"connection": "vendor", "file": "loyalty/Customers"},
        schedule={"cron": "0 6 30 2/12 *"},
    )
    definitions = shop.definitions()
    graph = definitions.resolve_asset_graph()
    assert "0 6 30 2/12 *" in str(graph.get(AssetKey(["invalid", "loyalty"])).description)
    assert graph.has(AssetKey(["customers", "points"]))
    assert not definitions.schedules


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("imports/loyalty.yaml", "database: customers\n"),
        ("notify.yaml", "groups: {crm: {too: []}}\n"),
        ("connections.yaml", "connections: {unused: {type: sftp}}\n"),
        ("databases.yaml", "databases: {unused: {tabel: crm.unused}}\n"),
    ],
)
def test_validation_fails_on_the_mistakes_that_the_location_survives(shop: Shop, file: str, text: str) -> None:
    """In whatever file they are, also where no import needs that part; and says in which project."""
    for name in ("connections", "databases"):
        if file == f"{name}.yaml":
            text = yaml.safe_dump(
                {name: yaml.safe_load((shop.home / file).read_text())[name] | yaml.safe_load(text)[name]}
            )
    (shop.home / file).write_text(text)
    site = shop.site()
    build_definitions(site)
    with pytest.raises(ConfigError, match=re.escape(file)) as raised:
        build_definitions(replace(site, settings=replace(site.settings, validating=True)))
    assert f"INGEST_HOME={shop.home} ingest check" in raised.value.hint


def test_loading_the_code_location_imports_no_connector(shop: Shop) -> None:
    house = {"type": "snowflake", "account": "acme", "user": "etl", "password": {"env": "HOME"}}
    shop.add_vendor(drops={"type": "s3", "bucket": "drops"}, lake={"type": "gcs", "bucket": "lake"}, house=house)
    shop.write_import(source={"connection": "vendor", "file": "tills/Points"})
    code = "import json, sys, ingest_pipelines.definitions; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "INGEST_HOME": str(shop.home)},
        cwd=shop.home,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(found.stdout)
    assert "ingest_pipelines.orchestration.definitions" in loaded
    assert [name for name in loaded if name in HEAVY] == []


def test_the_repositorys_dagster_yaml_is_the_packaged_one() -> None:
    root = Path(__file__).parents[2]
    packaged = root / "ingest_pipelines" / "orchestration" / "dagster.yaml"
    assert (root / "dagster.yaml").read_text() == packaged.read_text()


def _snapshot(defs: Definitions) -> dict[str, Any]:
    repository = defs.get_repository_def()
    graph = defs.resolve_asset_graph()
    assets: dict[str, object] = {}
    for key in sorted(graph.materializable_asset_keys):
        node = graph.get(key)
        definition = node.assets_def.node_def
        ops = {op.name: op for op in definition.iterate_op_defs()}
        assets[key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "tags": sorted(tag for tag in node.tags if not tag.startswith("dagster/")),
            "partitions": getattr(node.partitions_def, "name", None),
            "checks": sorted(check.name for check in node.check_keys),
            "ops": sorted(ops),
            "pools": sorted(op.pool for op in ops.values() if op.pool),
            "upstream": sorted(parent.to_user_string() for parent in node.parent_keys),
            "downstream": sorted(child.to_user_string() for child in node.child_keys),
        }
    return {
        "assets": assets,
        "sensors": {
            sensor.name: [sensor.minimum_interval_seconds, sensor.default_status.value]
            for sensor in repository.sensor_defs
        },
        "schedules": {
            schedule.name: [schedule.cron_schedule, schedule.execution_timezone, schedule.default_status.value]
            for schedule in repository.schedule_defs
        },
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "resources": sorted(repository.get_top_level_resources()),
    }
