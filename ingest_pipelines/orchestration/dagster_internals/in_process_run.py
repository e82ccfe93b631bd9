"""One run of one asset, executed in this process, which the UI shows like any other run.

Waits for: `JobDefinition.execute_in_process` (public) to take a code location's name. The run that it creates belongs
to no code location, so the UI cannot open its job or re-execute it. Its `run_id` came with dagster pull request 7317.
If `create_run_for_job`, `execute_run` or the origin classes change: `ingest run` fails. The daemon does not use them.
"""

from __future__ import annotations

from collections.abc import Mapping

from dagster import AssetKey, DagsterInstance, DagsterRun, JobDefinition
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run as _execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id

_REPOSITORY = "__repository__"
"""Dagster's name for the definitions of a module."""

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's log belongs to the run's page; the terminal belongs to the command's own report."""


def new_run_id() -> str:
    """An id that no run has."""
    return make_new_run_id()


def create_run(
    instance: DagsterInstance,
    job: JobDefinition,
    asset: AssetKey,
    run_id: str,
    tags: Mapping[str, str],
    location: str,
) -> DagsterRun:
    """A run of the asset, in the storage and not yet started.

    Args:
        location: the code location in which the UI finds the job.
    """
    run: DagsterRun = instance.create_run_for_job(
        job.get_subset(asset_selection={asset}),
        run_id=run_id,
        tags=tags,
        run_config=_QUIET,
        asset_selection={asset},
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), _REPOSITORY), job.name
        ),
    )
    return run


def execute_run(instance: DagsterInstance, job: JobDefinition, run: DagsterRun) -> None:
    """The run, from its start to its end.

    Raises:
        Failure: as its step raised it.
        DagsterExecutionInterruptedError: the process was asked to stop.
    """
    _execute_run(InMemoryJob(job), run, instance, raise_on_error=True)
