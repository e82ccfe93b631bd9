"""Snowflake's protocol over DuckDB, with the password check and the empty timestamps that fakesnow leaves out.

`python -m ingest_pipelines_tests.servers.snowflake_front PORT USER PASSWORD`
"""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING

import fakesnow.arrow
import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from fakesnow.server import app
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        zipped = dict(scope["headers"]).get(b"content-encoding") == b"gzip"
        login = json.loads(gzip.decompress(body) if zipped else body)["data"]
        if (login.get("LOGIN_NAME", "").upper(), login.get("PASSWORD")) != self._login:
            refusal = {
                "data": {"authnMethod": "USERNAME_PASSWORD"}, "code": "390100", "success": False, "headers": None,
                "message": "Incorrect username or password was specified.",
            }  # fmt: skip
            await JSONResponse(refusal)(scope, receive, send)
            return

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._served(scope, again, send)


if __name__ == "__main__":
    fakesnow.arrow.timestamp_to_sf_struct = timestamps_with_nulls
    uvicorn.run(PasswordCheck(app, sys.argv[2], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[1]))
