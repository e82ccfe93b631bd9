"""A server that hangs, under a real `ingest up`: its own imports wait and say so, all others are loaded meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ingest_pipelines_tests.orchestration.conftest import GOOD, IMPORT
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.vendor import Vendor, vendor_of
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.servers.sftp import SftpServer

TILLS = [f"till_{number:02}" for number in range(13)]
TROUBLES = "SELECT import, trouble, step, failing_since FROM ingest.source_checks WHERE connection = 'tills' ORDER BY 1"
WORST_TICKS = "SELECT tick_body FROM job_ticks WHERE tick_body LIKE '%Unable to reach%'"


def _add_tills(vendor: Vendor, proxy: CutProxy, sftp_server: SftpServer) -> None:
    """Thirteen imports of one server, which answers a login and then hangs."""
    path = vendor.home / "connections.yaml"
    connections = yaml.safe_load(path.read_text())
    connections["connections"]["tills"] = {
        **connections["connections"]["vendor"], "host": proxy.host, "port": proxy.port, "timeout_seconds": 10,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(connections))
    for name in TILLS:
        source = {"connection": "tills", "file": f"{name}/Points", "settle": "1s"}
        vendor.write(name, {**IMPORT, "source": source, "sensor": {"every": "5s"}})
        (vendor.root / name).mkdir()


def _deliver(vendor: Vendor, name: str) -> None:
    path = vendor.root / name / "Points_1.csv"
    path.write_text(GOOD)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def _troubles(vendor: Vendor) -> list[tuple[Any, ...]]:
    try:
        return vendor.rows(TROUBLES)
    except psycopg.errors.UndefinedTable:
        return []


@pytest.mark.slow  # a minute and more; `test_listings` has the same promise without a daemon
@pytest.mark.parametrize("files", [1, len(TILLS)])
def test_a_server_that_hangs_makes_no_import_of_another_one_late(
    files: int, tmp_path: Path, sftp_server: SftpServer, postgres_url: str
) -> None:
    with (
        CutProxy(sftp_server.host, sftp_server.port) as proxy,
        vendor_of(tmp_path, sftp_server, postgres_url) as vendor,
    ):
        _add_tills(vendor, proxy, sftp_server)
        for name in TILLS[:files]:
            _deliver(vendor, name)
        hang = Fault(stall_after_received=2_400)
        proxy.break_with(hang)
        with vendor.up():
            hung = wait_for(lambda: found if len(found := _troubles(vendor)) == len(TILLS) else None, "13 troubles")
            assert [(name, trouble) for name, trouble, _, _ in hung] == [(name, "hung") for name in TILLS]
            assert {step for _, _, step, _ in hung} <= {"host key", "login", "folder", "list"}
            assert all(since is not None for *_, since in hung)
            vendor.deliver("Points_1767225600.csv", GOOD)
            vendor.wait_for_load("Points_1767225600", "committed")
            assert {trouble for _, trouble, _, _ in _troubles(vendor)} == {"hung"}
            assert proxy.connections < 20  # not one of each import, again and again
            proxy.mend()
            loaded = (
                "SELECT DISTINCT import FROM ingest.loads"
                " WHERE status = 'committed' AND import LIKE 'till%%' ORDER BY import"
            )
            wait_for(lambda: vendor.rows(loaded) == [(name,) for name in TILLS[:files]], "files of the tills")
            wait_for(lambda: {trouble for _, trouble, _, _ in _troubles(vendor)} == {None}, "recovered")
        with psycopg.connect(vendor.environment["INGEST_DAGSTER_URL"]) as connection:
            assert connection.execute(WORST_TICKS).fetchall() == []
