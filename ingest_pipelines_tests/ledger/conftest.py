"""A database with an empty ledger."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ingest_pipelines_tests.merge.targets import fresh_target, ledger_template


@pytest.fixture(scope="session")
def ledger_name(postgres_url: str) -> Iterator[str]:
    """A database to make others from."""
    with ledger_template(postgres_url) as name:
        yield name


@pytest.fixture
def connection(postgres_url: str, ledger_name: str) -> Iterator[psycopg.Connection]:
    """A connection to a ledger of this test's own."""
    with fresh_target(postgres_url, ledger_name) as url, psycopg.connect(url) as opened:
        yield opened
