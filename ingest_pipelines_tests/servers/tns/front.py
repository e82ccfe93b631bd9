"""The stand-in for Oracle: `python -m ingest_pipelines_tests.servers.tns.front PORT SERVICE USER PASSWORD`.

It knows one service, logins with a password, statements with binds (by position, by name, in arrays), fetching in
batches. Oracle's SQL runs, translated, on DuckDB, each user in a schema of its own; every statement commits. `CREATE
USER name IDENTIFIED BY password` and `DROP USER name CASCADE` work. After `SET TRANSACTION READ ONLY` it
refuses to write until the transaction ends, and `SYS_CONTEXT('STAND_IN', 'TRANSACTION')` tells.
"""

from __future__ import annotations

import decimal
import re
import socketserver
import sys
from dataclasses import dataclass, field
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ingest_pipelines_tests.servers.stand_in import (
    Interrupted,
    Listener,
    Result,
    interruptible,
    quoted,
    run,
    told,
    translate,
)
from ingest_pipelines_tests.servers.tns import login
from ingest_pipelines_tests.servers.tns.values import Column, column, decode
from ingest_pipelines_tests.servers.tns.wire import CANCELLED, Reader, Wire, error, number, sized, status

FUNCTION, PIGGYBACK, ROW = 3, 17, 7
RE_EXECUTE, FETCH, LOGOFF, COMMIT, ROLLBACK, RE_EXECUTE_AND_FETCH, EXECUTE = 4, 5, 9, 14, 15, 78, 94
CLOSE_CURSORS, SET_SCHEMA, PING = 105, 152, 147
FETCH_TOO = 0x40
NO_DATA = 1403

IGNORED = re.compile(r"\s*(ALTER\s+SESSION|SET|COMMIT|ROLLBACK)\b", re.IGNORECASE)
READ_ONLY = re.compile(r"\s*SET\s+TRANSACTION\s+READ\s+ONLY\s*$", re.IGNORECASE)
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
FAIL = re.compile(r"\bFAIL\((\d+), '((?:[^']|'')*)'\)", re.IGNORECASE)
"""`FAIL(942, 'words')` in a query: the statement fails with this number and these words."""
TRANSACTION = re.compile(r"SYS_CONTEXT\s*\(\s*'STAND_IN'\s*,\s*'TRANSACTION'\s*\)", re.IGNORECASE)
CREATE_USER = re.compile(r"\s*CREATE\s+USER\s+(\w+)\s+IDENTIFIED\s+BY\s+\"?(\w+)\"?\s*$", re.IGNORECASE)
DROP_USER = re.compile(r"\s*DROP\s+USER\s+(\w+)\s+CASCADE\s*$", re.IGNORECASE)

BIND = re.compile(r"'[^']*'|:(\w+)")
"""`:1` or `:name`, outside of a literal. The values come in the order in which the names first appear."""

SERVER_VALUES = {
    r"SYS_CONTEXT\s*\(\s*'USERENV'\s*,\s*'CURRENT_SCHEMA'\s*\)": "upper(current_schema())",
    r"\bFROM\s+(SYS\.)?DUAL\b": "",
}
"""What drivers ask a server about itself, and a table that DuckDB does without."""

CATALOG = (
    "CREATE VIEW main.all_tables AS SELECT upper(table_schema) AS owner, upper(table_name) AS table_name "
    "FROM information_schema.tables WHERE table_schema <> 'main'",
    "CREATE VIEW main.all_tab_columns AS SELECT upper(table_schema) AS owner, upper(table_name) AS table_name, "
    "upper(column_name) AS column_name, ordinal_position AS column_id, data_type, "
    "numeric_precision AS data_precision, numeric_scale AS data_scale "
    "FROM information_schema.columns WHERE table_schema <> 'main'",
    "CREATE MACRO main.sys_extract_utc(moment) AS make_timestamp(epoch_us(moment))",
    "CREATE MACRO main.hextoraw(digits) AS unhex(digits)",
    "CREATE VIEW main.nls_session_parameters AS SELECT 'NLS_NUMERIC_CHARACTERS' AS parameter, '.,' AS value",
)
"""The views by which a client finds tables and columns, and functions of Oracle that DuckDB lacks."""


class Schemas:
    """The server's users, each with a schema of the same name."""

    def __init__(self, users: dict[str, str]) -> None:
        self._root = duckdb.connect()
        for view in CATALOG:
            self._root.execute(view)
        self.users: dict[str, str] = {}
        for user, password in users.items():
            self.create(user, password)

    def create(self, user: str, password: str) -> None:
        """A user with an empty schema."""
        self._root.execute(f"CREATE SCHEMA {quoted(user.upper())}")
        self.users[user.upper()] = password

    def drop(self, user: str) -> None:
        """No such user any more, nor anything of it."""
        self.users.pop(user.upper())
        self._root.execute(f"DROP SCHEMA {quoted(user.upper())} CASCADE")

    def open(self, user: str) -> duckdb.DuckDBPyConnection:
        """A cursor in the user's schema."""
        cursor = self._root.cursor()
        cursor.execute(f"SET search_path = '{user},main'")
        return cursor


