"""Every dagster.yaml that is deployed: Dagster takes it, and it says what `ingest up`'s says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._serdes import ConfigurableClassData

from ingest_pipelines.orchestration.dagster_internals.storage import RunStorage
from ingest_pipelines.orchestration.instance import HERE, LOCATION
from ingest_pipelines.orchestration.run_queue import ImportQueue
from ingest_pipelines_tests.deploy.places import DEPLOY, dagster_home

PROFILES = {
    "machine/dagster.yaml": "WarmRunLauncher",
    "compose/dagster.docker.yaml": "DockerRunLauncher",
    "kubernetes/dagster.yaml": "K8sRunLauncher",
}
OF_THE_PLACE = {"local_artifact_storage", "compute_logs", "run_launcher"}
"""What a profile may say otherwise than `ingest up`'s dagster.yaml."""


def test_every_dagster_yaml_is_a_known_profile() -> None:
    assert {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("dagster*.yaml")} == set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_dagster_takes_every_setting_and_every_class_its_own(profile: str, tmp_path: Path) -> None:
    home = dagster_home(tmp_path, profile)
    settings, _ = dagster_instance_config(str(home))
    assert settings["nux"] == {"enabled": False}
    ref = InstanceRef.from_dir(str(home))
    for data in (ref.storage_data, ref.compute_logs_data, ref.local_artifact_storage_data, ref.run_launcher_data):
        assert data is not None
        _check(data)
    assert ref.storage_data is not None
    assert _class(ref.storage_data) is RunStorage
    assert ref.run_launcher_data is not None
    assert ref.run_launcher_data.class_name == PROFILES[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_differs_from_ingest_up_only_in_where_runs_and_files_are(profile: str) -> None:
    ours = yaml.safe_load((HERE / "dagster.yaml").read_text())
    theirs = yaml.safe_load((DEPLOY / profile).read_text())
    assert _of_no_place(theirs) == _of_no_place(ours)
    assert profile != "machine/dagster.yaml" or theirs["run_launcher"] == ours["run_launcher"]


def _of_no_place(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in OF_THE_PLACE}


def test_a_code_server_that_is_slow_for_some_minutes_costs_no_run_its_place_in_the_queue() -> None:
    """Dagster drops a run from the queue at the first failed attempt, unless it is told to try again."""
    for path in (HERE / "dagster.yaml", *DEPLOY.rglob("dagster*.yaml")):
        queue = _run_queue(path)
        assert queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay >= 180, path
        assert queue.user_code_failure_retry_delay <= 15, path  # all runs of the location wait this long


def _run_queue(dagster_yaml: Path) -> RunQueueConfig:
    described = yaml.safe_load(dagster_yaml.read_text())["run_coordinator"]
    data = ConfigurableClassData(described["module"], described["class"], yaml.safe_dump(described["config"]))
    return data.rehydrate(as_type=ImportQueue).get_run_queue_config()


def test_what_the_chart_makes_of_our_values_is_the_same_to_dagster(tmp_path: Path) -> None:
    """Dagster's chart is not on a registry that tests reach. Its dagster.yaml is put together here as it does."""
    values = yaml.safe_load((DEPLOY / "kubernetes" / "helm-values.yaml").read_text())
    daemon = values["dagsterDaemon"]
    made = {
        "run_coordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
        **{_snake_word(name): _snake(daemon[name]) for name in ("runMonitoring", "runRetries", "sensors", "schedules")},
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(made))
    settings, _ = dagster_instance_config(str(tmp_path))
    ours = yaml.safe_load((HERE / "dagster.yaml").read_text())
    for name in ("concurrency", "sensors", "schedules", "backfills", "telemetry", "nux"):
        assert settings[name] == ours[name], name
    assert made["run_coordinator"] == ours["run_coordinator"]
    assert made["run_monitoring"].items() <= ours["run_monitoring"].items()
    _check(ConfigurableClassData("dagster_k8s", "K8sRunLauncher", yaml.safe_dump(_launcher_config(values))))


@pytest.mark.parametrize("workspace", sorted(DEPLOY.rglob("workspace.yaml")), ids=lambda path: path.parent.name)
def test_every_workspace_names_the_location_that_commands_expect(workspace: Path) -> None:
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    [origin] = location_origins_from_yaml_paths([str(workspace)])
    assert origin.location_name == LOCATION


def _launcher_config(values: dict[str, Any]) -> dict[str, Any]:
    """The launcher's config as the chart makes it: the names are Dagster's, what Kubernetes gets stays as it is."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    config = {_snake_word(name): value for name, value in given.items()}
    config["run_k8s_config"] = {_snake_word(name): value for name, value in config["run_k8s_config"].items()}
    return {**config, "service_account_name": "ingest", "dagster_home": "/opt", "instance_config_map": "ingest"}


def _check(data: ConfigurableClassData) -> None:
    given = yaml.safe_load(data.config_yaml) or {}
    result = process_config(resolve_to_config_type(_class(data).config_type()), given)
    assert result.success, result.errors


def _class(data: ConfigurableClassData) -> Any:
    return getattr(import_module(data.module_name), data.class_name)


def _snake(config: dict[str, Any]) -> dict[str, Any]:
    return {_snake_word(name): value for name, value in config.items()}


def _snake_word(word: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in word)
