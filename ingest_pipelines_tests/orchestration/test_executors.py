"""INGEST_EXECUTOR: which executor runs get, and what is said where its package is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dagster import ExecutorDefinition

from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import EXECUTORS, ExecutorName
from ingest_pipelines.errors import MissingDriver
from ingest_pipelines.orchestration.runs.executors import celery_config, executor_of
from ingest_pipelines_tests.orchestration.conftest import Shop


def _settings(executor: ExecutorName, broker: str | None = None) -> Settings:
    here = Path("/nowhere")
    return Settings(here, here, None, None, executor=executor, celery_broker=broker, shared=here)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_is_one_of_dagsters(executor: ExecutorName) -> None:
    assert isinstance(executor_of(_settings(executor, "redis://redis/0")), ExecutorDefinition)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_takes_an_imports_definitions(shop: Shop, executor: ExecutorName) -> None:
    definitions = shop.definitions(executor=executor, celery_broker="redis://redis/0", shared=shop.state)
    definitions.resolve_implicit_global_asset_job_def()


@pytest.mark.parametrize(("executor", "package"), [("celery", "dagster_celery"), ("k8s", "dagster_k8s")])
def test_a_missing_package_is_named_with_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch, executor: ExecutorName, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(MissingDriver, match=package.replace("_", "-")) as raised:
        executor_of(_settings(executor, "redis://redis/0"))
    assert raised.value.hint == f"pip install 'ingest-pipelines[{executor}]'"


@pytest.mark.parametrize(
    ("broker", "backend"), [("redis://redis/0", "redis://redis/0"), ("pyamqp://guest@rabbit//", "rpc://")]
)
def test_results_come_back_by_the_broker(broker: str, backend: str) -> None:
    assert celery_config(_settings("celery", broker))["backend"] == backend


def test_the_executors_packages_are_not_loaded_by_who_does_not_use_them() -> None:
    program = "import sys, ingest_pipelines.orchestration.definitions as _; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"dagster_celery", "dagster_k8s", "celery", "kubernetes", "pyarrow.fs"} & set(loaded) == set()
