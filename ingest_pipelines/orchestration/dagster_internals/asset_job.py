"""The job of all assets is built, sent and read when a page of the UI needs it, not with each load of the project.

Dagster puts all assets of a code location into one job. Webserver and daemon fetch it with every load, and its id is a
hash of its whole text: of a thousand imports it has 6 MB, and makes up a third of a reload. They need it for pages
about ops only; runs have jobs of their own. So they fetch jobs when these are used; and a code server that waited
(`code_server`) derives the id of this one from the project's files.

Waits for: a code location whose jobs are fetched when they are used.
If `sync_get_external_repositories_data_grpc` goes, or `_job_ref_to_snap` of `GrpcServerCodeLocation`: webserver and
daemon do not start, and say which. If `_job_snaps_by_name` goes: pages about ops show an error, `test_asset_job.py`
fails. If `JobDefinition.get_job_snapshot_id` goes: code servers that waited end, and Dagster starts its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

from dagster import JobDefinition
from dagster._api import snapshot_repository
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.remote_representation.external_data import (
    JobDataSnap,
    JobRefSnap,
    RepositoryErrorSnap,
    RepositorySnap,
)
from dagster._core.snap.job_snapshot import JobSnap
from dagster._serdes import deserialize_value
from dagster_shared.error import SerializableErrorInfo

from ingest_pipelines.orchestration.dagster_internals.warm_launcher import origin_is_own_module

_FETCHES_REPOSITORIES = "sync_get_external_repositories_data_grpc"
"""The function by which a code location fetches its repositories, and all of their jobs."""

Fetched = dict[str, tuple[RepositorySnap, dict[str, JobSnap]]]


def fetch_jobs_when_used() -> None:
    """Replaces the functions by which this process fetches the jobs of our own module's locations."""
    fetch_all: Callable[..., Fetched] = getattr(snapshot_repository, _FETCHES_REPOSITORIES)
    location: Any = GrpcServerCodeLocation
    kept_job: Callable[..., JobDataSnap] = location._job_ref_to_snap

    def fetch_without_jobs(api_client: Any, code_location: Any, defer_snapshots: bool) -> Fetched:
        if not (defer_snapshots and origin_is_own_module(code_location.origin)):
            return fetch_all(api_client, code_location, defer_snapshots=defer_snapshots)
        return {name: (_repository(api_client, code_location, name), {}) for name in code_location.repository_names}

    def fetched_job(self: Any, repository: str, job: JobRefSnap) -> JobDataSnap:
        jobs = self._job_snaps_by_name[repository]
        if job.name not in jobs:
            jobs[job.name] = _job(self.client, RemoteRepositoryOrigin(self.origin, repository), job.name)
        return kept_job(self, repository, job)

    setattr(snapshot_repository, _FETCHES_REPOSITORIES, fetch_without_jobs)
    location._job_ref_to_snap = fetched_job


def _repository(client: Any, location: Any, name: str) -> RepositorySnap:
    text = client.external_repository(RemoteRepositoryOrigin(location.origin, name), defer_snapshots=True)
    answer = deserialize_value(text, (RepositorySnap, RepositoryErrorSnap))
    if isinstance(answer, RepositoryErrorSnap):
        raise _failed(answer.error)
    return answer


def _job(client: Any, repository: RemoteRepositoryOrigin, name: str) -> JobSnap:
    answer = client.external_job(repository, name)
    if not answer.serialized_job_data:
        raise _failed(deserialize_value(answer.serialized_error, SerializableErrorInfo))
    return deserialize_value(answer.serialized_job_data, JobDataSnap).job


def _failed(error: SerializableErrorInfo | None) -> DagsterUserCodeProcessError:
    """What went wrong in the code server, with its stack trace."""
    failed: DagsterUserCodeProcessError = DagsterUserCodeProcessError.from_error_info(error)  # type: ignore[no-untyped-call]
    return failed


def derive_id_of_asset_job(project: Hashable) -> None:
    """The id of the job of all assets follows from `project` in this process, a code server; so it is not built.

    Args:
        project: changes with the definitions.
    """
    job: Any = JobDefinition
    id_of: Callable[[JobDefinition], str] = job.get_job_snapshot_id
    derived = hashlib.sha1(repr((IMPLICIT_ASSET_JOB_NAME, project)).encode(), usedforsecurity=False).hexdigest()

    def get_job_snapshot_id(self: JobDefinition) -> str:
        is_part = self.asset_selection_data or self.op_selection_data
        return derived if self.name == IMPLICIT_ASSET_JOB_NAME and not is_part else id_of(self)

    job.get_job_snapshot_id = get_job_snapshot_id
