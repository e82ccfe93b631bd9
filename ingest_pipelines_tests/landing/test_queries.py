"""A query's rows on disk: the same rows, the same hash; nothing that a frame can't hold; nothing beyond the caps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.cursor_values import CursorKind, CursorValue, parse_cursor
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import CursorStuck, ItemRefused, SourceUnavailable
from ingest_pipelines.landing import Chunk, land_query, read_arrow
from ingest_pipelines.model import Item, ItemKey, Landing

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
ITEM = Item("tills", ItemKey("tills-1"), "cursor", uri="postgresql://shop")


def _land(
    spool: Path,
    batches: Sequence[pa.RecordBatch],
    columns: Sequence[str] = (),
    chunk: Chunk | None = None,
    **limits: int,
) -> Landing:
    return land_query(ITEM, iter(batches), columns, spool, Limits(**limits), chunk)


def _chunk(
    kind: CursorKind = "number", after: CursorValue = 0, limit: int | None = None, *, may_cut: bool | None = None
) -> Chunk:
    return Chunk("k", kind, after, limit, limit is not None if may_cut is None else may_cut, NOW, UTC)


def _batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_the_hash_is_of_the_rows_and_not_of_how_they_arrived(tmp_path: Path) -> None:
    whole = _batch(k=list(range(120_000)), v=[None if n % 7 == 0 else f"v{n}" for n in range(120_000)])
    pieces = [whole.slice(0, 1), whole.slice(1, 49_998), whole.slice(49_999, 0), whole.slice(49_999)]
    one, many = _land(tmp_path / "a", [whole]), _land(tmp_path / "b", pieces)
    assert one.content_sha256 == many.content_sha256
    assert (one.rows, one.bytes, one.path.name) == (120_000, many.bytes, f"{one.content_sha256}.arrow")
    other = _land(tmp_path / "c", [whole.slice(0, 119_999)])
    assert other.content_sha256 != one.content_sha256


def test_frames_have_row_numbers_from_one(tmp_path: Path) -> None:
    landing = _land(tmp_path, [_batch(k=list(range(120_000)))])
    columns, frames = read_arrow(landing, ["k"], batch_rows=50_000)
    found = list(frames)
    assert columns == ("k",)
    assert [(frame["_line"][0], frame["_line"][-1]) for frame in found] == [
        (1, 50_000), (50_001, 100_000), (100_001, 120_000)
    ]  # fmt: skip
    assert all(frame["_line"][0] == frame["k"][0] + 1 for frame in found)


def test_columns_get_the_mapping_s_spelling(tmp_path: Path) -> None:
    landing = _land(tmp_path, [_batch(ID=[1], Name=["x"])], ["id", "NAME"])
    assert read_arrow(landing, ["id"])[0] == ("id", "NAME")


@pytest.mark.parametrize(
    ("names", "wanted", "says"),
    [
        (["a", "b"], ["a", "c"], "no column c; it has a, b"),
        (["a", "a"], ["a"], "several columns named a"),
        (["A", "a"], ["b"], "no column b"),
        (["_line"], [], "a name the product keeps for itself"),
    ],
)
def test_columns_are_checked_before_anything_is_written(
    tmp_path: Path, names: list[str], wanted: list[str], says: str
) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array([1])] * len(names), names=names)
        raise AssertionError("a second batch was read")

    with pytest.raises(ItemRefused, match=says):
        land_query(ITEM, batches(), wanted, tmp_path, Limits())
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield _batch(k=list(range(60_000)))
        raise SourceUnavailable("cut")

    with pytest.raises(SourceUnavailable):
        land_query(ITEM, batches(), ["k"], tmp_path, Limits())
    assert list(tmp_path.iterdir()) == []


def test_caps_hold_while_the_rows_stream(tmp_path: Path) -> None:
    wide = _batch(k=["x" * 100] * 3, v=["y", "z" * 101, "y"])
    with pytest.raises(ItemRefused, match="row 2 has 101 bytes in 'v'") as caught:
        _land(tmp_path, [wide], max_cell_bytes=100)
    assert caught.value.line == 2
    with pytest.raises(ItemRefused, match="larger than 5,000 bytes"):
        _land(tmp_path, [_batch(k=["x" * 100] * 1000)], max_bytes=5000)
    with pytest.raises(ItemRefused, match="2 columns, and source"):
        _land(tmp_path, [wide], max_columns=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([None], pa.null()), None),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([Decimal("9" * 50)], pa.decimal256(50, 0)), "9" * 50),
        (pa.array([Decimal("1.50")], pa.decimal128(5, 2)), Decimal("1.50")),
        (pa.array([1], pa.timestamp("s")), datetime(1970, 1, 1, 0, 0, 1)),
        (pa.array([1], pa.timestamp("ms", "+00:00")), datetime(1970, 1, 1, 0, 0, 0, 1000, UTC)),
        (pa.array([86_400_000], pa.date64()), date(1970, 1, 2)),
        (pa.array([[("k", 1), ("l", None)]], pa.map_(pa.string(), pa.int32())), '{"k": 1, "l": null}'),
        (pa.array([[1, None]]), [1, None]),
        (pa.array([{"a": "é"}]), {"a": "é"}),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array(["x"], pa.string_view()), "x"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_every_arrow_type_becomes_one_that_frames_hold(tmp_path: Path, array: pa.Array, value: object) -> None:
    landing = _land(tmp_path, [pa.RecordBatch.from_arrays([array], names=["v"])])
    (frame,) = read_arrow(landing, ["v"])[1]
    assert frame["v"].to_list() == [value]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.integers(1, 12),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_chunks_of_any_size_read_every_row_once(values: list[int], limit: int, cuts: list[int]) -> None:
    """Whatever the LIMIT, and however batches are cut: no row is lost, none is read twice, or the drain stops."""
    from tempfile import TemporaryDirectory

    table = sorted(values)
    read: list[int] = []
    after = 0
    with TemporaryDirectory() as folder:
        while True:
            rows = [value for value in table if value > after][:limit]
            places = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
            batches = [_batch(k=rows[a:b]) for a, b in pairwise(places)] or [
                pa.RecordBatch.from_arrays([pa.array([], pa.int64())], names=["k"])
            ]
            try:
                landing = _land(Path(folder), batches, ["k"], _chunk(after=after, limit=limit))
            except CursorStuck:
                assert max(map(table.count, table)) >= limit
                return
            (*frames,) = read_arrow(landing, ["k"])[1]
            read += [value for frame in frames for value in frame["k"].to_list()]
            if landing.cursor_to is None:
                break
            after = int(landing.cursor_to)
    distinct = len(set(table)) == len(table)
    assert read == table or (not distinct and _boundary_tie(table, limit))


def _boundary_tie(table: list[int], limit: int) -> bool:
    """A chunk of distinct integers is taken for a unique column, even if the row after its LIMIT repeats the last."""
    return any(
        a == b and len(set(table[max(0, n - limit + 1) : n + 1])) == len(table[max(0, n - limit + 1) : n + 1])
        for n, (a, b) in enumerate(pairwise(table))
    )


@pytest.mark.parametrize(
    ("column", "kind", "after", "reached"),
    [
        (pa.array([1, 3, 2]), "number", 0, "3"),
        (pa.array([2**64 - 1], pa.uint64()), "number", 0, str(2**64 - 1)),
        (pa.array([Decimal("9" * 28 + "." + "9" * 10)]), "number", 0, "9" * 28 + "." + "9" * 10),
        (pa.array(["10", "9.50"]), "number", 0, "10"),
        (pa.array([0.1, 0.25]), "number", 0, "0.25"),
        (pa.array(["b", "a"]), "text", "", "a"),
        (pa.array([date(2026, 1, 1)]), "moment", date(2000, 1, 1), "2026-01-01"),
        (pa.array(["2026-01-01 00:00:00.5Z"]), "moment", date(2000, 1, 1), "2026-01-01T00:00:00.5+00:00"),
        (pa.array([1_600_000_000_123_456_789], pa.timestamp("ns")), "moment", date(2000, 1, 1),
         "2020-09-13T12:26:40.123456789"),
    ],
)  # fmt: skip
def test_the_largest_value_is_kept_to_the_last_digit(
    tmp_path: Path, column: pa.Array, kind: CursorKind, after: CursorValue, reached: str
) -> None:
    batch = pa.RecordBatch.from_arrays([column], names=["k"])
    landing = _land(tmp_path, [batch], ["k"], _chunk(kind, after))
    assert landing.cursor_to == reached
    parse_cursor(reached, kind)


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [
        (pa.array([1, None, None]), "number", "2 rows have no value in 'k'"),
        (pa.array(["x"]), "number", "'k' is string, and its start says it holds numbers"),
        (pa.array([1]), "text", "'k' is int64, and its start says it holds text"),
        (pa.array([1.5, float("nan")]), "number", "'k' is double"),
        (pa.array(["2026-01-01", "infinity"]), "moment", "'k' is string"),
        (pa.array([True]), "number", "'k' is bool"),
    ],
)
def test_a_column_that_can_not_order_rows_is_told(
    tmp_path: Path, column: pa.Array, kind: CursorKind, says: str
) -> None:
    batch = pa.RecordBatch.from_arrays([column], names=["k"])
    after: dict[CursorKind, CursorValue] = {"number": 0, "text": "", "moment": date(2000, 1, 1)}
    with pytest.raises(CursorStuck, match=says):
        _land(tmp_path, [batch], ["k"], _chunk(kind, after[kind]))


def test_a_limit_over_rows_in_no_order_is_told(tmp_path: Path) -> None:
    with pytest.raises(CursorStuck, match="do not come in the order of 'k'"):
        _land(tmp_path, [_batch(k=[3, 1, 2])], ["k"], _chunk(limit=3))
    assert _land(tmp_path, [_batch(k=[3, 1, 2])], ["k"], _chunk(limit=4)).cursor_to == "3"
