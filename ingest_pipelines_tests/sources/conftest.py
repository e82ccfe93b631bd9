"""What tests of sources share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ingest_pipelines_tests.sources.landed import Landed, land
from ingest_pipelines_tests.sources.query_contract import Warehouse


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    """`landed(connection, query, columns)`: the rows as rules get them."""
    return partial(land, tmp_path)


@pytest.fixture
def warehouse(filled: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """The module's database, with its password where the connection reads it."""
    monkeypatch.setenv("WAREHOUSE_PW", filled.secrets[0])
    return filled
