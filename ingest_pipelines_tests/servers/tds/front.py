"""The stand-in for SQL Server: `python -m ingest_pipelines_tests.servers.tds.front PORT USER PASSWORD`.

It knows PRELOGIN with TLS for everything or for the login only, logins with a password and a database, batches, and
the stored procedures by which drivers send parameters. T-SQL runs, translated, on DuckDB; every statement commits.
"""

from __future__ import annotations

import decimal
import re
import socketserver
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import duckdb
import trustme
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
from ingest_pipelines_tests.servers.tds import tokens
from ingest_pipelines_tests.servers.tds.tokens import (
    CANCELLED,
    COUNTED,
    DONE,
    DONE_IN_PROCEDURE,
    DONE_PROCEDURE,
    FAILED,
    MORE,
    done,
)
from ingest_pipelines_tests.servers.tds.values import Column, Parameters, Unsupported, column
from ingest_pipelines_tests.servers.tds.wire import BATCH, HEADER, LOGIN, PACKET, RPC, TRANSACTION, Wire

T = TypeVar("T")

IGNORED = re.compile(r"\s*(SET|IF\s+@@TRANCOUNT|BEGIN\s+TRAN|COMMIT|ROLLBACK|PRINT)\b", re.IGNORECASE)
"""Settings and transactions of a session: accepted, without an effect."""

CREATE_DATABASE = re.compile(r"\s*CREATE\s+DATABASE\s+\[?(\w+)\]?\s*;?\s*$", re.IGNORECASE)
DROP_DATABASE = re.compile(r"\s*DROP\s+DATABASE\s+\[?(\w+)\]?\s*;?\s*$", re.IGNORECASE)
USE = re.compile(r"\s*USE\s+\[?(\w+)\]?\s*;?\s*$", re.IGNORECASE)

FAIL = re.compile(r"\bFAIL\((\d+), '((?:[^']|'')*)'\)", re.IGNORECASE)
"""`FAIL(208, 'words')` in a query: the statement fails with this number and these words."""

FAILING_DATABASE = re.compile(r"fail_(\d+)")
"""The login to a database of this name fails with this number."""

FOREIGN = "Die Anmeldung für anna@example.com ist fehlgeschlagen."

SERVER_VALUES = {
    r"CAST\s*\(\s*SERVERPROPERTY\s*\(\s*'ProductVersion'\s*\)\s*AS\s*VARCHAR[^)]*\)": "'16.0.4135.4'",
    r"SERVERPROPERTY\s*\(\s*'\w+'\s*\)": "NULL",
    r"@@VERSION\b": "'Microsoft SQL Server 2022 - 16.0.4135.4 (stand-in)'",
    r"@@TRANCOUNT\b": "0",
    r"@@SPID\b": "52",
    r"\bSCHEMA_NAME\s*\(\s*\)": "'dbo'",
}
"""What drivers ask a server about itself."""

PROCEDURES = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}

NO_ENCRYPTION, ENCRYPT_LOGIN, ENCRYPT_ALL = 2, 0, 1
ENCRYPTION = 1
"""The option of PRELOGIN."""


class Databases:
    """The server's databases, each an attached one of DuckDB with the schema `dbo`."""

    def __init__(self) -> None:
        self._root = duckdb.connect()
        self._known: set[str] = set()
        self.create("master")

    def create(self, name: str) -> None:
        """An empty database."""
        self._root.execute(f"ATTACH ':memory:' AS {quoted(name)}")
        self._root.execute(f"CREATE SCHEMA {quoted(name)}.dbo")
        self._known.add(name.lower())

    def drop(self, name: str) -> None:
        """No such database any more."""
        self._root.execute(f"DETACH {quoted(name)}")
        self._known.discard(name.lower())

    def open(self, name: str) -> duckdb.DuckDBPyConnection:
        """A cursor in the database.

        Raises:
            Refused: there is none of that name.
        """
        if asked := FAILING_DATABASE.fullmatch(name):
            raise Refused(int(asked[1]), FOREIGN)
        if name.lower() not in self._known:
            raise Refused(4060, f'Cannot open database "{name}" requested by the login. The login failed.', 11)
        cursor = self._root.cursor()
        cursor.execute(f"USE {quoted(name)}.dbo")
        return cursor


class Refused(Exception):
    """An answer that is an error of SQL Server."""

    def __init__(self, number: int, message: str, severity: int = 16) -> None:
        super().__init__(message)
        self.number = number
        self.severity = severity

    def token(self) -> bytes:
        """The error as it is sent."""
        return tokens.error(self.number, str(self), self.severity)


