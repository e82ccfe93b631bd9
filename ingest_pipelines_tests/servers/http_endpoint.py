"""An HTTP endpoint inside the test, of Apprise's kind `json://`: the messages that it accepted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Endpoint:
    """Its address, how it answers, and what it got.

    Attributes:
        got: the bodies of requests, oldest first, also of those that it has not answered yet.
        status: its answer; only with 200 it keeps what it gets.
        asked: requests so far.
        answers: it is silent while this is not set.
    """

    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    asked: int = 0
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def titles(self) -> list[str]:
        """Titles of the messages."""
        return [body["title"] for body in self.got]

    def new_titles(self) -> list[str]:
        """Titles of the messages since the last look."""
        titles = self.titles
        self.got.clear()
        return titles


@contextmanager
def accepting_messages() -> Iterator[Endpoint]:
    """An endpoint for the length of a block."""
    endpoint = Endpoint()
    endpoint.answers.set()

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.asked += 1
            if endpoint.status == 200:
                endpoint.got.append(body)
            endpoint.answers.wait(60)
            self.send_response(endpoint.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Is silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    endpoint.url = f"json://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