@dataclass
class OpenCursor:
    """A statement that the client may execute and fetch from again."""

    sql: str
    kinds: list[int] = field(default_factory=list)
    result: Result | None = None
    columns: list[Column] = field(default_factory=list)
    fetched: int = 0


class Asked(Exception):
    """An error that the statement asks for: its number and its words."""


class WriteRefused(Exception):
    """A statement that writes, within a read-only transaction."""


class Front(socketserver.BaseRequestHandler):
    """One client's session."""

    schemas: Schemas
    service: str

    def handle(self) -> None:
        """Talks until the client is gone."""
        self._wire = Wire(self.request)
        self._statements: dict[int, OpenCursor] = {}
        self._opened = 0
        self._read_only = False
        try:
            if self._log_in():
                while True:
                    self._answer(Reader(self._wire.receive(), self._wire.receive))
        except (EOFError, OSError):
            pass

    def _log_in(self) -> bool:
        wanted = re.search(rb"SERVICE_NAME=([^)]*)", self._wire.receive_connect(), re.IGNORECASE)
        if wanted is None or wanted.group(1).decode().upper() != self.service:
            self._wire.refuse(12514)
            return False
        self._wire.accept()
        login.greet(self._wire)
        user = login.log_in(self._wire, self.schemas.users, self.service)
        if user is None:
            return False
        self._user = user
        return True

    def _answer(self, reader: Reader) -> None:
        kind, function = self._function(reader)
        while kind == PIGGYBACK:  # asks nothing itself, and travels in front of something that does
            if function == CLOSE_CURSORS:
                reader.byte()
                for _ in range(reader.number()):
                    self._statements.pop(reader.number(), None)
            elif function == SET_SCHEMA:
                reader.byte()
                reader.number()
                reader.value()
            else:
                raise EOFError
            kind, function = self._function(reader)
        if function in {COMMIT, ROLLBACK, PING, LOGOFF}:
            self._read_only = self._read_only and function == PING
            self._wire.send(status())
        elif function == FETCH:
            identity, count = reader.number(), reader.number()
            self._wire.send(self._rows(identity, count))
        elif function in {RE_EXECUTE, RE_EXECUTE_AND_FETCH}:
            self._execute_again(reader, fetch=function == RE_EXECUTE_AND_FETCH)
        elif function == EXECUTE:
            self._execute_new(reader)
        else:
            self._wire.send(error(3115, f"ORA-03115: unsupported network datatype (function {function})\n"))

    def _function(self, reader: Reader) -> tuple[int, int]:
        kind, function = reader.byte(), reader.byte()
        reader.byte()  # sequence
        return kind, function

    def _execute_again(self, reader: Reader, *, fetch: bool) -> None:
        identity, count = reader.number(), reader.number()
        reader.number()  # options
        reader.number()
        statement = self._statements[identity]
        binds = []
        if reader.left and reader.byte() == ROW:
            binds = [[decode(kind, reader.value()) for kind in statement.kinds]]
        self._execute(identity, binds, count if fetch else 0)

    def _execute_new(self, reader: Reader) -> None:
        """Reads an execute message, whose fields are many and mostly zero."""
        options = reader.number()
        identity = reader.number()
        has_sql = reader.byte()
        reader.number()  # its length
        reader.byte()
        reader.number()  # length of the numbers below
        reader.take(2)
        reader.number()  # prefetch buffer
        rows_wanted = reader.number()
        reader.number()  # longest LONG
        reader.byte()
        bind_count = reader.number()
        reader.take(5)
        reader.byte()  # defines
        reader.number()
        reader.number()  # registration
        reader.take(3)
        reader.number()
        reader.byte()
        reader.number()
        reader.number()
        reader.byte()
        reader.number()
        reader.byte()
        sql = (reader.value() or b"").decode() if has_sql else None
        numbers = [reader.number() for _ in range(13)]
        is_query = bool(numbers[7])
        kinds = [self._bind_kind(reader) for _ in range(bind_count)]
        executions = 0 if not bind_count else 1 if is_query else max(1, numbers[1])
        binds = []
        for _ in range(executions):
            reader.byte()  # ROW
            binds.append([decode(kind, reader.value()) for kind in kinds])
        if identity == 0:
            self._opened += 1
            identity = self._opened
            self._statements[identity] = OpenCursor(sql or "")
        statement = self._statements[identity]
        statement.kinds = kinds
        statement.sql = sql or statement.sql
        self._execute(identity, binds, rows_wanted if options & FETCH_TOO else 0)

    def _bind_kind(self, reader: Reader) -> int:
        kind = reader.byte()
        reader.take(3)  # flags, precision, scale
        for _ in range(3):
            reader.number()  # size, array elements, continuation
        if reader.number():
            reader.value()  # object id
        reader.number()
        reader.number()  # character set
        reader.byte()
        reader.number()  # LOB prefetch
        return kind

    def _execute(self, identity: int, binds: list[list[Any]], fetch: int) -> None:
        statement = self._statements[identity]
        affected = 0
        result = None
        try:
            for values in binds or [[]]:
                result = self._result(statement.sql, values)
                affected += result.affected if result is not None else 0
        except Interrupted:
            self._wire.send(_cancelled(identity))
            return
        except (duckdb.Error, SqlglotError, WriteRefused, Asked) as failed:
            self._wire.send(_refusal(failed, identity))
            return
        if result is None or not result.columns:
            self._wire.send(error(cursor=identity, rows=affected))
            return
        statement.result = result
        statement.columns = [column(name, kind) for name, kind in result.columns]
        statement.fetched = 0
        self._wire.send(_description(statement.columns) + self._rows(identity, fetch))

    def _result(self, sql: str, values: list[Any]) -> Result | None:
        sql = sql.strip().rstrip(";")
        if IGNORED.match(sql):
            self._read_only = self._read_only or READ_ONLY.match(sql) is not None
            return None
        if asked := FAIL.search(sql):
            raise Asked(int(asked[1]), asked[2].replace("''", "'"))
        if self._read_only and WRITES.match(sql):
            raise WriteRefused
        sql = TRANSACTION.sub("'READ ONLY'" if self._read_only else "'READ WRITE'", sql)
        if created := CREATE_USER.match(sql):
            self.schemas.create(*created.groups())
            return None
        if dropped := DROP_USER.match(sql):
            self.schemas.drop(dropped.group(1))
            return None
        for pattern, value in SERVER_VALUES.items():
            sql = re.sub(pattern, value, sql, flags=re.IGNORECASE)
        names = [f"bind{found.group(1)}".lower() for found in BIND.finditer(sql) if found.group(1)]
        sql = BIND.sub(lambda found: f":bind{found.group(1)}" if found.group(1) else found.group(), sql)
        (statement,) = translate(told(sql), "oracle", _use_plain_names)
        bound = dict(zip(dict.fromkeys(names), values, strict=False))
        cursor = self.schemas.open(self._user)
        return interruptible(cursor, sql, lambda: run(cursor, statement, bound), self._wire.asks_to_stop)

    def _fetched(self, statement: OpenCursor, count: int) -> list[tuple[Any, ...]]:
        result = statement.result
        assert result is not None
        return interruptible(result.cursor, statement.sql, lambda: result.rows(count), self._wire.asks_to_stop)

    def _rows(self, identity: int, count: int) -> bytes:
        """The next rows, and whether they were the last: ORA-01403 says so."""
        statement = self._statements[identity]
        assert statement.result is not None
        try:
            rows = self._fetched(statement, count) if count else []
        except Interrupted:
            return _cancelled(identity)
        statement.fetched += len(rows)
        header = b"\x06\0" + number(0) * 2 + number(count) + number(0) * 3
        encoded = [
            b"\x07" + b"".join(
                b"\0" if value is None else sized(each.encode(value))
                for each, value in zip(statement.columns, row, strict=True)
            )
            for row in rows
        ]  # fmt: skip
        over = len(rows) < count
        end = error(NO_DATA if over else 0, "ORA-01403: no data found\n", identity, statement.fetched)
        return header + b"".join(encoded) + end


