from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest_pipelines.errors import InternalError, ItemRefused
from ingest_pipelines.rules import compile_rules, validate_rows
from ingest_pipelines.rules.validate import SLICE_ROWS
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, landing, rejects, validate

FEED = bound_import(
    {"points": {"type": "int", "min": 0}, "joined_on": {"type": "date"}, "spent": {"type": "decimal(6,2)"}}
)


def _points(keys: list[str]) -> pl.DataFrame:
    empty = [""] * len(keys)
    return frame({"id": keys, "points": empty, "joined_on": empty, "spent": empty})


def test_accepted_rows_are_cast_and_keep_their_line(tmp_path: Path) -> None:
    rows = frame(
        {"id": ["b", "a"], "points": ["007", ""], "joined_on": [None, "2001-12-31"], "spent": ["1.500", " 2 "]}
    )
    validated = validate(FEED, tmp_path, rows)
    assert accepted(validated).rows() == [
        (2, "b", 7, None, Decimal("1.50")),
        (3, "a", None, date(2001, 12, 31), Decimal("2.00")),
    ]
    assert (validated.read, validated.accepted_rows, validated.rejected_rows) == (2, 2, 0)
    assert validated.rejects is None


def test_a_row_reports_every_rule_it_breaks(tmp_path: Path) -> None:
    rows = frame({"id": ["", "a"], "points": ["-1", "1"], "joined_on": ["1900-01-01", ""], "spent": ["1.505", "0"]})
    validated = validate(FEED, tmp_path, rows)
    assert codes(validated) == {2: ["missing_key", "below_min", "default_date", "bad_decimal"]}
    assert validated.codes == {"missing_key": 1, "below_min": 1, "default_date": 1, "bad_decimal": 1}


def test_a_reject_keeps_the_cells_as_they_came(tmp_path: Path) -> None:
    rows = frame({"id": ["a"], "points": [" x"], "joined_on": [None], "spent": [""], "not mapped": ['"é"\n']})
    [record] = rejects(validate(FEED, tmp_path, rows))
    assert (record["line"], record["key"], record["field"], record["code"]) == (2, "a", "points", "bad_int")
    assert record["row"] == {"id": "a", "points": " x", "joined_on": None, "spent": "", "not mapped": '"é"\n'}


def test_all_rows_of_a_repeated_key_are_rejected(tmp_path: Path) -> None:
    first = frame({"id": ["a", "b"], "points": ["1", "2"], "joined_on": ["", ""], "spent": ["", ""]})
    second = frame({"id": ["a", "c"], "points": ["x", "4"], "joined_on": ["", ""], "spent": ["", ""]}, first_line=4)
    validated = validate(FEED, tmp_path, first, second)
    assert codes(validated) == {2: ["duplicate_key"], 4: ["bad_int", "duplicate_key"]}
    assert accepted(validated)["id"].to_list() == ["b", "c"]


def test_an_accepted_file_is_sorted_by_the_key(tmp_path: Path) -> None:
    keys = [f"C{number * 7919 % 1000:04}" for number in range(1000)]
    empty = [""] * len(keys)
    validated = validate(FEED, tmp_path, frame({"id": keys, "points": empty, "joined_on": empty, "spent": empty}))
    [path] = validated.accepted
    assert pl.read_ipc(path)["id"].to_list() == sorted(keys)


def test_a_header_without_rows_is_an_item_without_rows(tmp_path: Path) -> None:
    validated = validate_rows(landing(), ("id",), iter(()), compile_rules(FEED), tmp_path)
    assert (validated.read, validated.accepted, validated.rejects, validated.samples) == (0, (), None, ())


def test_columns_are_told_apart_by_the_source_not_by_the_field(tmp_path: Path) -> None:
    swapped = bound_import(
        {"points": {"type": "int"}, "visits": {"type": "int"}},
        columns={"points": "visits", "visits": "points", "id": "id", "_key": {"field": "note", "type": "string"}},
    )
    validated = validate(swapped, tmp_path, frame({"id": ["a"], "points": ["1"], "visits": ["2"], "_key": ["x"]}))
    assert accepted(validated).select("points", "visits", "note").rows() == [(2, 1, "x")]


def test_a_refusal_of_the_reader_leaves_no_spill(tmp_path: Path) -> None:
    def frames() -> Iterator[pl.DataFrame]:
        yield _points(["a", "b"])
        raise ItemRefused("line 4: the quote never closes", line=4)

    with pytest.raises(ItemRefused, match="line 4"):
        validate_rows(landing(), ("id", "points", "joined_on", "spent"), frames(), compile_rules(FEED), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_accepted_row_that_breaks_the_schema_stops_the_load(tmp_path: Path) -> None:
    rules = compile_rules(FEED)
    blind = replace(rules, rules=(rules.rules[0],))
    rows = frame({"id": ["secret"], "points": ["secret"], "joined_on": [""], "spent": [""]})
    with pytest.raises(InternalError, match="points: bad_int") as caught:
        validate_rows(landing(), ("id",), iter([rows]), blind, tmp_path)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_two_validations_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = validate(FEED, tmp_path, _points(["a"])), validate(FEED, tmp_path, _points(["b"]))
    assert accepted(first)["id"].to_list() == ["a"]
    assert accepted(second)["id"].to_list() == ["b"]


def test_only_accepted_rows_and_rejects_stay_on_disk(tmp_path: Path) -> None:
    validated = validate(FEED, tmp_path, _points(["a", "a", "", "b"]))
    [folder] = tmp_path.iterdir()
    assert {*folder.iterdir()} == {*validated.accepted, validated.rejects}


def test_samples_are_the_first_rejects_and_hide_personal_values(tmp_path: Path) -> None:
    bound = bound_import({"points": {"type": "int"}, "pin": {"type": "int", "pii": True}})
    many = 30
    rows = frame({"id": [f"C{n}" for n in range(many)], "points": ["x" * 1000] * many, "pin": ["0000x"] * many})
    samples = validate(bound, tmp_path, rows).samples
    assert len(samples) == 20
    assert (samples[0].line, samples[0].key, samples[0].field, samples[0].value) == (2, "C0", "points", "x" * 200)
    assert (samples[1].line, samples[1].field, samples[1].value) == (2, "pin", None)
    private = bound_import({"points": {"type": "int"}}, key={"type": "string", "pii": True})
    [sample] = validate(private, tmp_path, frame({"id": ["a"], "points": ["x"]})).samples
    assert sample.key is None


def test_typed_columns_are_shown_as_text_in_the_rejects(tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any] | pl.Series] = {
        "id": ["a"], "points": pl.Series([1.5]), "joined_on": pl.Series([date(1900, 1, 1)]),
        "spent": pl.Series([Decimal("1.505")]), "raw": pl.Series([b"\xff"]), "list": pl.Series([[1, 2]]),
    }  # fmt: skip
    records = rejects(validate(FEED, tmp_path, frame(columns)))
    assert [record["code"] for record in records] == ["bad_int", "default_date", "bad_decimal"]
    assert records[0]["row"] == {
        "id": "a", "points": "1.5", "joined_on": "1900-01-01", "spent": "1.505", "raw": "\u2400\\xff", "list": "[1,2]",
    }  # fmt: skip


