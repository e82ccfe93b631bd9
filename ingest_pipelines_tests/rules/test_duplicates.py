from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ingest_pipelines.rules import compile_rules, validate_rows
from ingest_pipelines.rules.repeats import ValueHashes, find_repeats
from ingest_pipelines.rules.versions import NO_VERSION
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, landing, rejects, validate

POINTS = {"points": {"type": "int"}}


class Twice:
    """Frames that can be read again; counts how often they were."""

    def __init__(self, *frames: pl.DataFrame) -> None:
        self.frames = frames
        self.readings = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        self.readings += 1
        return iter(self.frames)


def _frames() -> tuple[pl.DataFrame, ...]:
    return (
        frame({"id": ["a", "b", "a", "c"], "points": ["1", "2", "3", "x"]}),
        frame({"id": ["d", "c", "a"], "points": ["5", "6", "x"]}, first_line=6),
    )


def test_reject_takes_out_every_row_of_a_repeated_key_bad_ones_too(tmp_path: Path) -> None:
    validated = validate(bound_import(POINTS), tmp_path, *_frames())
    assert accepted(validated)["id"].to_list() == ["b", "d"]
    assert codes(validated) == {
        2: ["duplicate_key"], 4: ["duplicate_key"], 5: ["bad_int", "duplicate_key"], 7: ["duplicate_key"],
        8: ["bad_int", "duplicate_key"],
    }  # fmt: skip
    assert validated.codes == {"duplicate_key": 5, "bad_int": 2}
    assert (validated.read, validated.accepted_rows, validated.rejected_rows) == (7, 2, 5)


def test_last_keeps_the_last_acceptable_row_and_counts_the_others(tmp_path: Path) -> None:
    validated = validate(bound_import(POINTS, duplicates="last"), tmp_path, *_frames())
    assert accepted(validated).select("_line", "id", "points").rows() == [
        (3, "b", 2),
        (4, "a", 3),
        (6, "d", 5),
        (7, "c", 6),
    ]
    assert codes(validated) == {5: ["bad_int"], 8: ["bad_int"]}
    assert (validated.read, validated.accepted_rows, validated.rejected_rows, validated.superseded_rows) == (7, 4, 2, 1)


def test_first_keeps_the_first_acceptable_row(tmp_path: Path) -> None:
    validated = validate(bound_import(POINTS, duplicates="first"), tmp_path, *_frames())
    assert accepted(validated).select("_line", "id").rows() == [(2, "a"), (3, "b"), (6, "d"), (7, "c")]
    assert (validated.accepted_rows, validated.rejected_rows, validated.superseded_rows) == (4, 2, 1)


@pytest.mark.parametrize("duplicates", ["reject", "last", "first"])
def test_frames_that_can_be_read_again_give_the_same_answer(tmp_path: Path, duplicates: str) -> None:
    rules = compile_rules(bound_import(POINTS, duplicates=duplicates))
    again = Twice(*_frames())
    first = validate_rows(landing(), ("id", "points"), iter(again.frames), rules, tmp_path)
    second = validate_rows(landing(), ("id", "points"), again, rules, tmp_path)
    assert rejects(first) == rejects(second)
    assert accepted(first).equals(accepted(second))
    assert again.readings == (2 if duplicates == "reject" else 1)


def test_nothing_is_read_again_where_nothing_repeats(tmp_path: Path) -> None:
    again = Twice(frame({"id": ["a", "b"], "points": ["1", "x"]}))
    validated = validate_rows(landing(), ("id", "points"), again, compile_rules(bound_import(POINTS)), tmp_path)
    assert again.readings == 1
    assert codes(validated) == {3: ["bad_int"]}


def test_a_key_is_compared_as_its_type_reads_it(tmp_path: Path) -> None:
    whole = bound_import(POINTS, key={"type": "int"})
    rows = frame({"id": ["7", "007", "+7", "8"], "points": ["", "", "", ""]})
    assert set(codes(validate(whole, tmp_path, rows))) == {2, 3, 4}
    mail = bound_import(POINTS, key={"type": "email"})
    rows = frame({"id": ["Ann@Example.com", "ann@example.com", "bob@example.com"], "points": ["", "", ""]})
    validated = validate(mail, tmp_path, rows)
    assert set(codes(validated)) == {2, 3}
    assert accepted(validated)["id"].to_list() == ["bob@example.com"]
    phone = bound_import(POINTS, key={"type": "phone", "region": "GB"})
    rows = frame({"id": ["020 7946 0018", "+442079460018"], "points": ["", ""]})
    assert set(codes(validate(phone, tmp_path, rows))) == {2, 3}
    text = bound_import(POINTS)
    keys = ["A", "a", "a ", "\u0061\u0301", "\u00e1", "\u03b1"]
    found = codes(validate(text, tmp_path, frame({"id": keys, "points": [""] * len(keys)})))
    assert set(found) == {3, 4, 5, 6}


