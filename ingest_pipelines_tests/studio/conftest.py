"""A shop's studio: a project with an import of each kind, a target, and a client that sends what a page sends."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from playwright.sync_api import Page
from starlette.testclient import TestClient

from ingest_pipelines.actions.target import ledger_of
from ingest_pipelines.config import Settings, read_settings
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.studio.app import make_app
from ingest_pipelines.studio.guard import TOKEN_HEADER
from ingest_pipelines.studio.jobs import Jobs
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.servers.fleet import Fleet
from ingest_pipelines_tests.waiting import until

HERE = "http://127.0.0.1:3200"
HOSTILE = "<script>alert(1)</script> \u202egnp.exe " + "long " * 800
"""What a page must show as text, on one line, and cut."""

PROJECT = {
    "connections.yaml": """\
connections:
  uploads: {type: csv, directory: uploads}
  shop_db: {type: postgresql, host: db.example, database: shop, username: reader, password: {env: SHOP_PW}}
""",
    "databases.yaml": """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields:
      customer_id: {type: string, max_length: 12}
      email: {type: email, pii: true}
      tier: {type: enum, options: [Bronze, Silver]}
      points: {type: int}
""",
    "imports/points.yaml": """\
description: Points from the tills
labels: [tills]
database: customers
source: {connection: uploads, file: Points}
columns: {CID: customer_id, Email: email, Tier: tier, Points: points}
rejects: {unlimited: true}
""",
    "imports/never.yaml": f"""\
description: {HOSTILE!r}
status: draft
database: customers
source: {{connection: uploads, file: Never}}
columns: {{CID: customer_id}}
""",
    "imports/orders.yaml": """\
database: customers
source:
  connection: shop_db
  query: SELECT id, points FROM orders WHERE id > {lastItem} ORDER BY id LIMIT 1000
  cursor: {column: id, start: 0}
columns: {id: customer_id, points: points}
""",
    "imports/wrong.yaml": "database: nowhere\n",
}
ROWS = "CID,Email,Tier,Points\nC-1,ann@example.com,Silver,10\nC-2,=cmd|'x',Gold,many\nC-3,bob@example.com,Bronze,3\n"


@dataclass
class Shop:
    """The project, and what `ingest` and the studio are started with."""

    terminal: Terminal
    settings: Settings
    open: ExitStack

    def client(self, access: StudioAccess = StudioAccess(), **headers: str) -> Client:  # noqa: B008 - it is frozen
        """A browser without a screen."""
        http = TestClient(make_app(self.settings, access), HERE, headers=headers, raise_server_exceptions=False)
        return Client(self.open.enter_context(http))

    @contextmanager
    def ledger(self) -> Iterator[psycopg.Connection]:
        """A transaction in the ledger."""
        with ledger_of(self.settings) as connection:
            yield connection

    def write(self, name: str, text: str) -> None:
        """Writes a file of the project."""
        path = self.settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@dataclass
class Client:
    """Reads pages, and sends their forms with the token that they carry."""

    http: TestClient

    def page(self, path: str, **headers: str) -> httpx.Response:
        """A page."""
        answer: httpx.Response = self.http.get(path, headers=headers)
        return answer

    @property
    def jobs(self) -> Jobs:
        """The runs that the studio started."""
        app: Any = self.http.app
        while not hasattr(app, "state"):
            app = app._app
        jobs: Jobs = app.state.studio.jobs
        return jobs

    @property
    def token(self) -> str:
        """The token of the pages that this browser has."""
        match = re.search(r'name="studio-token" content="(\w+)"', self.page("/").text)
        assert match is not None
        return match[1]

    def send(self, path: str, fields: dict[str, Any] | None = None, token: str | None = None) -> httpx.Response:
        """What `studio.js` sends for a form."""
        headers = {TOKEN_HEADER: self.token if token is None else token}
        answer: httpx.Response = self.http.post(path, json=fields or {}, headers=headers)
        return answer


@contextmanager
def empty_shop(postgres_url: str, home: Path, **variables: str) -> Iterator[Shop]:
    """A shop without a file, a target and a storage of its own, and the environment of whoever works in it.

    Args:
        variables: of the environment, besides.
    """
    with (
        fresh_target(postgres_url) as target,
        fresh_storage(postgres_url) as storage,
        pytest.MonkeyPatch.context() as patch,
        ExitStack() as stack,
    ):
        environment = {
            "INGEST_HOME": str(home), "INGEST_STATE": str(home / ".ingest"), "INGEST_DATABASE_URL": target,
            "INGEST_DAGSTER_URL": storage, **variables,
        }  # fmt: skip
        for name, value in environment.items():
            patch.setenv(name, value)
        (home / "imports").mkdir(parents=True)
        yield Shop(Terminal(home, environment), read_settings(), stack)


def password_in(url: str) -> str:
    """The password of a server's URL."""
    return str(psycopg.conninfo.conninfo_to_dict(url).get("password", "none"))


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop; `points` has one load, with a reject that breaks three rules."""
    home = tmp_path_factory.mktemp("shop")
    with empty_shop(postgres_url, home, SHOP_PW="x") as shop:
        for name, text in PROJECT.items():
            shop.write(name, text)
        shop.write("rows.csv", ROWS)
        assert shop.terminal.ingest("run", "points", "--file", home / "rows.csv").code == 0
        yield shop


@pytest.fixture
def client(shop: Shop) -> Client:
    """A browser of a person at this machine."""
    return shop.client()


@pytest.fixture(scope="module")
def address(shop: Shop, fleet: Fleet) -> Iterator[str]:
    """The studio as `ingest up` starts it."""
    port = fleet.free_port()
    process = subprocess.Popen([sys.executable, "-m", "ingest_pipelines.studio", "--port", str(port)])
    try:
        until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def clean(page: Page) -> Iterator[Page]:
    """A page that talks to the studio only, and whose policy refuses nothing that it needs."""
    strangers: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: strangers.append(urlsplit(request.url).hostname or ""))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    assert set(strangers) <= {"127.0.0.1", ""}
    assert complaints == []


def text_of(html: str) -> str:
    """What a person reads on a page."""
    words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(words.split())
