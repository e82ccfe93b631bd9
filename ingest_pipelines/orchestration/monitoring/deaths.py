"""Processes that ended or hung and were started again, noted in the state folder by whoever started them again.

<state>/deaths    a line of JSON per death: name, time, how
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ingest_pipelines.orchestration.monitoring.health import Death
from ingest_pipelines.owner_only import open_private

_MOST_BYTES = 100_000
"""The file begins again when it is larger."""


def note_death(state: Path, death: Death) -> None:
    """Adds the death. A folder that is missing or full is no reason to stop: only the watcher reads it."""
    path = state / "deaths"
    line = json.dumps({"name": death.name, "at": death.at.isoformat(), "how": death.how})
    with suppress(OSError):
        is_long = path.exists() and path.stat().st_size > _MOST_BYTES
        with open_private(path, "w" if is_long else "a") as file:
            file.write(f"{line}\n")


def read_deaths(state: Path) -> list[Death]:
    """Those noted last, oldest first; none where nobody notes them."""
    deaths = []
    with suppress(OSError):
        for line in (state / "deaths").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                deaths.append(Death(str(entry["name"]), datetime.fromisoformat(entry["at"]), str(entry["how"])))
    return deaths


def code_server_died(state: Path, owner: str, location: str) -> None:
    """Notes that a code server did not answer any more.

    Args:
        owner: the process that started it.
    """
    note_death(state, Death(f"code server of {owner}", datetime.now(UTC), "did not answer"))
