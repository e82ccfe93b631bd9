"""The Dagster instance that commands, webserver and daemon share."""

from __future__ import annotations

from pathlib import Path

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from ingest_pipelines.config import Settings
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.owner_only import private_folder, private_state, write_private

HERE = Path(__file__).parent
LOCATION = "ingest_pipelines"
"""The code location's name in every workspace.yaml of ours."""


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's settings: DAGSTER_HOME, else `dagster` in the state folder, kept up to date."""
    if settings.dagster_home is not None:
        return settings.dagster_home
    home = private_folder(private_state(settings.state) / "dagster")
    text = (HERE / "dagster.yaml").read_bytes()
    kept = home / "dagster.yaml"
    if not kept.exists() or kept.read_bytes() != text:
        write_private(kept, text)
    return home


def open_instance(settings: Settings) -> DagsterInstance:
    """The instance as a command uses it; its storage is up to date.

    What a run prints stays on the command's own terminal: to copy it into a file besides, Dagster would start four
    more processes.

    Raises:
        TargetUnavailable: the storage does not answer.
    """
    terminal = {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}
    try:
        return DagsterInstance.from_ref(
            InstanceRef.from_dir(str(dagster_home(settings)), overrides={"compute_logs": terminal})
        )
    except (DagsterPostgresException, SQLAlchemyError):  # without its text: that may hold the address
        raise TargetUnavailable(
            "Dagster's storage does not answer", hint="nothing ran; check INGEST_DAGSTER_URL, then run it again"
        ) from None
