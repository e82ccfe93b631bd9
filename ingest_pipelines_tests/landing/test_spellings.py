"""`also`: a column under several names. One of them is read; two in one file, or another form of one, are refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import, Limits
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import read_csv
from ingest_pipelines.landing.header import _meant, _quoted
from ingest_pipelines.rules import compile_rules, validate_rows
from ingest_pipelines_tests.landing.files import landed
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, rejects

COLUMNS: dict[str, Any] = {
    "CID": {"field": "id", "also": ["cid", "CustomerId"]},
    "Mail": {"field": "email", "also": ["E-Mail"]},
    "Points": "points",
}
FIELDS = {"email": {"type": "email"}, "points": {"type": "int"}}
NEWS = {"database": {"resources": {"news": {"channels": ["email"]}}}}


@pytest.mark.parametrize("key", ["CID", "cid", "CustomerId"])
@pytest.mark.parametrize("mail", ["Mail", "E-Mail"])
def test_a_file_is_read_under_any_of_the_names_and_its_rejects_keep_them(key: str, mail: str, tmp_path: Path) -> None:
    consent = {"resource": "news", "channel": "email", "contact": "Mail", "status": "subscribed"}
    bound = bound_import(
        FIELDS, columns=COLUMNS, match={"by": "field", "field": "email"}, version="Points", subscriptions=[consent],
        database=NEWS["database"],
    )  # fmt: skip
    landing = landed(f"Points,{mail},{key}\n1,a@b.co,A\nx,c@d.co,B\n".encode(), tmp_path)
    header, frames = read_csv(landing, bound.required_columns, Limits(), bound.spellings)
    validated = validate_rows(landing, header, frames, compile_rules(bound.spelled_as(header)), tmp_path / "spill")
    rows = accepted(validated)
    assert rows.select("id", "email", "points", "column:Mail", "column:Points").rows() == [
        ("A", "a@b.co", 1, "a@b.co", "1")
    ]
    assert [reject["row"] for reject in rejects(validated)] == [{"Points": "x", mail: "c@d.co", key: "B"}]


@pytest.mark.parametrize("again", ["CID,Mail,Points", "CustomerId,E-Mail,Points", "Points,cid,Mail"])
def test_a_second_header_in_any_of_the_names_is_refused(again: str, tmp_path: Path) -> None:
    bound = bound_import(FIELDS, columns=COLUMNS)
    landing = landed(f"cid,E-Mail,Points\nA,a@b.co,1\n{again}\nB,c@d.co,2\n".encode(), tmp_path)
    _, frames = read_csv(landing, bound.required_columns, Limits(), bound.spellings)
    with pytest.raises(ItemRefused, match="line 3: a second header"):
        list(frames.read())


@pytest.mark.parametrize("name", ["CID", "cid", "customerid"])
def test_a_key_that_is_any_name_of_its_column_is_no_customer(name: str, tmp_path: Path) -> None:
    bound = bound_import(FIELDS, columns=COLUMNS)
    landing = landed(f"cid,Mail,Points\nA,a@b.co,1\n{name},c@d.co,2\n".encode(), tmp_path)
    header, frames = read_csv(landing, bound.required_columns, Limits(), bound.spellings)
    validated = validate_rows(landing, header, frames, compile_rules(bound.spelled_as(header)), tmp_path / "spill")
    assert accepted(validated)["id"].to_list() == ["A"]


def refused(header: str, tmp_path: Path) -> ItemRefused:
    bound = bound_import(FIELDS, columns=COLUMNS)
    with pytest.raises(ItemRefused) as refusal:
        read_csv(landed(f"{header}\n".encode(), tmp_path), bound.required_columns, Limits(), bound.spellings)
    return refusal.value


@pytest.mark.parametrize("header", ["CID,cid", "CustomerId,CID", "CustomerId,x,cid"])
def test_two_names_of_one_column_in_a_file_are_refused_by_name(header: str, tmp_path: Path) -> None:
    refusal = refused(f"{header},Mail,Points", tmp_path)
    first, second = (name for name in header.split(",") if name != "x")
    assert f"line 1: '{first}' and '{second}' are names of one column, CID" in refusal.message
    assert "columns.CID.also" in refusal.hint


@pytest.mark.parametrize(
    ("header", "says", "also"),
    [
        ("cId,Mail,Points", "'CID' (there is 'cId')", "columns.CID.also: ['cId']"),
        ("C I D,Mail,Points", "'CID' (there is 'C I D')", "columns.CID.also: ['C I D']"),
        ("c_id,mail,Points", "'Mail' (there is 'mail')", "columns.CID.also: ['c_id'] and columns.Mail.also: ['mail']"),
        ("CID\u00a0,Mail,Points", '(there is "CID\\u00a0")', 'columns.CID.also: ["CID\\u00a0"]'),
        ("\u200bCID,Mail,Points", '(there is "\\u200bCID")', 'columns.CID.also: ["\\u200bCID"]'),
        ("CID,Mail,points ", "(there is 'points ')", "columns.Points.also: ['points ']"),
        ("CID,Mail,Pionts", "(there is 'Pionts')", ""),
    ],
)
def test_a_header_in_another_case_or_form_says_how_to_map_it(header: str, says: str, also: str, tmp_path: Path) -> None:
    refusal = refused(header, tmp_path)
    assert says in refusal.message
    assert also in refusal.hint
    assert ("also" in refusal.hint) is bool(also)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.isalnum))
def test_every_form_of_a_name_is_recognised_and_what_is_told_is_it_in_yaml(name: str) -> None:
    for form in (unicodedata.normalize("NFD", name), f" {name}", f"{name}\u00a0", name.upper(), f"\ufeff{name}"):
        if form == name:
            continue
        found = _meant(name, [form, "other"], [name], same=True)
        assert found in {form, None}
        if name.upper().lower() == name.lower():
            assert found == form
        quoted = _quoted(form, name)
        assert read_yaml(f"also: [{quoted}]").value == {"also": [form]}


def problems(columns: dict[str, Any], **spec: Any) -> list[str]:
    database = Database.model_validate(
        {
            "table": "c",
            "key": "id",
            "fields": {"id": {"type": "string"}, **FIELDS},
            "resources": NEWS["database"]["resources"],
        }
    )
    wanted = Import.model_validate({"database": "d", "source": {"connection": "u"}, "columns": columns, **spec})
    uploads = CsvConnection.model_validate({"type": "csv", "directory": "u"})
    return [problem for _, problem in bind("feed", wanted, {"u": uploads}, {"d": database}, {})[1]]


def test_a_name_that_would_mean_two_columns_is_a_mistake() -> None:
    assert problems(COLUMNS) == []
    contact = {"resource": "news", "channel": "email", "contact": "E-Mail", "status": "subscribed"}
    assert problems(COLUMNS, subscriptions=[contact]) == [
        "columns.Mail.also: 'E-Mail' is also read as a column of its own; write Mail there"
    ]
    for also, says in [
        ("Points", "'Points' is already columns.Points"),
        ("CID", "'CID' is already columns.CID"),
        ("E-Mail", "'E-Mail' is already another name of Mail"),
        ("", "'' cannot be a column's name"),
        ("_line", "'_line' cannot be a column's name"),
    ]:
        columns = {"Mail": COLUMNS["Mail"], "CID": {"field": "id", "also": [also]}, "Points": "points"}
        assert problems(columns) == [f"columns.CID.also: {says}"]
