"""/healthz, /livez and /metrics over HTTP: what the watcher saw last, without a query per request."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from ingest_pipelines.orchestration.monitoring.health import HealthFinding
from ingest_pipelines.orchestration.monitoring.metrics import CONTENT_TYPE, Snapshot, exposition
from ingest_pipelines.orchestration.serving.guard import LOOPBACK, RESPONSE_HEADERS, host_name

STALE_AFTER = timedelta(seconds=60)
"""A snapshot that is older says that the watcher itself hangs."""

REQUEST_SECONDS = 10
"""How long a client may take to send its request and to take the answer."""

STOP_SECONDS = 0.05
"""How long `shutdown` may take: the server looks that often whether it is to end."""

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, str]
"""Status, content type, body."""


def health(snapshot: Snapshot | None, now: datetime) -> Answer:
    """200 where all is well; 503 with every finding where something is not, or where the snapshot is old."""
    findings = list(snapshot.findings) if snapshot else []
    if snapshot is None:
        findings.append(HealthFinding("watcher", False, "the watcher has not looked yet", now))
    elif now - snapshot.at > STALE_AFTER:
        words = f"the watcher last looked {(now - snapshot.at).total_seconds():.0f} s ago"
        findings.append(HealthFinding("watcher", False, words, snapshot.at, "restart the watcher; see its log"))
    ok = all(finding.ok for finding in findings)
    body = {
        "ok": ok,
        "at": snapshot.at.isoformat(timespec="seconds") if snapshot else None,
        "age_seconds": round((now - snapshot.at).total_seconds(), 1) if snapshot else None,
        "findings": [
            {**asdict(finding), "since": finding.since.isoformat(timespec="seconds") if finding.since else None}
            for finding in sorted(findings, key=lambda finding: finding.ok)
        ],
    }
    return (200 if ok else 503), _JSON, json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def liveness(snapshot: Snapshot | None, now: datetime, started: datetime) -> Answer:
    """200 while the watcher looks, whatever it sees: for probes that restart it."""
    last = snapshot.at if snapshot else started
    alive = now - last <= STALE_AFTER
    return (200 if alive else 503), _TEXT, "alive\n" if alive else "the watcher hangs\n"


def serve(
    host: str,
    port: int,
    hosts: Collection[str],
    snapshot: Callable[[], Snapshot | None],
    clock: Callable[[], datetime],
) -> ThreadingHTTPServer:
    """Serves in a thread until `shutdown` is called.

    Args:
        port: 0: any free one; `server_port` of the server says which.
        hosts: names that requests may address, beside this machine's own and numeric addresses.

    Raises:
        OSError: the port is taken.
    """
    started, allowed = clock(), LOOPBACK | {name.lower() for name in hosts}

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version = "ingest-watch"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer(*self._answer_of(), with_body=True)

        def do_HEAD(self) -> None:
            self._answer(*self._answer_of(), with_body=False)

        def _answer_of(self) -> Answer:
            named = self.headers.get_all("Host") or []
            if len(named) != 1 or not _may_name(host_name(named[0].strip()), allowed):
                return 403, _TEXT, "This server has another name. Add yours to INGEST_UI_HOSTS.\n"
            path = self.path.partition("?")[0]
            if path == "/healthz":
                return health(snapshot(), clock())
            if path == "/livez":
                return liveness(snapshot(), clock(), started)
            if path == "/metrics":
                return 200, CONTENT_TYPE, exposition(snapshot(), clock())
            if path == "/":
                return 200, _TEXT, "/healthz\n/livez\n/metrics\n"
            return 404, _TEXT, "There is /healthz, /livez and /metrics.\n"

        def _answer(self, status: int, kind: str, body: str, *, with_body: bool) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            for name, value in RESPONSE_HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """A scrape every few seconds is no news."""

    server = _Server((host, port), Handler)
    Thread(target=server.serve_forever, args=(STOP_SECONDS,), name="endpoint", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def _may_name(name: str, allowed: Collection[str]) -> bool:
    """Whether a request may address the server by that name. A page elsewhere has a name of DNS, never an address."""
    if name in allowed:
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