class Front(socketserver.BaseRequestHandler):
    """One client's session."""

    databases: Databases
    users: dict[str, str]
    tls: ssl.SSLContext

    def handle(self) -> None:
        """Talks until the client is gone."""
        self._wire = Wire(self.request)
        self._prepared: dict[int, tuple[str, str]] = {}
        try:
            if self._log_in():
                while True:
                    self._answer(*self._wire.receive())
        except (EOFError, OSError):
            pass

    def _log_in(self) -> bool:
        asked = _encryption_asked(self._wire.receive()[1])
        agreed = {NO_ENCRYPTION: NO_ENCRYPTION, ENCRYPT_LOGIN: ENCRYPT_LOGIN}.get(asked, ENCRYPT_ALL)
        self._wire.send(_prelogin_answer(agreed))
        if agreed != NO_ENCRYPTION:
            self._wire.secure(self.tls)
        kind, login = self._wire.receive()
        assert kind == LOGIN
        if agreed == ENCRYPT_LOGIN:
            self._wire.unsecure()
        user, password, database = _login_fields(login)
        try:
            if self.users.get(user) != password:
                raise Refused(18456, f"Login failed for user '{user}'.", 14)
            self._cursor = self.databases.open(database)
        except Refused as refused:
            self._wire.send(refused.token() + done(FAILED))
            return False
        wants_features = bool(login[27] & 0x10)
        self._wire.send(tokens.logged_in(database, features=wants_features))
        return True

    def _answer(self, kind: int, content: bytes) -> None:
        if kind == BATCH:
            self._execute(_after_headers(content).decode("utf-16-le"))
        elif kind == RPC:
            self._call(_after_headers(content))
        elif kind == TRANSACTION:
            begin = struct.unpack("<H", _after_headers(content)[:2])[0] == 5
            number = b"\x08" + b"\x01" * 8
            self._wire.send((tokens.changed(8, number) if begin else tokens.changed(9, b"\0", number)) + done())
        else:
            self._wire.send(done(CANCELLED))

    def _call(self, content: bytes) -> None:
        """A stored procedure; of those there are the ones that run SQL with parameters."""
        length = struct.unpack("<H", content[:2])[0]
        if length == 0xFFFF:
            procedure, position = PROCEDURES.get(struct.unpack("<H", content[2:4])[0], "unknown"), 4
        else:
            procedure, position = content[2 : 2 + 2 * length].decode("utf-16-le").lower(), 2 + 2 * length
        try:
            values = [value for _, value in Parameters(content, position + 2).read()]
        except Unsupported as unsupported:
            self._wire.send(tokens.error(8016, str(unsupported)) + done(FAILED, token=DONE_PROCEDURE))
            return
        after = tokens.return_status()
        if procedure == "sp_executesql":
            self._execute(values[0], _named(values[1] if len(values) > 1 else "", values[2:]), after)
        elif procedure == "sp_prepexec":
            self._execute(values[2], _named(values[1], values[3:]), after + self._prepare(values[2], values[1]))
        elif procedure == "sp_prepare":
            self._wire.send(after + self._prepare(values[2], values[1]) + done(token=DONE_PROCEDURE))
        elif procedure == "sp_execute":
            sql, declared = self._prepared[values[0]]
            self._execute(sql, _named(declared, values[1:]), after)
        elif procedure == "sp_unprepare":
            self._wire.send(after + done(token=DONE_PROCEDURE))
        else:
            missing = tokens.error(2812, f"Could not find stored procedure '{procedure}'.")
            self._wire.send(missing + done(FAILED, token=DONE_PROCEDURE))

    def _prepare(self, sql: str, declared: str | None) -> bytes:
        handle = len(self._prepared) + 1
        self._prepared[handle] = (sql, declared or "")
        return tokens.returned_handle(handle)

    def _execute(self, sql: str, named: dict[str, Any] | None = None, procedure: bytes = b"") -> None:
        """Runs the statements and sends what the last one returns.

        Args:
            procedure: what ends the response where a procedure ran the statements.
        """
        self._unsent = b""
        try:
            result = self._result(sql, named or {})
            rest, rows = self._send_rows(sql, result) if result is not None and result.columns else (b"", 0)
        except Interrupted:
            self._wire.send(self._unsent + done(CANCELLED))
            return
        except (duckdb.Error, SqlglotError, Unsupported, Refused) as error:
            self._wire.send(
                _refusal(error).token() + procedure + done(FAILED, token=DONE_PROCEDURE if procedure else DONE)
            )
            return
        rows = rows or (result.affected if result is not None else 0)
        if procedure:
            end = done(MORE | COUNTED, rows, DONE_IN_PROCEDURE) + procedure + done(token=DONE_PROCEDURE)
        else:
            end = done(COUNTED if result is not None else 0, rows)
        self._wire.send(rest + end)

    def _result(self, sql: str, named: dict[str, Any]) -> Result | None:
        """The last statement's result; None where nothing runs on DuckDB."""
        if asked := FAIL.search(sql):
            raise Refused(int(asked[1]), asked[2].replace("''", "'"))
        if IGNORED.match(sql) or not sql.strip():
            return None
        if created := CREATE_DATABASE.match(sql):
            self.databases.create(created.group(1))
        elif dropped := DROP_DATABASE.match(sql):
            self.databases.drop(dropped.group(1))
        elif used := USE.match(sql):
            self._cursor = self.databases.open(used.group(1))
        else:
            for pattern, value in SERVER_VALUES.items():
                sql = re.sub(pattern, value, sql, flags=re.IGNORECASE)
            *before, last = translate(told(sql), "tsql", _use_booleans)
            for statement in before:
                run(self._cursor, statement, named)
            return self._unless_stopped(sql, lambda: run(self._cursor, last, named))
        return None

    def _unless_stopped(self, sql: str, work: Callable[[], T]) -> T:
        """What the work returns; ATTENTION of the client interrupts it."""
        return interruptible(self._cursor, sql, work, self._wire.asks_to_stop)

    def _send_rows(self, sql: str, result: Result) -> tuple[bytes, int]:
        """Sends rows in whole packets while they are fetched; what is left for the last packet, and their number.

        The response has to end in the packet of its last row: a driver takes its connection for busy until then.
        """
        columns = [column(name, kind) for name, kind in result.columns]
        pending = b"\x81" + struct.pack("<H", len(columns)) + b"".join(each.metadata() for each in columns)
        sent = 0
        room = PACKET - HEADER
        self._unsent = pending
        while rows := self._unless_stopped(sql, lambda: result.rows(2000)):
            encoded = [
                each.null if value is None else each.encode(value)
                for row in rows
                for each, value in zip((ROW, *columns), (True, *row), strict=True)
            ]
            pending += b"".join(encoded)
            whole = len(pending) // room * room
            if whole:
                self._wire.send(pending[:whole], last=False)
            pending = pending[whole:]
            sent += len(rows)
            self._unsent = pending
            if self._wire.asks_to_stop():
                raise Interrupted
        return pending, sent