def test_missing_keys_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    validated = validate(bound_import(POINTS), tmp_path, frame({"id": [None, "", "  ", None], "points": [""] * 4}))
    assert validated.codes == {"missing_key": 4}


def test_a_unique_field_rejects_every_row_of_a_repeated_value(tmp_path: Path) -> None:
    bound = bound_import({"email": {"type": "email", "unique": True}})
    rows = frame({"id": ["a", "b", "c", "d", "e"], "email": ["x@y.co", "X@Y.co", "z@y.co", "", None]})
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {2: ["not_unique"], 3: ["not_unique"]}
    assert validated.fields == {("email", "not_unique"): 2}
    assert accepted(validated)["id"].to_list() == ["c", "d", "e"]


def test_a_superseded_row_does_not_count_against_a_unique_field(tmp_path: Path) -> None:
    bound = bound_import({"email": {"type": "email", "unique": True}}, duplicates="last")
    rows = frame({"id": ["a", "a", "b"], "email": ["x@y.co", "x@y.co", "z@y.co"]})
    validated = validate(bound, tmp_path, rows)
    assert (validated.accepted_rows, validated.superseded_rows, validated.rejected_rows) == (2, 1, 0)


def test_a_row_may_repeat_its_key_and_a_unique_value(tmp_path: Path) -> None:
    bound = bound_import({"email": {"type": "email", "unique": True}})
    rows = frame({"id": ["a", "a"], "email": ["x@y.co", "x@y.co"]})
    assert codes(validate(bound, tmp_path, rows)) == {line: ["duplicate_key", "not_unique"] for line in (2, 3)}


def test_matched_by_a_field_the_mapped_key_must_still_be_unique(tmp_path: Path) -> None:
    bound = bound_import({"email": {"type": "email"}}, match="email")
    rows = frame({"id": ["a", "a", "b", "", ""], "email": ["1@y.co", "2@y.co", "3@y.co", "4@y.co", "5@y.co"]})
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {2: ["duplicate_key"], 3: ["duplicate_key"]}
    assert validated.fields == {("id", "duplicate_key"): 2}


def test_many_small_frames_are_one_item(tmp_path: Path) -> None:
    frames = [
        frame({"id": [f"C{number % 97}"], "points": [str(number)]}, first_line=number + 2) for number in range(200)
    ]
    validated = validate(bound_import(POINTS, duplicates="last"), tmp_path, *frames)
    assert (validated.accepted_rows, validated.superseded_rows) == (97, 103)
    assert accepted(validated)["points"].to_list() == list(range(103, 200))
    assert len(validated.accepted) == 1


def test_values_whose_hashes_collide_are_told_apart() -> None:
    def read() -> Iterator[tuple[pl.LazyFrame, bool]]:
        rows = pl.LazyFrame({"_line": [2, 3, 4, 5], "value": ["a", "b", "a", "c"]})
        yield rows.with_columns(*NO_VERSION), True

    # candidates as if b and c had collided with each other
    every = pl.Series(["a", "b", "c"]).hash().sort().to_numpy()
    repeats = find_repeats(every, read)
    assert repeats.lines.tolist() == [2, 4]
    assert repeats.spare.tolist() == [2]


@pytest.mark.parametrize("in_memory", [8_000_000, 50, 1])
def test_candidates_are_found_across_chunks_parts_and_what_was_written_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_memory: int
) -> None:
    monkeypatch.setattr("ingest_pipelines.rules.repeats._AT_ONCE", 10)
    monkeypatch.setattr("ingest_pipelines.rules.repeats._IN_MEMORY", in_memory)
    hashes = ValueHashes(tmp_path)
    values = pl.Series([f"value {number % 150}" for number in range(200)])
    for start in range(0, 200, 30):
        hashes.add(values[start : start + 30])
    expected = np.unique(values[:50].hash().to_numpy())
    assert np.array_equal(hashes.candidates(), expected)
    assert sum(map(len, hashes.chunks)) <= in_memory
    assert not list(tmp_path.iterdir())  # nothing that a crash would leave