def _cancelled(identity: int) -> bytes:
    return error(1013, CANCELLED, identity)


def _description(columns: list[Column]) -> bytes:
    described = b"".join(each.metadata(position) for position, each in enumerate(columns, 1))
    return b"\x10\0" + number(100) + number(len(columns)) + b"\0" + described + number(0) * 6


def _use_plain_names(statement: exp.Expr) -> None:
    """Oracle's unquoted names are capitals; DuckDB does not care, and need not quote them. Its RAW is BLOB."""
    for name in statement.find_all(exp.Identifier):
        name.set("quoted", False)
    for kind in statement.find_all(exp.DataType):
        if kind.sql().upper().startswith("RAW"):
            kind.set("this", exp.DataType.Type.VARBINARY)


def _refusal(failed: Exception, identity: int) -> bytes:
    """Oracle's number and words for what went wrong."""
    if isinstance(failed, Asked):
        code, words = failed.args
        return error(code, f"ORA-{code:05}: {words}\n", identity)
    said = str(failed).split("\n", 1)[0]
    for kind, code, words in (
        (duckdb.CatalogException, 942, "table or view does not exist"),
        (duckdb.ConstraintException, 1, "unique constraint violated"),
        (WriteRefused, 1456, "may not perform insert, delete, update operation inside a READ ONLY transaction"),
        (duckdb.BinderException, 904, f"invalid identifier: {said}"),
    ):
        if isinstance(failed, kind):
            return error(code, f"ORA-{code:05}: {words}\n", identity)
    return error(900, f"ORA-00900: invalid SQL statement: {said}\n", identity)


def main(port: int, service: str, user: str, password: str) -> None:
    """Serves until it is terminated."""
    decimal.DefaultContext.prec = 60  # of the threads that serve; 28 digits would round the largest numbers
    Front.schemas = Schemas({user: password})
    Front.service = service.upper()
    Listener(("127.0.0.1", port), Front).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
