"""Where a chunk starts, and what the ledger's cursor becomes: it never goes back, nor past the upper bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.imports import Cursor
from ingest_pipelines.cursor.bounds import (
    advanced,
    chunk_start,
    ledger_value,
    lies_before,
    moved_since,
    next_chunk,
    upper_bound,
)
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DRAIN = Item("tills", ItemKey("drain"), "cursor", uri="")
_NUMBERS = st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False))


@given(_NUMBERS, st.none() | _NUMBERS, st.none() | _NUMBERS)
def test_the_committed_value_only_grows_and_never_beyond_the_upper_bound(
    reached: int | Decimal, committed: int | Decimal | None, bound: int | Decimal | None
) -> None:
    becomes = advanced(reached, committed, bound)
    furthest = reached if bound is None else min(reached, bound)
    assert becomes == (furthest if committed is None or furthest > committed else None)


@pytest.mark.parametrize(
    ("lag", "committed", "reached", "known_bound", "start", "bound"),
    [
        (0, None, [], None, None, None),
        (0, "20", [], None, "20", None),
        (0, "20", ["30"], None, "30", None),
        (5, "20", [], None, "14", None),
        (5, "20", [], "25", "14", "25"),
        (5, "20", ["18", "30"], "25", "30", "25"),
        (5, "20", ["30"], None, "30", "20"),
    ],
)
def test_a_chunk_starts_after_the_one_before_or_a_lag_behind_the_committed_value(
    lag: int, committed: str | None, reached: list[str], known_bound: str | None, start: str | None, bound: str | None
) -> None:
    """A run that was interrupted has lost its upper bound: what is committed takes its place."""
    cursor = Cursor(column="seq", start=1, lag=lag)
    chunk = next_chunk(replace(DRAIN, cursor_upper_bound=known_bound), cursor, committed, reached)
    assert (chunk.cursor_from, chunk.cursor_committed, chunk.cursor_upper_bound) == (start, committed, bound)
    assert chunk_start(chunk, cursor) == (1 if start is None else int(start))
    assert not moved_since(chunk, committed)
    assert moved_since(chunk, "21")


@pytest.mark.parametrize(
    ("largest", "bound"),
    [
        (99, 99),
        (date(2026, 6, 30), date(2026, 6, 30)),
        (date(2026, 7, 1), date(2026, 6, 30)),
        (Moment.of(datetime(2026, 7, 1, 13)), Moment.of(datetime(2026, 7, 1, 12))),
        (Moment.of(datetime(2026, 7, 1, 11, tzinfo=UTC)), Moment.of(datetime(2026, 7, 1, 11, tzinfo=UTC))),
        (Moment.of(datetime(2026, 7, 1, 13, tzinfo=UTC)), Moment.of(NOW)),
    ],
)
def test_the_upper_bound_is_the_largest_value_that_is_past(largest: CursorValue, bound: CursorValue) -> None:
    assert upper_bound(largest, NOW, UTC) == bound


@given(st.none() | st.integers(), st.none() | st.integers())
def test_a_source_went_back_when_all_its_values_are_below_the_committed_one(
    largest: int | None, committed: int | None
) -> None:
    assert lies_before(largest, committed) == (largest is not None and committed is not None and largest < committed)


def test_a_ledger_value_of_another_kind_names_the_command_that_sets_it() -> None:
    with pytest.raises(UsageError, match="import tills: the cursor in the ledger does not fit") as raised:
        ledger_value("2026-01-01", Cursor(column="seq", start=1), "tills")
    assert raised.value.hint == "ingest cursor set tills VALUE"
