"""A code server that waits until webserver or daemon need one: it has imported everything, and has read no project.

A code server that Dagster starts takes seconds until it can read the project's files, and nearly all of them for
imports. This one has them behind it. It becomes Dagster's, with the arguments that Dagster gives to its own.

Waits for: a code server that loads changed definitions again without another process.
If `dagster._cli` has no `main` any more: the process ends before it is used, and Dagster starts its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

from dagster._cli import main as dagster

from ingest_pipelines.config import read_settings
from ingest_pipelines.config.current_project import stamp_of
from ingest_pipelines.errors import IngestError
from ingest_pipelines.orchestration.dagster_internals.asset_job import derive_id_of_asset_job
from ingest_pipelines.orchestration.dagster_internals.standby import NAME, STANDBY_NAME, STARTS
from ingest_pipelines.orchestration.warm_imports import call_this, have_changed, import_and_keep, imported_files
from ingest_pipelines.owner_only import take_private_umask

IMPORTED = (
    "alembic.command",
    "dagster._grpc.server",
    "dagster_postgres",
    "ingest_pipelines.ledger",
    "ingest_pipelines.orchestration.code_location",
    "ingest_pipelines.orchestration.run_launcher",
    "ingest_pipelines.orchestration.run_queue",
    "ingest_pipelines.orchestration.storage",
    "ingest_pipelines.rules.pandera_polars",
    "psycopg",
    "psycopg2.extras",
    "sqlglot",
)

_MOST_BYTES = 1_000_000


def main() -> None:
    """Waits for the arguments at the socket whose file descriptor is the last word. Without any it ends.

    The socket ends with the process that started this one.
    """
    take_private_umask()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(fileno=int(sys.argv[-1])) as line:
        import_and_keep(IMPORTED)
        files = imported_files()
        call_this(STANDBY_NAME)
        words = b""
        while not words.endswith(b"\n") and len(words) < _MOST_BYTES and (more := line.recv(65_536)):
            words += more
        if not words.endswith(b"\n") or have_changed(files):
            os._exit(0)
        call_this(NAME)
        line.sendall(STARTS)
    with suppress(IngestError):  # settings with a mistake: loading the definitions reports it
        derive_id_of_asset_job((sorted(files.items()), stamp_of(read_settings().home)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[:] = ["dagster", *json.loads(words)]
    dagster()  # type: ignore[no-untyped-call]
