"""Latin-1 that was written on Windows: what is rejected for its control characters names the encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest_pipelines_tests.rules.feeds import bound_import, frame, rejects, validate


@pytest.mark.parametrize(
    ("encoding", "cell", "named"),
    [
        ("latin-1", b"\x93hi\x94", "cp1252"),
        ("ISO-8859-1", b"5 \x80", "cp1252"),
        ("iso-8859-15", b"a \x96 b", "cp1252"),
        ("iso-8859-9", b"\x93hi\x94", "cp1254"),
        ("latin-1", b"\x93\x81", None),  # Windows has no letter there
        ("latin-1", "Zoë “x”".encode(), "utf-8"),
        ("latin-1", b"a\x07b", None),
        ("utf-8", b"\xc2\x93", None),
    ],
)
def test_the_encoding_of_windows_is_named(encoding: str, cell: bytes, named: str | None, tmp_path: Path) -> None:
    source = {"connection": "uploads", "format": {"delimiter": ";", "encoding": encoding}}
    bound = bound_import({"note": {"type": "string"}}, source=source, rejects={"unlimited": True})
    rows = frame({"id": ["a", "b"], "note": [cell.decode(encoding), "fine"]})
    (record,) = rejects(validate(bound, tmp_path / "spill", rows))
    said = record["reason"]
    assert ("encoding:" in said) == (named is not None)
    if named:
        why = "if it is UTF-8" if named == "utf-8" else "if it was written on Windows"
        assert said.endswith(f'; {why}: format: {{delimiter: ";", encoding: {named}}}')
