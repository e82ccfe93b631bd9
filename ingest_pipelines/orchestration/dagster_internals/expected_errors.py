"""Failures and retries of a step whose page shows our sentence alone, without a stack trace.

Dagster stores the traceback of every exception of a step, and its page shows it below the sentence. That is right for a
bug. A file with a mistake is expected: the trace hides the sentence.

Waits for: a `Failure` that is stored without its traceback; the UI then shows none (dagster pull request 8427).
`DagsterUserCodeProcessError` brings an error from another process, already as text, and Dagster stores that text as the
step's error.
If Dagster stores the traceback of such an error, too: the page shows it again below the sentence. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster import Failure, MetadataValue, RetryRequested
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo


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


class ExpectedRetry(RetryRequested, _WithoutStack):
    """The step failed for a reason that may go away; Dagster tries it again."""

    def __init__(self, words: str, **how: Any) -> None:
        super().__init__(**how)
        self.user_code_process_error_infos = [SerializableErrorInfo(words, [], None)]
