"""Tests of the merge run on Postgres 18 and on the oldest version that has MERGE, 15."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.model import Run, Validated
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR
from ingest_pipelines_tests.merge.targets import Rows, fresh_target, reader


@pytest.fixture(scope="session", params=["18", "15"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A superuser's URL of a Postgres of each version."""
    return str(request.getfixturevalue("postgres_url" if request.param == "18" else "postgres_15_url"))


@pytest.fixture
def target_url(server_url: str) -> Iterator[str]:
    """The URL of an empty target with its ledger."""
    with fresh_target(server_url) as url:
        yield url


@pytest.fixture
def target(target_url: str) -> Target:
    """An empty target with its ledger."""
    return Target(target_url, lock_timeout_seconds=20)


@pytest.fixture
def query(target_url: str) -> Rows:
    """Runs a statement in a transaction of its own and returns its rows."""
    return reader(target_url)


@pytest.fixture
def points() -> list[str]:
    """The points that a load passed, in order."""
    return []


@pytest.fixture
def begin(target: Target, points: list[str]) -> Iterator[Any]:
    """Begins the early load of validated rows, all of which are on disk."""
    begun: list[EarlyLoad] = []

    def begin(validated: Validated, bound: BoundImport, run: Run = SENSOR, to: Target = target) -> EarlyLoad:
        load = EarlyLoad(validated.landing, bound, Destination(to, run, NOW), points.append)
        begun.append(load)
        for file in validated.accepted:
            load.add(file)
        load.finish()
        return load

    yield begin
    for load in begun:
        load.discard()
