"""Celery: a run's steps executed by two workers that share nothing but a broker, two databases and the spill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance

from ingest_pipelines_tests.deploy.places import dagster_home
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop, verdicts
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.servers.redis import RedisServer
from ingest_pipelines_tests.servers.s3 import Bucket


def test_two_workers_execute_one_run_and_it_commits_once(
    shop: Shop,
    postgres_url: str,
    redis_server: RedisServer,
    s3_bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The workers have a state folder each, as on two machines: what steps hand over goes through the bucket."""
    shop.deliver("Points_1.csv", GOOD)
    server = s3_bucket.server
    with ExitStack() as stack:
        environment = {
            "INGEST_HOME": str(shop.home),
            "INGEST_DATABASE_URL": shop.database_url,
            "INGEST_DAGSTER_URL": stack.enter_context(fresh_database(postgres_url)),
            "INGEST_EXECUTOR": "celery",
            "INGEST_CELERY_BROKER": redis_server.url(1),
            "INGEST_SPILL_URI": f"s3://{s3_bucket.name}/spill?scheme=http&endpoint_override=127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in _machine(environment, tmp_path / "run").items():
            monkeypatch.setenv(name, value)
        instance = stack.enter_context(DagsterInstance.from_config(os.environ["DAGSTER_HOME"]))
        item = shop.arrive(instance)
        stack.enter_context(_workers({name: _machine(environment, tmp_path / name) for name in ("one", "two")}))
        words = ["asset", "materialize", "-m", "ingest_pipelines.definitions", "--select", "customers/points"]
        done = subprocess.run(
            [sys.executable, "-m", "dagster", *words, "--partition", str(item.key)],
            cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-5000:]
        [run] = instance.get_runs()
        events = [record.dagster_event for record in instance.all_logs(run.run_id) if record.dagster_event]
        told = "\n".join(map(str, instance.all_logs(run.run_id))) + done.stdout + done.stderr
        checks = verdicts(instance, run.run_id)
    hosts = {
        str(event.engine_event_data.metadata["Celery worker"].value).partition("@")[0]
        for event in events
        if event.event_type == DagsterEventType.ENGINE_EVENT and "Celery worker" in event.engine_event_data.metadata
    }
    steps = [event.step_key for event in events if event.event_type == DagsterEventType.STEP_SUCCESS]
    assert hosts == {"one", "two"}
    assert len(steps) == len(set(steps)) == 3 + len(checks)
    assert all(verdict.passed for verdict in checks.values())
    assert shop.rows("SELECT status, inserted, run_id FROM ingest.loads") == [("committed", 2, run.run_id)]
    assert shop.rows("SELECT customer_id, points FROM crm.customers ORDER BY 1") == [("C1", 10), ("C2", 20)]
    assert redis_server.password not in told
    left = server.client().list_objects_v2(Bucket=s3_bucket.name).get("Contents", [])
    assert {Path(found["Key"]).suffix for found in left if found["Size"]} == {".handle"}


def _machine(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a machine with state and Dagster settings of its own."""
    home = dagster_home(folder)
    return {**environment, "INGEST_STATE": str(folder / "state"), "DAGSTER_HOME": str(home)}


@contextmanager
def _workers(environments: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """Workers that take steps, by name, until the end of the block."""
    words = [
        "-m",
        "celery",
        "-A",
        "ingest_pipelines.orchestration.celery_worker",
        "worker",
        "--concurrency=1",
        "-l",
        "INFO",
    ]
    logs = {name: Path(environment["INGEST_STATE"]).parent / "worker.log" for name, environment in environments.items()}
    processes = {}
    try:
        for name, environment in environments.items():
            with logs[name].open("w") as output:
                processes[name] = subprocess.Popen(
                    [sys.executable, *words, "--without-gossip", "--without-mingle", f"--hostname={name}@%h"],
                    cwd=logs[name].parent, env={**os.environ, **environment}, stdout=output, stderr=output,
                )  # fmt: skip
        deadline = time.monotonic() + 90
        while not all(" ready." in log.read_text() for log in logs.values()):
            for name, process in processes.items():
                assert process.poll() is None, logs[name].read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(timeout=30)
