"""`ingest up`, end to end: what arrives on a real SFTP server is loaded by a real daemon, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import psutil
import psycopg
import pytest

from ingest_pipelines_tests.guarantees.on_call.wall_clock import WallClock
from ingest_pipelines_tests.open_to_others import open_to_others
from ingest_pipelines_tests.orchestration.conftest import GOOD, IMPORT, ONE_BAD
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.vendor import KEY, VISITS, Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

NAPS = {
    **VISITS,
    "source": {
        "connection": "shop_db",
        "query": "SELECT who, n, pg_sleep(600)::text AS nap FROM visits WHERE at >= {windowStart} AND at < {windowEnd}",
        "window": {"every": "day", "start": "2026-01-01"},
    },
}
"""A query that takes longer than anybody waits."""
DRAFT: dict[str, Any] = {
    **IMPORT,
    "source": {"connection": "vendor", "settle": "1s"},
    "sensor": {"every": "5s"},
    "schedule": {"every": "24h"},
    "status": "draft",
}
OFF = {"sensor": "STOPPED", "schedule": "STOPPED"}
ON = {"sensor": "RUNNING", "schedule": "RUNNING"}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    """The clock of `ingest up` and all of its processes."""
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def vendor(
    tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str, clock: WallClock
) -> Iterator[Vendor]:
    folder = tmp_path_factory.mktemp("served")
    with vendor_of(folder, sftp_server, postgres_url, more=clock.environment) as vendor:
        vendor.write("naps", NAPS)
        for name in ("by_job", "by_asset"):
            vendor.write(name, {**VISITS, "source": {"connection": "shop_db", "query": "SELECT who, n FROM visits"}})
        for name in ("loyalty", "quiet"):
            vendor.write(name, {**DRAFT, "source": {**DRAFT["source"], "file": f"points/{name}"}})
        vendor.execute("CREATE TABLE visits (who text, n int, at timestamptz)")
        with vendor.up():
            yield vendor


def test_a_file_that_arrives_is_loaded_by_the_daemons_sensor(vendor: Vendor) -> None:
    vendor.deliver("Points_1767225600.csv", GOOD)
    key = vendor.wait_for_load("Points_1767225600", "committed")
    assert vendor.rows("SELECT customer_id, tier, points FROM crm.customers ORDER BY 1") == [
        ("C1", "Gold", 10),
        ("C2", "Silver", 20),
    ]
    [run] = vendor.served.runs(key)
    assert vendor.served.wait_for_run(run["runId"])["status"] == "SUCCESS"


def test_nobody_else_reaches_what_the_daemon_and_its_runs_left(vendor: Vendor) -> None:
    vendor.write_import()
    vendor.deliver("Points_1767225599.csv", ONE_BAD)
    vendor.wait_for_load("Points_1767225599", "failed")
    state = vendor.folder / "state"
    assert {path.name for path in state.iterdir()} >= {"dagster", "runs", "spill", "spool", "up.lock"}
    assert open_to_others(state) == []


def test_nothing_listens_to_other_machines(vendor: Vendor) -> None:
    ours = psutil.Process(vendor.served.process.pid)
    family = (ours, *ours.children(recursive=True))
    listening = {link.laddr.ip for process in family for link in _links(process) if link.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_no_process_carries_the_targets_address(vendor: Vendor) -> None:
    family = psutil.Process(vendor.served.process.pid).children(recursive=True)
    assert len(family) > 3
    carriers = [child.cmdline() for child in family if vendor.database_url in _environ(child)]
    assert carriers == []


def _links(process: psutil.Process) -> list[Any]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.net_connections("tcp"))
    return []


def _environ(process: psutil.Process) -> set[str]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return set(process.environ().values())
    return set()


def test_no_image_of_a_page_elsewhere_changes_anything(vendor: Vendor) -> None:
    query = urlencode({"query": 'mutation { setConcurrencyLimit(concurrencyKey: "stolen", limit: 0) }'})
    for method, host in (("GET", f"127.0.0.1:{vendor.served.port}"), ("POST", "evil.example")):
        connection = HTTPConnection("127.0.0.1", vendor.served.port, timeout=60)
        connection.request(method, f"/graphql?{query}", headers={"Host": host, "Content-Type": "application/json"})
        assert connection.getresponse().status in {403, 405}
        connection.close()
    limits = vendor.served.ask("{ instance { concurrencyLimits { concurrencyKey } } }")["instance"]["concurrencyLimits"]
    assert "stolen" not in {limit["concurrencyKey"] for limit in limits}


def test_an_activated_draft_is_switched_on_and_loads_what_lies_there_unless_a_person_switched_it_off(
    vendor: Vendor,
) -> None:
    loyalty, quiet = "customers__loyalty", "customers__quiet"
    vendor.deliver("loyalty_1767225600.csv", GOOD)
    vendor.served.switch_sensor(quiet, on=True)
    vendor.served.switch_sensor(quiet, on=False)
    assert (vendor.served.switches(loyalty), vendor.served.switches(quiet)) == (OFF, OFF)
    for name in ("quiet", "loyalty"):
        command = [sys.executable, "-c", "from ingest_pipelines.cli import main; main()", "activate", name, "--yes"]
        subprocess.run(command, env={**os.environ, **vendor.environment}, check=True, capture_output=True)
    key = vendor.wait_for_load("loyalty_1767225600", "committed")
    [run] = vendor.served.runs(key)
    assert run["tags"]["ingest/by"] == "sensor"
    assert vendor.served.switches(loyalty) == ON
    assert vendor.served.switches(quiet) == {"sensor": "STOPPED", "schedule": "RUNNING"}


def test_a_check_that_a_person_or_another_system_launches_loads_what_is_new(vendor: Vendor) -> None:
    vendor.execute("INSERT INTO visits VALUES ('V1', 1, '2025-12-01')")
    checks = {
        "by_job": vendor.served.launch("ingest__check_now", config={"import": "by_job"}),
        "by_asset": vendor.served.launch(assets=[("customers", "by_asset")]),
    }
    for name, run in checks.items():
        assert vendor.served.wait_for_run(run)["status"] == "SUCCESS"
        loaded = "SELECT read FROM ingest.loads WHERE import = %s AND status IN ('committed', 'skipped')"
        assert wait_for(partial(vendor.rows, loaded, name), f"a load of {name}") == [(1,)]
        [key] = vendor.rows("SELECT key FROM ingest.items WHERE import = %s", name)[0]
        assert {run["tags"]["ingest/by"] for run in vendor.served.runs(key)} == {"check_now"}


def test_a_failed_partition_run_again_from_the_ui_succeeds_once_the_cause_is_gone(vendor: Vendor) -> None:
    vendor.write_import()
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
    vendor.write_import()  # which allows no rejects, so that a row that the table refuses fails the load
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


@pytest.mark.slow
def test_a_clock_that_is_set_back_keeps_no_sensor_waiting(vendor: Vendor, clock: WallClock) -> None:
    """By half an hour: the next file is loaded within a minute, and the log of `ingest up` says what was done."""
    assert clock.environment, "a clock that can be set takes a C compiler"
    daemon = vendor.served.child("orchestration.daemon").pid
    clock.jump(-1800)
    wait_for(lambda: not psutil.pid_exists(daemon), "the daemon that waits to end")
    vendor.deliver("Points_1767225608.csv", GOOD)
    begun = time.monotonic()
    vendor.wait_for_load("Points_1767225608", "committed")
    assert time.monotonic() - begun < 60
    assert "dagster-daemon ended because the clock was set back and is started again" in vendor.served.log.read_text()
    clock.jump(0)


def test_the_pages_of_resources_show_connections_and_no_secret(vendor: Vendor) -> None:
    query = """query($r: RepositorySelector!) { allTopLevelResourceDetailsOrError(repositorySelector: $r) {
        ... on ResourceDetailsList { results {
            name description resourceType configuredValues { key value type } configFields { name defaultValueAsJson }
        } } } }"""
    repository = {"repositoryLocationName": "ingest_pipelines", "repositoryName": "__repository__"}
    found = vendor.served.ask(query, r=repository)["allTopLevelResourceDetailsOrError"]["results"]
    shown = {resource["name"]: resource for resource in found}
    assert {"ingest__drops", "ingest__house"} < set(shown)
    description = shown["ingest__drops"]["description"]
    assert "dagster_aws.s3.S3Resource" in description
    assert "https://s3.example.com" in description
    assert "env: DROPS_SECRET" in description
    assert "s3cret" not in str(found)


@pytest.mark.slow
def test_a_backfill_of_windows_runs_them_one_after_the_other_in_order(vendor: Vendor) -> None:
    vendor.execute(
        "INSERT INTO visits SELECT 'W' || n, n, timestamptz '2026-01-01' + n * interval '6 h'"
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
    assert vendor.rows("SELECT count(*), sum(visits) FROM crm.customers WHERE customer_id LIKE 'W%%'") == [(12, 66)]


@pytest.mark.slow
def test_failed_files_run_again_by_one_backfill_in_the_order_of_their_delivery(vendor: Vendor) -> None:
    """Materialize failed and missing: each is loaded before a newer one could make it stale."""
    vendor.write_import()
    keys = []
    for number, tier in ((4, "Bronze"), (5, "Silver"), (6, "Gold")):
        vendor.deliver(f"Points_176722560{number}.csv", ONE_BAD.replace("Gold", tier))
        keys.append(vendor.wait_for_load(f"Points_176722560{number}", "failed"))
    vendor.write_import(rejects={"max_rows": 1})
    backfill = vendor.served.backfill(KEY, [keys[2], keys[0], keys[1]])
    wait_for(lambda: vendor.served.ended(backfill), "the backfill")
    committed = "SELECT item FROM ingest.loads WHERE item = ANY(%s) AND status = 'committed' ORDER BY id"
    assert [item for (item,) in vendor.rows(committed, keys)] == keys
    assert vendor.rows("SELECT tier FROM crm.customers WHERE customer_id = 'C1'") == [("Gold",)]


@pytest.mark.slow
def test_a_run_that_is_terminated_while_it_reads_cancels_its_query_and_is_not_tried_again(vendor: Vendor) -> None:
    vendor.execute("INSERT INTO visits VALUES ('C1', 1, '2026-01-05')")
    run = vendor.served.materialize(("customers", "naps"), "2026-01-05")
    sleeping = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE query LIKE '%%pg_sleep%%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    wait_for(lambda: vendor.rows(sleeping), "the query")
    vendor.served.terminate(run)
    assert vendor.served.wait_for_run(run)["status"] == "CANCELED"
    assert vendor.rows(sleeping) == []
    assert vendor.rows("SELECT * FROM ingest.loads WHERE import = 'naps'") == []
    assert [each["runId"] for each in vendor.served.runs("2026-01-05")] == [run]


@pytest.mark.slow
def test_a_run_that_is_terminated_while_it_merges_leaves_the_table_as_it_was(vendor: Vendor) -> None:
    vendor.execute("INSERT INTO visits VALUES ('C77', 77, '2026-01-06')")
    vendor.execute("CREATE SCHEMA IF NOT EXISTS crm")
    vendor.execute("CREATE TABLE IF NOT EXISTS crm.customers (customer_id varchar(64) PRIMARY KEY, points bigint)")
    before = vendor.rows("SELECT * FROM crm.customers ORDER BY customer_id")
    with psycopg.connect(vendor.database_url) as holder:
        holder.execute("LOCK TABLE crm.customers IN EXCLUSIVE MODE")
        run = vendor.served.materialize(("customers", "visits"), "2026-01-06")
        wait_for(lambda: _process_that_waits_for_a_lock(vendor), "a merge that waits")
        vendor.served.terminate(run)
        assert vendor.served.wait_for_run(run)["status"] == "CANCELED"
    assert vendor.rows("SELECT * FROM crm.customers ORDER BY customer_id") == before
    assert vendor.rows("SELECT * FROM ingest.loads WHERE run_id = %s", run) == []
    again = vendor.served.materialize(("customers", "visits"), "2026-01-06")
    assert vendor.served.wait_for_run(again)["status"] == "SUCCESS"
    assert {each["runId"] for each in vendor.served.runs("2026-01-06")} == {run, again}


@pytest.mark.slow
def test_files_that_came_together_are_loaded_in_order_though_the_first_ones_run_is_killed(vendor: Vendor) -> None:
    """The second one waits for the retry, which would be refused as stale after it."""
    source = {"connection": "vendor", "file": "points/Pair", "settle": "1s", "pick": "all"}
    vendor.write_import(source=source, rejects={"max_rows": 1})
    vendor.deliver("Pair_1767225701.csv", GOOD.replace("Gold", "Older"))
    vendor.deliver("Pair_1767225702.csv", GOOD.replace("Gold", "Newer"))
    known = "SELECT key FROM ingest.items WHERE key LIKE '%%Pair%%' ORDER BY modified_at"
    keys = wait_for(lambda: found if len(found := [key for (key,) in vendor.rows(known)]) == 2 else None)
    os.kill(wait_for(lambda: _process_of_the_run_of(vendor, keys[0]), "the first file's run"), signal.SIGKILL)
    wait_for(lambda: vendor.served.runs(keys[1]), "the second file's run to be queued")
    wait_for(lambda: "FAILURE" in {run["status"] for run in vendor.served.runs(keys[0])}, "the death to be noticed")
    vendor.wait_for_load("Pair_1767225702", "committed")
    loads = "SELECT item, status FROM ingest.loads WHERE item = ANY(%s) ORDER BY id"
    assert vendor.rows(loads, keys) == [(key, "committed") for key in keys]
    assert vendor.rows("SELECT tier FROM crm.customers WHERE customer_id = 'C1'") == [("Newer",)]


def _process_of_the_run_of(vendor: Vendor, key: str) -> int | None:
    """The process of the only run of that partition, just started: it has read nothing and holds no pool."""
    query = (
        "SELECT substring(event FROM 'Started process for run [(]pid: ([0-9]+)[)]')::int FROM event_logs"
        " WHERE run_id = %s AND event LIKE '%%Started process for run%%'"
    )
    for run in vendor.served.runs(key):
        with psycopg.connect(vendor.environment["INGEST_DAGSTER_URL"]) as connection:
            for (process,) in connection.execute(query, [run["runId"]]).fetchall():
                return int(process)
    return None


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
