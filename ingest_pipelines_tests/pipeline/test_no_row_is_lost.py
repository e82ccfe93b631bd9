"""A cursor loses no row: of any type, on any engine, wherever values tie, whatever the LIMIT, late within the lag.

The argument is in docs/loading.md. Each engine reads rows whose order and ties a table here says; ties are spelled
differently where the type allows it (1.0 and 1.00, a and A, 'x' and 'x '), for the database alone knows what is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.cursor.values import cursor_text, less_lag, parse_cursor
from ingest_pipelines.errors import CursorStuck
from ingest_pipelines.landing import read_arrow
from ingest_pipelines.model import Item, ItemKey, Workspace
from ingest_pipelines_tests.pipeline.conftest import NOW
from ingest_pipelines_tests.pipeline.engines import ENGINES, PASSWORD, Engine
from ingest_pipelines_tests.servers.fleet import Fleet

Spell = Callable[[int, int], str]
"""SQL of a value, from its rank and the row's place: the same rank is the same value to the database."""

RANKS = (0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 6)
"""Ties of one to three rows, at the start, at the end and at any place within a chunk."""


def _number(rank: int, place: int) -> str:
    return str(rank + 1)


def _huge(of: int) -> Spell:
    return lambda rank, place: str(of + rank)


def _decimal(rank: int, place: int) -> str:
    return f"{rank + 1}.5{'0' * (place % 4)}"


def _moment(digits: int) -> Spell:
    return lambda rank, place: f"'2026-03-29 01:30:00.{'0' * (digits - 2)}{rank + 1:02d}'"


def _day(rank: int, place: int) -> str:
    return f"'2026-01-{rank + 1:02d}'"


def _word(rank: int, place: int) -> str:
    return f"'{chr(98 + rank) * 2}'"


def _blank(rank: int, place: int) -> str:
    return f"'{chr(98 + rank) * 2}{' ' * (place % 3)}'"


def _capital(rank: int, place: int) -> str:
    word = chr(98 + rank) * 2
    return f"'{(word, word.upper(), word.capitalize())[place % 3]}'"


def _accent(rank: int, place: int) -> str:
    spellings = ("aAá", "eEé", "iIí", "oOó", "uUú", "yYý")[rank % 6]
    return f"'{'z' * (rank // 6)}{spellings[place % 3]}'"


def _uuid(rank: int, place: int) -> str:
    return f"'{rank + 1:08x}-0000-7000-8000-000000000000'"


def _cast(spell: Spell, way: str) -> Spell:
    return lambda rank, place: way.format(spell(rank, place))


TIME, NONE, LOWEST = "2000-01-01T00:00:00", "", "00000000-0000-0000-0000-000000000000"

