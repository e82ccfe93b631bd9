"""One SELECT, whatever the dialect; placeholders only where a value can stand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.connections import DIALECTS
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources.query_text import about_rows, read_query, table_query
from ingest_pipelines_tests.sources.statements import LEGAL, WRITES

EVERY = sorted(DIALECTS)


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
        "SELECT 1)",
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
    with pytest.raises(ConfigError, match="line 2, column 19: a placeholder stands inside quotes"):
        read_query(f"SELECT id\nFROM t WHERE id > {quoted}", "postgres")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("selct a, b FROM t", "line 1, column 1: 'SELCT' begins no SELECT; did you mean SELECT?"),
        ("hello", "line 1, column 1: 'HELLO' begins no SELECT; a query begins with SELECT or WITH"),
        ("SELECT a\nFROM (t", "line 2, column 6: this parenthesis never closes"),
        ("SELECT a)", "line 1, column 9: this parenthesis closes nothing"),
        ("SELECT 'a", "line 1, column 8: a quote never closes"),
        ("SELECT a /* b", "line 1, column 10: a comment never closes"),
        ("SELECT 1; SELECT 2", "2 statements; a source is one SELECT statement"),
        ("", "empty; a source is one SELECT statement"),
    ],
)
def test_a_mistake_is_told_once_with_its_place(query: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_query(query, "postgres")
    assert caught.value.mistakes == (f"query: {says}",)


@pytest.mark.parametrize(("dialect", "query"), [(dialect, query) for dialect in EVERY for query in LEGAL[dialect]])
def test_every_legal_select_is_sent_as_it_is_written(dialect: str, query: str) -> None:
    read = read_query(query, dialect)
    assert re.sub(r"\s*FORMAT \w+", "", query).strip("; \n").split() == read.text.strip("; \n").split()


@pytest.mark.parametrize(("dialect", "query"), [(dialect, query) for dialect in EVERY for query in WRITES[dialect]])
def test_every_statement_that_writes_is_refused(dialect: str, query: str) -> None:
    for written in (query, query.lower(), f"  \n-- a comment\n{query} ;"):
        with pytest.raises(ConfigError):
            read_query(written, dialect)


@pytest.mark.parametrize("dialect", EVERY)
@given(st.data())
def test_whatever_stands_inside_quotes_is_never_sql(dialect: str, data: st.DataObject) -> None:
    """Any content, quoted as the dialect quotes it, is one token; what stands behind it is still seen."""
    content = data.draw(st.text(st.sampled_from("a;'\"`\\[]$/*-#{}\n "), max_size=12))
    escaped = content.replace("\\", "\\\\") if dialect in {"mysql", "hive", "clickhouse", "snowflake"} else content
    quoted = "'" + escaped.replace("'", "''") + "'"
    assert read_query(f"SELECT {quoted} AS a FROM t", dialect).text.endswith("FROM t")
    with pytest.raises(ConfigError, match="2 statements"):
        read_query(f"SELECT {quoted} AS a FROM t; DELETE FROM t", dialect)


@pytest.mark.parametrize(
    ("query", "dialect", "limit"),
    [
        ("SELECT * FROM t ORDER BY id LIMIT 10", "postgres", 10),
        ("SELECT TOP 10 * FROM t ORDER BY id", "tsql", 10),
        ("SELECT * FROM t ORDER BY id OFFSET 0 ROWS FETCH NEXT 10 ROWS ONLY", "tsql", 10),
        ("SELECT * FROM t ORDER BY id FETCH FIRST 10 ROWS ONLY", "oracle", 10),
        ("SELECT TOP 10 PERCENT * FROM t", "tsql", None),
        ("SELECT TOP 10 WITH TIES * FROM t ORDER BY id", "tsql", None),
        ("SELECT * FROM t LIMIT 10 BY id", "clickhouse", None),
        ("SELECT * FROM t LIMIT 5 * 2", "postgres", None),
        ("SELECT * FROM (SELECT * FROM t ORDER BY id) WHERE ROWNUM <= 10", "oracle", None),
        ("SELECT * FROM (SELECT * FROM t ORDER BY id LIMIT 10) u", "postgres", None),
        ("SELECT * FROM t", "postgres", None),
    ],
)
def test_how_many_rows_a_chunk_may_have_is_read_from_the_query(query: str, dialect: str, limit: int | None) -> None:
    assert read_query(query, dialect).limit == limit


@pytest.mark.parametrize(
    ("dialect", "query", "rows"),
    [
        ("postgres", 'SELECT "I" FROM t WHERE "I" > {lastItem} ORDER BY "I" LIMIT 9',
         'SELECT "I" FROM t WHERE "I" > : ORDER BY "I"'),
        ("postgres", "SELECT id FROM t -- LIMIT\n OFFSET 0", "SELECT id FROM t -- LIMIT"),
        ("tsql", "SELECT DISTINCT TOP (9) WITH TIES id FROM t ORDER BY id", "SELECT DISTINCT id FROM t"),
        ("oracle", "SELECT q'[LIMIT]' FROM t FETCH FIRST 9 ROWS ONLY", "SELECT q'[LIMIT]' FROM t"),
        ("clickhouse", "SELECT id FROM t LIMIT 1 BY b LIMIT 9", "SELECT id FROM t LIMIT 1 BY b"),
        ("mysql", "SELECT id FROM t ORDER BY id LIMIT 9 ROWS EXAMINED 99", "SELECT id FROM t ORDER BY id"),
        ("hive", "FROM t SELECT id LIMIT 9", "FROM t SELECT id"),
    ],
)  # fmt: skip
def test_what_is_asked_about_a_query_is_about_its_own_text_without_the_limit(
    dialect: str, query: str, rows: str
) -> None:
    asked = about_rows(read_query(query, dialect), "id", largest=True).with_markers(lambda _: ":")
    assert asked.split() == f"SELECT MAX(rows_read.id) AS largest FROM ( {rows} ) rows_read HAVING COUNT(*) > 0".split()


@pytest.mark.parametrize(
    ("dialect", "query", "asks"),
    [
        ("tsql", "WITH a AS (SELECT 1 AS id) SELECT TOP 9 id FROM a",
         "WITH a AS (SELECT 1 AS id), rows_read AS ( SELECT id FROM a ) SELECT"),
        ("oracle", "WITH FUNCTION f RETURN NUMBER IS BEGIN RETURN 1; END; SELECT f AS id FROM dual",
         "WITH FUNCTION f RETURN NUMBER IS BEGIN RETURN 1; END; rows_read AS ( SELECT f AS id FROM dual ) SELECT"),
    ],
)  # fmt: skip
def test_common_table_expressions_stay_at_the_top(dialect: str, query: str, asks: str) -> None:
    asked = about_rows(read_query(query, dialect), "id", where="=").text
    assert " ".join(asked.split()).startswith(asks)
    assert asked.endswith("FROM rows_read WHERE rows_read.id = ingest_bound_cursor")


@pytest.mark.parametrize("dialect", EVERY)
def test_a_query_may_be_nested_deeper_than_the_parser_goes(dialect: str) -> None:
    for depth in (10, 60, 100, 3000):
        for nested in ("(" * depth + "1" + ")" * depth, "(SELECT " * depth + "1" + ")" * depth):
            query = read_query(f"SELECT {nested} AS a, seq FROM t WHERE seq > {{lastItem}} ORDER BY seq", dialect)
            assert [mark.name for mark in query.marks] == ["lastItem"]
            assert query.ordered
            assert (query.statement is None) == (query.not_understood is not None)


@pytest.mark.parametrize("dialect", EVERY)
def test_the_parser_prints_nothing_of_a_query(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    read_query("SELECT JSON_EXTRACT(x, '$.hunter2.[') AS a FROM t", dialect)
    assert caplog.records == []


def test_names_of_columns_are_quoted_as_names() -> None:
    assert table_query("crm.customers", ['a"b', "x y"], "postgres") == 'SELECT "a""b", "x y" FROM crm.customers'
    assert table_query("dbo.t", ["a]b"], "tsql") == "SELECT [a]]b] FROM dbo.t"
    assert table_query("(SELECT 1)", [], "postgres") == 'SELECT * FROM "(SELECT 1)"'


@pytest.mark.parametrize("table", ["", "a b; DROP TABLE t", "f(1)"])
def test_a_table_that_is_no_name_is_a_config_error(table: str) -> None:
    with pytest.raises(ConfigError, match="no name of a table"):
        table_query(table, [], "postgres")