def test_accepted_files_open_as_one_lazy_frame_with_the_promised_types(tmp_path: Path) -> None:
    fields: dict[str, dict[str, Any]] = {
        "s": {"type": "string"}, "i": {"type": "int"}, "d": {"type": "decimal(12,2)"}, "f": {"type": "float"},
        "b": {"type": "bool"}, "day": {"type": "date"}, "at": {"type": "datetime"},
        "e": {"type": "enum", "options": ["A"]}, "o": {"type": "object"}, "os": {"type": "objects"},
        "a": {"type": "array"}, "mail": {"type": "email"}, "p": {"type": "phone"}, "ps": {"type": "phones"},
        "ip": {"type": "ip"},
    }  # fmt: skip
    empty = {name: [""] for name in fields}
    validated = validate(bound_import(fields, timezone="Europe/London"), tmp_path, frame({"id": ["a"], **empty}))
    assert dict(pl.scan_ipc(list(validated.accepted)).collect_schema()) == {
        "_line": pl.Int64, "id": pl.String, "s": pl.String, "i": pl.Int64, "d": pl.Decimal(12, 2), "f": pl.Float64,
        "b": pl.Boolean, "day": pl.Date, "at": pl.Datetime("us", "UTC"), "e": pl.String, "o": pl.String,
        "os": pl.String, "a": pl.String, "mail": pl.String, "p": pl.String, "ps": pl.List(pl.String), "ip": pl.String,
    }  # fmt: skip
    assert accepted(validated).drop("_line", "id").row(0) == (None,) * len(fields)


def test_the_rejects_file_has_the_shape_of_the_ledger(tmp_path: Path) -> None:
    validated = validate(FEED, tmp_path, _points(["", "a"]))
    assert validated.rejects is not None
    assert dict(pl.scan_ipc(validated.rejects).collect_schema()) == {
        "line": pl.Int64, "key": pl.String, "field": pl.String, "code": pl.String, "reason": pl.String,
        "row": pl.String,
    }  # fmt: skip
    assert pl.read_ipc(validated.rejects).select("line", "key", "field", "code").rows() == [
        (2, None, "id", "missing_key")
    ]


def test_a_reason_never_holds_a_value(tmp_path: Path) -> None:
    rows = frame({"id": ["a"], "points": ["hunter2"], "joined_on": ["hunter2"], "spent": ["hunter2"]})
    assert "hunter2" not in str([record["reason"] for record in rejects(validate(FEED, tmp_path, rows))])


@pytest.mark.parametrize("kind", ["reject", "last"])
def test_large_items_are_cut_into_sorted_chunks(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_pipelines.rules.sorted_chunks.CHUNK_ROWS", 100)
    monkeypatch.setattr("ingest_pipelines.rules.sorted_chunks.ENOUGH_ROWS", 100)
    keys = [f"C{number * 7919 % 1000:04}" for number in range(1000)]
    bound = bound_import({"points": {"type": "int"}}, duplicates=kind)
    frames = frame({"id": keys, "points": ["x" if n % 10 == 0 else str(n) for n in range(1000)]}).iter_slices(130)
    validated = validate_rows(landing(), ("id", "points"), frames, compile_rules(bound), tmp_path)
    chunks = [pl.read_ipc(path)["id"] for path in validated.accepted]
    assert all(chunk.is_sorted() for chunk in chunks)
    assert max(map(len, chunks)) <= 100
    assert pl.concat(chunks).sort().to_list() == sorted(key for n, key in enumerate(keys) if n % 10)
    assert validated.codes == {"bad_int": 100}


def test_a_frame_larger_than_a_slice_is_one_part(tmp_path: Path) -> None:
    count = SLICE_ROWS + 100
    keys = pl.select(pl.lit("C") + pl.int_range(count).cast(pl.String)).to_series()
    points = pl.select(pl.when(pl.int_range(count) % 1000 == 999).then(pl.lit("x")).otherwise(pl.lit("1"))).to_series()
    rows = frame({"id": keys, "points": points, "joined_on": [None] * count, "spent": [None] * count})
    validated = validate(FEED, tmp_path, rows)
    broken = count // 1000
    assert (validated.read, validated.rejected_rows, validated.accepted_rows) == (count, broken, count - broken)
    assert rejects(validated)[0]["row"]["id"] == "C999"
