"""Guarantees are proven on Postgres 18 and on 15; `target` is an empty database of one of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.ground import open_folder
from ingest_pipelines_tests.guarantees.killable import KillableLoader
from ingest_pipelines_tests.merge.conftest import query, server_url, target, target_url

__all__ = ["loader", "query", "server_url", "target", "target_url"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that servers under accounts of their own may enter."""
    folder = open_folder("guarantee-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def loader() -> Iterator[KillableLoader]:
    """Loads in processes of their own, which die where they are told to."""
    with KillableLoader() as loader:
        yield loader
