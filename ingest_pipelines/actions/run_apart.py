"""A run in a process of its own, for a page: it reports its stages, can be cancelled, and ends with its parent.

The parent writes the request as one line of JSON to the process's stdin and leaves the pipe open; the process writes
lines of JSON to stdout: `{"stage": ...}`, at the end `{"loads": [...], "error": ..., "hint": ...}`. If the pipe closes,
the parent is dead, and the run is interrupted as by Ctrl-C: what is not committed changes nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

from ingest_pipelines.errors import IngestError, UsageError


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for.

    Attributes:
        item: its key; None: the newest file, or what is due.
        failed: all items that failed, in order.
        by: who asks, for the ledger.
    """

    import_name: str
    by: str
    item: str | None = None
    failed: bool = False

    def line(self) -> bytes:
        """The request as a line for the process's stdin."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Runs what stdin requests."""
    from ingest_pipelines.owner_only import take_private_umask

    take_private_umask()
    request = RunRequest(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _report(_outcome(request))


def _outcome(request: RunRequest) -> dict[str, Any]:
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.launcher import launching
    from ingest_pipelines.config import read_project, read_settings

    loads: list[int] = []
    error: IngestError | None = None
    try:
        settings = read_settings()
        project = read_project(settings.home)
        project.require(request.import_name)
        with launching(settings, project, request.by, lambda text: _report({"stage": text})) as launch:
            items = launch.failed_items(request.import_name) if request.failed else [request.item]
            if not items:
                raise UsageError(f"import {request.import_name}: no item has failed; nothing to run again")
            for item in items:
                result = launch(
                    request.import_name, item_key=item, on_stage=lambda stage: _report({"stage": str(stage)})
                )
                error = error or result.error
                with launch.site.target.session() as connection:
                    loads += [load.id for load in ledger.loads_of_run(connection, result.run_id)]
    except IngestError as expected:
        error = expected
    except KeyboardInterrupt:
        error = IngestError("cancelled", hint="what was not committed changed nothing; it is safe to run it again")
    words = {"error": error.message, "hint": error.hint} if error is not None else {}
    return {"loads": loads, **words}


def _report(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
