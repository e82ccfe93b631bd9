"""Webserver and daemon start a code server again that died or hangs; the webserver also when the project changed.

Dagster's webserver starts one code server and keeps it for good: if that is killed, every page that needs it fails
until a person presses "Reload definitions", and so a new import does not show. The daemon replaces its code server
when the project changed (`code_refresh`).

Waits for: a webserver that restarts its own code servers, and reloads a location whose files changed. Code servers that
others started (`grpc_server` in the workspace) are theirs to restart: systemd, Compose or Kubernetes.
If `code_location_entries`, `reload_code_location`, an origin's `loadable_target_origin` or a location's `client` go:
the webserver serves as Dagster's own does, and logs that it does not watch its code servers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from threading import Event, Thread
from typing import Any

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin

_LOG = logging.getLogger("ingest_pipelines.code_servers")

CHECK_SECONDS = 5.0
ANSWER_SECONDS = 10
"""A code server that executes many ticks may take seconds."""

MOST_MISSES = 3
"""After so many misses in a row another code server is started: one that was killed refuses at once, a busy one is
late."""

MOST_MISSES_WITHOUT_DEFINITIONS = 12
"""The same for one whose definitions could not be loaded: each attempt takes seconds of a core."""


def keep_code_servers(workspace: Any, note: Callable[[str], None], stop: Event | None = None) -> Thread:
    """Watches the code servers that this process started, in a thread of its own.

    Args:
        workspace: Dagster's `WorkspaceProcessContext`.
        note: called with the location's name when its code server is started again.
        stop: ends the thread.
    """
    thread = Thread(target=_keep, args=(workspace, note, stop or Event()), name="code-servers", daemon=True)
    thread.start()
    return thread


CHANGE_SECONDS = 0.25
"""Between two looks at the project's files. A change is loaded once two looks find the same."""

MOST_SHARE = 0.02
"""Of a core, for looks: those at a thousand files are rarer."""


def reload_when_changed(
    workspace: Any, module: str, stamp: Callable[[], Hashable], loaded: Hashable, stop: Event | None = None
) -> Thread:
    """Loads the locations of the module again when the stamp changes, in a thread of its own.

    The code server in use serves until the new one has loaded the definitions.

    Args:
        workspace: Dagster's `WorkspaceProcessContext`.
        module: of which the locations are loaded.
        stamp: changes with the files that the module reads. Empty where they cannot be read: then nothing is loaded.
        loaded: the stamp before the first code server was started.
        stop: ends the thread.
    """
    words = (workspace, module, stamp, loaded, stop or Event())
    thread = Thread(target=_reload_when_changed, args=words, name="project", daemon=True)
    thread.start()
    return thread


def _reload_when_changed(
    workspace: Any, module: str, stamp: Callable[[], Hashable], loaded: Hashable, stop: Event
) -> None:
    before, pause = loaded, CHANGE_SECONDS
    while not stop.wait(pause):
        pause = CHANGE_SECONDS
        try:
            looks = time.thread_time()
            now = stamp()
            pause = max(CHANGE_SECONDS, (time.thread_time() - looks) / MOST_SHARE)
            if now and now != loaded and now == before:
                began = time.monotonic()
                for name, entry in dict(workspace.get_current_workspace().code_location_entries).items():
                    if _module_of(entry.origin) == module:
                        workspace.reload_code_location(name)
                loaded = now
                pause += time.monotonic() - began  # a large project that changes all the time takes half a core
            before = now
        except Exception:
            _LOG.exception("the project's files are not watched")


def _module_of(origin: Any) -> str | None:
    """The module of a code server that this process started; None for others."""
    if not isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
        return None
    module: str | None = origin.loadable_target_origin.module_name
    return module


def _keep(workspace: Any, note: Callable[[str], None], stop: Event) -> None:
    misses: dict[str, int] = {}
    while not stop.wait(CHECK_SECONDS):
        try:
            entries = dict(workspace.get_current_workspace().code_location_entries)
            for name, entry in entries.items():
                if not isinstance(entry.origin, ManagedGrpcPythonEnvCodeLocationOrigin):
                    continue
                misses[name] = 0 if _answers(entry.code_location) else misses.get(name, 0) + 1
                most = MOST_MISSES if entry.code_location is not None else MOST_MISSES_WITHOUT_DEFINITIONS
                if misses[name] >= most:
                    _LOG.error("the code server of %s does not answer; starting another one", name)
                    misses[name] = 0
                    note(name)
                    workspace.reload_code_location(name)
        except Exception:
            _LOG.exception("the code servers are not watched")


def _answers(location: Any) -> bool:
    """Whether the location's code server answers; False where its definitions could not be loaded."""
    if location is None:
        return False
    try:
        location.client.get_server_id(timeout=ANSWER_SECONDS)
    except DagsterUserCodeUnreachableError:
        return False
    return True
