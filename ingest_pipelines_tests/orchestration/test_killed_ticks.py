"""A daemon that is killed in the middle of a sensor's tick launches each file's run once, all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines_tests.orchestration.conftest import GOOD
from ingest_pipelines_tests.orchestration.vendor import Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

pytestmark = pytest.mark.slow

SENSOR = "customers__points__files"
POINTS = ("TICK_CREATED", "TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED")
"""Of a tick, in the order in which Dagster comes by."""


@pytest.fixture
def vendor(tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    with vendor_of(tmp_path_factory.mktemp("killed"), sftp_server, postgres_url) as vendor:
        source = {"connection": "vendor", "file": "points/Points", "settle": "1s", "pick": "all"}
        vendor.write_import(source=source, sensor={"every": "1s"})
        yield vendor


@pytest.mark.parametrize("point", POINTS)
def test_no_run_is_lost_or_doubled(vendor: Vendor, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        vendor.deliver(f"Points_176722560{number}.csv", GOOD)
    assert _tick(vendor, point) == -signal.SIGKILL
    assert _tick(vendor) == 0
    for name, value in vendor.environment.items():
        monkeypatch.setenv(name, value)
    with open_instance(read_settings()) as instance:
        runs = [run for run in instance.get_runs() if run.tags.get("ingest/import") == "points"]
    items = [key for (key,) in vendor.rows("SELECT key FROM ingest.items WHERE import = 'points' ORDER BY key")]
    assert len(items) == 2
    assert [run.tags["dagster/partition"] for run in reversed(runs)] == items


def _tick(vendor: Vendor, *point: str) -> int:
    words = [sys.executable, "-m", "ingest_pipelines_tests.orchestration.dying_daemon", SENSOR, *point]
    with (vendor.folder / "daemon.log").open("a") as log:
        return subprocess.run(
            words, env={**os.environ, **vendor.environment}, stdout=log, stderr=log, check=False
        ).returncode
