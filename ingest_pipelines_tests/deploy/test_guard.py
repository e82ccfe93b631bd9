"""A page elsewhere, in a real browser, changes nothing through the Dagster UI, sees nothing of it, frames nothing."""

from __future__ import annotations

import http.client
import json
import re
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ingest_pipelines_tests.deploy.sites import foreign_site
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.servers.fleet import Fleet, answers

JSON = {"Content-Type": "application/json"}
POOLS = "{ instance { concurrencyLimits { concurrencyKey } } }"
_names = count()


@dataclass
class Webserver:
    """A webserver as it is deployed."""

    port: int
    log: Path

    @property
    def answered(self) -> list[int]:
        """The status of every answer so far, as the server's own log has them; a browser asks for an icon by itself."""
        found = re.findall(r'"[A-Z]+ (\S+) HTTP/1.1" (\d{3})\b', self.log.read_text())
        return [int(status) for path, status in found if not path.startswith("/favicon")]

    def ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """Status, headers and body; the headers are sent as they stand, `Host` too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode(errors="replace")
        connection.close()
        return found

    @property
    def pools(self) -> set[str]:
        """What the mutations of the tests change."""
        status, _, text = self.ask("POST", "/graphql", json.dumps({"query": POOLS}), JSON)
        assert status == 200, text
        return {limit["concurrencyKey"] for limit in json.loads(text)["data"]["instance"]["concurrencyLimits"]}

    @property
    def assets(self) -> int:
        """How many assets something was reported of."""
        query = "{ assetsOrError { ... on AssetConnection { nodes { id } } } }"
        return len(json.loads(self.ask("POST", "/graphql", json.dumps({"query": query}), JSON)[2])["data"][
            "assetsOrError"
        ]["nodes"])  # fmt: skip


def mutation() -> tuple[str, str]:
    """A mutation that needs no code location, and the pool that it makes."""
    name = f"pool_{next(_names)}"
    return f'mutation {{ setConcurrencyLimit(concurrencyKey: "{name}", limit: 0) }}', name


@pytest.fixture(scope="module")
def webserver(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    """The webserver that `ingest up` and deploy/ start, with a storage of its own."""
    folder = tmp_path_factory.mktemp("guard")
    port = fleet.free_port()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    (folder / "workspace.yaml").write_text("load_from: []\n")
    process = fleet.spawn(
        [sys.executable, "-m", "ingest_pipelines.orchestration.webserver", "-h", "127.0.0.1", "-p", str(port),
         "-w", folder / "workspace.yaml", "--log-level", "info"],
        folder,
        lambda: answers(f"http://127.0.0.1:{port}/server_info"),
        env={"DAGSTER_HOME": str(folder), "INGEST_UI_URL": "https://ingest.example.com/"},
    )  # fmt: skip
    try:
        yield Webserver(port, folder / "server.log")
    finally:
        process.terminate()
        process.wait(timeout=30)


FORM = """<form id=f method=post enctype='{kind}' action="{url}"><input name='{name}' value='{value}'></form>
<script>f.submit()</script>"""
ATTACKS = {
    "image": "<img src='{get}'>",
    "script": "<script src='{get}'></script>",
    "style": "<link rel=stylesheet href='{get}'>",
    "frame": "<iframe src='{get}'></iframe>",
    "frame without an origin": "<iframe sandbox=allow-scripts src='{get}'></iframe>",
    "object": "<object data='{get}'></object>",
    "video": "<video src='{get}' autoplay></video>",
    "event source": "<script>new EventSource('{get}')</script>",
    "link followed": "<script>location = '{get}'</script>",
    "form that gets": "<form id=f action='{graphql}'><input name=query value='{query}'></form>"
    "<script>f.submit()</script>",
    "fetch": "<script>fetch('{get}', {{mode: 'no-cors', credentials: 'include'}})</script>",
    "fetch that asks for the head": "<script>fetch('{get}', {{mode: 'no-cors', method: 'HEAD'}})</script>",
    "fetch that posts text": "<script>fetch('{graphql}', {{mode: 'no-cors', method: 'POST', body: '{body}'}})</script>",
    "fetch that posts JSON": "<script>fetch('{graphql}', {{method: 'POST', body: '{body}', headers: "
    "{{'Content-Type': 'application/json'}}}})</script>",
    "post with the query in the address": "<script>fetch('{get}', {{mode: 'no-cors', method: 'POST'}})</script>",
    "beacon": "<script>navigator.sendBeacon('{get}', '{body}')</script>",
    "form": FORM.format(kind="application/x-www-form-urlencoded", url="{get}", name="query", value="{query}"),
    "form of plain text": FORM.format(kind="text/plain", url="{graphql}", name='{{"query": "', value='{query}"}}'),
    "form of parts": FORM.format(kind="multipart/form-data", url="{get}", name="query", value="{query}"),
    "form without an origin": "<meta name=referrer content=no-referrer>"
    + FORM.format(kind="text/plain", url="{get}", name="a", value="b"),
    "materialization": FORM.format(kind="text/plain", url="{base}/report_asset_materialization/k", name="a", value="b"),
    "observation": "<script>fetch('{base}/report_asset_observation/k', {{mode: 'no-cors', method: 'POST'}})</script>",
    "check": "<script>fetch('{base}/report_asset_check/k?check_name=c&passed=true', "
    "{{mode: 'no-cors', method: 'POST'}})</script>",
    "run's log": "<script src='{base}/download_debug/none'></script>",
}  # fmt: skip


COMMON = {"image", "fetch that posts text", "form", "beacon", "link followed", "materialization"}
"""Tried by every `make test`; the others by the nightly one."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in COMMON else pytest.mark.slow) for name in ATTACKS]
)
def test_a_page_elsewhere_changes_nothing(name: str, webserver: Webserver, page: Page) -> None:
    query, _ = mutation()
    query = query.replace('"', "&quot;") if name.startswith("form") else query
    base = f"http://127.0.0.1:{webserver.port}"
    html = ATTACKS[name].format(
        base=base,
        graphql=f"{base}/graphql",
        get=f"{base}/graphql?{urllib.parse.urlencode({'query': query.replace('&quot;', chr(34))})}",
        query=query,
        body=json.dumps({"query": query}).replace("\\", "\\\\"),
    )
    before = webserver.pools, webserver.assets
    told = len(webserver.answered)
    with foreign_site(html) as port:
        page.goto(f"http://evil.localhost:{port}/", wait_until="commit")
        wait_for(lambda: len(webserver.answered) > told, name)
    assert set(webserver.answered[told:]) <= {403, 405, 415}
    assert (webserver.pools, webserver.assets) == before


