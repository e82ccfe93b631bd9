"""`ingest up` that is killed, or whose daemon is, and starts again: nothing is left over, lost, or done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorState, InstigatorType, ScheduleInstigatorData

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines_tests.orchestration.conftest import GOOD
from ingest_pipelines_tests.orchestration.served import serve, wait_for
from ingest_pipelines_tests.orchestration.vendor import VISITS, Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    with vendor_of(tmp_path_factory.mktemp("again"), sftp_server, postgres_url) as vendor:
        vendor.write("visits", {**VISITS, "schedule": {"every": "1h"}})
        vendor.execute("CREATE TABLE visits (who text, n int, at timestamptz)")
        vendor.execute("INSERT INTO visits VALUES ('C9', 9, now() - interval '1 day')")
        yield vendor


def test_nothing_of_a_killed_ingest_up_stays_and_the_next_one_finds_what_came_meanwhile(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vendor.up() as served:
        vendor.deliver("Points_1767225600.csv", GOOD)
        vendor.wait_for_load("Points_1767225600", "committed")
        wait_for(lambda: _schedule_is_known(vendor, monkeypatch), "the schedule's first look")
        served.exit_code = -signal.SIGKILL
        os.kill(served.process.pid, signal.SIGKILL)
    vendor.deliver("Points_1767225601.csv", GOOD.replace("Gold", "Bronze"))
    _move_back(vendor, monkeypatch, timedelta(days=2))  # the daemon was away for 48 ticks
    with vendor.up() as served:
        vendor.wait_for_load("Points_1767225601", "committed")
        key = wait_for(lambda: vendor.rows("SELECT key FROM ingest.items WHERE import = 'visits'"))[0][0]
        run = wait_for(lambda: served.runs(key))[0]
        assert served.wait_for_run(run["runId"])["status"] == "SUCCESS"
        assert run["tags"]["ingest/by"] == "schedule"
        family = (served.child(words) for words in ("dagster._daemon", "orchestration.webserver", "ingest watch"))
        dead = [*family, *(code_server for child in served.children() for code_server in child.children())]
        for process in dead:
            process.kill()
        vendor.deliver("Points_1767225602.csv", GOOD.replace("Gold", "Iron"))
        wait_for(lambda: "was started again" in served.health().get("processes", ""), "the deaths at /healthz")
        vendor.wait_for_load("Points_1767225602", "committed")
        said = served.log.read_text()
        for name in ("dagster-daemon", "dagster-webserver", "ingest-watcher"):
            assert f"{name} ended by itself with signal 9 and is started again; its log: " in said
        assert "found:" not in said
    items = "SELECT import, count(*), count(DISTINCT item) FROM ingest.loads GROUP BY import ORDER BY import"
    assert vendor.rows(items) == [("points", 3, 3), ("visits", 1, 1)]


def test_a_second_ingest_up_of_the_same_state_is_told_where_the_first_one_is(vendor: Vendor) -> None:
    with vendor.up() as first, pytest.raises(AssertionError, match="is already running on") as told, vendor.up():
        pass
    assert first.url in str(told.value)


def test_the_embedded_postgres_of_a_killed_ingest_up_ends_too(tmp_path: Path) -> None:
    with serve({"INGEST_STATE": str(tmp_path / "state")}, tmp_path) as served:
        served.exit_code = -signal.SIGKILL
        os.kill(served.process.pid, signal.SIGKILL)


def _schedules(instance: DagsterInstance) -> list[tuple[InstigatorState, ScheduleInstigatorData]]:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return [(state, data) for state in states if isinstance(data := state.instigator_data, ScheduleInstigatorData)]


def _schedule_is_known(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the daemon has looked at its schedule."""
    with _instance(vendor, monkeypatch) as instance:
        return bool(_schedules(instance))


def _move_back(vendor: Vendor, monkeypatch: pytest.MonkeyPatch, much: timedelta) -> None:
    """As if the daemon had looked at its schedule for the last time so long ago."""
    then = (datetime.now(UTC) - much).timestamp()
    with _instance(vendor, monkeypatch) as instance:
        for state, data in _schedules(instance):
            instance.update_instigator_state(state.with_data(ScheduleInstigatorData(data.cron_schedule, then, then)))


def _instance(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> DagsterInstance:
    for name, value in vendor.environment.items():
        monkeypatch.setenv(name, value)
    return open_instance(read_settings())
