"""A receipt's folder is one of the vendor's own, and another one than that of the files."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ingest_pipelines_tests.config.test_deletions import LIST, problems


def test_a_receipt_has_a_folder_of_its_own() -> None:
    assert problems(**LIST, receipt={"folder": "outbox"}) == []
    [problem] = problems(**LIST, receipt={"folder": "/drop/"})
    assert problem.startswith("receipt.folder: is the folder of the files themselves")


def test_only_the_sender_of_a_file_is_answered() -> None:
    table: dict[str, Any] = {"connection": "shop", "table": "t"}
    [problem] = problems(**LIST, receipt={"folder": "outbox"}, source=table)
    assert problem.startswith("receipt: answers the sender of a file")


@pytest.mark.parametrize("folder", ["../outbox", "a//b", ".", ""])
def test_a_receipt_stays_below_the_connections_root(folder: str) -> None:
    with pytest.raises(ValidationError):
        problems(**LIST, receipt={"folder": folder})
