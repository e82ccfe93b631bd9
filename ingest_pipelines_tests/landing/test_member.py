"""`source.member`: one file of a zip archive with several, by name or pattern; never a guess."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.imports import SourceOfImport
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines_tests.landing.files import landed

FILES = [
    "a.csv",
    "B.CSV",
    "read me.txt",
    "data/c.csv",
    "data/2026/d.csv",
    "x/a.csv",
    "manifest.json",
    "xl/workbook.xml",
]


def zipped(names: Sequence[str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, f"id\n{name}\n")
    return archive.getvalue()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(FILES), unique=True),
    st.sampled_from(["*.csv", "a.csv", "A.csv", "data/*.csv", "data/c.csv", "?.csv", "*.json", "*", "*d.csv", "none"]),
)
def test_the_file_that_the_name_or_pattern_fits_is_read_and_no_other(
    tmp_path: Path, names: list[str], member: str
) -> None:
    short = "/" not in member
    fitting = [name for name in names if fnmatchcase((Path(name).name if short else name).lower(), member.lower())]
    if len(fitting) == 1:
        landing = landed(zipped(names), tmp_path, name="Customers.csv.zip", member=member)
        assert landing.path.read_text() == f"id\n{fitting[0]}\n"
        return
    with pytest.raises(ItemRefused) as refused:
        landed(zipped(names), tmp_path, name="Customers.csv.zip", member=member)
    for name in (fitting or names)[:5]:
        assert name in refused.value.message
    if names:
        assert "source.member" in refused.value.message


def test_an_archive_of_several_files_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        landed(zipped(["a.csv", "b.csv"]), tmp_path, name="Customers.zip")
    assert "the .zip holds 2 files; it must hold exactly one: a.csv, b.csv" in refused.value.message
    assert "source: {member: NAME.csv}" in refused.value.hint


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("wanted", ["NFC", "NFD"])
@pytest.mark.parametrize("says_utf8", [True, False])
def test_a_name_is_found_in_either_form_of_its_accents(
    form: Literal["NFC", "NFD"], wanted: Literal["NFC", "NFD"], says_utf8: bool, tmp_path: Path
) -> None:
    name = unicodedata.normalize(form, "Kündïn.csv")
    content = zipped([name, "other.csv"])
    if not says_utf8:  # as macOS writes it: the flag is missing in the file's header and in the archive's list
        content = re.sub(rb"(PK\x03\x04..)..", rb"\g<1>\000\000", content, flags=re.DOTALL)
        content = re.sub(rb"(PK\x01\x02....)..", rb"\g<1>\000\000", content, flags=re.DOTALL)
    landing = landed(content, tmp_path, name="Customers.csv.zip", member=unicodedata.normalize(wanted, "kündïn.*"))
    assert landing.path.read_text() == f"id\n{name}\n"
    with pytest.raises(ItemRefused, match="Kündïn\\.csv, other"):
        landed(content, tmp_path, name="Customers.csv.zip")


def test_a_file_that_is_no_archive_needs_no_member(tmp_path: Path) -> None:
    landing = landed(b"id\n1\n", tmp_path, member="other.csv")
    assert landing.path.read_bytes() == b"id\n1\n"


def test_a_query_has_no_member() -> None:
    with pytest.raises(ValidationError, match="member: goes with files"):
        SourceOfImport.model_validate({"connection": "c", "table": "t", "member": "*.csv"})
