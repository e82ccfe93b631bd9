"""`ingest up`, end to end: what arrives on a real SFTP server is loaded by a real daemon, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
import pytest
import yaml

from ingest_pipelines_tests.orchestration.conftest import DATABASES, GOOD, IMPORT, ONE_BAD
from ingest_pipelines_tests.orchestration.served import Served, serve, wait_for
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.sftp import SftpServer

KEY = ("customers", "points")
VISITS = {
    "database": "customers",
    "source": {
        "connection": "shop_db",
        "query": "SELECT who, n FROM visits WHERE at >= {windowStart} AND at < {windowEnd}",
        "window": {"every": "day", "start": "2026-01-01"},
    },
    "columns": {"who": "customer_id", "n": {"field": "visits", "type": "int"}},
}


class Vendor:
    """An SFTP server that delivers, the target that it is loaded into, and the `ingest up` in between."""

    def __init__(self, home: Path, root: Path, database_url: str, served: Served) -> None:
        self.home, self.root, self.database_url, self.served = home, root, database_url, served

    def deliver(self, name: str, text: str) -> Path:
        """A file, complete since an hour and a little newer than the last one."""
        folder = self.root / "points"
        path = folder / name
        draft = self.root / f".{name}"
        draft.write_text(text, encoding="utf-8")
        newest = max((file.stat().st_mtime for file in folder.glob("*")), default=0.0)
        when = max(newest + 1, (datetime.now(UTC) - timedelta(hours=1)).timestamp())
        os.utime(draft, (when, when))
        draft.rename(path)
        return path

    def write_import(self, **changes: Any) -> None:
        source = {"connection": "vendor", "file": "points/Points", "settle": "1s"}
        text = yaml.safe_dump({**IMPORT, "source": source, "sensor": {"every": "5s"}, **changes})
        path = self.home / "imports" / "points.yaml"
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").rename(path)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement.encode())

    def wait_for_load(self, file: str, status: str) -> str:
        """The key of the file's item, once its last load has that status."""
        query = "SELECT item FROM ingest.loads WHERE item LIKE %s AND status = %s"
        [(key,)] = wait_for(lambda: self._loads(query, f"%{file}%", status), f"{file} {status}")
        return str(key)

    def _loads(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self.rows(query, *values)
        except psycopg.errors.UndefinedTable:
            return []


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    folder = tmp_path_factory.mktemp("served")
    root = Path(sftp_server.root) / uuid4().hex
    (root / "points").mkdir(parents=True)
    home = folder / "project"
    (home / "imports").mkdir(parents=True)
    connection = {
        "type": "sftp", "host": sftp_server.host, "port": sftp_server.port, "username": sftp_server.username,
        "private_key": {"env": "VENDOR_KEY"}, "host_key": sftp_server.host_key, "root": str(root),
    }  # fmt: skip
    (home / "databases.yaml").write_text(yaml.safe_dump(DATABASES))
    with postgres.fresh_database(postgres_url) as target, postgres.fresh_database(postgres_url) as runs:
        parts = urlsplit(target)
        shop_db = {
            "type": "postgresql", "host": parts.hostname, "port": parts.port, "database": parts.path[1:],
            "username": parts.username, "password": {"env": "SHOP_PW"},
        }  # fmt: skip
        drops = {
            "type": "s3", "bucket": "drops", "endpoint_url": "https://s3.example.com",
            "access_key_id": {"env": "DROPS_ID"}, "secret_access_key": {"env": "DROPS_SECRET"},
        }  # fmt: skip
        house = {"type": "snowflake", "account": "acme", "user": "etl", "password": {"env": "HOUSE_PW"}}
        connections = {"vendor": connection, "shop_db": shop_db, "drops": drops, "house": house}
        (home / "connections.yaml").write_text(yaml.safe_dump({"connections": connections}))
        (home / "imports" / "visits.yaml").write_text(yaml.safe_dump(VISITS))
        environment = {
            "INGEST_HOME": str(home), "INGEST_STATE": str(folder / "state"), "INGEST_DATABASE_URL": target,
            "INGEST_DAGSTER_URL": runs, "VENDOR_KEY": sftp_server.private_key,
            "SHOP_PW": str(parts.password), "DROPS_ID": "s3cret-id", "DROPS_SECRET": "s3cret-key",
            "HOUSE_PW": "s3cret-password",
        }  # fmt: skip
        Vendor(home, root, target, None).write_import()  # type: ignore[arg-type]
        with serve(environment, folder) as served:
            yield Vendor(home, root, target, served)


def test_a_file_that_arrives_is_loaded_by_the_daemons_sensor(vendor: Vendor) -> None:
    vendor.deliver("Points_1767225600.csv", GOOD)
    key = vendor.wait_for_load("Points_1767225600", "committed")
    assert vendor.rows("SELECT customer_id, tier, points FROM crm.customers ORDER BY 1") == [
        ("C1", "Gold", 10),
        ("C2", "Silver", 20),
    ]
    [run] = vendor.served.runs(key)
    assert vendor.served.wait_for_run(run["runId"])["status"] == "SUCCESS"


def test_a_failed_partition_run_again_from_the_ui_succeeds_once_the_cause_is_gone(vendor: Vendor) -> None:
    vendor.deliver("Points_1767225601.csv", ONE_BAD)
    key = vendor.wait_for_load("Points_1767225601", "failed")
    vendor.write_import(rejects={"max_rows": 1})
    run = vendor.served.materialize(KEY, key)
    assert vendor.served.wait_for_run(run)["status"] == "SUCCESS"
    assert vendor.rows("SELECT status, rejected FROM ingest.loads WHERE item = %s ORDER BY id", key) == [
        ("failed", 1),
        ("committed", 1),
    ]


def test_a_run_goes_on_from_its_failed_step_without_reading_the_source_again(vendor: Vendor) -> None:
    vendor.execute("CREATE SCHEMA IF NOT EXISTS crm")
    vendor.execute("CREATE TABLE IF NOT EXISTS crm.customers (customer_id varchar(64) PRIMARY KEY, points bigint)")
    vendor.execute("ALTER TABLE crm.customers ADD CONSTRAINT small CHECK (points < 1000)")
    file = vendor.deliver("Points_1767225602.csv", GOOD.replace(",20,", ",2000,"))
    key = vendor.wait_for_load("Points_1767225602", "failed")
    [failed] = vendor.served.runs(key)
    vendor.served.wait_for_run(failed["runId"])
    vendor.execute("ALTER TABLE crm.customers DROP CONSTRAINT small")
    file.unlink()
    again = vendor.served.wait_for_run(vendor.served.go_on_from_failure(failed["runId"]))
    assert again["status"] == "SUCCESS"
    assert not {"land", "validate"} & set(again["steps"])
    assert vendor.rows("SELECT points FROM crm.customers WHERE customer_id = 'C2'") == [(2000,)]


def test_a_run_killed_between_copy_and_commit_leaves_the_table_as_it_was_and_its_retry_completes_it(
    vendor: Vendor,
) -> None:
    vendor.execute("CREATE SCHEMA IF NOT EXISTS crm")
    vendor.execute("CREATE TABLE IF NOT EXISTS crm.customers (customer_id varchar(64) PRIMARY KEY, points bigint)")
    vendor.execute("INSERT INTO crm.customers (customer_id, points) VALUES ('C1', 1) ON CONFLICT DO NOTHING")
    before = vendor.rows("SELECT * FROM crm.customers ORDER BY customer_id")
    with psycopg.connect(vendor.database_url) as holder:
        holder.execute("LOCK TABLE crm.customers IN EXCLUSIVE MODE")
        vendor.deliver("Points_1767225603.csv", GOOD.replace("Gold", "Platinum"))
        os.kill(wait_for(lambda: _process_that_waits_for_a_lock(vendor), "a merge that waits"), signal.SIGKILL)
        key = wait_for(lambda: vendor.rows("SELECT key FROM ingest.items WHERE key LIKE '%%1767225603%%'"))[0][0]
        wait_for(lambda: "FAILURE" in {run["status"] for run in vendor.served.runs(key)}, "the death to be noticed")
        assert vendor.rows("SELECT * FROM crm.customers ORDER BY customer_id") == before
        assert vendor.rows("SELECT * FROM ingest.loads WHERE item = %s", key) == []
    assert vendor.wait_for_load("Points_1767225603", "committed") == key
    assert vendor.rows("SELECT tier FROM crm.customers WHERE customer_id = 'C1'") == [("Platinum",)]


def test_the_pages_of_resources_show_connections_and_no_secret(vendor: Vendor) -> None:
    query = """query($r: RepositorySelector!) { allTopLevelResourceDetailsOrError(repositorySelector: $r) {
        ... on ResourceDetailsList { results {
            name description resourceType configuredValues { key value type } configFields { name defaultValueAsJson }
        } } } }"""
    repository = {"repositoryLocationName": "ingest_pipelines", "repositoryName": "__repository__"}
    found = vendor.served.ask(query, r=repository)["allTopLevelResourceDetailsOrError"]["results"]
    shown = {resource["name"]: resource for resource in found}
    assert {"drops", "house"} < set(shown)
    assert "dagster_aws.s3.S3Resource" in shown["drops"]["description"]
    assert "https://s3.example.com" in shown["drops"]["description"]
    assert "env: DROPS_SECRET" in shown["drops"]["description"]
    assert "s3cret" not in str(found)


@pytest.mark.slow
def test_a_backfill_of_windows_runs_them_one_after_the_other_in_order(vendor: Vendor) -> None:
    vendor.execute("CREATE TABLE visits (who text, n int, at timestamptz)")
    vendor.execute(
        "INSERT INTO visits SELECT 'C' || n, n, timestamptz '2026-01-01' + n * interval '6 h'"
        " FROM generate_series(0, 11) n"
    )
    keys = ["2026-01-01", "2026-01-02", "2026-01-03"]
    backfill = vendor.served.backfill(("customers", "visits"), keys)
    wait_for(lambda: vendor.served.ended(backfill), "the backfill")
    runs = sorted((run for key in keys for run in vendor.served.runs(key)), key=lambda run: str(run["startTime"]))
    assert [run["status"] for run in runs] == ["SUCCESS"] * 3
    assert [run["tags"]["dagster/partition"] for run in runs] == keys
    assert [run["tags"]["ingest/connection"] for run in runs] == ["shop_db"] * 3
    assert all(before["endTime"] <= after["startTime"] for before, after in pairwise(runs))
    assert vendor.rows("SELECT count(*), sum(visits) FROM crm.customers WHERE visits IS NOT NULL") == [(12, 66)]


def _process_that_waits_for_a_lock(vendor: Vendor) -> int | None:
    """The process whose load has copied its rows and waits for the table."""
    waiting = vendor.rows(
        "SELECT client_port FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'ingest_pipelines: %%'"
        " AND wait_event_type = 'Lock'"
    )
    ports = {port for (port,) in waiting}
    for process in psutil.Process(vendor.served.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(link.laddr and link.laddr.port in ports for link in process.net_connections("tcp")):
                return int(process.pid)
    return None