def test_a_page_that_points_its_own_name_here_is_not_answered(webserver: Webserver, page: Page) -> None:
    answer = page.goto(f"http://evil.localhost:{webserver.port}/")
    assert answer is not None
    assert answer.status == 403


def test_no_site_frames_the_ui(webserver: Webserver, page: Page) -> None:
    answer = page.goto(f"http://127.0.0.1:{webserver.port}/")
    assert answer is not None
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    with foreign_site(f"<iframe name=ui src='http://127.0.0.1:{webserver.port}/'></iframe>") as port:
        page.goto(f"http://evil.localhost:{port}/")
        ui = page.frame("ui")
        assert ui is not None
        assert ui.url.startswith("chrome-error:")


SOCKET = """new Promise(told => { const socket = new WebSocket('ws://127.0.0.1:PORT/graphql', 'graphql-ws');
socket.onopen = () => told('open'); socket.onerror = () => told('refused'); })"""


def test_a_socket_opens_for_the_ui_and_for_nobody_else(webserver: Webserver, page: Page) -> None:
    script = SOCKET.replace("PORT", str(webserver.port))
    page.goto(f"http://127.0.0.1:{webserver.port}/")
    assert page.evaluate(script) == "open"
    with foreign_site("<title>elsewhere</title>") as port:
        page.goto(f"http://evil.localhost:{port}/")
        assert page.evaluate(script) == "refused"
        page.goto(f"http://127.0.0.1:{port}/")
        assert page.evaluate(script) == "refused"


def test_the_ui_itself_and_a_link_to_it_work(webserver: Webserver, page: Page) -> None:
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    with foreign_site(f"<a href='http://127.0.0.1:{webserver.port}/deployment/concurrency'>mail</a>") as port:
        page.goto(f"http://evil.localhost:{port}/")
        page.get_by_text("mail").click()
    expect(page.get_by_text("Concurrency").first).to_be_visible(timeout=60_000)
    query, pool = mutation()
    asked = "query => fetch('/graphql', {method: 'POST', body: JSON.stringify({query}), headers: {'Content-Type': "
    assert page.evaluate(asked + "'application/json'}}).then(answer => answer.status)", query) == 200
    assert pool in webserver.pools
    assert refused == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"])
@pytest.mark.parametrize("path", ["/graphql", "/%67raphql", "/graphql/"])
def test_no_method_but_post_executes_graphql(method: str, path: str, webserver: Webserver) -> None:
    query, pool = mutation()
    for accept in ("*/*", "text/html", "application/json"):
        target = f"{path}?{urllib.parse.urlencode({'query': query})}"
        body = json.dumps({"query": query})
        status, _, _ = webserver.ask(method, target, body, {**JSON, "Accept": accept})
        assert status == 405
    assert pool not in webserver.pools


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Host": "localhost@evil.example"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=application/json"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": "application/graphql"},
        {"Content-Type": ""},
    ],
    ids=str,
)
def test_a_post_that_a_foreign_page_could_cause_is_refused(headers: dict[str, str], webserver: Webserver) -> None:
    query, pool = mutation()
    target = f"/graphql?{urllib.parse.urlencode({'query': query})}"
    for path in (target, "/graphql", "/report_asset_materialization/k", "/report_asset_observation/k"):
        assert webserver.ask("POST", path, json.dumps({"query": query}), {**JSON, **headers})[0] in {403, 415}
    assert pool not in webserver.pools


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Host": "localhost:3000", "Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:3000"},
        {"Host": "ingest.example.com", "Origin": "https://ingest.example.com"},
        {"Host": "INGEST.example.com:8443", "Origin": "https://ingest.example.com:8443"},
    ],
    ids=str,
)
def test_programs_and_the_ui_go_on_working(headers: dict[str, str], webserver: Webserver) -> None:
    query, pool = mutation()
    assert webserver.ask("POST", "/graphql", json.dumps({"query": query}), {**JSON, **headers})[0] == 200
    assert pool in webserver.pools


@pytest.mark.parametrize(
    "path", ["/", "/assets/a/b", "/graphql", "/graphql?query={version}", "/server_info", "/favicon.png",
             "/logs/a/b.out", "/download_debug/none", "/notebook", "/_next/none.js"],
)  # fmt: skip
def test_every_answer_carries_the_headers_that_browsers_obey(path: str, webserver: Webserver) -> None:
    headers = webserver.ask("GET", path)[1]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in (headers.get_all("Content-Security-Policy") or [])[-1]


def test_files_below_the_webservers_folder_are_shown_by_no_path(webserver: Webserver, tmp_path: Path) -> None:
    for path in ("/logs/../../dagster.yaml", "/logs/%2e%2e/%2e%2e/dagster.yaml", "/logs/..%2f..%2fdagster.yaml"):
        assert "telemetry" not in webserver.ask("GET", path)[2]
