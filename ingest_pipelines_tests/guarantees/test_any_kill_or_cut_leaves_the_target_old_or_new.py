"""Processes, sessions, a server and connections struck at any point, moment or byte: a part of `make torture`.

The target is as before the load or as after it, in profiles, consents, events, rejects, ledger and cursor; what the
load says is true; the next try completes it. Ten thousand more come by night: docs/reliability.md has their figures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.torture.history import FEEDS, Feed, history, run_steps
from ingest_pipelines_tests.guarantees.torture.target import TargetServer, postgres_18
from ingest_pipelines_tests.guarantees.torture.worker import Worker
from ingest_pipelines_tests.servers.fleet import Fleet

LEAST = 5
"""Blows that must meet a load of each feed, however slow the machine is."""

SECONDS = float(os.environ.get("TORTURE_SECONDS", "60"))
"""For all feeds together."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> Iterator[TargetServer]:
    """A Postgres of this module's own, which it may kill."""
    with postgres_18(tmp_path_factory.mktemp("tortured"), fleet.free_port()) as server:
        yield server


@pytest.mark.parametrize("feed", FEEDS)
def test_any_kill_or_cut_leaves_the_target_old_or_new(
    server: TargetServer, postgres_url: str, tmp_path: Path, feed: Feed
) -> None:
    seed = f"{time.time_ns()}"
    end = time.monotonic() + SECONDS / len(FEEDS)
    with (
        Worker(tmp_path / "worker.log") as worker,
        history(seed, feed, server, postgres_url, worker, tmp_path / "part") as made,
    ):
        run_steps(made, blows=1_000, until=lambda: time.monotonic() > end and made.struck.blows.total() >= LEAST)
