"""What the environment says. The only module that reads it, besides secrets in `base`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Where everything is.

    Attributes:
        home: INGEST_HOME: the project of connections, databases and imports. Default: the working directory where
            it is a project; else the demo that `ingest demo` made in the state folder; else the packaged demo.
        state: INGEST_STATE: embedded Postgres, spool, spill, Dagster's local files. Default: `.ingest` in the
            working directory.
        database_url: INGEST_DATABASE_URL: the target Postgres. None: the embedded one.
        dagster_url: INGEST_DAGSTER_URL: Dagster's storage. None: a database of the embedded server.
        spill: INGEST_SPILL_URI as a local folder. Default: `spill` in the state folder.
        automation: INGEST_AUTOMATION=off starts sensors and schedules switched off.
        lock_timeout_seconds: INGEST_LOCK_TIMEOUT: how long a merge waits for its target table. Default 60.
        dagster_home: DAGSTER_HOME: the folder of Dagster's own settings. None: `dagster` in the state folder.
        validating: `dagster definitions validate` is reading the definitions.
    """

    home: Path
    state: Path
    database_url: str | None
    dagster_url: str | None
    automation: bool = True
    lock_timeout_seconds: float = 60.0
    dagster_home: Path | None = None
    validating: bool = False

    @property
    def spool(self) -> Path:
        """Where items land."""
        return self.state / "spool"

    @property
    def spill(self) -> Path:
        """Where validated rows wait for the merge."""
        return self.state / "spill"

    @property
    def demo(self) -> Path:
        """The demo project as `ingest demo` lays it out: a copy that may be edited."""
        return self.state / "demo"


def demo_home() -> Path:
    """The packaged demo project."""
    return Path(__file__).resolve().parent.parent / "demo" / "project"


def read_settings() -> Settings:
    """Settings from the environment; paths absolute.

    Raises:
        ConfigError: a variable holds something it cannot.
    """
    state = Path(os.environ.get("INGEST_STATE") or ".ingest").resolve()
    dagster_home = os.environ.get("DAGSTER_HOME")
    return Settings(
        home=_home(state),
        state=state,
        database_url=os.environ.get("INGEST_DATABASE_URL") or None,
        dagster_url=os.environ.get("INGEST_DAGSTER_URL") or None,
        automation=os.environ.get("INGEST_AUTOMATION", "on").lower() not in {"off", "0", "false"},
        lock_timeout_seconds=_seconds("INGEST_LOCK_TIMEOUT", 60.0),
        dagster_home=Path(dagster_home).resolve() if dagster_home else None,
        validating=os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI") == "1",
    )


def child_environment(settings: Settings, dagster_home: Path) -> dict[str, str]:
    """The environment for processes that work for this one: ours, with every folder spelled out."""
    return {
        **os.environ,
        "INGEST_HOME": str(settings.home),
        "INGEST_STATE": str(settings.state),
        "DAGSTER_HOME": str(dagster_home),
    }


def _home(state: Path) -> Path:
    given = os.environ.get("INGEST_HOME")
    if given:
        return Path(given).resolve()
    for home in (Path.cwd(), state / "demo"):
        if (home / "connections.yaml").is_file():
            return home.resolve()
    return demo_home()


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ConfigError([f"{variable}: expected a number of seconds above 0"], hint=f"for example: {variable}=60")
    return seconds