TYPES: list[tuple[str, str, Spell, int | str]] = [
    ("postgresql", "bigint", _number, 0),
    ("postgresql", "numeric", _decimal, 0),
    ("postgresql", "timestamptz", _moment(6), TIME),
    ("postgresql", "text", _word, NONE),
    ("postgresql", 'text COLLATE "C"', _word, NONE),
    ("postgresql", "char(5)", _blank, NONE),
    ("postgresql", "citext", _capital, NONE),
    ("postgresql", "uuid", _uuid, LOWEST),
    ("mysql", "bigint unsigned", _huge(2**63), 0),
    ("mysql", "decimal(20, 4)", _decimal, 0),
    ("mysql", "datetime(6)", _moment(6), TIME),
    ("mysql", "varchar(9) COLLATE utf8mb4_general_ci", _accent, NONE),
    ("mysql", "varchar(9) COLLATE utf8mb4_unicode_520_ci", _accent, NONE),
    ("mysql", "varchar(9) COLLATE utf8mb4_bin", _blank, NONE),
    ("mysql", "varchar(9) CHARACTER SET latin1 COLLATE latin1_german2_ci", _capital, NONE),
    ("mysql", "uuid", _uuid, LOWEST),
    ("mssql", "decimal(20, 4)", _decimal, 0),
    ("mssql", "datetime2", _moment(6), TIME),
    ("mssql", "nvarchar(9)", _word, NONE),
    ("oracle", "NUMBER", _decimal, 0),
    ("oracle", "TIMESTAMP", _cast(_moment(6), "TIMESTAMP {}"), TIME),
    ("oracle", "VARCHAR2(9)", _word, "a"),
    ("clickhouse", "UInt64", _huge(2**63 - 3), 0),
    ("clickhouse", "DateTime64(9, 'UTC')", _moment(9), TIME),
    ("clickhouse", "String", _word, NONE),
    ("clickhouse", "UUID", _uuid, LOWEST),
    ("snowflake", "NUMBER(20, 4)", _decimal, 0),
    ("snowflake", "TIMESTAMP_NTZ", _moment(6), TIME),
    ("snowflake", "VARCHAR", _word, NONE),
]
SLOW: list[tuple[str, str, Spell, int | str]] = [
    ("postgresql", "timestamp", _moment(6), TIME),
    ("postgresql", "date", _day, "2000-01-01"),
    ("mysql", "int", _number, 0),
    ("mysql", "timestamp(6)", _moment(6), TIME),
    ("mysql", "date", _day, "2000-01-01"),
    ("mysql", "varchar(9) COLLATE utf8mb4_nopad_bin", _word, NONE),
    ("mysql", "char(9)", _blank, NONE),
    ("mssql", "bigint", _number, 0),
    ("mssql", "date", _day, "2000-01-01"),
    ("oracle", "NUMBER(10)", _number, 0),
    ("clickhouse", "Int64", _huge(-3), -(10**9)),
    ("clickhouse", "Decimal(18, 4)", _decimal, 0),
    ("clickhouse", "DateTime('UTC')", lambda rank, place: f"'2026-03-29 01:30:{rank:02d}'", TIME),
    ("clickhouse", "Date", _day, "2000-01-01"),
    ("clickhouse", "LowCardinality(String)", _word, NONE),
    ("clickhouse", "FixedString(4)", _word, NONE),
    ("snowflake", "NUMBER(38, 0)", _number, 0),
    ("snowflake", "DATE", _day, "2000-01-01"),
    ("hive", "string", _word, NONE),
    ("hive", "bigint", _number, 0),
    ("hive", "decimal(20, 4)", _decimal, 0),
    ("hive", "timestamp", _cast(_moment(6), "TIMESTAMP {}"), TIME),
    ("hive", "date", _cast(_day, "DATE {}"), "2000-01-01"),
    ("hive", "STRING COLLATE UTF8_LCASE", _capital, NONE),  # Spark asks of each answer which texts have a collation
    ("hive", "STRING COLLATE UNICODE_CI_AI", _accent, NONE),
    ("hive", "STRING COLLATE UTF8_BINARY_RTRIM", _blank, NONE),
    ("hive", "CHAR(5) COLLATE UTF8_LCASE", _capital, NONE),
]
ALL = [*TYPES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.fixture(scope="module")
def engines(fleet: Fleet) -> Iterator[Callable[[str], Engine]]:
    """An engine by its name, which starts when it is first asked for."""
    with ExitStack() as end:
        started: dict[str, Engine] = {}

        def engine(name: str) -> Engine:
            if name not in started:
                started[name] = end.enter_context(ENGINES[name](fleet))
                if name == "postgresql":
                    started[name].execute("CREATE EXTENSION citext")
            return started[name]

        yield engine


@pytest.fixture
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine that the test's parameters name."""
    found = engines(request.node.callspec.params["on"])
    monkeypatch.setenv(PASSWORD, found.secret)
    return found


class Reader:
    """Drains of one import, without a target: what it has read, and where its ledger's cursor would be."""

    def __init__(self, bound: BoundImport, folder: Path) -> None:
        self._bound = bound
        self._workspace = Workspace(folder / "spool", folder / "spill")
        self.read: set[int] = set()
        self.rows = 0  # of the last drain
        self.committed: str | None = None

    def drain(self, between: Callable[[int], None] = lambda chunk: None) -> None:
        """Chunk after chunk, as the pipeline asks for them; `between` is called after each."""
        cursor = self._bound.spec.source.cursor
        assert cursor is not None
        start = self.committed
        if start is not None:
            start = cursor_text(less_lag(parse_cursor(start, cursor.kind), cursor.lag_amount))
        item = Item("tills", ItemKey("drain"), "cursor", uri="", cursor_from=start)
        self.rows = 0
        for chunk in range(10_000):
            landing = pipeline.land(replace(item, cursor_committed=self.committed), self._bound, self._workspace, NOW)
            for frame in read_arrow(landing, ["id"])[1]:
                self.read |= {int(number) for number in frame["id"].to_list()}
            self.committed, self.rows = landing.cursor_committed, self.rows + (landing.rows or 0)
            between(chunk)
            if landing.cursor_to is None:
                return
            item = replace(landing.item, cursor_from=landing.cursor_to)
        raise AssertionError("it goes on for ever")

    def has_nothing_new(self) -> bool:
        """What a tick of the import's schedule would find."""
        assert self.committed is not None
        item = Item("tills", ItemKey("look"), "cursor", uri="")
        return pipeline.has_nothing_new(item, self._bound, self.committed)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.mark.parametrize(("on", "kind", "spell", "start"), ALL, ids=_shown)
def test_ties_of_any_type_at_any_place_are_read_whole_or_told(
    engine: Engine, on: str, kind: str, spell: Spell, start: int | str, tmp_path: Path
) -> None:
    name = _name()
    engine.fill(name, kind, [spell(rank, place) for place, rank in enumerate(RANKS)])
    reader = Reader(engine.bound(name, 3, start), tmp_path)
    reader.drain()
    assert reader.read == set(range(1, len(RANKS) + 1))
    reader.drain()  # and whether the source was restored from a backup is asked without an error
    assert reader.has_nothing_new() is (reader.rows == 0)
    engine.fill(name, kind, [spell(max(RANKS) + 1, 0)], first=len(RANKS) + 1)
    assert not reader.has_nothing_new()
    stuck = Reader(engine.bound(name, 2, start), tmp_path)
    with pytest.raises(CursorStuck, match="all 2 rows share one value of 'seq'") as caught:
        stuck.drain()
    assert "raise the LIMIT" in str(caught.value.hint)
    assert stuck.read == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("on", "kind", "spell", "start"),
    [
        pytest.param("postgresql", "bigint", _number, 0, marks=pytest.mark.slow),
        ("postgresql", "numeric", _decimal, 0),
        ("postgresql", "citext", _capital, NONE),
        pytest.param("mysql", "datetime(6)", _moment(6), TIME, marks=pytest.mark.slow),
        ("mysql", "varchar(99) COLLATE utf8mb4_general_ci", _accent, NONE),
    ],
    ids=_shown,
)
def test_any_rows_under_any_limit_are_all_read_or_told(
    engine: Engine, on: str, kind: str, spell: Spell, start: int | str, tmp_path: Path
) -> None:
    name = _name()
    engine.fill(name, kind, [])

    @settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(0, 7), min_size=1, max_size=12), st.integers(1, 6), st.booleans())
    @example([0, 0, 0, 1, 1, 1], 5, False)  # a chunk that ended between the texts of rank 0 lost one of them
    def any_rows(ranks: Sequence[int], limit: int, again: bool) -> None:
        engine.execute(f"DELETE FROM {name}")
        engine.fill(name, kind, [spell(rank, place) for place, rank in enumerate(ranks, 1)], first=2)
        query = engine.limited.replace(">", ">=") if again else None
        reader = Reader(engine.bound(name, limit, start, query), tmp_path)
        most = max(map(ranks.count, ranks))
        try:
            reader.drain()
        except CursorStuck:
            assert most > limit or (again and 2 * most > limit)
        else:
            assert reader.read == set(range(2, len(ranks) + 2))
            assert reader.has_nothing_new() is not again, "a query that says >= shows rows of the cursor itself"

    any_rows()


