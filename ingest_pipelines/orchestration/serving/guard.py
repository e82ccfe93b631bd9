"""Middleware that refuses requests which another site's page makes a browser send to the Dagster UI.

The webserver has no login, or one that browsers send automatically. So a page of another site can make a person's
browser send requests to it: by an image, a form, a script, a frame, a socket, or a DNS name that points at this
machine. `Guard` wraps Dagster's app and refuses such requests. Programs send neither `Origin` nor `Sec-Fetch-Site`, and
still work.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names of this machine that no page of another site can have."""

RESPONSE_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every response, in place of the app's own."""

CONTENT_POLICY = (
    "frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'"
)
"""In addition to the app's policy; a browser obeys both. No text on a page can make it fetch from another site."""


@dataclass(frozen=True)
class Refusal:
    """The response to a request that is refused."""

    status: int
    words: str


_HOST = Refusal(403, "This server has another name. To reach it under this one, set INGEST_UI_URL to its address.\n")
_FOREIGN = Refusal(403, "Refused: the request came from another site's page. Open its page and do it there.\n")
_METHOD = Refusal(405, "GraphQL accepts POST only.\n")
_TYPE = Refusal(415, "Send JSON, with the header Content-Type: application/json.\n")

JSON_ONLY = frozenset({"application/json"})


class Guard:
    """An ASGI app that passes on to `app` only what a page of another site cannot make a browser send.

    - `Host` must be a name of this machine, or one of `hosts`: against a DNS name that points here.
    - `Origin`, if there is one, must be this server; so must `Sec-Fetch-Site`, except for a link that is followed.
    - A request that is not GET or HEAD must have a body of a type that no form can send: JSON, or one of `bodies`.
    - GraphQL is not executed by GET or HEAD.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        *,
        policy: str = CONTENT_POLICY,
        bodies: Collection[str] = JSON_ONLY,
    ) -> None:
        self._app = app
        self._policy = policy
        self._bodies = bodies
        self._hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on or refuses one request or socket."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            answer: ASGIApp = self._app if refusal is None else PlainTextResponse(refusal.words, refusal.status)
            await answer(scope, receive, _protected(send, self._policy))
        elif scope["type"] == "websocket" and self._foreign(Headers(scope=scope)) is not None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the response is 403
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, method = Headers(scope=scope), scope["method"]
        refusal = self._foreign(headers)
        if refusal is not None:
            return refusal
        reads = method in {"GET", "HEAD"}
        followed = reads and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} and not followed:
            return _FOREIGN
        if not reads:
            return (
                None
                if method == "POST" and _body_type(headers) in self._bodies
                else _METHOD
                if method != "POST"
                else _TYPE
            )
        if scope["path"].rstrip("/").endswith("/graphql") and scope.get("query_string"):
            return _METHOD
        return None

    def _foreign(self, headers: Headers) -> Refusal | None:
        """The refusal if the request's host or origin is not this server; else None."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            return _HOST
        here = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if len(origins) > 1 or not {origin.lower() for origin in origins} <= here:
            return _FOREIGN
        return None


def host_name(host: str) -> str:
    """The host without its port."""
    name, bracket, _ = host.lower().partition("]")
    return name + bracket if bracket else host.lower().partition(":")[0].removesuffix(".")


def _body_type(headers: Headers) -> str:
    types = headers.getlist("content-type")
    return types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""


def _protected(send: Send, policy: str) -> Send:
    """`send`, with our headers on the answer."""

    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in RESPONSE_HEADERS.items():
                headers[name] = value
            headers.append("Content-Security-Policy", policy)
        await send(message)

    return protected
