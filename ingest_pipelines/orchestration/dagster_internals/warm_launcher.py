"""The run launcher of one machine: a process of the run server executes a run, else one that the code server starts.

A process that Dagster starts for a run imports Dagster, Polars and the project first: 2.5 s of a core. The run server
(`orchestration/run_server`) has imported them. A run waits for a run server that is busy, or about to start: on a busy
machine the other process would make it busier still. A run whose code is not our own module goes the stock way, as does
every run where no run server is kept, or none answers: the code server's process is slower, and does the same.

Waits for: an option of the stock launcher that keeps processes ready (multiprocessing's `forkserver` would do).
If `RunLauncher.launch_run` or `DefaultRunLauncher` change: dagster.yaml names a class that cannot be used, and nothing
starts; without the entry `run_launcher` in dagster.yaml, all runs go the stock way. If an origin's
`loadable_target_origin` goes: all runs go the stock way.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any, Self

from dagster import DagsterRun
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import ConfigurableClassData, serialize_value

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.dagster_internals.tags import GRPC_INFO_TAG
from ingest_pipelines.orchestration.run_server.keep import is_kept
from ingest_pipelines.orchestration.run_server.request import RunRequest, ask_for_run
from ingest_pipelines.orchestration.runs import run_locks

MODULE = "ingest_pipelines.definitions"
"""The module whose runs the run server executes."""

ANSWER_SECONDS = 60.0
"""So long a run waits for a process of the run server. A machine that has work for two cores twenty times over needs 30
seconds to get one ready; Dagster gives up a run that has not begun after 180."""

REST_SECONDS = 60.0
"""So long no run waits for a run server that did not answer in time: it hangs."""

PAUSE_SECONDS = 0.1
"""Before a run server that is about to start is asked again."""

_LOG = logging.getLogger(__name__)


class WarmRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, with processes of the run server where one serves."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._state = read_settings().state
        self.answer_seconds = ANSWER_SECONDS
        self._rests_until = float("-inf")

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """It has no settings of its own."""
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts the run; exactly one process executes it."""
        run = context.dagster_run
        if not (is_of_own_module(run) and self._launch_warm(run)):
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Asks the run's process to end: a code server's, one that the run server forked, or that of `ingest run`."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or GRPC_INFO_TAG in run.tags:  # a code server's process
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        with run_locks.keeping(self._state, run_id) as holder:
            if holder is not None:
                os.kill(holder.pid, signal.SIGINT)
                return True
        self._instance.report_engine_event("The run's process is not on this machine, or has ended.", run)
        return False

    def _launch_warm(self, run: DagsterRun) -> bool:
        """Whether a process of the run server executes the run."""
        packed = serialize_value(
            ExecuteExternalJobArgs(
                job_origin=run.remote_job_origin,  # type: ignore[arg-type]  # is_of_own_module
                run_id=run.run_id,
                instance_ref=self._instance.get_ref(),
            )
        )
        request = RunRequest(run.run_id, packed)
        began = monotonic()
        if began < self._rests_until:
            return False
        while (left := began + self.answer_seconds - monotonic()) > 0:
            if ask_for_run(self._state, request, left):
                return True
            with run_locks.claim_dead(self._state, run.run_id) as is_dead:  # a process was killed before it was ready
                if is_dead:
                    run_locks.forget(self._state, run.run_id)
            if not is_kept() and monotonic() < began + self.answer_seconds:
                return False  # no other one is about to start
            sleep(PAUSE_SECONDS)
        self._rests_until = monotonic() + REST_SECONDS
        _LOG.warning(
            "the run server did not answer within %.0f s; for %.0f s runs start without it",
            self.answer_seconds,
            REST_SECONDS,
        )
        return False


def is_of_own_module(run: DagsterRun) -> bool:
    """Whether the run's code is our module, in this Python, loaded by a code server that this machine's Dagster keeps.

    A code server that others keep may be in another container, with other folders and secrets.
    """
    if run.remote_job_origin is None:
        return False
    return origin_is_own_module(run.remote_job_origin.repository_origin.code_location_origin)


def origin_is_own_module(origin: object) -> bool:
    """Whether a code location with that origin has our module's definitions; see `is_of_own_module`."""
    if not isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
        return False
    target = origin.loadable_target_origin
    return target.module_name == MODULE and target.executable_path in {None, sys.executable}
