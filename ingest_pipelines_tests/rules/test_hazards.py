"""Cells that break loaders, each named for its hazard: what becomes of the row that holds it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, frame, rejects, validate

FIELDS: dict[str, dict[str, Any]] = {
    "note": {"type": "string"},
    "free": {"type": "string", "characters": "any"},
    "number": {"type": "int"},
    "amount": {"type": "decimal(12,2)"},
    "day": {"type": "date"},
    "at": {"type": "datetime"},
    "extra": {"type": "object"},
}

KEPT: dict[str, tuple[str, str, object]] = {
    "quotes": ("note", 'say "hi"', 'say "hi"'),
    "only a quote": ("note", '"', '"'),
    "commas": ("note", "a,b", "a,b"),
    "newline": ("note", "a\nb", "a\nb"),
    "carriage return and newline": ("note", "a\r\nb", "a\r\nb"),
    "tab": ("note", "a\tb", "a\tb"),
    "spaces around": ("note", " a ", "a"),
    "invisible characters around": ("note", "\ufeff\u200b a\u00a0b\u200d\t", "a\u00a0b"),
    "backslash": ("note", "a\\nb", "a\\nb"),
    "formula": ("note", "=1+1", "=1+1"),
    "the word null": ("note", "NULL", "NULL"),
    "combining accent": ("note", "e\u0301", "e\u0301"),
    "zero-width space": ("note", "a\u200bb", "a\u200bb"),
    "zero-width joiners": ("note", "می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
    "direction marks": ("note", "a\u200eb\u200fc", "a\u200eb\u200fc"),
    "byte order mark inside": ("note", "a\ufeffb", "a\ufeffb"),
    "replacement character": ("note", "caf\ufffd", "caf\ufffd"),
    "registered and trade mark": ("note", "©®™", "©®™"),
    "emoji where any is allowed": ("free", "😀", "😀"),
    "control where any is allowed": ("free", "a\x07b", "a\x07b"),
    "leading zeros of a text": ("note", "007", "007"),
    "leading zeros of a number": ("number", "007", 7),
    "largest bigint": ("number", "9223372036854775807", 2**63 - 1),
    "zeros behind the scale": ("amount", "1.500", Decimal("1.50")),
    "end of time": ("day", "9999-12-31", date(9999, 12, 31)),
    "first day": ("day", "1753-01-01", date(1753, 1, 1)),
    "leap day": ("day", "2000-02-29", date(2000, 2, 29)),
    "dst gap with an offset": ("at", "2026-03-29T01:30:00+00:00", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    "dst overlap with an offset": ("at", "2026-10-25T01:30:00+01:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    "number beyond a float in json": ("extra", '{"a":12345678901234567890.10}', '{"a":12345678901234567890.10}'),
}
REJECTED: dict[str, tuple[str, str, str]] = {
    "nul": ("note", "a\x00b", "unsupported_character"),
    "nul where any is allowed": ("free", "a\x00b", "unsupported_character"),
    "escaped nul in json": ("extra", '{"a":"\\u0000"}', "unsupported_character"),
    "control character": ("note", "a\x07b", "unsupported_character"),
    "cp1252 quotes read as latin-1": ("note", "\x93hi\x94", "unsupported_character"),
    "emoji beyond the bmp": ("note", "😀", "unsupported_character"),
    "emoji in the bmp": ("note", "⭐", "unsupported_character"),
    "emoji by variation selector": ("note", "❤\ufe0f", "unsupported_character"),
    "right-to-left override": ("note", "abc\u202etxt.exe", "unsupported_character"),
    "lone surrogate in json": ("extra", '{"a":"\\ud800"}', "bad_json"),
    "nan in json": ("extra", '{"a":NaN}', "bad_json"),
    "exponent": ("number", "1e5", "bad_int"),
    "whole number with a point": ("number", "1.0", "bad_int"),
    "thousands separators": ("number", "1,000", "bad_int"),
    "digits of another script": ("number", "١٢٣", "bad_int"),
    "beyond bigint": ("number", "9223372036854775808", "bad_int"),
    "one digit too many": ("amount", "1.505", "bad_decimal"),
    "decimal comma": ("amount", "1,50", "bad_decimal"),
    "before the calendar": ("day", "0001-01-01", "date_too_early"),
    "last day too early": ("day", "1752-12-31", "date_too_early"),
    "default date 1900": ("day", "1900-01-01", "default_date"),
    "default date 1989": ("day", "1989-01-01", "default_date"),
    "leap day of a common year": ("day", "1900-02-29", "bad_date"),
    "day and month swapped": ("day", "2001-31-12", "bad_date"),
    "dst gap": ("at", "2026-03-29T01:30:00", "bad_datetime"),
    "dst overlap": ("at", "2026-10-25T01:30:00", "bad_datetime"),
    "leap second": ("at", "2016-12-31T23:59:60Z", "bad_datetime"),
}


def _row(field: str, cell: str) -> dict[str, list[Any]]:
    return {"id": ["a"], **{name: [cell if name == field else None] for name in FIELDS}}


@pytest.mark.parametrize("hazard", KEPT)
def test_a_hazard_that_is_data_arrives_unharmed(tmp_path: Path, hazard: str) -> None:
    field, cell, value = KEPT[hazard]
    validated = validate(bound_import(FIELDS, timezone="Europe/London"), tmp_path, frame(_row(field, cell)))
    assert accepted(validated)[field].to_list() == [value]


@pytest.mark.parametrize("hazard", REJECTED)
def test_a_hazard_that_is_none_is_rejected_with_its_raw_cell(tmp_path: Path, hazard: str) -> None:
    field, cell, code = REJECTED[hazard]
    validated = validate(bound_import(FIELDS, timezone="Europe/London"), tmp_path, frame(_row(field, cell)))
    [record] = rejects(validated)
    assert (record["field"], record["code"]) == (field, code)
    assert record["row"][field] == cell.replace("\x00", "\u2400")
    assert validated.accepted == ()
