"""A person's answers become YAML that says exactly what was answered, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.actions.draft import (
    Draft,
    MappedColumn,
    draft_yaml,
    field_name,
    file_keys,
    member_pattern,
    with_connection,
)
from ingest_pipelines.config.base import NAME_PATTERN
from ingest_pipelines.config.file_pattern import file_pattern_mistake
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines.landing.unpack import fits_member
from ingest_pipelines.sources.files import serial_of

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
    ("path", "keys"),
    [
        ("loyalty/Points_1740981600.csv", ("loyalty/Points",)), ("Points.csv", ("Points",)),
        ("a/b/C_1.csv.gz", ("a/b/C",)), ("A_B.csv", ("A_B",)), ("A_1_2.CSV.ZIP", ("A_1",)),
        ("no_extension", ("no_extension", "no_extension(?:_(?P<serial>[0-9]+))?")),
        ("x/all_7.zip", ("x/all", r"all(?:_(?P<serial>[0-9]+))?\.zip")),
        ("Points.txt", ("Points", r"Points(?:_(?P<serial>[0-9]+))?\.txt")),
        ("all-2026-01-05.txt", ("all", r"all-(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})\.txt")),
        ("Loyalty_2026-11-29.csv", ("Loyalty",)),
        ("Loyalty_20261129T060000Z.csv", ("Loyalty",)), ("Loyalty_2026-11-29_06-00.csv", ("Loyalty",)),
        ("export-contacts-2026-01-05.csv",
         ("export-contacts", r"export-contacts-(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})\.csv")),
        ("x/2026.01.05 all (v2).csv.gz",
         ("x/2026.01.05 all (v2)",
          r"(?P<year>[0-9]{4})\.(?P<month>[0-9]{2})\.(?P<day>[0-9]{2}) all \(v[0-9]+\)\.csv\.gz")),
        ("crm20260105-3.csv", ("crm", r"crm(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})-[0-9]+\.csv")),
    ],
)  # fmt: skip
def test_a_files_name_without_what_changes_from_file_to_file(path: str, keys: tuple[str, ...]) -> None:
    """The import that is drafted takes this file."""
    found = file_keys(path)
    assert tuple(found.values()) == keys
    assert serial_of(path, found["file"], found.get("pattern")) is not False
    if "pattern" in found:
        assert file_pattern_mistake(found["pattern"]) == ""


@pytest.mark.parametrize(
    ("names", "chosen", "pattern"),
    [
        (["subscribed_export_0a1b.csv", "cleaned_export_0a1b.csv"], "cleaned_export_0a1b.csv", "cleaned_export_*.csv"),
        (["in/all_1.csv", "in/all_2.csv"], "in/all_2.csv", "all_2.csv"),
        (["in/a.csv", "out/a.csv"], "out/a.csv", "out/a.csv"),
        (["a[1].csv", "b.csv"], "a[1].csv", "a[[]1].csv"),
        (["customers", "orders"], "orders", "orders"),
    ],
)
def test_a_member_stands_for_the_chosen_file_alone(names: list[str], chosen: str, pattern: str) -> None:
    assert member_pattern(names, chosen) == pattern
    assert [name for name in names if fits_member(name, pattern)] == [chosen]


def test_the_ending_is_that_of_the_format() -> None:
    assert file_keys("Points_7.xlsx", ("xlsx",)) == {"file": "Points"}
    assert file_keys("Points_7.tsv", ("csv", "tsv")) == {"file": "Points"}


def test_a_new_connection_leaves_the_others_and_every_comment_as_they_are() -> None:
    from ingest_pipelines.cli.scaffold import STARTER

    before = (STARTER / "connections.yaml").read_text(encoding="utf-8")
    settings = {"type": "sftp", "host": "h", "port": 2222, "password": {"env": "PW"}, "username": "on"}
    after = with_connection(before, "vendor", settings)
    assert after.startswith(before.rstrip("\n"))
    value = read_yaml(after).value["connections"]
    assert value == {**read_yaml(before).value["connections"], "vendor": settings}
