"""The small project of the orchestration tests, for what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest_pipelines_tests.orchestration.conftest import Shop, instance, new_shop

__all__ = ["instance", "shop"]


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Shop:
    """Its target has no ledger: who loads makes it, and owns it."""
    return new_shop(tmp_path, database_url)