@pytest.mark.parametrize("on", ["postgresql", "mysql"])
def test_rows_that_come_late_within_the_lag_are_read_whenever_they_come(
    engine: Engine, on: str, tmp_path: Path
) -> None:
    """Rows come before drains and between their chunks, each at most the lag below the largest there is by then."""
    name = _name()
    engine.fill(name, "bigint", [])
    step = st.tuples(st.integers(0, 3), st.lists(st.integers(-4, 3), max_size=4))

    @settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.lists(step, max_size=4), min_size=1, max_size=4), st.integers(1, 4), st.sampled_from([3, 9]))
    def any_history(drains: Sequence[Sequence[tuple[int, Sequence[int]]]], lag: int, limit: int) -> None:
        engine.execute(f"DELETE FROM {name}")
        values: list[int] = []

        def come(offsets: Sequence[int]) -> None:
            for offset in offsets:
                value = max(1, max(values, default=1) + max(offset, -lag))
                if values.count(value) < 3:
                    engine.execute(f"INSERT INTO {name} VALUES ({len(values) + 2}, {value})")
                    values.append(value)

        def between(steps: Sequence[tuple[int, Sequence[int]]], chunk: int) -> None:
            for when, offsets in steps:
                if when == chunk:
                    come(offsets)

        reader = Reader(engine.bound(name, limit, 0, lag=lag), tmp_path)
        for steps in drains:
            come([1])
            reader.drain(partial(between, steps))
        reader.drain()
        assert reader.read == set(range(2, len(values) + 2))
        assert reader.committed == str(max(values))

    any_history()


