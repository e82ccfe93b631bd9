from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ingest_pipelines.rules import compile_rules
from ingest_pipelines.rules.codes import CODES, FAMILIES
from ingest_pipelines.rules.schema import declared_rules
from ingest_pipelines.rules.types import TYPES
from ingest_pipelines_tests.rules.feeds import bound_import, frame

EVERY: dict[str, dict[str, Any]] = {
    "s": {"type": "string", "max_length": 5, "pattern": "[a-z]+"}, "i": {"type": "int", "min": 0, "max": 9},
    "d": {"type": "decimal(4,2)"}, "f": {"type": "float"}, "b": {"type": "bool"}, "day": {"type": "date"},
    "at": {"type": "datetime"}, "e": {"type": "enum", "options": ["A", "B"], "required": True}, "o": {"type": "object"},
    "os": {"type": "objects"}, "a": {"type": "array"}, "mail": {"type": "email", "unique": True},
    "p": {"type": "phone"},
    "ps": {"type": "phones"}, "ip": {"type": "ip", "one_of": ["::1"]},
}  # fmt: skip


def test_the_schema_declares_every_field_with_its_dtype() -> None:
    schema = compile_rules(bound_import(EVERY)).schema
    assert list(schema.columns) == ["_line", "id", *EVERY]
    assert {str(schema.columns[name].dtype) for name in ("i", "day")} == {"Int64", "Date"}
    assert [check.name for check in schema.columns["i"].checks] == ["bad_int", "below_min", "above_max"]


def test_rows_are_validated_by_what_the_schema_declares() -> None:
    rules = compile_rules(bound_import(EVERY))
    assert list(rules.rules) == declared_rules(rules.schema)


def test_the_schema_validates_a_frame_by_itself() -> None:
    from pandera.errors import SchemaErrors

    rules = compile_rules(bound_import({"i": {"type": "int", "min": 0}}))
    rows = rules.validated(frame({"id": ["a", "", "c"], "i": ["1", "2", "x"]}))
    rules.schema.validate(rows[:1], lazy=True)
    with pytest.raises(SchemaErrors) as caught:
        rules.schema.validate(rows, lazy=True)
    assert {error.check.name for error in caught.value.schema_errors} == {"missing_key", "bad_int"}
    with pytest.raises(SchemaErrors):
        rules.schema.validate(rows.with_columns(pl.col("i").cast(pl.String)), lazy=True)
    with pytest.raises(SchemaErrors):
        rules.schema.validate(rows[:1].drop("i"), lazy=True)


def test_the_table_names_every_rule_in_the_order_of_the_columns() -> None:
    fields: dict[str, dict[str, Any]] = {"i": {"type": "int", "min": 0}, "mail": {"type": "email", "unique": True}}
    table = compile_rules(bound_import(fields)).table()
    assert [(field, code) for field, code, _ in table] == [
        ("id", "missing_key"), ("id", "missing_key"), ("id", "unsupported_character"), ("id", "too_long"),
        ("id", "duplicate_key"),
        ("i", "bad_int"), ("i", "below_min"), ("mail", "bad_email"), ("mail", "unsupported_character"),
        ("mail", "not_unique"),
    ]  # fmt: skip
    assert all(text for _, _, text in table)


def test_every_code_that_a_rule_uses_is_documented() -> None:
    table = compile_rules(bound_import(EVERY, timezone="Europe/London")).table()
    assert {code for _, code, _ in table} <= set(CODES)
    assert {kind.code for kind in TYPES.values()} - {"bad_string"} <= set(CODES)
    assert sum(map(len, FAMILIES.values())) == len(CODES)
