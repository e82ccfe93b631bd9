"""A person's answers become YAML that says exactly what was answered, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.cli.draft import Draft, MappedColumn, draft_yaml, field_name, file_pattern, with_connection
from ingest_pipelines.config.base import NAME_PATTERN
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines.sources.browse import suggest_type

printable = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(st.dictionaries(printable, st.sampled_from(["tier", "points", "no", "null_"]), min_size=1), printable)
def test_a_draft_reads_back_as_what_was_chosen(columns: dict[str, str], text: str) -> None:
    mapped = [MappedColumn(column, field) for column, field in columns.items()]
    mapped.append(MappedColumn("the last column", "spent", {"type": "decimal(12,2)"}))
    columns.pop("the last column", None)
    mapped = [each for each in mapped if each.column != "the last column" or each.rules]
    draft = Draft(text, "customers", {"connection": "vendor", "file": text}, "add_only", mapped, "6h", 5)
    document = read_yaml(draft_yaml("points", draft))
    assert document.mistakes == ()
    assert document.value["columns"] == {
        **columns, "the last column": {"field": "spent", "type": "decimal(12,2)"},
    }  # fmt: skip
    assert document.value["description"] == text
    assert document.value["source"]["file"] == text
    assert (document.value["status"], document.value["schedule"]) == ("draft", {"every": "6h"})


def test_a_draft_is_an_import() -> None:
    draft = Draft("", "customers", {"connection": "c", "table": "t"}, "add_only", [MappedColumn("a", "b")])
    text = draft_yaml("points", draft)
    assert "until: ingest activate points" in text
    assert Import.model_validate(read_yaml(text).value).status == "draft"


@given(st.text(max_size=80), st.sets(st.sampled_from(["a", "b", "field", "a_2"])))
def test_a_fields_name_is_always_a_free_name(column: str, taken: set[str]) -> None:
    import re

    name = field_name(column, taken)
    assert re.fullmatch(NAME_PATTERN, name)
    assert name not in taken


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Loyalty Tier", "loyalty_tier"), ("CustomerID", "customer_id"), ("MemberSince", "member_since"),
        ("2024 spend", "f_2024_spend"), ("Café", "cafe"), ("", "field"), ("--", "field"),
    ],
)  # fmt: skip
def test_a_fields_name_is_readable(column: str, name: str) -> None:
    assert field_name(column) == name


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("loyalty/Points_1740981600.csv", "loyalty/Points"), ("Points.csv", "Points"), ("a/b/C_1.csv.gz", "a/b/C"),
        ("A_B.csv", "A_B"), ("A_1_2.CSV.ZIP", "A_1"), ("no_extension", "no_extension"),
    ],
)  # fmt: skip
def test_a_files_pattern_is_its_name_without_serial_and_ending(path: str, pattern: str) -> None:
    assert file_pattern(path) == pattern


def test_a_new_connection_leaves_the_others_and_every_comment_as_they_are() -> None:
    from ingest_pipelines.cli.scaffold import STARTER

    before = (STARTER / "connections.yaml").read_text(encoding="utf-8")
    settings = {"type": "sftp", "host": "h", "port": 2222, "password": {"env": "PW"}, "username": "on"}
    after = with_connection(before, "vendor", settings)
    assert after.startswith(before.rstrip("\n"))
    value = read_yaml(after).value["connections"]
    assert value == {**read_yaml(before).value["connections"], "vendor": settings}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "0"], "int"), (["007", "1"], "string"), (["1.5", "2"], "decimal(12,1)"), (["1,5"], "string"),
        (["1.123456"], "decimal(16,6)"), (["yes", "No"], "bool"), (["1", "0"], "int"), (["2001-12-31"], "date"),
        (["31/12/2001"], "string"), (["2001-12-31T10:00:00Z", "2001-12-31 10:00"], "datetime"),
        (["ann@example.com"], "email"), (["+442071838750"], "phone"), (["10.0.0.1", "::1"], "ip"),
        (['{"a": 1}'], "object"), (['[{"a": 1}]'], "objects"), (["[1]", "[]"], "array"), (["{"], "string"),
        ([], "string"),
        (["20011231"], "int"), (["1e5"], "string"),
    ],
)  # fmt: skip
def test_a_suggested_type_fits_every_value(values: list[str], kind: str) -> None:
    assert suggest_type(values) == kind
