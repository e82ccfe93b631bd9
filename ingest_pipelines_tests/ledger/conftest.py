"""A database with an empty ledger."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ingest_pipelines_tests.merge.targets import fresh_target


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a ledger of this test's own."""
    with fresh_target(postgres_url) as url, psycopg.connect(url) as opened:
        yield opened
