"""ClickHouse's HTTP interface in front of its real engine: `python -m ...clickhouse_front PORT USER PASSWORD`.

PyPI has the engine as a library and no server; this is the part of the server that clients see: authentication,
databases, server-side parameters, settings, formats, inserts, exception codes. Not here: the native protocol, TLS,
errors in the middle of a result, clusters.
"""

from __future__ import annotations

import base64
import gzip
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import lz4.frame
from chdb import connect
from chdb.session import Session

CHUNK = 1 << 20

NOT_SETTINGS = frozenset(
    {
        "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "compress",
        "database", "decompress", "default_format", "enable_http_compression", "http_headers_progress_interval_ms",
        "password", "query", "query_id", "quota_key", "role", "send_progress_in_http_headers", "session_check",
        "session_id", "session_timeout", "user", "wait_end_of_query",
    }
)  # fmt: skip
"""Request parameters with a meaning of their own; all others are settings of the query."""

FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
INSERT_WITH_DATA = re.compile(rb"\s*INSERT\b[^\n]*?\bFORMAT\s+\w+[ \t]*\n", re.IGNORECASE)
READS = re.compile(
    r"\s*(/\*.*?\*/\s*)*(SELECT|FROM|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN)\b", re.IGNORECASE | re.DOTALL
)
TAKES_SETTINGS = re.compile(r"\s*(/\*.*?\*/\s*)*(SELECT|FROM|WITH|DESC|DESCRIBE)\b", re.IGNORECASE | re.DOTALL)

ASIDE = re.compile(r"\s*KILL\s+QUERY\b|.*\bsystem\.processes\b", re.IGNORECASE | re.DOTALL)
"""What does not wait for the statement that runs: it is about it."""
OF_QUERY = re.compile(r"\bquery_id = \{(\w+):String\}")

DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "gzip": gzip.decompress,
    "lz4": lz4.frame.decompress,
}


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Engine:
    """The one engine of this process. It runs one statement at a time, besides those about what runs."""

    def __init__(self) -> None:
        session: Any = Session()  # type: ignore[no-untyped-call]  # chdb has hardly any types
        session.query("SET max_threads = 1")  # with more, a large result may wait for itself, and forever
        self._session = session
        self._turn = threading.Lock()

    def run(self, sql: str, data: bytes, request: dict[str, str]) -> tuple[bytes, str]:
        """The result and its format.

        Raises:
            Refused: the engine's own exception, with its code.
        """
        found = FORMAT.search(sql)
        form = found.group(1) if found else request.get("default_format", "TabSeparated")
        parameters = {name[6:]: value for name, value in request.items() if name.startswith("param_")}
        if ASIDE.match(sql):
            return self._look_aside(sql[: found.start()] if found else sql, form, parameters), form
        if "query_id" in request:  # the library gives queries ids of its own; by this mark they are found again
            sql = f"/*{request['query_id']}*/ {sql}"
            found = FORMAT.search(sql)
        with self._turn:
            try:
                if request.get("database"):
                    self._session.query(f"USE `{request['database']}`")
                settings = [
                    f"{name} = {value!r}"
                    for name, value in request.items()
                    if name not in NOT_SETTINGS and not name.startswith("param_")
                ]
                if settings and not TAKES_SETTINGS.match(sql):
                    self._session.query(f"SET {', '.join(settings)}")
                if data:
                    self._insert(sql[: found.start()] if found else sql, form, data)
                    return b"", form
                if READS.match(sql) and found:
                    sql = sql[: found.start()]
                if settings and TAKES_SETTINGS.match(sql):  # for this query alone, as the server does
                    sql = f"{sql}\nSETTINGS {', '.join(settings)}"
                return bytes(self._session.query(sql, form, params=parameters or None).bytes() or b""), form
            except RuntimeError as error:
                self._session.query("SELECT 1")  # takes what a killed statement had written
                raise _refusal(str(error)) from error

    @cached_property
    def _aside(self) -> Any:
        """A second connection to the same engine; few tests need it."""
        return connect(self._session._path)

    def _look_aside(self, sql: str, form: str, parameters: dict[str, str]) -> bytes:
        """A statement about those that run, or an end to one of them."""
        sql = OF_QUERY.sub(lambda name: f"query LIKE '/*{parameters.pop(name[1])}*/%'", sql)
        try:
            return bytes(self._aside.query(sql, form, params=parameters or None).bytes() or b"")
        except RuntimeError as error:
            raise _refusal(str(error)) from error

    def _insert(self, sql: str, form: str, data: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self._session.query(f"{sql} FROM INFILE '{file.name}' FORMAT {form}")


class Front(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer of several parts waits 40 ms for an acknowledgement
    engine: Engine
    users: dict[str, str]

    def do_GET(self) -> None:
        """A query in the address, or a ping."""
        if urlsplit(self.path).path == "/ping":
            self._answer(200, {}, [b"Ok.\n"])
        else:
            self._respond(b"")

    def do_POST(self) -> None:
        """A query, or an insert's data, in the body. One that is cut off is not run, nor are its settings kept."""
        try:
            body = self._body()
        except (EOFError, ValueError):
            self.close_connection = True
        else:
            self._respond(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: queries of tests are no news."""

    def _respond(self, body: bytes) -> None:
        request = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            self._authenticate(request)
            sql, data = _split(request.get("query", ""), body)
            result, form = self.engine.run(sql, data, request)
        except Refused as refused:
            self._answer(refused.status, {"X-ClickHouse-Exception-Code": str(refused.code)}, [str(refused).encode()])
        else:
            headers = {"X-ClickHouse-Format": form, "X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": "{}"}
            self._answer(200, headers, (result[start : start + CHUNK] for start in range(0, len(result), CHUNK)))

    def _authenticate(self, request: dict[str, str]) -> None:
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
        else:
            user = request.get("user", self.headers.get("X-ClickHouse-User", "default"))
            password = request.get("password", self.headers.get("X-ClickHouse-Key", ""))
        if self.users.get(user) != password:
            raise Refused(
                401, 516,
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)",
            )  # fmt: skip

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        body = self._whole(int(length)) if length is not None else b"".join(self._chunks())
        return DECODERS[self.headers.get("Content-Encoding")](body)

    def _whole(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            EOFError: the client was cut off before it had sent them.
        """
        found = self.rfile.read(size)
        if len(found) < size:
            raise EOFError
        return found

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self._whole(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, headers: dict[str, str], parts: Iterator[bytes] | list[bytes]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")


def _split(query: str, body: bytes) -> tuple[str, bytes]:
    """A statement and the data that an insert brings; both may be in the body."""
    if query:
        return query, body
    insert = INSERT_WITH_DATA.match(body)
    if insert:
        return insert.group(0).decode().strip(), body[insert.end() :]
    return body.decode(), b""


def _refusal(said: str) -> Refused:
    code = re.search(r"Code: (\d+)", said)
    return Refused(404 if "UNKNOWN_TABLE" in said else 500, int(code.group(1)) if code else 1000, said)


def main(port: int, user: str, password: str) -> None:
    """Serves until it is terminated."""
    Front.engine = Engine()
    Front.users = {user: password}
    server = ThreadingHTTPServer(("127.0.0.1", port), Front)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
