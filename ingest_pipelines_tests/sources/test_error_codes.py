"""Codes decide what an error means, and nothing that a server says is passed on but names that the query has.

Every code of every table is raised by its server, with words that lie: they speak of logins, time-outs and cancels,
in German, and hold a row's value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import TypeAdapter
from pyhive.exc import OperationalError
from TCLIService import ttypes

from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.connections.hive import HiveConnection
from ingest_pipelines.errors import ConfigError, SourceDenied, SourceUnavailable
from ingest_pipelines.sources import clickhouse, hive, mssql, mysql, open_query, oracle, postgresql, snowflake
from ingest_pipelines.sources.base import QuerySource
from ingest_pipelines.sources.error_codes import Codes, Meaning, meaning_of
from ingest_pipelines.sources.hive import Hive
from ingest_pipelines.sources.network import pauses, raised_by_us
from ingest_pipelines.sources.query_text import read_query
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.mysql import MysqlDatabase
from ingest_pipelines_tests.servers.postgres_debian import GermanPostgres
from ingest_pipelines_tests.sources.query_contract import Warehouse
from ingest_pipelines_tests.sources.test_cuts import FIXTURES, WAREHOUSES
from ingest_pipelines_tests.sources.test_mysql import MysqlWarehouse
from ingest_pipelines_tests.sources.test_postgresql import PostgresWarehouse

VALUE = "hunter2@example.com"
WORDS = f"login failed, timeout, cancel: Anmeldung von {VALUE} ist fehlgeschlagen"
TABLES: dict[str, Codes] = {
    "postgresql": postgresql.CODES, "mysql": mysql.CODES, "mssql": mssql.CODES, "oracle": oracle.CODES,
    "clickhouse": clickhouse.CODES, "snowflake": snowflake.CODES,
}  # fmt: skip

RAISE_POSTGRESQL = """
    CREATE FUNCTION raise_it(state text, words text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = words, DETAIL = words, HINT = words; END $$
"""
RAISE_MYSQL = """
    CREATE FUNCTION raise_it(number INT, words VARCHAR(200)) RETURNS INT
    BEGIN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = number, MESSAGE_TEXT = words; RETURN 1; END
"""


@pytest.fixture(params=list(TABLES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def warehouse(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    database = request.getfixturevalue(FIXTURES[kind])
    found: Any = WAREHOUSES[kind](database)
    monkeypatch.setenv("WAREHOUSE_PW", found.secrets[0])
    if kind == "postgresql":
        found.execute(RAISE_POSTGRESQL)
    elif kind == "mysql":
        database.execute(RAISE_MYSQL)
    return found


def _codes(kind: str) -> list[str]:
    """The table's codes as the server can raise them, and some that no table knows."""
    known = list(TABLES[kind])
    if kind == "postgresql":
        states = [f"{code[:2]}999" if code.endswith("*") else code for code in known]
        return [*states, "P0001", "ZZ999"]
    numbers = [code.removeprefix("ORA-") for code in known]
    unknown = {"mysql": ["1999"], "mssql": ["50001", "51234"], "oracle": ["20001"], "clickhouse": ["1234"]}
    # The drivers' own, and sessions that they renew by themselves.
    own = {"mysql": range(2000, 3000), "snowflake": [*range(250_000, 300_000), 390112, 390114, 390115]}.get(kind, [])
    sent = [number for number in numbers if number.isdecimal() and number[0] != "0" and int(number) not in own]
    return sent + unknown.get(kind, [])


def _raising(kind: str, code: str, words: str = WORDS) -> str:
    return {
        "postgresql": f"SELECT raise_it('{code}', '{words}') AS v",
        "mysql": f"SELECT raise_it({code}, '{words}') AS v",
        "clickhouse": f"SELECT throwIf(number >= 0, '{words}', toInt16({code})) AS v FROM numbers(3)",
        "oracle": f"SELECT FAIL({code}, '{words}') AS v FROM dual",
    }.get(kind, f"SELECT FAIL({code}, '{words}') AS v")


@contextmanager
def _source(kind: str, warehouse: Warehouse) -> Iterator[QuerySource]:
    """Without `retries`: whether an error is tried again shows in its class."""
    options = {"options": {"settings": {"allow_custom_error_code_in_throwif": 1}}} if kind == "clickhouse" else {}
    with open_query(warehouse.connection(retries=0, **options)) as source:
        yield source


def test_every_code_means_what_its_table_says_whatever_the_server_s_words_are(kind: str, warehouse: Warehouse) -> None:
    with _source(kind, warehouse) as source:
        for code in _codes(kind):
            with pytest.raises((SourceDenied, SourceUnavailable)) as raised:
                list(source.batches(_raising(kind, code), {}))
            number, state = (f"ORA-{code}" if kind == "oracle" else code), (code if kind == "postgresql" else "")
            expected = meaning_of(TABLES[kind], number, state)
            text = f"{raised.value} {raised.value!r} {raised.value.__cause__}"
            assert isinstance(raised.value, SourceUnavailable) == (expected.meaning is Meaning.GONE), (code, text)
            assert expected.reason in raised.value.message, code
            assert raised.value.hint == expected.meaning.value, code
            assert not [word for word in re.findall(r"\w+", WORDS) if re.search(rf"\b{word}\b", _ours(text))], text


def _ours(text: str) -> str:
    """The text without the sentences of our own, which may have one of the words."""
    for table in (*TABLES.values(), hive.CODES):
        for code in table.values():
            text = text.replace(code.reason, "").replace(code.meaning.value, "")
    return text


NAMED = {
    "postgresql": ("42P01", "Relation »{name}« existiert nicht"),
    "mysql": ("1146", "Tabelle ''x.{name}'' existiert nicht"),
    "mssql": ("208", "Ungültiger Objektname \"{name}\"."),
    "oracle": ("942", "Tabelle oder View \"X\".\"{name}\" nicht vorhanden"),
    "snowflake": ("2003", "Object \"X.{name}\" does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(NAMED))
def test_a_name_is_told_if_the_query_has_it_and_no_other(kind: str, warehouse: Warehouse) -> None:
    code, words = NAMED[kind]
    with _source(kind, warehouse) as source:
        for name, told in (("wanted", True), (VALUE, False), ("other", False)):
            query = _raising(kind, code, words.format(name=name)).replace(" AS v", " AS wanted")
            with pytest.raises(SourceDenied) as raised:
                list(source.batches(query, {}))
            assert ("wanted" in raised.value.message) == told, raised.value.message
            assert VALUE not in str(raised.value)
            assert "other" not in raised.value.message


def test_a_wrong_password_is_denied_after_one_login(
    kind: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG_PW", "wrong-secret")
    source = open_query(warehouse.connection(password={"env": "WRONG_PW"}, retries=5))
    logins: list[object] = []
    login = source.connect  # type: ignore[attr-defined]  # of every source on a driver

    def counted() -> object:
        logins.append(None)
        return login()

    monkeypatch.setattr(source, "connect", counted)
    with pytest.raises(SourceDenied) as raised, source:
        pass
    assert len(logins) == 1
    assert raised.value.hint == Meaning.LOGIN.value
    assert "wrong-secret" not in str(raised.value)


GERMAN_WORDS = re.compile(r"existiert|Spalte|Relation |Tabelle |Berechtigung|Zugriff|Anmeldung|Passwort|fehlgeschlagen")

GERMAN = {
    "SELECT * FROM no_such_table": "no_such_table",
    "SELECT nope FROM known": "nope",
    "SELECT k.nope FROM known k": "nope",
    "SELECT no_such_function(1) FROM known": "no_such_function",
    "SELECT CAST(word AS int) FROM known": "",
    "SELECT * FROM secret_table": "secret_table",
}
"""A query, and the name in it that the error tells."""


def _told(connection: Connection, query: str) -> SourceDenied:
    with open_query(connection) as source, pytest.raises(SourceDenied) as raised:
        list(source.batches(query, {}))
    return raised.value


def test_a_german_postgres_is_told_in_our_words(
    german_postgres: GermanPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.fresh_database(german_postgres.url) as url:
        warehouse = PostgresWarehouse(url)
        warehouse.execute(
            "CREATE TABLE known AS SELECT 'hunter2' AS word; CREATE TABLE secret_table (id int);"
            "DO $$ BEGIN CREATE ROLE kunde LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN END $$;"
            "GRANT SELECT ON known TO kunde"
        )
        monkeypatch.setenv("WAREHOUSE_PW", "x")
        connection = warehouse.connection(username="kunde", retries=0)
        for query, name in GERMAN.items():
            text = str(_told(connection, query))
            assert name in text, text
            assert not GERMAN_WORDS.search(text), text
            assert "hunter2" not in text
        for changes in ({"password": None}, {"username": "niemand"}, {"database": "nirgends"}):
            with pytest.raises(SourceDenied) as raised, open_query(connection.model_copy(update=changes)):
                pass
            assert not GERMAN_WORDS.search(str(raised.value)), raised.value


def test_a_german_mariadb_is_told_in_our_words(mysql_database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = MysqlWarehouse(mysql_database)
    monkeypatch.setenv("WAREHOUSE_PW", warehouse.secrets[0])
    mysql_database.execute("CREATE TABLE known (word text)")
    connection = warehouse.connection(retries=0, options={"init_command": "SET SESSION lc_messages = 'de_DE'"})
    with open_query(connection) as source:
        (batch,) = source.batches("SELECT @@lc_messages AS spoken", {})
    assert batch.column(0).to_pylist() == ["de_DE"]
    for query, name in GERMAN.items():
        if "CAST" not in query:  # MySQL makes 0 of a word
            text = str(_told(connection, query))
            assert name in text, text
            assert not GERMAN_WORDS.search(text), text


def _answer(number: int, state: str, words: str, *, operation: int | None = None, status: int = 3) -> OperationalError:
    """What HiveServer2 answers to a statement at once, or of an operation later."""
    told = ttypes.TStatus(status, None, state, number, words)
    if operation is None:
        return OperationalError(SimpleNamespace(status=told))
    return OperationalError(ttypes.TGetOperationStatusResp(ttypes.TStatus(0), operation, state, number, words))


ERROR, CANCELED, CLOSED = (
    ttypes.TOperationState.ERROR_STATE, ttypes.TOperationState.CANCELED_STATE, ttypes.TOperationState.CLOSED_STATE
)  # fmt: skip


@pytest.mark.parametrize("operation", [None, ERROR])
@pytest.mark.parametrize(
    ("number", "state", "meaning"),
    [
        (10001, "42S02", Meaning.NAME), (10004, "42000", Meaning.NAME), (10072, "42000", Meaning.NAME),
        (0, "42P01", Meaning.NAME), (0, "42703", Meaning.NAME), (0, "42501", Meaning.PERMISSION),
        (0, "22018", Meaning.QUERY), (0, "P0001", Meaning.QUERY), (2, "08S01", Meaning.GONE),
        (30041, "", Meaning.GONE), (20003, "", Meaning.QUERY), (40000, "42000", Meaning.QUERY),
        (0, "", Meaning.QUERY), (0, "ZZ999", Meaning.QUERY),
    ],
)  # fmt: skip
def test_hive_is_judged_by_number_and_sqlstate(
    hive_connection: Any, number: int, state: str, meaning: Meaning, operation: int | None
) -> None:
    source = Hive(hive_connection)
    query = read_query("SELECT cancelled_at FROM wanted", "hive")
    judged = source.judge(_answer(number, state, WORDS, operation=operation), connecting=False)
    assert judged is not None
    assert judged.known.meaning is meaning
    assert VALUE not in str(judged.as_ingest_error("hive://h", query))
    named = source.judge(_answer(number, state, "`x`.`wanted` / `other`", operation=operation), connecting=False)
    assert named is not None
    told = str(named.as_ingest_error("hive://h", query))
    assert ("wanted" in told) == (meaning in {Meaning.NAME, Meaning.PERMISSION})
    assert "other" not in told


@pytest.mark.parametrize("error", [_answer(0, "", WORDS, operation=CANCELED), _answer(0, "", WORDS, operation=CLOSED),
                                   _answer(0, "", WORDS, status=ttypes.TStatusCode.INVALID_HANDLE_STATUS)])  # fmt: skip
def test_what_hive_cancelled_or_forgot_is_tried_again(hive_connection: Any, error: OperationalError) -> None:
    judged = Hive(hive_connection).judge(error, connecting=False)
    assert judged is not None
    assert judged.known.meaning is Meaning.GONE


@pytest.fixture
def hive_connection() -> Any:
    return HiveConnection.model_validate({"type": "hive", "host": "h", "database": "d", "username": "u"})


MISTYPED = {
    "postgresql": ("sslmodee", "sslmode"), "mysql": ("ssl_caa", "ssl_ca"), "mssql": ("Encryptt", "Encrypt"),
    "oracle": ("wallet_locationn", "wallet_location"), "hive": ("kerberos_service_nam", "kerberos_service_name"),
    "clickhouse": ("verifyy", "verify"), "snowflake": ("authenticatorr", "authenticator"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(MISTYPED))
def test_a_mistyped_option_is_named_before_anything_is_sent(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = MISTYPED[kind]
    place = {"account": "a", "user": "u"} if kind == "snowflake" else {"host": "192.0.2.1", "username": "u"}
    keys = {"type": kind, "database": "d", "options": {wrong: "x"}, **place}
    keys |= {"password": {"env": "SOME_PW"}} if kind == "snowflake" else {}
    monkeypatch.setenv("SOME_PW", "x")
    connection = TypeAdapter[Any](Connection).validate_python(keys)
    source = open_query(connection)
    with pytest.raises(ConfigError) as raised, source:
        pass
    assert f"'{wrong}'" in str(raised.value)
    assert f"did you mean '{right}'?" in str(raised.value)
    assert [step.ok for step in source.probe()][-1] is False


def test_every_reason_reads_as_the_end_of_a_sentence() -> None:
    for table in (*TABLES.values(), hive.CODES):
        for code, known in table.items():
            assert known.reason, code
            assert not known.reason.endswith("."), code


def test_only_what_our_own_code_raised_is_a_bug() -> None:
    for work, ours in ((lambda: next(pauses(cast(int, "no number"))), True), (lambda: json.loads("{"), False)):
        try:
            work()
        except Exception as error:
            assert raised_by_us(error) == ours  # noqa: PT017 (the traceback is what it is about)
