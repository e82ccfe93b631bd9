"""What tests of sources share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ingest_pipelines_tests.sources.landed import Landed, land


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    """`landed(connection, query, columns)`: the rows as rules get them."""
    return partial(land, tmp_path)
