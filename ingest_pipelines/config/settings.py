"""What the environment says. The only module that reads it, besides secrets in `base`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where everything is.

    Attributes:
        home: INGEST_HOME: the project of connections, databases and imports. Default: the packaged demo.
        state: INGEST_STATE: embedded Postgres, spool, spill, Dagster's local files. Default: `.ingest` in the
            working directory.
        database_url: INGEST_DATABASE_URL: the target Postgres. None: the embedded one.
        dagster_url: INGEST_DAGSTER_URL: Dagster's storage. None: a database of the embedded server.
        spill: INGEST_SPILL_URI as a local folder. Default: `spill` in the state folder.
        automation: INGEST_AUTOMATION=off starts sensors and schedules switched off.
        lock_timeout_seconds: INGEST_LOCK_TIMEOUT: how long a merge waits for its target table. Default 60.
    """

    home: Path
    state: Path
    database_url: str | None
    dagster_url: str | None
    automation: bool = True
    lock_timeout_seconds: float = 60.0

    @property
    def spool(self) -> Path:
        """Where items land."""
        return self.state / "spool"

    @property
    def spill(self) -> Path:
        """Where validated rows wait for the merge."""
        return self.state / "spill"

    @property
    def demo(self) -> bool:
        """Whether the packaged demo project is in use."""
        return self.home == demo_home()


def demo_home() -> Path:
    """The packaged demo project."""
    return Path(__file__).resolve().parent.parent / "demo" / "project"


def read_settings() -> Settings:
    """Settings from the environment; paths absolute."""
    home = os.environ.get("INGEST_HOME")
    state = os.environ.get("INGEST_STATE")
    return Settings(
        home=Path(home).resolve() if home else demo_home(),
        state=Path(state).resolve() if state else Path.cwd() / ".ingest",
        database_url=os.environ.get("INGEST_DATABASE_URL") or None,
        dagster_url=os.environ.get("INGEST_DAGSTER_URL") or None,
        automation=os.environ.get("INGEST_AUTOMATION", "on").lower() not in {"off", "0", "false"},
        lock_timeout_seconds=float(os.environ.get("INGEST_LOCK_TIMEOUT", "60")),
    )
