"""Our imports in a team's own code location, under Dagster's own daemon: what runs before them, and after them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance

import ingest_pipelines_tests
from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.dagster_internals.ticks import list_instigators
from ingest_pipelines.orchestration.instance import dagster_home, open_instance
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.vendor import VISITS, Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

MART, REPORT = AssetKey(["dbt", "mart_scores"]), AssetKey(["team", "report"])
REFUSED = f'{HEADER}\nC1,"Gold,10,2024-05-01\n'

pytestmark = pytest.mark.slow


@pytest.fixture
def vendor(
    tmp_path: Path, sftp_server: SftpServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vendor]:
    with vendor_of(tmp_path, sftp_server, postgres_url) as vendor:
        scores = {"connection": "shop_db", "query": "SELECT who, n FROM visits", "asset_key": list(MART.path)}
        vendor.write("scores", {**VISITS, "source": scores, "after": list(MART.path)})
        vendor.execute("CREATE TABLE visits (who text, n int, at timestamptz)")
        vendor.execute("INSERT INTO visits VALUES ('V1', 1, now())")
        for name, value in vendor.environment.items():
            monkeypatch.setenv(name, value)
        yield vendor


@pytest.fixture
def instance(vendor: Vendor) -> Iterator[DagsterInstance]:
    """The instance of a daemon that serves the team's location."""
    settings = read_settings()
    root = Path(ingest_pipelines_tests.__file__).parent.parent  # only where pytest is started are the tests importable
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home(settings)), "PYTHONPATH": str(root)}
    with open_instance(settings) as instance, (vendor.folder / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", "from dagster._daemon.cli import main; main()", "run", "-m",
             "ingest_pipelines_tests.orchestration.team_location"],
            env=environment, cwd=vendor.folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield instance
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def test_an_eager_asset_follows_the_table_past_bad_files_and_an_import_follows_the_teams_asset(
    vendor: Vendor, instance: DagsterInstance
) -> None:
    def reports(count: int) -> None:
        """The report has run so often, and its sensor has seen that.

        Dagster takes a change of the table for handled if the same tick sees the end of the report's run.
        """
        wait_for(lambda: len(instance.fetch_materializations(REPORT, limit=9).records) >= count, f"report {count}")
        if not count:
            return
        [newest] = instance.fetch_materializations(REPORT, limit=1).records
        seen = datetime.fromtimestamp(newest.timestamp, UTC) + timedelta(seconds=5)
        wait_for(
            lambda: [each for each in list_instigators(instance)
                     if each.name == "team_automation" and each.ticked_at is not None and each.ticked_at > seen],
            "a tick after the report",
        )  # fmt: skip

    story = [
        (REFUSED, "refused"), (GOOD, "committed"), (ONE_BAD, "failed"), (REFUSED, "refused"),
        (GOOD.replace("Gold", "Bronze"), "committed"),
    ]  # fmt: skip
    changes = 0
    for serial, (text, status) in enumerate(story, start=1_767_225_600):
        vendor.deliver(f"Points_{serial}.csv", text)
        vendor.wait_for_load(f"Points_{serial}", status)
        changes += status == "committed"
        reports(changes)
    instance.report_runless_asset_event(AssetMaterialization(MART))
    query = "SELECT 1 FROM ingest.loads WHERE import = 'scores' AND status = 'committed'"
    wait_for(lambda: vendor.rows(query), "a load after the mart")
    reports(changes + 1)
    assert len(instance.fetch_materializations(REPORT, limit=9).records) == changes + 1
