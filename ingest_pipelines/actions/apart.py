"""Long work for a page in a process of its own: both ends of its pipes.

The parent writes what it asks for as one line of JSON to the process's stdin and leaves the pipe open; the process
writes lines of JSON to stdout: `{"stage": ...}` while it works, and its answer. If the pipe closes, the parent is dead,
and the work is interrupted as by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ingest_pipelines.owner_only import take_private_umask


def start(module: str) -> subprocess.Popen[bytes]:
    """`python -m MODULE`, which waits for what it is asked; Ctrl-C at the parent's terminal does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ask(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    """Tells the process what to do."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()


def reports(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What the process says, until it has ended. A library's own output is left out."""
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield said
    process.wait()
    process.stdin.close()


def asked() -> dict[str, Any]:
    """In the process: what the parent asks for. From here on the process ends with its parent."""
    take_private_umask()
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return request


def report(line: Mapping[str, Any]) -> None:
    """In the process: says how far it is, or its answer."""
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)
