"""The order of an import's items on a Dagster that is not ours: stock storage, stock queue, ten runs at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from ingest_pipelines_tests.orchestration.conftest import HEADER
from ingest_pipelines_tests.orchestration.vendor import Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer
from ingest_pipelines_tests.waiting import until

FILES = 30
KILLED_AFTER = (0, 15)
"""After so many loads the run of the next item is killed."""

PATIENCE = 900.0
"""Seconds for one more load; after a kill, the rest of a tick that launches thirty runs, a minute, and a tick."""

STOCK = "concurrency: {runs: {max_concurrent_runs: 10}}\ntelemetry: {enabled: false}\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def vendor(tmp_path: Path, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    with vendor_of(tmp_path, sftp_server, postgres_url) as vendor:
        vendor.write_import(source={"connection": "vendor", "file": "points/Points", "settle": "1s", "pick": "all"})
        (vendor.home / "imports" / "visits.yaml").unlink()
        yield vendor


@pytest.fixture
def instance(vendor: Vendor) -> Iterator[DagsterInstance]:
    """The instance of Dagster's own daemon, with its SQLite storage; our variables for it are not set."""
    home = vendor.folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text(STOCK)
    environment = {**os.environ, **vendor.environment, "DAGSTER_HOME": str(home)}
    del environment["INGEST_DAGSTER_URL"]
    with DagsterInstance.from_config(str(home)) as instance, (vendor.folder / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", "from dagster._daemon.cli import main; main()", "run", "-m",
             "ingest_pipelines.definitions"],
            env=environment, cwd=vendor.folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield instance
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def test_thirty_files_are_loaded_in_order_by_ten_runs_at_once_some_of_which_are_killed(
    vendor: Vendor, instance: DagsterInstance
) -> None:
    for number in range(FILES):
        vendor.deliver(
            f"Points_{number}.csv", f"{HEADER}\nC1,T{number},{number},2024-05-01\nD{number},x,1,2024-05-01\n"
        )
    killed: list[str] = []
    for count in range(FILES):
        if count in KILLED_AFTER:
            until(lambda: _kill_run_of(instance, f"Points_{count}.csv", killed), PATIENCE)  # noqa: B023
        until(lambda: len(_loads(vendor)) > count, PATIENCE)  # noqa: B023
    loads = _loads(vendor)
    assert [file for file, _ in loads] == [f"Points_{number}.csv" for number in range(FILES)]
    assert {status for _, status in loads} == {"committed"}, "nothing is refused as stale, and nothing failed"
    assert vendor.rows("SELECT tier FROM crm.customers WHERE customer_id = 'C1'") == [(f"T{FILES - 1}",)]
    assert vendor.rows("SELECT count(*) FROM crm.customers") == [(FILES + 1,)]
    assert len(killed) == len(KILLED_AFTER)


def _loads(vendor: Vendor) -> list[tuple[str, str]]:
    """File and status of every load, in order."""
    query = (
        "SELECT i.path, l.status FROM ingest.loads l JOIN ingest.items i ON i.import = l.import AND i.key = l.item "
        "WHERE l.finished_at IS NOT NULL ORDER BY l.id"
    )
    return [(Path(path).name, status) for path, status in vendor._loads(query)]


def _kill_run_of(instance: DagsterInstance, file: str, killed: list[str]) -> bool:
    """Whether the process of the file's run was killed, whose id `killed` then has; False while none executes."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        if file in run.tags.get("dagster/partition", "") and (process := _process_of(instance, run)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                killed.append(run.run_id)
                return True
    return False


def _process_of(instance: DagsterInstance, run: DagsterRun) -> int | None:
    for entry in instance.all_logs(run.run_id):
        found = re.search(r"Started process for run \(pid: (\d+)\)", entry.message)
        if found:
            return int(found[1])
    return None
