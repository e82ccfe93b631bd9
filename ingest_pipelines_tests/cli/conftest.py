"""Terminals: one where nothing is set up, one with a small project, one where the demo is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.servers.postgres import fresh_database

NOWHERE = "postgresql://nobody:secret-of-the-target@127.0.0.1:1/none"


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in an empty folder; the target does not answer."""
    return Terminal(tmp_path, {"INGEST_DATABASE_URL": NOWHERE})


@pytest.fixture(scope="module")
def starter(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal in a project that `ingest init` made, with databases of its own; a module's tests share it."""
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as storage:
        home = tmp_path_factory.mktemp("starter") / "project"
        terminal = Terminal(home.parent, {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage})
        assert terminal.ingest("init", home).code == 0
        yield Terminal(home, terminal.environment)


@pytest.fixture(scope="session")
def demo(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, Answer]]:
    """A terminal where `ingest demo` has run, and what it printed. Tests only read there."""
    with fresh_database(postgres_url) as target, fresh_database(postgres_url) as storage:
        terminal = Terminal(
            tmp_path_factory.mktemp("demo"), {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage}
        )
        yield terminal, terminal.ingest("demo")
