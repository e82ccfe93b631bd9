"""`ingest up` starts a child again that ends by itself, and gives up on one that always does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ingest_pipelines.config import Settings
from ingest_pipelines.errors import IngestError
from ingest_pipelines.orchestration.clock_watch import CLOCK_SET_BACK
from ingest_pipelines.orchestration.monitoring.deaths import read_deaths
from ingest_pipelines.orchestration.serving import up
from ingest_pipelines.orchestration.serving.orphans import Reaper, alone


@pytest.mark.parametrize(
    ("ends", "how"),
    [
        ("raise SystemExit(3)", "ended by itself with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended by itself with signal 9"),
        (f"raise SystemExit({CLOCK_SET_BACK})", "ended because the clock was set back"),
    ],
)
def test_a_child_that_always_ends_is_started_again_four_times_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, how: str
) -> None:
    monkeypatch.setattr(up, "FIRST_PAUSE_SECONDS", 0.01)
    settings = Settings(home=tmp_path, state=tmp_path / "state", database_url=None, dagster_url=None)
    told: list[str] = []
    with (
        alone(settings.state, told.append) as claim,
        closing(Reaper(settings.state, embedded_server=False)) as reaper,
    ):
        family = up._Family(settings, "http://127.0.0.1:1", claim, reaper)
        family.start("dagster-daemon", ["-c", ends])
        with pytest.raises(IngestError, match=f"dagster-daemon {how}, the 5th time within 5 min"):
            family.keep(told.append)
        family.stop()
    log = settings.state / "dagster" / "dagster-daemon.log"
    assert told == [f"dagster-daemon {how} and is started again; its log: {log}"] * 4
    assert [(death.name, death.how) for death in read_deaths(settings.state)] == [("dagster-daemon", how)] * 4
