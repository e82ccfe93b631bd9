"""The Dagster instance that commands, webserver and daemon share."""

from __future__ import annotations

from pathlib import Path

from dagster import DagsterInstance

from ingest_pipelines.config import Settings

HERE = Path(__file__).parent
LOCATION = "ingest_pipelines"
"""The code location's name in every workspace.yaml of ours."""


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's settings: DAGSTER_HOME, else `dagster` in the state folder, kept up to date."""
    if settings.dagster_home is not None:
        return settings.dagster_home
    home = settings.state / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    text = (HERE / "dagster.yaml").read_text(encoding="utf-8")
    kept = home / "dagster.yaml"
    if not kept.exists() or kept.read_text(encoding="utf-8") != text:
        draft = home / "dagster.yaml.new"
        draft.write_text(text, encoding="utf-8")
        draft.replace(kept)
    return home


def open_instance(settings: Settings) -> DagsterInstance:
    """The instance; its storage is up to date."""
    return DagsterInstance.from_config(str(dagster_home(settings)))