@pytest.mark.parametrize("on", sorted(set(ENGINES) - {"hive"}))
def test_a_source_whose_largest_value_went_back_is_told_with_and_without_a_lag(
    engine: Engine, on: str, tmp_path: Path
) -> None:
    name = _name()
    number = {"oracle": "NUMBER(10)", "clickhouse": "Int64"}.get(on, "bigint")
    engine.fill(name, number, [str(value) for value in range(1, 8)])
    readers = [Reader(engine.bound(name, 3, 0, lag=lag), tmp_path / str(lag)) for lag in (0, 1, 9)]
    for reader in readers:
        reader.drain()
        assert reader.committed == "7"
    engine.execute(f"DELETE FROM {name} WHERE seq > 5")
    with pytest.raises(CursorStuck, match="restored from a backup"):
        readers[0].has_nothing_new()
    for reader in readers:
        with pytest.raises(CursorStuck, match="restored from a backup"):
            reader.drain()
        reader.committed = "5"  # ingest cursor set
    engine.execute(f"INSERT INTO {name} VALUES (16, 6)")
    for reader in readers:
        reader.drain()
        assert 16 in reader.read
    engine.execute(f"DELETE FROM {name} WHERE seq > 0")
    for reader in readers:
        reader.drain()  # an emptied source is no alarm
        assert reader.has_nothing_new()
        assert reader.committed == "6"


@pytest.mark.parametrize("on", ["postgresql", "mysql", "mssql", "oracle", "clickhouse", "snowflake"])
def test_rows_without_a_cursor_value_are_told_unless_the_query_leaves_them_out(
    engine: Engine, on: str, tmp_path: Path
) -> None:
    name = _name()
    number = {"oracle": "NUMBER(10)", "clickhouse": "Nullable(Int64)"}.get(on, "bigint")
    engine.fill(name, number, ["1", "NULL", "2"])
    reader = Reader(engine.bound(name, 5, 0), tmp_path)
    with pytest.raises(CursorStuck, match="rows without a value in 'seq', which the query never reads") as caught:
        reader.drain()
    assert reader.read == {1, 3}
    assert "AND seq IS NOT NULL" in str(caught.value.hint)
    with pytest.raises(CursorStuck, match="rows without a value in 'seq'"):
        reader.has_nothing_new()
    query = engine.limited.replace("WHERE", "WHERE seq IS NOT NULL AND")
    Reader(engine.bound(name, 5, 0, query), tmp_path).drain()


