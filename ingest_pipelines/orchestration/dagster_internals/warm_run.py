"""A run in a process that the run server forked: as a code server's process executes it, without its imports.

A process that executes several runs keeps the definitions for as long as the project's files and the settings stay as
they are: Dagster keeps the last ones that it loaded from a module, and Python the module.

Waits for: a public function that executes a run that was created, in this process.
If `core_execute_run`, `capture_interrupts` or `recon_job_from_origin` change: the forked process ends before it is
ready, and each run goes the stock way. If Dagster keeps definitions elsewhere than in the two caches of a
`ReconstructableJob`: `test_run_server.py` fails, since an edited YAML is not used by the next run. If `tail_to_stream`
goes: two more processes copy each run's output into the daemon's log, as with the stock launcher. If a module of
_IMPORTED_BY_RUNS goes: each run imports more.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NoReturn, Self

from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, reconstruct_repository_def_from_pointer
from dagster._core.events import EngineEventData
from dagster._core.execution import compute_logs
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.impl import core_execute_run
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts

from ingest_pipelines.config import Settings, read_settings
from ingest_pipelines.config.current_project import Stamp, read_current_project, stamp_of
from ingest_pipelines.merge.kept_session import KEPT
from ingest_pipelines.orchestration.dagster_internals import own_run
from ingest_pipelines.orchestration.dagster_internals.warm_launcher import MODULE
from ingest_pipelines.orchestration.runs.fail_dead_run import fail_dead_run

_IMPORTED_BY_RUNS = (
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.instance.runs.run_domain",
    "dagster._core.secrets.env_file",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "dagster._core.workspace.autodiscovery",
    "upath.implementations.local",
)
"""What Dagster imports only as it opens an instance or executes a run. None of them starts a thread."""


def import_what_runs_need() -> None:
    """Imports _IMPORTED_BY_RUNS; a module that this version of Dagster does not have is left to the runs."""
    for name in _IMPORTED_BY_RUNS:
        with suppress(ImportError):
            import_module(name)


@dataclass(frozen=True)
class _Basis:
    """What the definitions of this process were made of.

    Attributes:
        assets: those of the run for which they were loaded. The only ones that are defined, if `own_run.is_asked`.
    """

    settings: Settings
    stamp: Stamp
    assets: AbstractSet[AssetKey] | None


_loaded: list[_Basis] = []
"""Of the definitions that this process has; empty: it has none."""


def preload() -> None:
    """Loads the definitions before a run comes; of many imports only the YAML, since a run defines its own import.

    Mistakes are left to the runs, which report them.
    """
    from ingest_pipelines.orchestration.definitions import MANY

    with suppress(Exception):
        settings = read_settings()
        stamp = stamp_of(settings.home)
        if len(read_current_project(settings.home).imports) < MANY:
            reconstruct_repository_def_from_pointer(ModuleCodePointer(MODULE, "defs", None))
            _loaded[:] = [_Basis(settings, stamp, None)]


def _prepare_definitions(assets: AbstractSet[AssetKey] | None) -> None:
    """Drops the definitions of this process if they are not those of a run that has selected these assets, now."""
    settings = read_settings()
    now = _Basis(settings, stamp_of(settings.home), assets)
    if any(before == (now if own_run.is_asked() else replace(now, assets=before.assets)) for before in _loaded):
        return
    own_run.forget_question()
    sys.modules.pop(MODULE, None)
    ReconstructableJob.get_definition.cache_clear()
    ReconstructableJob.get_repository_definition.cache_clear()
    _loaded[:] = [now]


class WarmRun:
    """A run that this process is about to execute.

    Raises, as it is entered:
        LookupError: there is no such run.
    """

    def __init__(self, packed: str) -> None:
        self._packed = packed
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        own_run.announce(self._packed)
        self._stack.enter_context(capture_interrupts())
        self._instance, self._run = _open(self._stack, self._packed)
        if not isinstance(self._run.job_code_origin, JobPythonOrigin):
            raise LookupError(self._run.run_id)
        _prepare_definitions(self._run.asset_selection)
        self._job: ReconstructableJob = recon_job_from_origin(self._run.job_code_origin)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def execute(self) -> bool:
        """The run, from its start to its end; whether it succeeded. Its failure is in Dagster, and raises nothing."""
        pid, succeeded = os.getpid(), False
        started = EngineEventData.in_process(pid)
        self._instance.report_engine_event(f"Started process for run (pid: {pid}).", self._run, started)
        _log_without_copies()
        try:
            with KEPT.keeping():
                for event in core_execute_run(self._job, self._run, self._instance, inject_env_vars=True):
                    succeeded = succeeded or event.event_type is DagsterEventType.RUN_SUCCESS
        except BaseException:  # it is in the run's events already
            return False
        finally:
            self._instance.report_engine_event(f"Process for run exited (pid: {pid}).", self._run)
        return succeeded


def report_crash(packed: str, exit_code: int) -> None:
    """Marks the run as failed, because its process died; nothing, if the run has ended."""
    with ExitStack() as stack:
        instance, run = _open(stack, packed)
        if not run.is_finished:
            words = get_run_crash_explanation(f"Run execution process for {run.run_id}", exit_code)
            instance.report_engine_event(words, run, cls=WarmRun)
            fail_dead_run(instance, run.run_id)


def _open(stack: ExitStack, packed: str) -> tuple[DagsterInstance, DagsterRun]:
    arguments = deserialize_value(packed, ExecuteExternalJobArgs)
    assert arguments.instance_ref is not None
    instance = stack.enter_context(DagsterInstance.from_ref(arguments.instance_ref))
    run = instance.get_run_by_id(arguments.run_id)
    if run is None:
        raise LookupError(arguments.run_id)
    return instance, run


def _log_without_copies() -> None:
    """What the run prints goes to its log only. Dagster starts four processes per run that copy it to this one's."""
    compute_logs.tail_to_stream = _no_copy  # type: ignore[assignment]


@contextmanager
def _no_copy(*_: Any) -> Iterator[tuple[None, None]]:
    yield None, None


def end_forked(code: int) -> NoReturn:
    """Ends a forked process as the interpreter does, but without freeing all objects: that would copy shared memory."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
