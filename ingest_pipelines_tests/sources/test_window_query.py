"""A window's query lets every row into one window, or is refused with what to write."""

from __future__ import annotations

import pytest

from ingest_pipelines.sources.query_text import read_query
from ingest_pipelines.sources.window_query import window_mistakes

WHOLE = [
    "SELECT * FROM t WHERE d >= {windowStart} AND d < {windowEnd}",
    "SELECT * FROM t WHERE d > {windowStart} AND d <= {windowEnd}",
    "SELECT * FROM t WHERE d BETWEEN {windowStart} AND {windowEnd}",
    "SELECT * FROM t WHERE d > {windowStart} AND d < {windowEnd} OR d = {windowStart}",
    "SELECT * FROM t WHERE d > {windowStart} - interval '1 hour' AND d < {windowEnd}",
    "SELECT * FROM t WHERE created > {windowStart} AND changed < {windowEnd}",
]
LOSING = [
    "SELECT * FROM t WHERE d > {windowStart} AND d < {windowEnd}",
    "SELECT * FROM t WHERE {windowStart} < d AND {windowEnd} > d",
    "WITH x AS (SELECT * FROM t WHERE d > CAST({windowStart} AS date)) SELECT * FROM x WHERE (d < {windowEnd})",
]


@pytest.mark.parametrize("query", WHOLE)
def test_a_query_that_lets_the_bounds_into_a_window_is_taken(query: str) -> None:
    assert list(window_mistakes(read_query(query, "postgres"))) == []


@pytest.mark.parametrize("query", LOSING)
def test_a_query_that_leaves_the_bounds_out_of_every_window_is_refused_with_what_to_write(query: str) -> None:
    found = list(window_mistakes(read_query(query, "postgres")))
    assert found == [
        "query: rows whose d is a window's bound are in no window; write d >= {windowStart} AND d < {windowEnd}"
    ]
