"""The job and the plan of an asset's runs are asked of the code server once, and not for each run.

To create a run, webserver and daemon ask the code server for the job of its asset, and for its plan. Both follow from
the definitions alone, which a code server loads once; so the answers are kept for as long as the location that the code
server has loaded. The webserver also asks for the job of all assets, only to store it beside the run: of a thousand
imports it is large, and the daemon leaves it out for that reason; so does the webserver now.

Waits for: a workspace that keeps what it was told of a job.
If a method of `GrpcServerCodeLocation` goes: webserver and daemon do not start, and say which. If
`is_implicit_asset_job_name` goes: the same.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation, is_implicit_asset_job_name
from dagster._core.remote_representation.external import RemoteJob

from ingest_pipelines.orchestration.dagster_internals.warm_launcher import origin_is_own_module

MOST = 100
"""Answers that are kept of a code server; those that were needed last."""

T = TypeVar("T")


class _Answers:
    """What a code server has answered."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer; it is asked for, if it is not known. An error is no answer."""
        with self._lock:
            if question in self._kept:
                self._kept.move_to_end(question)
                kept: T = self._kept[question]
                return kept
        answer = ask()
        with self._lock:
            self._kept[question] = answer
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return answer


_answers: WeakKeyDictionary[GrpcServerCodeLocation, _Answers] = WeakKeyDictionary()
"""By what a code server has loaded: another one, with changed definitions, is another location."""


def keep_jobs() -> None:
    """Replaces the methods by which this process asks code servers for jobs and plans."""
    location: Any = GrpcServerCodeLocation
    get_job, gen_subset_job = location.get_job, location.gen_subset_job
    get_plan, gen_plan = location.get_execution_plan, location.gen_execution_plan

    def kept_job(self: GrpcServerCodeLocation, selector: JobSubsetSelector) -> Any:
        ask = partial(get_job, self, selector)
        return _answers_of(self).get(selector, ask) if _is_of_assets(self, selector) else ask()

    async def soon_kept_job(self: GrpcServerCodeLocation, selector: JobSubsetSelector, get_full_job: Any) -> Any:
        if not _is_of_assets(self, selector):
            return await gen_subset_job(self, selector, get_full_job)
        return await asyncio.to_thread(kept_job, self, selector)  # it may have to ask

    def kept_plan(
        self: GrpcServerCodeLocation, remote_job: RemoteJob, run_config: Mapping[str, Any], *rest: Any, **more: Any
    ) -> Any:
        question = _question(self, remote_job, run_config, *rest, **more)
        ask = partial(get_plan, self, remote_job, run_config, *rest, **more)
        return ask() if question is None else _answers_of(self).get(question, ask)

    async def soon_kept_plan(
        self: GrpcServerCodeLocation, remote_job: RemoteJob, run_config: Mapping[str, Any], *rest: Any, **more: Any
    ) -> Any:
        if _question(self, remote_job, run_config, *rest, **more) is None:
            return await gen_plan(self, remote_job, run_config, *rest, **more)
        return await asyncio.to_thread(kept_plan, self, remote_job, run_config, *rest, **more)

    location.get_job, location.gen_subset_job = kept_job, soon_kept_job
    location.get_execution_plan, location.gen_execution_plan = kept_plan, soon_kept_plan


def _answers_of(location: GrpcServerCodeLocation) -> _Answers:
    return _answers.setdefault(location, _Answers())


def _is_of_assets(location: GrpcServerCodeLocation, selector: JobSubsetSelector) -> bool:
    """Whether the job is that of assets which our own module defines."""
    return (
        selector.op_selection is None
        and bool(selector.asset_selection)
        and is_implicit_asset_job_name(selector.job_name)
        and origin_is_own_module(location.origin)
    )


def _question(
    location: GrpcServerCodeLocation,
    job: RemoteJob,
    run_config: Mapping[str, Any],
    step_keys_to_execute: Any = None,
    known_state: Any = None,
    instance: Any = None,
) -> Hashable | None:
    """What the plan of a run depends on; None for a re-execution, which begins in the middle."""
    if step_keys_to_execute is not None or known_state is not None or job.op_selection is not None:
        return None
    if not origin_is_own_module(location.origin) or not is_implicit_asset_job_name(job.name):
        return None
    assets, checks = job.asset_selection, job.asset_check_selection
    return (
        job.identifying_job_snapshot_id,
        None if assets is None else frozenset(assets),
        None if checks is None else frozenset(checks),
        json.dumps(run_config, sort_keys=True, default=repr),
    )