ROW = Column("", b"", b"", lambda _: b"\xd1")
"""The mark in front of every row, as one more column."""


def _after_headers(content: bytes) -> bytes:
    return content[struct.unpack("<I", content[:4])[0] :]


def _encryption_asked(prelogin: bytes) -> int:
    """The client's wish; PRELOGIN is a list of options with their positions, ended by 0xFF."""
    position = 0
    while prelogin[position] != 0xFF:
        start = int.from_bytes(prelogin[position + 1 : position + 3], "big")
        if prelogin[position] == ENCRYPTION:
            return prelogin[start] & 0x7F
        position += 5
    return NO_ENCRYPTION


def _prelogin_answer(encryption: int) -> bytes:
    version = struct.pack(">BBHH", *tokens.VERSION, 0)
    options = [(0, version), (ENCRYPTION, bytes([encryption])), (2, b"\0"), (3, b""), (4, b"\0")]
    head, body = b"", b""
    for option, value in options:
        head += struct.pack(">BHH", option, 5 * len(options) + 1 + len(body), len(value))
        body += value
    return head + b"\xff" + body


def _login_fields(login: bytes) -> tuple[str, str, str]:
    """User, password and database of LOGIN7; the password's nibbles are swapped and masked."""

    def field(position: int) -> bytes:
        start, length = struct.unpack("<HH", login[position : position + 4])
        return login[start : start + 2 * length]

    masked = (byte ^ 0xA5 for byte in field(44))
    password = bytes((byte >> 4 | byte << 4) & 0xFF for byte in masked)
    names = (field(40), password, field(68))
    user, clear, database = (name.decode("utf-16-le") for name in names)
    return user, clear, database or "master"


def _named(declared: str | None, values: list[Any]) -> dict[str, Any]:
    """Values by the names that a declaration, `@P1 int, @P2 nvarchar(10)`, gives them in order."""
    names = re.findall(r"@(\w+)\s+\w", declared or "")
    return {name.lower(): value for name, value in zip(names, values, strict=False)}


def _use_booleans(statement: exp.Expr) -> None:
    """T-SQL's `bit` is a truth value, DuckDB's a string of bits."""
    for kind in statement.find_all(exp.DataType):
        if kind.this == exp.DataType.Type.BIT:
            kind.set("this", exp.DataType.Type.BOOLEAN)


def _refusal(error: Exception) -> Refused:
    """SQL Server's number and words for what went wrong."""
    said = str(error).split("\n", 1)[0]
    if isinstance(error, Refused):
        return error
    if isinstance(error, duckdb.CatalogException):
        return Refused(208, f"Invalid object name. {said}")
    if isinstance(error, duckdb.BinderException):
        return Refused(207, f"Invalid column name. {said}")
    if isinstance(error, duckdb.ParserException | SqlglotError):
        return Refused(102, f"Incorrect syntax. {said}")
    return Refused(50000, said)


def main(port: int, user: str, password: str) -> None:
    """Serves until it is terminated."""
    decimal.DefaultContext.prec = 60  # of the threads that serve; 28 digits would round the largest numbers
    Front.databases = Databases()
    Front.users = {user: password}
    Front.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    Front.tls.maximum_version = ssl.TLSVersion.TLSv1_2  # TDS 7.4 inside packets knows no newer one
    trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(Front.tls)
    Listener(("127.0.0.1", port), Front).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
