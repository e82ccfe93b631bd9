"""Snowflake's protocol over DuckDB, with the password check that fakesnow leaves out.

`python -m ingest_pipelines_tests.servers.snowflake_front PORT USER PASSWORD`
"""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING

import uvicorn
from fakesnow.server import app
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
    uvicorn.run(PasswordCheck(app, sys.argv[2], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[1]))
