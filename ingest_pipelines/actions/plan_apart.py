"""A plan of files that are not written yet, in a process of its own, for a page: reports its stages, can be cancelled.

The parent writes the request as one line of JSON to the process's stdin and leaves the pipe open; the process writes
lines of JSON to stdout: `{"stage": ...}`, at the end `{"plan": {...}}` or `{"error": ..., "hint": ...}`. If the pipe
closes, the parent is dead, and the plan ends as by Ctrl-C. Nothing of a plan is ever committed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ingest_pipelines.errors import IngestError

if TYPE_CHECKING:
    from ingest_pipelines.config import Settings

SAMPLES = 20
"""Rejects that the answer has."""


def main() -> None:
    """Plans what stdin requests: `{"import": NAME, "drafts": {FILE: TEXT}}`."""
    from ingest_pipelines.config import read_settings
    from ingest_pipelines.owner_only import take_private_umask

    take_private_umask()
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _report(planned(read_settings(), request["import"], request["drafts"]))
    except IngestError as error:
        _report({"error": error.message, "hint": error.hint})
    except KeyboardInterrupt:
        _report({"error": "the plan was cancelled", "hint": "nothing was changed"})


def planned(settings: Settings, name: str, drafts: Mapping[str, str]) -> dict[str, Any]:
    """What a load of the import would do if the drafts were written; rolled back."""
    from ingest_pipelines.actions.planning import plan_here, plan_json
    from ingest_pipelines.config import read_project
    from ingest_pipelines.orchestration.site import Site

    report = plan_here(
        Site(settings, read_project(settings.home, drafts)), name, lambda stage: _report({"stage": stage})
    )
    samples = [
        {"line": sample.line, "field": sample.field, "code": sample.code, "reason": sample.reason}
        for sample in report.samples[:SAMPLES]
    ]
    return {"plan": {**plan_json(report), "samples": samples}}


def _report(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