@pytest.mark.parametrize(
    ("on", "kind", "value", "says"),
    [
        ("postgresql", "float8", "1.5", "'seq' is double, a binary floating-point number"),
        ("postgresql", "real", "1.5", "'seq' is double, a binary floating-point number"),
        ("postgresql", "numeric", "'NaN'", "'seq' holds infinity or NaN"),
        ("postgresql", "numeric", "'Infinity'", "'seq' holds infinity or NaN"),
        ("postgresql", "timestamp", "'infinity'", "'seq' holds infinity or NaN"),
        ("postgresql", "date", "'infinity'", "'seq' holds infinity or NaN"),
        ("mysql", "float", "1.5", "'seq' is double, a binary floating-point number"),
        ("mysql", "enum('m', 'z', 'a')", "'z'", "'seq' is an enumeration"),
        ("mysql", "varchar(9)", "'10'", "'seq' is string, and its start says it holds numbers"),
        ("mssql", "float", "1.5", "'seq' is float, a binary floating-point number"),
        ("oracle", "BINARY_DOUBLE", "1.5", "'seq' is double, a binary floating-point number"),
        ("clickhouse", "Float64", "1.5", "'seq' is double, a binary floating-point number"),
        ("snowflake", "FLOAT", "1.5", "'seq' is double, a binary floating-point number"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lag", [0, 1])
def test_a_column_that_cannot_be_proven_is_refused_with_the_reason(
    engine: Engine, on: str, kind: str, value: str, says: str, lag: int, tmp_path: Path
) -> None:
    name = _name()
    engine.fill(name, kind, [value])
    starts: dict[str, int | str] = {"timestamp": TIME, "date": TIME, "enum('m', 'z', 'a')": NONE}
    start = starts.get(kind, 0)
    bound = engine.bound(name, 5, start, lag={0: lag, TIME: f"{lag}h" if lag else 0, NONE: 0}[start])
    with pytest.raises(CursorStuck) as caught:
        Reader(bound, tmp_path).drain()
    assert says in caught.value.message
    assert "cursor.start" not in str(caught.value.hint) or "its start says" in says


@pytest.mark.parametrize(
    ("on", "kind", "value", "start", "says"),
    [
        ("mysql", "inet6", "'::1'", NONE, "the database cannot compare 'seq' with cursor.start"),
        ("mysql", "uuid", f"'{LOWEST}'", "0", "the database cannot compare 'seq' with cursor.start"),
        ("mysql", "int", "-1", "abc", "'seq' is int64, and its start says it holds text"),
        ("mysql", "date", "'2026-01-31'", "never", "'seq' is dates or timestamps, and its start says it holds text"),
        ("clickhouse", "Enum8('z' = 1, 'a' = 2)", "'a'", NONE, "'seq' is an enumeration"),
    ],
)
def test_a_start_that_the_database_cannot_compare_is_told_although_no_row_comes(
    engine: Engine, on: str, kind: str, value: str, start: str, says: str, tmp_path: Path
) -> None:
    name = _name()
    engine.fill(name, kind, [value])
    for query in (
        None,
        "SELECT id, seq FROM (SELECT * FROM {name} WHERE seq > {{lastItem}}) t ORDER BY seq LIMIT {limit}",
    ):
        with pytest.raises(CursorStuck, match=says):
            Reader(engine.bound(name, 5, start, query), tmp_path).drain()
