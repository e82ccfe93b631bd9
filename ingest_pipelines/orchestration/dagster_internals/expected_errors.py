"""Failures and retries of a step, and failures of a tick, whose page shows our sentence alone, without a stack trace.

Dagster stores the traceback of every exception of a step and of a tick, and its page shows it below the sentence. That
is right for a bug. A file with a mistake, or a source that hangs, is expected: the trace hides the sentence.

Waits for: a `Failure` that is stored without its traceback; the UI then shows none (dagster pull request 8427).
`DagsterUserCodeProcessError` brings an error from another process, already as text, and Dagster stores that text as the
step's error.
If Dagster stores the traceback of such an error, too: the page shows it again below the sentence. Nothing else changes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dagster import Failure, MetadataValue, RetryRequested
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from ingest_pipelines.errors import IngestError


class _WithoutStack(DagsterUserCodeProcessError):
    """An error that Dagster stores as one text."""

    def __init__(self, *words: object) -> None:
        text = "\n".join(map(str, words))
        shown = [SerializableErrorInfo(text, [], None)]
        super().__init__(*words, user_code_process_error_infos=shown)  # type: ignore[no-untyped-call]


class ExpectedFailure(Failure, _WithoutStack):
    """The step failed for a reason that its message tells whole. It is not retried."""

    def __init__(self, words: str, metadata: Mapping[str, MetadataValue] | None = None) -> None:
        super().__init__(words, metadata, allow_retries=False)


class ExpectedTickFailure(_WithoutStack):
    """The tick failed for a reason that its message tells whole."""


_Tick = TypeVar("_Tick")
_Context = TypeVar("_Context")


def without_stack(tick: Callable[[_Context], _Tick]) -> Callable[[_Context], _Tick]:
    """The tick of a sensor or schedule, whose errors of ours are stored as their words."""

    @functools.wraps(tick)
    def told(context: _Context) -> _Tick:
        try:
            return tick(context)
        except IngestError as error:
            raise ExpectedTickFailure(str(error)) from error

    return told


class ExpectedRetry(RetryRequested, _WithoutStack):
    """The step failed for a reason that may go away; Dagster tries it again."""

    def __init__(self, words: str, **how: Any) -> None:
        super().__init__(**how)
        self.user_code_process_error_infos = [SerializableErrorInfo(words, [], None)]
