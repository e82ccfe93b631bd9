"""Databases for Dagster's runs: its tables are there and empty, made from a template in a few milliseconds.

Storage that is empty altogether is what the demo, `ingest up` and `test_storage` begin with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

from ingest_pipelines_tests.servers.postgres import fresh_database, template


@contextmanager
def fresh_storage(admin_url: str) -> Iterator[str]:
    """The URL of a database with a storage without runs, gone after the block whoever is still connected."""
    with fresh_database(admin_url, template(admin_url, "storage_template", _make_tables)) as url:
        yield url


def _make_tables(url: str) -> None:
    """As the first command does."""
    from ingest_pipelines.config import read_settings
    from ingest_pipelines.orchestration.instance import open_instance

    with TemporaryDirectory() as state, pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setenv("INGEST_STATE", state)
        patch.setenv("INGEST_DAGSTER_URL", url)
        open_instance(read_settings()).dispose()
