"""Keeps out of the studio what does not come from one of its own pages, opened by a person whom the proxy let in.

`serving.guard.Guard` is around it: names of the host, other sites' pages, and what a form of theirs can send. Here:

- the proxy's secret, and the person whom the proxy names;
- a token that only a page of the studio knows, on each request that changes something;
- a policy that lets a page load its own script, style and pictures, and nothing else.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.studio.people import person_behind

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
BODIES = frozenset({"application/json", "application/octet-stream"})
"""Types of what pages send. No form of another site can send either."""

COOKIE = "ingest_studio"
TOKEN_HEADER = "X-Studio-Token"  # noqa: S105 - the header's name
COOKIE_SECONDS = 30 * 86_400


class Doorkeeper:
    """An ASGI app that passes on requests of known people, and changes only with the token of their page."""

    def __init__(self, app: ASGIApp, access: StudioAccess, key: bytes) -> None:
        self._app = app
        self._access = access
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on or refuses one request; there are no sockets."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        person = person_behind(headers, self._access)
        if person is None:
            await PlainTextResponse("Open the studio through its proxy, which knows you.\n", 403)(scope, receive, send)
            return
        browser = _browser(headers)
        is_new = browser is None
        browser = browser or secrets.token_urlsafe(24)
        token = self._token(browser, person.name)
        given = headers.get(TOKEN_HEADER.lower(), "")
        if scope["method"] not in {"GET", "HEAD"} and not secrets.compare_digest(given.encode(), token.encode()):
            stale = {"error": "this page is out of date; nothing was changed", "hint": "reload it and try again"}
            await JSONResponse(stale, 403)(scope, receive, send)
            return
        scope["person"], scope["token"] = person, token
        secure = headers.get("x-forwarded-proto", scope["scheme"]) == "https"
        await self._app(scope, receive, _with_headers(send, browser if is_new else None, secure=secure))

    def _token(self, browser: str, person: str) -> str:
        return hmac.new(self._key, f"{browser}\n{person}".encode(), sha256).hexdigest()


def _browser(headers: Headers) -> str | None:
    """The name that the studio gave this browser earlier."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie is not None and 20 <= len(cookie.value) <= 64 else None


def _with_headers(send: Send, browser: str | None, *, secure: bool) -> Send:
    """`send`, with a cookie for a new browser; a page is not stored, because it may show rows."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "no-store")
            if browser is not None:
                rest = f"Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
                headers.append("Set-Cookie", f"{COOKIE}={browser}; {rest}")
        await send(message)

    return sending
