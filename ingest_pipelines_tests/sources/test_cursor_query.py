"""Which cursor queries are proven to lose no row by their text, which are refused, and what is asked about them."""

from __future__ import annotations

import pytest

from ingest_pipelines.sources.cursor_query import chunk_limit, cursor_mistakes, no_value_query, one_row_more
from ingest_pipelines.sources.query_text import read_query

PROVEN = [
    ("postgres", "SELECT * FROM t WHERE id > {lastItem}"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", "SELECT * FROM t WHERE {lastItem} < id ORDER BY id LIMIT 5"),
    ("postgres", "SELECT * FROM t WHERE id >= {lastItem} ORDER BY id, name LIMIT 5"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id OFFSET 0"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT ALL"),
    ("postgres", "SELECT c.id, c.name FROM c JOIN d USING (id) WHERE c.id > {lastItem} ORDER BY c.id LIMIT 5"),
    ("postgres", "SELECT c.seq AS id FROM c WHERE c.seq > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", "SELECT c.seq AS id FROM c WHERE c.seq > {lastItem} ORDER BY c.seq LIMIT 5"),
    ("postgres", "SELECT name, id FROM t WHERE id > {lastItem} ORDER BY 2 LIMIT 5"),
    ("postgres", "SELECT greatest(a, b) AS id FROM t WHERE greatest(a, b) > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", "SELECT max(x) AS id FROM t GROUP BY k HAVING max(x) > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", "SELECT * FROM (SELECT seq AS id FROM t WHERE seq > {lastItem}) u ORDER BY id LIMIT 5"),
    ("postgres", "WITH u AS (SELECT * FROM t WHERE id > {lastItem}) SELECT * FROM u ORDER BY id LIMIT 5"),
    ("postgres", "SELECT id FROM t WHERE id > {lastItem} UNION ALL SELECT no FROM u WHERE no > {lastItem}"
     " ORDER BY id LIMIT 5"),
    ("postgres", "SELECT id, (SELECT a FROM u WHERE u.id = t.id ORDER BY b DESC LIMIT 1) FROM t"
     " WHERE id > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", "SELECT at AT TIME ZONE 'UTC' AS id FROM t WHERE at > {lastItem} ORDER BY id LIMIT 5"),
    ("postgres", 'SELECT id COLLATE "C" AS id FROM t WHERE id COLLATE "C" > {lastItem} ORDER BY id LIMIT 5'),
    ("mysql", "SELECT id FROM t WHERE BINARY id > {lastItem} ORDER BY BINARY id LIMIT 5"),
    ("mysql", "SELECT id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 0, 5"),
    ("tsql", "SELECT TOP (5) * FROM t WHERE id > {lastItem} ORDER BY id"),
    ("tsql", "SELECT TOP 5 WITH TIES * FROM t WHERE id > {lastItem} ORDER BY id"),
    ("tsql", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id OFFSET 0 ROWS FETCH NEXT 5 ROWS ONLY"),
    ("oracle", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id FETCH FIRST 5 ROWS ONLY"),
    ("oracle", "SELECT q'[it's 5]' AS a, id FROM t WHERE t.id >= {lastItem} ORDER BY t.id FETCH FIRST 5 ROWS ONLY"),
    ("mysql", "SELECT id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5 ROWS EXAMINED 100"),
    ("clickhouse", "SELECT id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 1 BY a LIMIT 5"),
    ("snowflake", "SELECT id, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) AS n FROM t WHERE id > {lastItem}"
     " QUALIFY n = 1 ORDER BY id LIMIT 5"),
    ("postgres", "SELECT * FROM (SELECT *, rank() OVER (ORDER BY id) n FROM t WHERE id > {lastItem}) u WHERE n < 9"),
    ("postgres", "SELECT t.id FROM t, (SELECT k FROM c LIMIT 1) c WHERE t.id > {lastItem} - 9 ORDER BY t.id"),
    ("tsql", "SELECT * FROM t WHERE id > DATEADD(minute, -9, {lastItem})"),
    ("mysql", "SELECT * FROM t WHERE id > {lastItem} - INTERVAL 9 MINUTE"),
    ("clickhouse", "SELECT id FROM t FINAL PREWHERE id > {lastItem} ORDER BY id LIMIT 5"),
]  # fmt: skip

REFUSED = [
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} LIMIT 5", "ORDER BY id is missing"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id DESC", "DESC"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5 OFFSET 5", "OFFSET"),
    ("mysql", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5, 5", "OFFSET"),
    ("postgres", "SELECT * FROM t /* {lastItem} */", "only in a comment"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY name LIMIT 5", "ORDER BY does not begin"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY name, id LIMIT 5", "ORDER BY does not begin"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY 2 LIMIT 5", "ORDER BY does not begin"),
    ("postgres", "SELECT -id AS id FROM t WHERE -id > {lastItem} ORDER BY t.id LIMIT 5", "ORDER BY does not begin"),
    ("postgres", "SELECT * FROM t WHERE created > {lastItem} ORDER BY id LIMIT 5", "is not the cursor id"),
    ("postgres", "SELECT -id AS id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5", "is not the cursor id"),
    ("postgres", "SELECT a.id FROM a JOIN b USING (k) WHERE b.id > {lastItem} ORDER BY b.id LIMIT 5", "does not begin"),
    ("postgres", "SELECT a.id FROM a JOIN b USING (k) WHERE b.id > {lastItem}", "is not the cursor id"),
    ("postgres", "SELECT id FROM t WHERE CAST(id AS date) > {lastItem}", "is not the cursor id"),
    ("postgres", "SELECT id FROM t WHERE id < {lastItem}", "not ask for rows beyond"),
    ("postgres", "SELECT id FROM t WHERE NOT id > {lastItem}", "not ask for rows beyond"),
    ("postgres", "SELECT id FROM t WHERE id > {lastItem} UNION ALL SELECT no FROM u WHERE id > {lastItem}",
     "is not the cursor id"),
    ("postgres", "SELECT * FROM (SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5) u", "a LIMIT within it"),
    ("postgres", "WITH u AS (SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5)"
     " SELECT * FROM u ORDER BY id LIMIT 9", "a LIMIT within it"),
    ("postgres", "WITH u AS (SELECT * FROM t ORDER BY id LIMIT 9) SELECT * FROM u WHERE id > {lastItem} ORDER BY id"
     " LIMIT 5", "a LIMIT within it"),
    ("tsql", "SELECT TOP 5 a.id FROM (SELECT TOP 9 * FROM t ORDER BY id) a JOIN b ON a.k = b.k WHERE a.id > {lastItem}"
     " ORDER BY a.id", "a LIMIT within it"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} + 1 ORDER BY id LIMIT 5", "adds to {lastItem}"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem}::timestamp + interval '1 day'", "adds to {lastItem}"),
    ("mysql", "SELECT * FROM t WHERE id > {lastItem} AND id <= {lastItem} + 1000", "leaves out rows that"),
    ("mysql", "SELECT * FROM t WHERE id > DATE_ADD({lastItem}, INTERVAL 1 DAY)", "adds to {lastItem}"),
    ("tsql", "SELECT * FROM t WHERE id > DATEADD(day, 1, {lastItem})", "adds to {lastItem}"),
    ("clickhouse", "SELECT * FROM t WHERE id > addDays({lastItem}, 1)", "adds to {lastItem}"),
    ("clickhouse", "SELECT id FROM t WHERE id > {lastItem} + 1 ORDER BY id LIMIT 1 BY a LIMIT 5", "proven"),
    ("postgres", "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id > {lastItem})", "not ask for rows beyond"),
    ("postgres", "SELECT id FROM t WHERE k IN (SELECT k FROM t WHERE id > {lastItem})", "not ask for rows beyond"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5 * 2", "no plain number"),
    ("postgres", "SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 0", "LIMIT 0"),
    ("tsql", "SELECT TOP 10 PERCENT * FROM t WHERE id > {lastItem} ORDER BY id", "no plain number"),
    ("tsql", "SELECT TOP 5 WITH TIES * FROM t WHERE id > {lastItem} ORDER BY id, b", "WITH TIES"),
    ("oracle", "SELECT * FROM (SELECT * FROM t WHERE id > {lastItem} ORDER BY id) WHERE ROWNUM <= 5", "row numbers"),
    ("tsql", "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY id) n FROM t WHERE id > {lastItem}) u WHERE n < 5",
     "row numbers"),
    ("postgres", "SELECT * FROM (SELECT *, ntile(9) OVER (ORDER BY id) n FROM t WHERE id > {lastItem}) u WHERE n = 1",
     "row numbers"),
    ("postgres", "SELECT * FROM (SELECT *, count(*) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) n FROM t) u"
     " WHERE n < 5 AND id > {lastItem}", "row numbers"),
    ("snowflake", "SELECT id FROM t WHERE id > {lastItem} QUALIFY ROW_NUMBER() OVER (PARTITION BY 1 ORDER BY id) < 5",
     "row numbers"),
    ("postgres", 'SELECT id FROM t WHERE id > {lastItem} ORDER BY id COLLATE "C" LIMIT 5', "in different ways"),
    ("postgres", 'SELECT id COLLATE "C" AS id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5', "in different ways"),
    ("mysql", "SELECT id FROM t WHERE BINARY id > {lastItem} ORDER BY id LIMIT 5", "in different ways"),
    ("oracle", "SELECT q'[it's]' AS a, id FROM t WHERE id > {lastItem} ORDER BY a FETCH FIRST 5 ROWS ONLY", "proven"),
    ("oracle", "SELECT q'[it's]' AS a, id FROM t WHERE b > {lastItem} ORDER BY id FETCH FIRST 5 ROWS ONLY", "proven"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "query"), PROVEN)
def test_a_query_is_proven_that_chooses_and_orders_rows_by_the_cursor_alone(dialect: str, query: str) -> None:
    assert list(cursor_mistakes(read_query(query, dialect), "id", is_text=False)) == []


@pytest.mark.parametrize(("dialect", "query", "says"), REFUSED)
def test_a_query_whose_chunks_could_lose_rows_is_refused_with_what_to_write(
    dialect: str, query: str, says: str
) -> None:
    found = list(cursor_mistakes(read_query(query, dialect), "id", is_text=False))
    assert any(says in mistake for mistake in found), found


def test_texts_need_an_order_even_without_a_limit() -> None:
    query = read_query("SELECT * FROM t WHERE id > {lastItem}", "postgres")
    assert "ORDER BY id is missing" in next(cursor_mistakes(query, "id", is_text=True))


@pytest.mark.parametrize(("dialect", "query"), PROVEN)
def test_one_row_more_than_the_limit_is_asked_for_and_nothing_else_is_changed(dialect: str, query: str) -> None:
    checked = read_query(query, dialect)
    limit = chunk_limit(checked)
    longer = one_row_more(checked)
    assert (limit == 5) == (longer != query) == ("5" in query and "TIES" not in query)
    assert longer.count("6") == (limit == 5)
    assert longer.replace("6", "5") == query


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("SELECT id FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5", "SELECT id FROM t WHERE id IS NULL ORDER BY id"),
        ("SELECT id FROM t WHERE a = 1 AND (id >= {lastItem}::int OR b)",
         "SELECT id FROM t WHERE a = 1 AND (id IS NULL OR b)"),
        ("SELECT id FROM t WHERE id > {lastItem} UNION ALL SELECT no FROM u WHERE no > {lastItem}",
         "SELECT id FROM t WHERE id IS NULL UNION ALL SELECT no FROM u WHERE no IS NULL"),
        ("SELECT id FROM t WHERE id > coalesce({lastItem}, 1) AND a > 2",
         "SELECT id FROM t WHERE id IS NULL AND a > 2"),
        ("SELECT id FROM t WHERE id > {lastItem} AND f({lastItem})", None),
        ("SELECT id, {lastItem} AS after FROM t WHERE id > {lastItem}", None),
    ],
)  # fmt: skip
def test_rows_without_a_value_are_asked_for_in_place_of_those_beyond_the_cursor(query: str, asked: str | None) -> None:
    found = no_value_query(read_query(query, "postgres"), "id")
    if asked is None:
        assert found is None
    else:
        assert found is not None
        assert " ".join(found.text.split()) == f"SELECT rows_read.id FROM ( {asked} ) rows_read LIMIT 1"
