"""Tests of the merge run on Postgres 18 and on the oldest version that has MERGE, 15."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.model import Run, Validated
from ingest_pipelines_tests.merge.deliveries import NOW, SENSOR
from ingest_pipelines_tests.merge.targets import Rows, fresh_target, reader

MANY_CASES = 8


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A case of a test with many cases is fast on one of the two servers, by a draw; on the other one it is slow.

    So the fast tests have every case, and every test on both servers.
    """
    cases: dict[str, dict[tuple[int, ...], list[pytest.Function]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if not isinstance(item, pytest.Function) or not item.path.is_relative_to(Path(__file__).parent):
            continue
        values = item.callspec.params if hasattr(item, "callspec") else {}
        if "server_url" in values and not item.get_closest_marker("slow"):
            case = tuple(id(value) for name, value in values.items() if name != "server_url")
            cases[item.nodeid.partition("[")[0]][case].append(item)
    for test, items_of in cases.items():
        if len(items_of) < MANY_CASES:
            continue
        for place, on_servers in enumerate(items_of.values()):
            drawn = crc32(f"{test} {place}".encode()) % len(on_servers)
            for number, item in enumerate(on_servers):
                if number != drawn:
                    item.add_marker(pytest.mark.slow)


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
