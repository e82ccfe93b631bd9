"""The proxy's configuration in a real nginx: nobody without a login, operators and viewers each to their webserver."""

from __future__ import annotations

import base64
import http.client
import json
import os
import pwd
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

import pytest
from playwright.sync_api import expect

from ingest_pipelines_tests.deploy.places import DEPLOY, dagster_home
from ingest_pipelines_tests.deploy.sites import QuietHandler, foreign_site, served
from ingest_pipelines_tests.servers import browser
from ingest_pipelines_tests.servers.fleet import Fleet, accepts, answers

VIEWER_PASSWORD = "only-looks"


@dataclass(frozen=True)
class Proxy:
    """nginx with our configuration, and what stands behind it."""

    port: int
    certificate: Path
    operator_password: str
    log: Path
    studio_port: int
    studio_secret: str

    def ask(self, method: str = "GET", path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an answer over TLS, whose certificate is checked."""
        tls = ssl.create_default_context(cafile=str(self.certificate))
        connection = http.client.HTTPSConnection("localhost", self.port, context=tls, timeout=30)
        body = headers.pop("body", None)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    @property
    def lines(self) -> list[str]:
        """What it logged so far."""
        return self.log.read_text().splitlines()

    @property
    def operator(self) -> str:
        return _basic("ann", self.operator_password)

    @property
    def viewer(self) -> str:
        return _basic("bob", VIEWER_PASSWORD)


def test_nobody_gets_past_without_a_login(proxy: Proxy) -> None:
    assert proxy.ask()[0] == 401
    assert proxy.ask(path="/graphql")[0] == 401
    assert proxy.ask(Authorization=_basic("ann", "wrong"))[0] == 401
    assert proxy.ask(Authorization=_basic("nobody", proxy.operator_password))[0] == 401


def test_each_goes_to_the_webserver_that_is_for_them(proxy: Proxy) -> None:
    assert json.loads(proxy.ask(Authorization=proxy.operator)[2])["server"] == "operators"
    assert json.loads(proxy.ask(Authorization=proxy.viewer)[2])["server"] == "viewers"


def test_the_webserver_hears_who_it_is_and_never_the_password(proxy: Proxy) -> None:
    heard = json.loads(proxy.ask(Authorization=proxy.operator, X_Forwarded_User="root")[2])["headers"]
    assert heard["x-forwarded-user"] == "ann"
    assert heard["x-forwarded-proto"] == "https"
    assert "authorization" not in heard


def test_the_studio_hears_from_the_proxy_who_it_is_and_in_which_groups(proxy: Proxy) -> None:
    studio = replace(proxy, port=proxy.studio_port)
    forged = {"X_Forwarded_User": "root", "X_Forwarded_Groups": "pii", "X_Ingest_Proxy": "x" * 32}
    assert studio.ask(**forged)[0] == 401
    for login, name, groups in (
        (proxy.operator, "ann", {"operators", "crm", "pii"}),
        (proxy.viewer, "bob", {"viewers", ""}),
    ):
        answer = json.loads(studio.ask(Authorization=login, **forged)[2])
        heard = answer["headers"]
        assert answer["server"] == "studio"
        assert (heard["x-forwarded-user"], heard["x-ingest-proxy"]) == (name, proxy.studio_secret)
        assert set(heard["x-forwarded-groups"].split(",")) == groups
        assert "authorization" not in heard
    foreign = {"Authorization": proxy.operator, "Origin": "https://evil.example"}
    assert studio.ask("POST", "/new", **foreign)[0] == 403


def test_a_page_elsewhere_cannot_use_the_login_that_a_browser_remembers(proxy: Proxy) -> None:
    own = f"https://localhost:{proxy.port}"
    for origin in ("https://evil.example", f"http://localhost:{proxy.port}", f"{own}.evil.example", "null"):
        assert proxy.ask("POST", "/graphql", Authorization=proxy.operator, Origin=origin)[0] == 403, origin
    assert proxy.ask("POST", "/graphql", Authorization=proxy.operator, Origin=own)[0] == 200


MUTATION = "/graphql?query=mutation%7BdeleteRun(runId:%22x%22)%7B__typename%7D%7D"
CROSS_SITE = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [MUTATION, MUTATION.replace("graphql", "%67raphql"), MUTATION.replace("?", "/?")])
def test_no_get_executes_graphql_whatever_it_says_of_itself(method: str, path: str, proxy: Proxy) -> None:
    for headers in ({}, CROSS_SITE, {"Sec_Fetch_Site": "same-origin"}, {"Accept": "text/html"}):
        assert proxy.ask(method, path, Authorization=proxy.operator, **headers)[0] == 403, headers


def test_a_link_from_elsewhere_is_followed_and_nothing_else_is(proxy: Proxy) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert proxy.ask(path="/runs/x", Authorization=proxy.operator, **link)[0] == 200
    assert proxy.ask("POST", "/graphql", Authorization=proxy.operator, **link)[0] == 403
    for changed in ({"Sec_Fetch_Dest": "iframe"}, {"Sec_Fetch_Mode": "no-cors"}, CROSS_SITE):
        assert proxy.ask(path="/runs/x", Authorization=proxy.operator, **{**link, **changed})[0] == 403, changed
    for site in ("same-origin", "none"):
        assert proxy.ask(path="/", Authorization=proxy.operator, **{**link, "Sec_Fetch_Site": site})[0] == 200


PAGE = """<img src='{base}{get}'><iframe src='{base}/'></iframe><script>
fetch('{base}{get}', {{mode: 'no-cors', credentials: 'include'}}).finally(() =>
fetch('{base}/graphql', {{mode: 'no-cors', credentials: 'include', method: 'POST', body: '{{}}'}}).finally(() => {{
const socket = new WebSocket('{base}/graphql'.replace('https', 'wss'), 'graphql-ws');
socket.onerror = socket.onopen = told => {{ document.title = told.type; }} }}))</script>"""


def test_a_browser_that_knows_an_operators_login_carries_nothing_of_a_page_elsewhere(proxy: Proxy) -> None:
    base = f"https://localhost:{proxy.port}"
    with browser.running() as chromium:
        context = chromium.new_context(
            ignore_https_errors=True, http_credentials={"username": "ann", "password": proxy.operator_password}
        )
        page = context.new_page()
        answer = page.goto(base)
        assert answer is not None
        assert answer.status == 200
        known = len(proxy.lines)
        with foreign_site(PAGE.format(base=base, get=MUTATION)) as port:
            page.goto(f"http://127.0.0.1:{port}/")
            expect(page).to_have_title("error", timeout=60_000)
        _wait_for(lambda: [line for line in proxy.lines[known:] if "POST /graphql" in line])
        heard = [line for line in proxy.lines[known:] if "favicon" not in line]
    assert [line for line in heard if "GET /graphql" in line]
    assert [line for line in heard if "POST /graphql" in line]
    assert [line for line in heard if '" 401 ' not in line and '" 403 ' not in line] == []


def test_the_log_says_who_did_what_and_no_secret(proxy: Proxy) -> None:
    """At a place that no other test asks for: a line may be written after its answer was sent."""
    proxy.ask("POST", "/graphql/logged?token=hunter2", Authorization=proxy.operator, body="hunter2")
    [line] = _wait_for(lambda: [line for line in proxy.lines if '"POST /graphql/logged" 200' in line])
    assert '"ann" operators' in line
    assert "hunter2" not in proxy.log.read_text()
    assert proxy.operator_password not in proxy.log.read_text()


def test_the_pages_may_not_be_framed_or_sniffed(proxy: Proxy) -> None:
    headers = proxy.ask(Authorization=proxy.viewer)[1]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in headers["Strict-Transport-Security"]


def test_a_real_viewers_webserver_shows_and_launches_nothing(fleet: Fleet, database_url: str, tmp_path: Path) -> None:
    """And writes nothing beside its settings, which deployments mount read-only."""
    port = fleet.free_port()
    home = dagster_home(tmp_path)
    (home / "workspace.yaml").write_text("load_from: []\n")
    before = sorted(path.name for path in home.iterdir())
    lines = (DEPLOY / "machine" / "ingest.env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if line.startswith("DAGSTER_DISABLE"))
    process = fleet.spawn(
        [sys.executable, "-m", "ingest_pipelines.orchestration.webserver", "--read-only", "-h", "127.0.0.1", "-p",
         str(port), "-w", home / "workspace.yaml"],
        tmp_path,
        lambda: answers(f"http://127.0.0.1:{port}/server_info"),
        env={**told, "DAGSTER_HOME": str(home), "INGEST_DAGSTER_URL": database_url, "INGEST_STATE": str(tmp_path)},
    )  # fmt: skip
    try:
        asked = _graphql(port, "{ permissions { permission value } instance { hasInfo } }")
        allowed = {each["permission"] for each in asked["permissions"] if each["value"]}
        assert allowed == set()
        deleted = _graphql(port, 'mutation { deleteRun(runId: "x") { __typename } }')["deleteRun"]
        assert deleted["__typename"] == "UnauthorizedError"
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert sorted(path.name for path in home.iterdir()) == before


def _graphql(port: int, query: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    assert "errors" not in answer, answer["errors"]
    data: dict[str, Any] = answer["data"]
    return data


@pytest.fixture(scope="module")
def proxy(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A running nginx in front of two servers that say what they heard."""
    folder = tmp_path_factory.mktemp("proxy")
    secrets, log, port = folder / "secrets", folder / "access.log", fleet.free_port()
    words = [str(DEPLOY / "proxy" / "secrets"), str(secrets), "localhost", "ann"]
    password = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split(": ")[1].strip()
    viewer = subprocess.run(
        ["openssl", "passwd", "-6", VIEWER_PASSWORD], check=True, capture_output=True, text=True
    ).stdout
    with (secrets / "users").open("a") as users:
        users.write(f"bob:{viewer}")
    (secrets / "groups").write_text("ann crm,pii;\n")
    studio_port = fleet.free_port()
    with _echo("operators") as operators, _echo("viewers") as viewers, _echo("studio") as studio:
        names = ("ingest.conf.template", "studio.conf.template")
        template = "\n".join((DEPLOY / "proxy" / name).read_text() for name in names)
        filled = {
            "INGEST_LISTEN": f"127.0.0.1:{port}",
            "INGEST_SECRETS": str(secrets),
            "INGEST_WEBSERVER": f"127.0.0.1:{operators}",
            "INGEST_VIEWER": f"127.0.0.1:{viewers}",
            "INGEST_STUDIO": f"127.0.0.1:{studio}",
            "INGEST_STUDIO_LISTEN": f"127.0.0.1:{studio_port}",
        }
        server = Template(template).safe_substitute(filled).replace("/var/log/nginx/access.log", str(log))
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr; user {pwd.getpwuid(os.getuid()).pw_name};\n"
            f"events {{}} http {{ client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;\n{server} }}"
        )
        nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert nginx is not None, "there is no nginx; on Debian: apt-get install nginx"
        process = fleet.spawn([nginx, "-c", folder / "nginx.conf"], folder, lambda: accepts(port))
        try:
            secret = (secrets / "studio_secret").read_text().strip()
            yield Proxy(port, secrets / "certificate.pem", password, log, studio_port, secret)
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def _echo(name: str) -> Iterator[int]:
    """A server that answers with its name and the headers that it got; its port."""

    class Echo(QuietHandler):
        def answer(self) -> None:
            body = json.dumps({"server": name, "headers": {key.lower(): value for key, value in self.headers.items()}})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer

    with served(Echo) as port:
        yield port


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def _wait_for(found: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + 30
    while not (answer := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer
