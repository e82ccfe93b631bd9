"""What the run queue lets through at once, when hundreds of runs wait."""

from __future__ import annotations

from collections import Counter

import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ingest_pipelines.orchestration.instance import HERE, LOCATION

WINDOWS, IMPORTS = 60, 7
"""More than the hundred runs that the queue looks at in one go."""


def test_a_backfill_of_hundreds_of_windows_does_not_stampede() -> None:
    """One run of an import at a time, its oldest window first; four on one connection; ten in all."""
    settings = yaml.safe_load((HERE / "dagster.yaml").read_text())
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), "__repository__")
    overrides = {name: settings[name] for name in ("run_coordinator", "concurrency")}
    with DagsterInstance.local_temp(overrides=overrides) as instance:
        for window in range(WINDOWS):
            for number in range(IMPORTS):
                tags = {
                    "ingest/import": f"import_{number}",
                    "ingest/connection": "busy" if number < 6 else "quiet",
                    "dagster/partition": f"{window:03}",
                }
                create_run_for_test(
                    instance,
                    status=DagsterRunStatus.QUEUED,
                    tags=tags,
                    remote_job_origin=RemoteJobOrigin(place, "a job"),
                )
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
        assert {run.tags["dagster/partition"] for run in runs} == {"000"}
        assert Counter(run.tags["ingest/connection"] for run in runs) == {"busy": 4, "quiet": 1}
        assert max(Counter(run.tags["ingest/import"] for run in runs).values()) == 1
