"""A query's rows on disk: the same rows, the same hash; nothing that a frame can't hold; nothing beyond the caps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.cursor.chunk import Chunk
from ingest_pipelines.cursor.column import spelling
from ingest_pipelines.cursor.values import CursorKind, CursorValue, parse_cursor
from ingest_pipelines.errors import CursorStuck, ItemRefused, SourceUnavailable
from ingest_pipelines.landing import land_query, read_arrow
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


def _chunk(kind: CursorKind = "number", after: CursorValue = 0, limit: int | None = None, **more: Any) -> Chunk:
    return Chunk("k", kind, after, limit, NOW, UTC, **more)


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
        (["_line"], [], "this name is reserved"),
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


@given(
    widths=st.lists(st.sampled_from([None, 0, 1, 30, 90, 250]), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_a_landed_batch_is_bounded_by_bytes_wherever_the_network_cut_it(
    widths: list[int | None], cuts: list[int]
) -> None:
    """The model cuts row by row."""
    whole = _batch(k=list(range(len(widths))), v=pa.array([w if w is None else "x" * w for w in widths], pa.string()))
    ends = sorted({min(cut, len(widths)) for cut in cuts} | {0, len(widths)})
    pieces = [whole.slice(start, end - start) for start, end in pairwise(ends)]
    expected, filled = [0], 0
    for width in widths:
        if expected[-1] == 7 or (expected[-1] and filled + (width or 0) > 200):
            expected.append(0)
            filled = 0
        expected[-1] += 1
        filled += width or 0
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("ingest_pipelines.landing.query_lander.ROWS", 7),
        patch("ingest_pipelines.landing.query_lander.BATCH_BYTES", 200),
    ):
        landing = _land(Path(folder), pieces)
        with pa.OSFile(str(landing.path)) as file, pa.ipc.open_stream(file) as stream:
            assert [batch.num_rows for batch in stream] == expected
        assert landing.content_sha256 == _land(Path(folder), [whole]).content_sha256


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
    with pytest.raises(ItemRefused, match="2 columns; source"):
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
    st.booleans(),
)
def test_chunks_of_any_size_read_every_row(values: list[int], limit: int, cuts: list[int], again: bool) -> None:
    """Whatever the LIMIT, wherever values tie, however batches are cut, `>` or `>=`: no row is lost, or it is told."""
    from tempfile import TemporaryDirectory

    table = sorted(values)
    read: set[int] = set()
    after = 0

    def rows() -> list[pa.RecordBatch]:
        found = [place for place, value in enumerate(table) if value > after or (again and value == after)][: limit + 1]
        places = sorted({0, len(found), *(cut for cut in cuts if cut < len(found))})
        return [
            pa.RecordBatch.from_arrays(
                [pa.array(found[a:b], pa.int64()), pa.array([table[n] for n in found[a:b]], pa.int64())], ["id", "k"]
            )
            for a, b in [*pairwise(places)] or [(0, 0)]
        ]

    with TemporaryDirectory() as folder:
        while True:
            try:
                landing = _land(Path(folder), rows(), ["k"], _chunk(after=after, limit=limit))
            except CursorStuck:
                most = max(map(table.count, table))
                assert most > limit or (again and most + table.count(after) > limit)
                return
            read |= {place for frame in read_arrow(landing, ["k"])[1] for place in frame["id"].to_list()}
            if landing.cursor_to is None:
                break
            assert int(landing.cursor_to) > after
            after = int(landing.cursor_to)
    assert read == set(range(len(table)))


@pytest.mark.parametrize(
    ("column", "kind", "after", "reached"),
    [
        (pa.array([1, 3, 2]), "number", 0, "3"),
        (pa.array([2**64 - 1], pa.uint64()), "number", 0, str(2**64 - 1)),
        (pa.array([Decimal("9" * 28 + "." + "9" * 10)]), "number", 0, "9" * 28 + "." + "9" * 10),
        (pa.array(["10", "9.50"]), "number", 0, "10"),
        (pa.array([str(10**76 - 1), "-5"]), "number", 0, str(10**76 - 1)),
        (pa.array(["0." + "0" * 59 + "1", "-5"]), "number", 0, "0." + "0" * 59 + "1"),
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
    landing = _land(tmp_path, [_spelled(column, kind)], ["k"], _chunk(kind, after))
    assert landing.cursor_to == reached
    parse_cursor(reached, kind)


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [
        (pa.array([1, None, None]), "number", "2 rows have no value in 'k'"),
        (pa.array([1]), "text", "'k' is int64, and its start says it holds text"),
        (pa.array([1.5, 2]), "number", "'k' is double, a binary floating-point number"),
        (pa.array([1.5], pa.float32()), "number", "'k' is float, a binary floating-point number"),
        (pa.array(["1", "NaN"]), "number", "'k' holds infinity or NaN"),
        (pa.array(["-Infinity"]), "number", "'k' holds infinity or NaN"),
        (pa.array(["2026-01-01", "infinity"]), "moment", "'k' holds infinity or NaN"),
        (pa.array(["9" * 77]), "number", "'k' holds more than 76 digits"),
        (pa.array(["0044-03-15 BC"]), "moment", "'k' holds dates that are none of the years 1 to 9999"),
        (pa.array(["0000-00-00"]), "moment", "'k' holds dates that are none of the years 1 to 9999"),
        (pa.array([True]), "number", "'k' is bool"),
    ],
)
def test_a_column_that_can_not_order_rows_is_told(
    tmp_path: Path, column: pa.Array, kind: CursorKind, says: str
) -> None:
    after: dict[CursorKind, CursorValue] = {"number": 0, "text": "", "moment": date(2000, 1, 1)}
    with pytest.raises(CursorStuck, match=says):
        _land(tmp_path, [_spelled(column, kind)], ["k"], _chunk(kind, after[kind]))


@pytest.mark.parametrize("kind", ["number", "moment"])
def test_texts_of_the_source_are_ordered_as_texts_and_never_as_what_they_look_like(
    tmp_path: Path, kind: CursorKind
) -> None:
    after: CursorValue = 0 if kind == "number" else date(2000, 1, 1)
    with pytest.raises(CursorStuck, match="'k' is string, and its start says") as caught:
        _land(tmp_path, [_batch(k=["10", "9"])], ["k"], _chunk(kind, after))
    assert "orders it as text" in str(caught.value.hint)


def _spelled(column: pa.Array, kind: CursorKind) -> pa.RecordBatch:
    """A column as a source gives it whose texts are numbers or moments."""
    text = pa.types.is_string(column.type)
    metadata = spelling(kind) if text and kind != "text" else None
    return pa.RecordBatch.from_arrays([column], schema=pa.schema([pa.field("k", column.type, metadata=metadata)]))


def test_a_limit_over_rows_in_no_order_is_told(tmp_path: Path) -> None:
    with pytest.raises(CursorStuck, match="do not come in the order of 'k'"):
        _land(tmp_path, [_batch(k=[3, 1, 2])], ["k"], _chunk(limit=2))
    assert _land(tmp_path, [_batch(k=[3, 1, 2])], ["k"], _chunk(limit=3)).cursor_to == "3"
