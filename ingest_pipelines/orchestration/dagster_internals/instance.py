"""A Dagster instance for a command: what a run prints stays on the terminal, and is not copied into log files.

Waits for: an argument of `DagsterInstance.get` or `from_config` that overrides `compute_logs` for one process. Without
the override Dagster starts four more processes per command, which copy its output.
If `InstanceRef.from_dir` or its `overrides` go: every `ingest` command that runs or reads runs fails at its start.
"""

from __future__ import annotations

from pathlib import Path

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager


def instance_without_log_files(home: Path) -> DagsterInstance:
    """The instance that the dagster.yaml in the folder describes."""
    terminal = {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}
    return DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={"compute_logs": terminal}))
