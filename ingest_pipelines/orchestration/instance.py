"""The Dagster instance that commands, webserver and daemon share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from ingest_pipelines.config import Settings
from ingest_pipelines.errors import IngestError, TargetUnavailable
from ingest_pipelines.orchestration.dagster_internals.instance import instance_without_log_files
from ingest_pipelines.owner_only import private_folder, private_state, write_private

HERE = Path(__file__).parent
"""Where the dagster.yaml and the workspace.yaml of `ingest up` are."""

LOCATION = "ingest_pipelines"
"""The code location's name in every workspace.yaml of ours."""


def dagster_home(settings: Settings) -> Path:
    """The folder with dagster.yaml: DAGSTER_HOME, else `dagster` in the state folder, kept up to date."""
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

    Raises:
        TargetUnavailable: the storage does not answer.
    """
    root, silence = logging.getLogger(), logging.NullHandler()
    root.addHandler(silence)  # else Python prints what Dagster logs of each attempt; the error says it once
    try:
        return instance_without_log_files(dagster_home(settings))
    except (DagsterPostgresException, SQLAlchemyError):  # without its text: that may hold the address
        raise TargetUnavailable(
            "Dagster's storage does not answer", hint="nothing ran; check INGEST_DAGSTER_URL, then run it again"
        ) from None
    finally:
        root.removeHandler(silence)


@contextmanager
def command_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The instance while a command uses it.

    Raises:
        TargetUnavailable: the storage does not answer, or breaks off meanwhile.
    """
    instance = open_instance(settings)
    try:
        yield instance
    except Exception as error:
        if not storage_broke_off(error):
            raise
        raise TargetUnavailable(
            "Dagster's storage broke off during the command",
            hint="a load that committed stays, and `ingest report` shows it; run the command again",
        ) from None
    finally:
        instance.dispose()


def storage_broke_off(error: BaseException) -> bool:
    """Whether Dagster's storage raised the error, or one before it, and nobody has put it into words."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(error, IngestError):
        if isinstance(cause, DagsterPostgresException | SQLAlchemyError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
