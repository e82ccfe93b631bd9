"""In a project of many imports one sensor per connection looks for the files of all of them; each stays steerable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, SensorDefinition, SensorEvaluationContext, SensorResult
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._grpc.impl import get_external_sensor_execution

from ingest_pipelines import ledger
from ingest_pipelines.ledger.imports import ImportStatus
from ingest_pipelines.orchestration import automation, definitions
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedTickFailure
from ingest_pipelines.orchestration.sensors import shared_file_sensor
from ingest_pipelines.orchestration.sensors.file_sensor import look_for_files
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.sensors.shared_file_sensor import WHOLE_LOOK, shared_file_sensors
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop, why_nothing
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

MINUTE = timedelta(minutes=1)


@dataclass
class Connection:
    """The sensor of a connection, which ticks once a minute."""

    shop: Shop
    instance: DagsterInstance
    names: Sequence[str]
    cursor: str | None = None
    looked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.names:
            self.write(name)
        self.restart()

    def restart(self) -> None:
        """A code server that knows nothing of earlier ticks, and the project as it is now."""
        site = self.shop.site()
        bounds = [site.project.require(name) for name in self.names]
        [self.sensor] = shared_file_sensors(site, bounds, Listings())

    def write(self, name: str, **more: Any) -> None:
        source = {"connection": "uploads", "file": f"points/{name.title()}", "settle": "1s"}
        self.shop.write_import(name, **{"source": source, **more})

    def tick(self, after: timedelta = MINUTE) -> SensorResult:
        self.shop.now += after
        self.looked.clear()
        answer = sensor_tick(self.sensor, self.instance, self.cursor)
        assert isinstance(answer, SensorResult)
        self.cursor = answer.cursor
        return answer

    def requested(self, after: timedelta = MINUTE) -> list[str]:
        """The names of the imports for which a tick requests a run."""
        return [str(request.run_key).partition("/")[0] for request in self.tick(after).run_requests or ()]

    def settle(self) -> None:
        """All items are loaded."""
        self.shop.rows("UPDATE ingest.items SET status = 'committed' RETURNING key")

    def set_status(self, name: str, status: ImportStatus) -> None:
        with self.shop.site().target.connect() as connection:
            ledger.set_import_status(connection, name, "customers", status, self.shop.now)

    def status(self, name: str) -> str | None:
        with self.shop.site().target.connect() as connection:
            return ledger.import_statuses(connection, [name]).get(name)


@pytest.fixture
def tills(shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Two imports of one folder, and a list of those that a tick asked the ledger about."""
    shop.deliver("Points_1.csv", GOOD)
    shop.deliver("Tills_1.csv", GOOD)
    connection = Connection(shop, instance, ["points", "tills"])

    def noted(site: Any, bound: Any, *rest: Any) -> Any:
        connection.looked.append(bound.name)
        return look_for_files(site, bound, *rest)

    monkeypatch.setattr(shared_file_sensor, "look_for_files", noted)
    return connection


