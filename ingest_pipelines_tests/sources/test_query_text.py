"""One SELECT, whatever the dialect; placeholders only where a value can stand."""

from __future__ import annotations

import pytest

from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources.query_text import DIALECTS, behind_query, cursor_mistakes, read_query, table_query

EVERY = sorted(set(DIALECTS.values()))


@pytest.mark.parametrize("dialect", EVERY)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO t SELECT 1",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "DROP TABLE t",
        "TRUNCATE TABLE t",
        "CREATE TABLE t AS SELECT 1 AS a",
        "SELECT * INTO copy FROM t",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "VALUES (1)",
        "EXPLAIN SELECT 1",
        "CALL refresh()",
        "SELECT (",
        "SELECT 'open",
        "",
        ";",
        "-- nothing",
    ],
)
def test_what_is_not_one_select_is_refused(dialect: str, query: str) -> None:
    with pytest.raises(ConfigError):
        read_query(query, dialect)


@pytest.mark.parametrize("dialect", EVERY)
def test_the_user_s_text_is_kept_byte_for_byte(dialect: str) -> None:
    text = (
        "/* {lastItem} */ WITH a AS (SELECT id, '%{x}' AS s FROM t)\n"
        "-- {lastItem}\nSELECT * FROM a WHERE id > {lastItem}"
    )
    query = read_query(text + " ;\n", dialect)
    assert query.with_markers(lambda name: f"<{name}>") == text[: -len("{lastItem}")] + "<lastItem>"
    assert query.with_markers(lambda _: "?", lambda piece: piece.replace("%", "%%")).count("%%") == 1


def test_places_are_right_behind_letters_of_any_width() -> None:
    query = read_query("SELECT 'Zoë 日本 \U0001f600' AS s WHERE a >= {windowStart} AND a < {windowEnd}", "postgres")
    assert query.with_markers(lambda name: f"<{name}>").endswith("WHERE a >= <windowStart> AND a < <windowEnd>")


@pytest.mark.parametrize("quoted", ["'{lastItem}'", "'id-{lastItem}'", '"{windowEnd}"'])
def test_a_placeholder_in_quotes_is_told(quoted: str) -> None:
    with pytest.raises(ConfigError, match="line 2: a placeholder stands inside quotes"):
        read_query(f"SELECT id\nFROM t WHERE id > {quoted}", "postgres")


@pytest.mark.parametrize("comment", ["/*! DELETE FROM t */", "/*!50000 INTO OUTFILE '/x' */", "/*M! 1 */"])
def test_comments_that_mysql_executes_are_refused(comment: str) -> None:
    with pytest.raises(ConfigError, match="MySQL executes"):
        read_query(f"SELECT 1 {comment}", "mysql")


@pytest.mark.parametrize(
    ("query", "dialect", "limit", "may_cut"),
    [
        ("SELECT * FROM t ORDER BY id LIMIT 10", "postgres", 10, True),
        ("SELECT TOP 10 * FROM t ORDER BY id", "tsql", 10, True),
        ("SELECT * FROM t ORDER BY id OFFSET 0 ROWS FETCH NEXT 10 ROWS ONLY", "tsql", 10, True),
        ("SELECT * FROM t ORDER BY id FETCH FIRST 10 ROWS ONLY", "oracle", 10, True),
        ("SELECT TOP 10 PERCENT * FROM t", "tsql", None, True),
        ("SELECT TOP 10 WITH TIES * FROM t ORDER BY id", "tsql", None, True),
        ("SELECT * FROM t LIMIT 10 BY id", "clickhouse", None, True),
        ("SELECT * FROM t LIMIT 5 * 2", "postgres", None, True),
        ("SELECT * FROM (SELECT * FROM t ORDER BY id) WHERE ROWNUM <= 10", "oracle", None, True),
        ("SELECT * FROM (SELECT * FROM t ORDER BY id LIMIT 10) u", "postgres", None, True),
        ("SELECT * FROM t", "postgres", None, False),
    ],
)
def test_how_many_rows_a_chunk_may_have_is_read_from_the_query(
    query: str, dialect: str, limit: int | None, may_cut: bool
) -> None:
    read = read_query(query, dialect)
    assert (read.limit, read.may_cut) == (limit, may_cut)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("postgres", "SELECT * FROM t WHERE id > ? LIMIT 3"),
        ("tsql", "SELECT TOP 3 * FROM t WHERE id > ?"),
        ("oracle", "SELECT * FROM t WHERE id > ? FETCH FIRST 3 ROWS ONLY"),
    ],
)
def test_a_sample_has_the_dialect_s_limit(dialect: str, expected: str) -> None:
    assert (
        read_query("SELECT * FROM t WHERE id > {lastItem}", dialect).sample(3).with_markers(lambda _: "?") == expected
    )


def test_whether_the_source_is_behind_is_asked_without_limit_and_order() -> None:
    query = read_query('SELECT "Id" FROM t WHERE "Id" > {lastItem} ORDER BY "Id" LIMIT 9', "postgres")
    asked = behind_query(query, "Id").with_markers(lambda name: f":{name}")
    assert asked == (
        'SELECT CASE WHEN COUNT(*) > 0 AND MAX(rows_read."Id") < :cursor THEN 1 ELSE 0 END AS behind '
        'FROM (SELECT "Id" FROM t WHERE "Id" > :lastItem) AS rows_read'
    )


@pytest.mark.parametrize(
    ("query", "is_text", "says"),
    [
        ("SELECT * FROM t WHERE id > {lastItem}", False, None),
        ("SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5", False, None),
        ("SELECT * FROM t WHERE id > {lastItem} ORDER BY id OFFSET 0", False, None),
        ("SELECT * FROM t WHERE id > {lastItem} LIMIT 5", False, "ORDER BY id is missing"),
        ("SELECT * FROM t WHERE id > {lastItem}", True, "ORDER BY id is missing"),
        ("SELECT * FROM t WHERE id > {lastItem} ORDER BY id DESC", False, "DESC"),
        ("SELECT * FROM t WHERE id > {lastItem} ORDER BY id LIMIT 5 OFFSET 5", False, "OFFSET"),
        ("SELECT * FROM t /* {lastItem} */", False, "only in a comment"),
    ],
)
def test_queries_whose_chunks_could_lose_rows_are_found(query: str, is_text: bool, says: str | None) -> None:
    found = list(cursor_mistakes(read_query(query, "postgres"), "id", is_text=is_text))
    assert (found == []) if says is None else says in found[0]


def test_names_of_columns_are_quoted_as_names() -> None:
    assert table_query("crm.customers", ['a"b', "x y"], "postgres") == 'SELECT "a""b", "x y" FROM crm.customers'
    assert table_query("dbo.t", ["a]b"], "tsql") == "SELECT [a]]b] FROM dbo.t"
    assert table_query("(SELECT 1)", [], "postgres") == 'SELECT * FROM "(SELECT 1)"'


@pytest.mark.parametrize("table", ["", "a b; DROP TABLE t", "f(1)"])
def test_a_table_that_is_no_name_is_a_config_error(table: str) -> None:
    with pytest.raises(ConfigError, match="no name of a table"):
        table_query(table, [], "postgres")
