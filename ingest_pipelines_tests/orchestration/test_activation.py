"""The switches that Dagster shows of a draft: off, on after `ingest activate`, and as a person left them."""

from __future__ import annotations

from itertools import product

import pytest
from dagster import DagsterInstance, RepositoryDefinition, SensorEvaluationContext, SensorResult, SkipReason
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from ingest_pipelines import ledger
from ingest_pipelines.ledger.imports import ImportStatus
from ingest_pipelines.orchestration.dagster_internals import switches
from ingest_pipelines_tests.orchestration.conftest import Shop

pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")
"""Dagster asks itself for it."""

LOCATION = RegisteredCodeLocationOrigin("ingest_pipelines")
BOTH = [(InstigatorType.SENSOR, "files"), (InstigatorType.SCHEDULE, "schedule")]
STORED = [None, InstigatorStatus.DECLARED_IN_CODE, InstigatorStatus.RUNNING, InstigatorStatus.STOPPED]
IN_LEDGER: list[ImportStatus | None] = [None, "draft", "active", "paused"]


def test_a_drafts_switches_are_off_and_all_others_on(shop: Shop) -> None:
    shop.add_vendor()
    for status in ("draft", "active", "paused"):
        _write(shop, f"{status}_points", status)
    repository = shop.definitions().get_repository_def()
    assert _defaults(repository) == {
        f"customers__{status}_points__{part}": "STOPPED" if status == "draft" else "RUNNING"
        for status in ("draft", "active", "paused")
        for _, part in BOTH
    } | {"ingest__activation": "RUNNING", "ingest__housekeeping": "RUNNING", "ingest__check_now_runs": "RUNNING"}


def test_only_what_is_active_and_off_by_default_is_switched_on(shop: Shop, kept_instance: DagsterInstance) -> None:
    """Every status in the YAML and in the ledger, beside every state of a switch that Dagster stores."""
    shop.add_vendor()
    expected: dict[str, InstigatorStatus | None] = {}
    for yaml_status, in_ledger, stored in product(("draft", "active"), IN_LEDGER, STORED):
        name = f"{yaml_status}_{in_ledger}_{stored.value if stored else None}".lower()
        _write(shop, name, yaml_status)
        if in_ledger is not None:
            _set_status(shop, name, in_ledger)
        turned = yaml_status == "draft" and in_ledger == "active" and stored in STORED[:2]
        for kind, part in BOTH:
            if stored is not None:
                kept_instance.add_instigator_state(_state(f"customers__{name}__{part}", kind, stored))
            expected[f"customers__{name}__{part}"] = InstigatorStatus.RUNNING if turned else stored
    repository = shop.definitions().get_repository_def()
    switched = _tick(repository, kept_instance).removeprefix("switched on: ").split(", ")
    assert sorted(switched) == [
        f"customers__draft_active_{stored}__{part}" for stored in ("declared_in_code", "none") for _, part in BOTH
    ]
    states = {state.name: state for state in kept_instance.all_instigator_state()}
    assert {name: states[name].status if name in states else None for name in expected} == expected
    for name, state in states.items():
        data = state.instigator_data
        if isinstance(data, ScheduleInstigatorData):
            assert data.cron_schedule == repository.get_schedule_def(name).cron_schedule
            assert (data.start_timestamp is not None) == (name in switched)
        else:
            assert isinstance(data, SensorInstigatorData)
            assert (data.last_sensor_start_timestamp is not None) == (name in switched)
            assert data.cursor == (None if name.endswith("none__files") else "what it has seen")
    assert _tick(repository, kept_instance) == "nothing to switch on"


def test_what_a_person_switches_off_after_the_activation_stays_off(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.add_vendor()
    _write(shop, "tills", "draft")
    repository = shop.definitions().get_repository_def()
    assert _tick(repository, kept_instance) == "nothing to switch on"
    _set_status(shop, "tills", "active")
    assert _tick(repository, kept_instance) == "switched on: customers__tills__files, customers__tills__schedule"
    for state in kept_instance.all_instigator_state():
        kept_instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    assert _tick(repository, kept_instance) == "nothing to switch on"
    assert {state.status for state in kept_instance.all_instigator_state()} == {InstigatorStatus.STOPPED}


def test_a_tick_turns_some_switches_and_the_next_one_the_others(
    shop: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "MOST_AT_ONCE", 1)
    shop.add_vendor()
    _write(shop, "tills", "draft")
    _set_status(shop, "tills", "active")
    repository = shop.definitions().get_repository_def()
    assert [_tick(repository, kept_instance) for _ in range(3)] == [
        "switched on: customers__tills__files",
        "switched on: customers__tills__schedule",
        "nothing to switch on",
    ]


def test_automation_off_switches_nothing_on_and_runs_nothing_that_was_switched_on(
    shop: Shop, kept_instance: DagsterInstance
) -> None:
    """Dagster keeps a switch that an activation turned; the setting comes later."""
    shop.add_vendor()
    _write(shop, "tills", "draft")
    _set_status(shop, "tills", "active")
    repository = shop.definitions(automation=False).get_repository_def()
    assert not repository.has_sensor_def("ingest__activation")
    running = [name for name, status in _defaults(repository).items() if status != "STOPPED"]
    assert running == ["ingest__check_now_runs"]  # a check is asked for by a person, and its runs are the answer
    assert "INGEST_AUTOMATION is off" in _tick(repository, kept_instance, "customers__tills__files")


@pytest.mark.parametrize("status", ["active", "paused"])
def test_a_project_without_drafts_has_no_sensor_for_them(shop: Shop, status: str) -> None:
    shop.add_vendor()
    _write(shop, "tills", status)
    shop.write_import(status="draft")  # uploads: they have neither sensor nor schedule
    assert not shop.definitions().get_repository_def().has_sensor_def("ingest__activation")


def _write(shop: Shop, name: str, status: str) -> None:
    """An import that has a sensor and a schedule."""
    source = {"connection": "vendor", "file": f"{name}/Points"}
    shop.write_import(name, source=source, schedule={"every": "6h"}, status=status)


def _defaults(repository: RepositoryDefinition) -> dict[str, str]:
    """Each sensor and schedule, and whether it is on where nobody switched it."""
    sensors = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    return sensors | {schedule.name: schedule.default_status.value for schedule in repository.schedule_defs}


def _set_status(shop: Shop, name: str, status: ImportStatus) -> None:
    with shop.site().target.connect() as connection:
        ledger.set_import_status(connection, name, "customers", status, shop.now)


def _state(name: str, kind: InstigatorType, status: InstigatorStatus) -> InstigatorState:
    sensors = SensorInstigatorData(min_interval=60, cursor="what it has seen")
    data = sensors if kind == InstigatorType.SENSOR else ScheduleInstigatorData(["0 0,6,12,18 * * *"])
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), name)
    return InstigatorState(origin, kind, status, data)


def _tick(repository: RepositoryDefinition, instance: DagsterInstance, name: str = "ingest__activation") -> str:
    """What the tick of a sensor says, as the daemon's code server evaluates it."""
    context = SensorEvaluationContext(
        instance_ref=None,
        repository_name=repository.name,
        repository_def=repository,
        instance=instance,
        sensor_name=name,
        resources=repository.get_top_level_resources(),
        code_location_origin=LOCATION,
    )
    with context:
        answer = repository.get_sensor_def(name)(context)
    assert isinstance(answer, SkipReason | SensorResult)
    return str(answer.skip_message if isinstance(answer, SkipReason) else answer.skip_reason)
