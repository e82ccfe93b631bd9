"""Celery: a run's steps executed by two workers that share nothing but a broker, two databases and the spill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus

from ingest_pipelines.merge.target import lock_table
from ingest_pipelines_tests.deploy.places import dagster_home
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop, verdicts
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.servers.redis import RedisServer
from ingest_pipelines_tests.servers.s3 import Bucket


@dataclass(frozen=True)
class Cluster:
    """Two machines with a worker each, and a third that starts runs; the product reads that one's environment."""

    shop: Shop
    instance: DagsterInstance
    workers: Mapping[str, subprocess.Popen[bytes]]
    bucket: Bucket
    folder: Path

    def start(self, key: str) -> subprocess.Popen[str]:
        """A run of the item, launched as a process of its own, like every run."""
        words = ["asset", "materialize", "-m", "ingest_pipelines.definitions", "--select", "customers/points"]
        return subprocess.Popen(
            [sys.executable, "-m", "dagster", *words, "--partition", key],
            cwd=self.folder, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@pytest.fixture
def cluster(
    shop: Shop,
    postgres_url: str,
    redis_server: RedisServer,
    s3_bucket: Bucket,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    """The machines share a broker, two databases and a bucket; each has a state folder of its own."""
    server = s3_bucket.server
    with fresh_database(postgres_url) as storage:
        environment = {
            "INGEST_HOME": str(shop.home),
            "INGEST_DATABASE_URL": shop.database_url,
            "INGEST_DAGSTER_URL": storage,
            "INGEST_EXECUTOR": "celery",
            "INGEST_CELERY_BROKER": redis_server.url(getattr(request, "param", 1)),
            "INGEST_SPILL_URI": f"s3://{s3_bucket.name}/spill?scheme=http&endpoint_override=127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in _machine(environment, tmp_path / "run").items():
            monkeypatch.setenv(name, value)
        machines = {name: _machine(environment, tmp_path / name) for name in ("one", "two")}
        with DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance, _workers(machines) as workers:
            yield Cluster(shop, instance, workers, s3_bucket, tmp_path)


def test_two_workers_execute_one_run_and_it_commits_once(cluster: Cluster, redis_server: RedisServer) -> None:
    told, hosts, number = "", set[str](), 0
    while hosts != {"one", "two"}:  # the broker serves who waits longest: nearly always both, in turns
        number += 1
        assert number <= 4, hosts
        cluster.shop.deliver(f"Points_{number}.csv", GOOD)
        process = cluster.start(str(cluster.shop.arrive(cluster.instance).key))
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said[-5000:]
        run = cluster.instance.get_runs(limit=1)[0]
        logs = cluster.instance.all_logs(run.run_id)
        events = [record.dagster_event for record in logs if record.dagster_event]
        hosts = {
            str(event.engine_event_data.metadata["Celery worker"].value).partition("@")[0]
            for event in events
            if event.event_type == DagsterEventType.ENGINE_EVENT and "Celery worker" in event.engine_event_data.metadata
        }
        assert hosts <= {"one", "two"}
        steps = [event.step_key for event in events if event.event_type == DagsterEventType.STEP_SUCCESS]
        assert len(steps) == len(set(steps))
        assert {"land", "validate", "merge_crm_customers"} <= {str(step).partition(".")[2] for step in steps}
        assert all(verdict.passed for verdict in verdicts(cluster.instance, run.run_id).values())
        told += "\n".join([said, *map(str, logs)])
    rows, runs = cluster.shop.rows, [run.run_id for run in reversed(cluster.instance.get_runs())]
    assert len(runs) == number
    loads = [("committed", 2 if at == 0 else 0, run_id) for at, run_id in enumerate(runs)]
    assert rows("SELECT status, inserted, run_id FROM ingest.loads ORDER BY id") == loads
    assert rows("SELECT customer_id, points FROM crm.customers ORDER BY 1") == [("C1", 10), ("C2", 20)]
    assert redis_server.password not in told
    left = cluster.bucket.server.client().list_objects_v2(Bucket=cluster.bucket.name).get("Contents", [])
    assert {Path(found["Key"]).suffix for found in left if found["Size"]} == {".handle"}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_worker_that_is_killed_while_it_merges_fails_the_run_and_changes_nothing(cluster: Cluster) -> None:
    shop = cluster.shop
    shop.deliver("Points_1.csv", GOOD)
    key = str(shop.arrive(cluster.instance).key)
    with psycopg.connect(shop.database_url) as holder:
        lock_table(holder, "crm", "customers")
        process = cluster.start(key)
        waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        _wait_for(lambda: bool(shop.rows(waiting)), "the merge waits for its table")
        for worker in cluster.workers.values():
            for child in psutil.Process(worker.pid).children():
                child.kill()
        said, _ = process.communicate(timeout=200)
        assert process.returncode != 0, said
    [run] = cluster.instance.get_runs()
    assert run.status == DagsterRunStatus.FAILURE
    assert shop.rows("SELECT to_regclass('crm.customers')::text") == [(None,)]
    assert shop.rows("SELECT count(*) FROM ingest.loads WHERE status = 'committed'") == [(0,)]
    cluster.instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)  # the daemon's monitoring does that
    again = cluster.start(key)  # by new children of the same workers
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said[-5000:]
    assert shop.rows("SELECT status, inserted FROM ingest.loads WHERE status = 'committed'") == [("committed", 2)]


def _wait_for(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def _machine(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a machine with state and Dagster settings of its own."""
    home = dagster_home(folder)
    return {**environment, "INGEST_STATE": str(folder / "state"), "DAGSTER_HOME": str(home)}


@contextmanager
def _workers(environments: Mapping[str, Mapping[str, str]]) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
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
    processes: dict[str, subprocess.Popen[bytes]] = {}
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
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(timeout=30)
