"""The executor of runs: INGEST_EXECUTOR. Many runs are the usual parallelism; the last two use more machines.

in_process    all steps of a run in its own process: the fastest, and the default
multiprocess  a process per step, on the same machine
k8s           a pod per step; the Kubernetes run launcher alone gives a pod per run, which is usually enough
celery        a queue that workers on any machine take steps from
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dagster import ExecutorDefinition, in_process_executor, multiprocess_executor

from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import ExecutorName
from ingest_pipelines.errors import MissingDriver

LONGEST_WAIT = 24 * 3600
"""Seconds after which Redis gives a step to a second worker; far more than a run may take."""


def executor_of(settings: Settings) -> ExecutorDefinition | None:
    """The executor of every import's runs; None: that of the code location.

    Raises:
        MissingDriver: its package is not installed.
    """
    if settings.executor is None:
        return None
    return _EXECUTORS[settings.executor](settings)


def celery_config(settings: Settings) -> dict[str, Any]:
    """The settings that runs and workers share. Holds the broker's password.

    A worker takes a step only when it is free, and acknowledges it when it begins: a step is executed once.
    """
    broker = settings.celery_broker or ""
    return {
        "broker": broker,
        "backend": broker if broker.startswith(("redis://", "rediss://")) else "rpc://",
        "config_source": {
            "worker_prefetch_multiplier": 1,
            "broker_connection_retry_on_startup": True,
            "broker_transport_options": {"visibility_timeout": LONGEST_WAIT},
            "result_expires": LONGEST_WAIT,
        },
    }


def _in_process(settings: Settings) -> ExecutorDefinition:
    return in_process_executor


def _multiprocess(settings: Settings) -> ExecutorDefinition:
    return multiprocess_executor


def _k8s(settings: Settings) -> ExecutorDefinition:
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError:
        raise _missing("k8s", "dagster-k8s") from None
    return k8s_job_executor


def _celery(settings: Settings) -> ExecutorDefinition:
    try:
        from dagster_celery import celery_executor
    except ImportError:
        raise _missing("celery", "dagster-celery") from None
    return celery_executor.configured(celery_config(settings))


def _missing(executor: ExecutorName, package: str) -> MissingDriver:
    return MissingDriver(
        f"the executor {executor} needs the package {package}, which is not installed",
        hint=f"pip install 'ingest-pipelines[{executor}]'",
    )


_EXECUTORS: Mapping[ExecutorName, Callable[[Settings], ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "k8s": _k8s,
    "celery": _celery,
}