def test_of_more_imports_than_a_hundred_those_of_a_connection_share_a_sensor(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_vendor()
    for name, status in (("tills", "active"), ("cards", "draft")):
        shop.write_import(name, source={"connection": "vendor", "file": f"{name}/Points"}, status=status)

    def sensors() -> set[str]:
        return {sensor.name for sensor in shop.definitions().get_repository_def().sensor_defs if "files" in sensor.name}

    assert sensors() == {"customers__tills__files", "customers__cards__files"}
    monkeypatch.setattr(automation, "MOST_FILE_SENSORS", 1)
    assert sensors() == {"ingest__files_of_vendor"}
    assert not shop.definitions().get_repository_def().has_sensor_def("ingest__activation"), "no switch to turn"


def test_one_tick_requests_the_runs_of_all_imports(tills: Connection) -> None:
    result = tills.tick()
    assert [request.run_key for request in result.run_requests or ()] == [
        f"{add.partitions_def_name.rpartition('/')[2]}/{key}"
        for add in result.dynamic_partitions_requests or ()
        for key in add.partition_keys
    ]
    assert tills.shop.rows("SELECT import FROM ingest.items ORDER BY 1") == [("points",), ("tills",)]


def test_the_daemon_gets_each_run_with_its_own_asset_and_partition(
    tills: Connection, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "MOST_FILE_SENSORS", 1)
    for module in (automation, definitions):  # one-time imports, which these are, have no sensor
        monkeypatch.setattr(module, "watches_files", lambda bound: True)
    repository = tills.shop.definitions().get_repository_def()
    answer = get_external_sensor_execution(
        repository, LOCATION, kept_instance.get_ref(), "ingest__files_of_uploads", None, None, None, None, None
    )
    assert isinstance(answer, SensorExecutionData)
    runs = {request.tags["dagster/partition"]: request.asset_selection for request in answer.run_requests or ()}
    added = {
        key: add.partitions_def_name for add in answer.dynamic_partitions_requests or () for key in add.partition_keys
    }
    assert runs == {key: [AssetKey(name.split("/"))] for key, name in added.items()}
    assert len(runs) == 2


def test_a_paused_import_rests_until_it_is_resumed_and_the_others_go_on(tills: Connection) -> None:
    tills.set_status("points", "paused")
    assert tills.requested() == ["tills"]
    assert tills.shop.rows("SELECT import FROM ingest.items") == [("tills",)]
    tills.set_status("points", "active")
    assert "points" in tills.requested()


def test_each_import_keeps_its_period(tills: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    periods = {"points": MINUTE, "tills": 5 * MINUTE}  # one-time imports, which these are, have no `sensor:`
    monkeypatch.setattr(shared_file_sensor, "period_of", lambda bound: periods[bound.name])
    tills.restart()
    assert tills.requested() == ["points", "tills"]
    tills.settle()
    tills.shop.deliver("Tills_2.csv", GOOD)
    assert [tills.requested() for _ in range(5)] == [[], [], [], [], ["tills"]]


def test_a_folder_that_is_missing_fails_for_its_imports_alone(tills: Connection) -> None:
    tills.write("points", source={"connection": "uploads", "file": "away/Points"})
    tills.restart()
    assert tills.requested() == ["tills"]
    tills.settle()
    words = why_nothing(tills.tick())
    assert "1 failed; points: connection uploads" in words
    tills.write("tills", source={"connection": "uploads", "file": "away/Tills"})
    tills.restart()
    with pytest.raises(ExpectedTickFailure, match="away"):
        tills.tick()
    (tills.shop.files / "points").rename(tills.shop.files / "away")
    assert set(tills.requested()) == {"points", "tills"}


def test_an_import_at_rest_costs_no_query_of_its_own_and_its_look_is_noted(tills: Connection) -> None:
    tills.requested()
    tills.settle()
    assert tills.requested() == []
    assert tills.looked == ["points", "tills"]
    words = why_nothing(tills.tick(2 * MINUTE))
    assert "2 have no new file" in words
    assert tills.looked == []
    assert tills.shop.rows("SELECT DISTINCT succeeded_at FROM ingest.source_checks") == [(tills.shop.now,)]
    assert tills.requested(WHOLE_LOOK) == []
    assert tills.looked == ["points", "tills"], "the ledger may have changed beside us"


def test_an_import_at_rest_sees_a_new_file_and_one_whose_run_brought_nothing(tills: Connection) -> None:
    tills.requested()
    tills.settle()
    tills.requested()
    tills.shop.deliver("Tills_2.csv", GOOD)
    assert tills.requested() == ["tills"]
    tills.settle()
    assert [tills.requested() for _ in range(2)] == [[], []]
    tills.shop.rows("UPDATE ingest.items SET status = 'failed', retryable = true WHERE import = 'points' RETURNING key")
    assert tills.requested() == ["points"]


def test_what_does_not_fit_into_a_tick_is_first_in_the_next_one(
    tills: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file_sensor, "RUNS_PER_TICK", 1)
    assert tills.requested() == ["points"]
    assert tills.requested() == ["tills"]


def test_a_file_that_is_still_changing_is_taken_once_it_is_stable(tills: Connection) -> None:
    tills.requested()
    tills.settle()
    tills.requested()
    tills.shop.deliver("Tills_2.csv", GOOD, age=-MINUTE)
    assert "tills: 1 new file is still changing" in why_nothing(tills.tick())
    assert tills.requested() == ["tills"]


def test_a_cursor_that_a_person_edited_is_forgotten(tills: Connection) -> None:
    for cursor in ("{", "[]", '{"looked": {"points": "soon"}}', '{"unsettled": {"points": {"file": "soon"}}}'):
        tills.cursor = cursor
        assert set(tills.requested()) == {"points", "tills"}


def test_an_import_whose_own_sensor_was_switched_off_is_paused(
    tills: Connection, kept_instance: DagsterInstance
) -> None:
    for name in ("customers__points__files", "customers__other__files"):
        kept_instance.add_instigator_state(_switched_off(name))
    assert "paused; run: ingest resume points" in _daemon_tick(tills.sensor, kept_instance, tills.shop)
    assert tills.status("points") == "paused"
    assert [state.name for state in kept_instance.all_instigator_state()] == ["customers__other__files"]
    tills.set_status("points", "active")
    tills.restart()
    _daemon_tick(tills.sensor, kept_instance, tills.shop)
    assert tills.status("points") == "active", "the switch was taken over once"


LOCATION = RegisteredCodeLocationOrigin("ingest_pipelines")


def _switched_off(name: str) -> InstigatorState:
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), name)
    return InstigatorState(
        origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData(min_interval=60)
    )


def _daemon_tick(sensor: SensorDefinition, instance: DagsterInstance, shop: Shop) -> str:
    """What the tick says, as the daemon's code server evaluates it; the tills' file is away."""
    (shop.files / "points" / "Tills_1.csv").unlink(missing_ok=True)
    repository = shop.definitions().get_repository_def()
    with SensorEvaluationContext(
        instance_ref=None,
        repository_name=repository.name,
        repository_def=repository,
        instance=instance,
        sensor_name=sensor.name,
        resources=repository.get_top_level_resources(),
        code_location_origin=LOCATION,
        cursor=None,
    ) as context:
        answer = sensor(context)
    assert isinstance(answer, SensorResult)
    return str(answer.skip_reason)
