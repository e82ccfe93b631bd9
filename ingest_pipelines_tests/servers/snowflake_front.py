"""Snowflake's protocol over DuckDB, with what fakesnow leaves out: password check, empty timestamps, aborts.

`python -m ingest_pipelines_tests.servers.snowflake_front PORT USER PASSWORD`
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import fakesnow.arrow
import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from fakesnow.server import app, sessions
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


FAIL = re.compile(r"\bFAIL\((\d+), '((?:[^']|'')*)'\)", re.IGNORECASE)
"""`FAIL(2003, 'words')` in a query: the statement fails with this number and these words."""

_timestamps = fakesnow.arrow.timestamp_to_sf_struct


def timestamps_with_nulls(ts: pa.ChunkedArray) -> pa.StructArray:
    """Timestamps as Snowflake sends them. fakesnow sends 1970-01-01 for NULL."""
    whole = _timestamps(ts)
    parts = [part.fill_null(0) for part in whole.flatten()]
    return pa.StructArray.from_arrays(parts, fields=list(whole.type), mask=pc.is_null(ts.combine_chunks()))


class PasswordCheck:
    """Lets a login through whose password is right, and everything that is no login."""

    def __init__(self, served: ASGIApp, user: str, password: str) -> None:
        self._served = served
        self._login = (user.upper(), password)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "login-request" not in scope["path"]:
            await self._served(scope, receive, send)
            return
        content = await _content(receive)
        login = _read(scope, content)["data"]
        if (login.get("LOGIN_NAME", "").upper(), login.get("PASSWORD")) != self._login:
            refusal = {
                "data": {"authnMethod": "USERNAME_PASSWORD"}, "code": "390100", "success": False, "headers": None,
                "message": "Incorrect username or password was specified.",
            }  # fmt: skip
            await JSONResponse(refusal)(scope, receive, send)
            return
        await self._served(scope, _again(content), send)


class Aborts:
    """Ends a query that its client no longer wants, as Snowflake does and fakesnow does not.

    `/running?MARK` is the number of queries under way whose text contains the mark.
    """

    def __init__(self, served: ASGIApp) -> None:
        self._served = served
        self._running: dict[str, str] = {}
        self._aborted: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/running":
            mark = scope["query_string"].decode()
            await JSONResponse(sum(mark in sql for sql in self._running.values()))(scope, receive, send)
        elif "abort-request" in path:
            await self._abort(str(_read(scope, await _content(receive))["requestId"]), _token(scope))
            await JSONResponse({"data": None, "code": None, "message": None, "success": True})(scope, receive, send)
        elif "query-request" in path:
            await self._query(scope, receive, send)
        else:
            await self._served(scope, receive, send)

    async def _abort(self, request: str, token: str) -> None:
        if request in self._running:
            self._aborted.add(request)
        while request in self._running:  # DuckDB forgets an interrupt that comes before it has begun
            sessions[token]._duck_conn.interrupt()
            await asyncio.sleep(0.05)

    async def _query(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await _content(receive)
        if asked := FAIL.search(str(_read(scope, content)["sqlText"])):
            failed: dict[str, object] = {
                "data": {},
                "code": f"{int(asked[1]):06}",
                "message": asked[2],
                "success": False,
            }
            await JSONResponse(failed)(scope, receive, send)
            return
        request = parse_qs(scope["query_string"].decode())["requestId"][0]
        self._running[request] = str(_read(scope, content)["sqlText"])

        async def unless_aborted(message: Message) -> None:
            if request not in self._aborted:
                await send(message)

        try:
            await self._served(scope, _again(content), unless_aborted)
        finally:
            del self._running[request]
        if request in self._aborted:
            ended = {"data": {}, "code": "000604", "message": "SQL execution canceled", "success": False}
            await JSONResponse(ended)(scope, receive, send)


async def _content(receive: Receive) -> bytes:
    content = b""
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        content += message.get("body", b"")
    return content


def _again(content: bytes) -> Receive:
    """The request once more, for whom it is passed on to."""

    async def again() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return again


def _read(scope: Scope, content: bytes) -> dict[str, Any]:
    zipped = dict(scope["headers"]).get(b"content-encoding") == b"gzip"
    found = json.loads(gzip.decompress(content) if zipped else content)
    assert isinstance(found, dict)
    return found


def _token(scope: Scope) -> str:
    """What stands in `Authorization: Snowflake Token="..."`."""
    return str(dict(scope["headers"])[b"authorization"].decode().split('"')[1])


if __name__ == "__main__":
    fakesnow.arrow.timestamp_to_sf_struct = timestamps_with_nulls
    uvicorn.run(PasswordCheck(Aborts(app), sys.argv[2], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[1]))
