"""The world: vendors, a project of fourteen imports, `ingest up`, a mail server, and what can be seen of them."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml
from psycopg import sql

from ingest_pipelines import embedded
from ingest_pipelines_tests.guarantees.on_call.oracle import Delivery, Feed, Letter, Listed, Observed, Oracle, Trouble
from ingest_pipelines_tests.guarantees.on_call.platform import Platform
from ingest_pipelines_tests.guarantees.on_call.vendors import (
    ACCOUNTS,
    CUSTOMERS,
    TOLERANT,
    Vendors,
    all_feeds,
    vendors_of,
)
from ingest_pipelines_tests.guarantees.on_call.wall_clock import WallClock
from ingest_pipelines_tests.servers import postgres, smtp
from ingest_pipelines_tests.servers.fleet import Fleet
from ingest_pipelines_tests.waiting import pauses

T = TypeVar("T")

PATIENCE_SECONDS = 600.0
"""For anything that `ingest up` does on a busy machine."""

DATABASES = {CUSTOMERS: "customers", ACCOUNTS: "accounts"}


class Target:
    """The Postgres of target and Dagster, which can be restarted."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        embedded.start(folder, durable=False).stop()
        (folder / "postgres" / "port").write_text(str(port))  # or another embedded Postgres takes it while we are down
        self._server = embedded.start(folder, durable=False)
        for name in ("target", "dagster"):
            self._server.ensure_database(name)

    @property
    def url(self) -> str:
        return self._server.url("target")

    @property
    def dagster_url(self) -> str:
        return self._server.url("dagster")

    def restart(self, down_seconds: float, until: threading.Event) -> None:
        """The server ends, as for an update, and is back after that time, on the same port."""
        self._server.stop()
        until.wait(down_seconds)
        port = self._server.port
        self._server = embedded.start(self._folder, durable=False)
        assert self._server.port == port, "another program took the target's port"

    def end_sessions(self) -> None:
        """Every session ends in the middle of its work."""
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname IN ('target', 'dagster') AND pid <> pg_backend_pid()"
            )

    def stop(self) -> None:
        self._server.stop()


@dataclass
class World:
    """Everything, and the one place that notes what happens in it.

    Attributes:
        home: the project's folder.
        over: set at the end; whatever waits, stops.
    """

    folder: Path
    home: Path
    oracle: Oracle
    vendors: Vendors
    target: Target
    platform: Platform
    mailbox: smtp.SmtpServer
    clock: WallClock
    over: threading.Event = field(default_factory=threading.Event)
    diary: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    _specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _down: Trouble | None = None

    def note(self, words: str) -> None:
        """A line of the diary, which is printed with the minutes."""
        line = f"{time.time() - self.began:7.1f} s  {words}"
        with self._guard:
            self.diary.append(line)
        with (self.folder / "diary.txt").open("a") as file:
            file.write(f"{line}\n")

    @contextmanager
    def trouble(self, kind: str, what: str, *feeds: str, recovery: float = 30.0) -> Iterator[Trouble]:
        """During the block something stands in the way of the feeds; of all, if none is named."""
        trouble = Trouble(kind, what, time.time(), frozenset(feeds), recovery_seconds=recovery)
        with self._guard:
            self.oracle.troubles.append(trouble)
        try:
            yield trouble
        finally:
            trouble.end = time.time()

    def wait_for(self, found: Callable[[], T | None], *, keep_up: bool = False) -> T:
        """What `found` returns, once it returns something while `ingest up` is there.

        Args:
            keep_up: `ingest up` may end, and is started again.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        for _ in pauses(longest=0.5):
            if keep_up:
                self.keep_up()
            if self.platform.is_up():
                answer = found()
                if answer:
                    return answer
            if time.monotonic() > deadline:
                break
        raise AssertionError("it never became true")

    def keep_up(self) -> None:
        """Starts `ingest up` again if it has ended, and notes for how long it was away."""
        if self._down is None and self.platform.is_up():
            return
        if self._down is None:
            self.note("ingest up is not there")
            self._down = Trouble("platform", "ingest up is not there", time.time())
            with self._guard:
                self.oracle.troubles.append(self._down)
        if self.platform.has_ended():
            self.platform.start()
        elif self.platform.is_up():
            self._down.end = time.time()
            self._down = None

    def specification(self, name: str) -> dict[str, Any]:
        """The import's YAML as a dictionary, in good order."""
        return self._specs[name]

    def write_import(self, feed: Feed, text: str | None = None) -> None:
        """The import's file, whole at once; by default in good order."""
        path = self.home / "imports" / f"{feed.import_name}.yaml"
        draft = path.with_suffix(".new")
        draft.write_text(yaml.safe_dump(self._specs[feed.name], sort_keys=False) if text is None else text)
        draft.rename(path)

    def remove_import(self, feed: Feed) -> None:
        """The project has no such import any more."""
        (self.home / "imports" / f"{feed.import_name}.yaml").unlink()

    def letters(self) -> None:
        """Notes mails that have arrived since the last call."""
        known = len(self.oracle.letters)
        for letter in self.mailbox.letters[known:]:
            body = letter.get_body(("plain",))
            text = body.get_content() if body is not None else ""
            self.oracle.letters.append(Letter(time.time(), str(letter["To"]), str(letter["Subject"]), str(text)))

    def loaded(self, name: str) -> dict[int, int]:
        """Per delivery of the feed that is in its table, the number of its rows there."""
        return self._rows()[0].get(name, {})

    def observe(self) -> Observed:
        """What the tables hold and what `ingest status` says. The tables are read before and after it.

        A delivery that reached its table meanwhile is there, and the list was right to have it.
        """
        own, _, _ = self._rows()
        at = time.time()
        answer = self.platform.command("status", "--json", seconds=90)
        status: dict[str, str] | None = None
        listed: list[Listed] = []
        troubled: set[str] = set()
        complaint = ""
        try:
            status, listed, troubled = read_status(json.loads(answer.stdout))
        except (ValueError, KeyError, TypeError):
            complaint = f"exit {answer.returncode}: {(answer.stderr or answer.stdout).strip()[-300:]}"
        late_own, late_shared, late_strange = self._rows()
        arrived = {feed: set(rows) - set(own.get(feed, {})) for feed, rows in late_own.items()}
        listed = [
            entry
            for entry in listed
            if not any(
                entry.import_name in feed.names
                and delivery.number in arrived.get(feed.name, ())
                and delivery.is_item(entry.item)
                for feed in self.oracle.feeds.values()
                for delivery in self.oracle.deliveries.get(feed.name, [])
            )
        ]
        healthy, words = self.platform.health()
        return Observed(
            at, late_own, late_shared, late_strange, status, listed, troubled, healthy, complaint or words[:300]
        )

    def _rows(self) -> tuple[dict[str, dict[int, int]], dict[str, set[int]], list[str]]:
        """Own rows, shared numbers and strange keys of all tables; waits for a server that is away."""
        while True:
            try:
                with psycopg.connect(self.target.url, connect_timeout=5) as connection:
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    return _count(connection, self.oracle.feeds)
            except psycopg.OperationalError:
                if self.over.wait(1.0):
                    raise


def _count(
    connection: psycopg.Connection, feeds: Mapping[str, Feed]
) -> tuple[dict[str, dict[int, int]], dict[str, set[int]], list[str]]:
    own: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    shared: dict[str, set[int]] = defaultdict(set)
    strange: list[str] = []
    for table in DATABASES:
        if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
            continue
        query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(*table.split(".")))
        for (row,) in connection.execute(query):
            name, *rest = str(row["customer_id"]).split(":")
            value = row.get(f"f_{name}")
            if name not in feeds or feeds[name].table != table or not rest or rest[-1].startswith("bad"):
                strange.append(row["customer_id"])
            elif rest[0].startswith("s"):
                shared[name].add(value)
            else:
                own[name][int(rest[0])] += value == int(rest[0])
    return {name: dict(rows) for name, rows in own.items()}, dict(shared), strange


def read_status(answer: Any) -> tuple[dict[str, str], list[Listed], set[str]]:
    """Status by import, open items, and imports whose source is out of reach, from `ingest status --json`.

    Raises:
        KeyError, TypeError: it is not what it says it is.
    """
    lines = answer["imports"] if isinstance(answer, dict) else answer
    status, listed, troubled = {}, [], set()
    for line in lines:
        status[line["import"]] = line["status"]
        listed += [
            Listed(line["import"], entry["item"], entry["state"], entry.get("reason", ""), entry.get("run_id", ""))
            for entry in line.get("open", [])
        ]
        source = line.get("source")
        if isinstance(source, dict) and (source.get("trouble") or source.get("failing_since")):
            troubled.add(line["import"])
    return status, listed, troubled


def _specification(feed: Feed, first_window: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "status": "draft" if feed.kind == "draft" else "active",
        "database": DATABASES[feed.table],
        "source": {"connection": feed.connection},
        "columns": {"Key": "customer_id", "Value": {"field": f"f_{feed.name}", "type": "int"}},
    }
    source = spec["source"]
    if feed.kind in {"all", "last", "draft", "upload"}:
        source["file"] = f"{feed.name}/{feed.name.title()}" if feed.kind != "upload" else feed.name.title()
    if feed.kind in {"all", "last", "draft"}:
        source |= {"pick": "last" if feed.kind == "last" else "all", "settle": "4s"}
        spec["sensor"] = {"every": "20s"}
    if feed.kind in {"window", "cursor"}:
        spec["columns"] = {"who": "customer_id", "n": {"field": f"f_{feed.name}", "type": "int"}}
        spec["schedule"] = {"cron": "*/2 * * * *"}
        spec["late_after"] = "6h"
    if feed.kind == "window":
        source["query"] = f"SELECT who, n FROM {feed.name} WHERE at >= {{windowStart}} AND at < {{windowEnd}}"
        source["window"] = {"every": "hour", "start": first_window}
    if feed.kind == "cursor":
        source["query"] = f"SELECT id, who, n FROM {feed.name} WHERE id > {{lastItem}} ORDER BY id LIMIT 40"
        source["cursor"] = {"column": "id", "start": 0}
    if feed.name in TOLERANT:
        spec["rejects"] = {"max_rows": 4}
    return spec


def alert_kinds(platform: Platform) -> list[str]:
    """Every kind of alert that the product knows, from its schema."""
    schema = json.loads(platform.command("schema", "databases").stdout)

    def enums(node: Any) -> Iterator[list[str]]:
        if isinstance(node, dict):
            if {"failed", "recovered"} <= set(map(str, node.get("enum", ()))):
                yield list(node["enum"])
            for child in node.values():
                yield from enums(child)
        elif isinstance(node, list):
            for child in node:
                yield from enums(child)

    return next(enums(schema))


@contextmanager
def world_of(
    folder: Path, fleet: Fleet, windows: int, feeds: Mapping[str, Feed] | None = None, *, own_clock: bool = False
) -> Iterator[World]:
    """The world before its first minute: `ingest up` does not run yet.

    Args:
        windows: how many windows have ended when it begins.
        feeds: by default all fourteen.
        own_clock: the product's clock can jump, where there is a C compiler.
    """
    oracle = Oracle(feeds or all_feeds())
    shop_server = fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url
    home = folder / "project"
    (home / "imports").mkdir(parents=True)
    with ExitStack() as stack:
        vendors = stack.enter_context(vendors_of(folder, fleet, shop_server, oracle, windows))
        mailbox = stack.enter_context(smtp.running(folder, fleet.free_port()))
        target = Target(folder / "target", fleet.free_port())
        stack.callback(target.stop)
        on_call = (
            f"mailtos://{mailbox.username}:{mailbox.password}@{mailbox.host}:{mailbox.port}"
            "?from=ingest@example.com&to=oncall@example.com&mode=starttls"
        )
        clock = WallClock(folder)
        environment = {
            "INGEST_HOME": str(home), "INGEST_STATE": str(folder / "state"), "INGEST_DATABASE_URL": target.url,
            "INGEST_DAGSTER_URL": target.dagster_url, "SSL_CERT_FILE": str(mailbox.ca_file), "ON_CALL": on_call,
            **vendors.secrets, **(clock.environment if own_clock else {}),
        }  # fmt: skip
        platform = Platform(folder, environment)
        stack.callback(platform.stop)
        key = {"customer_id": {"type": "string", "max_length": 64}}
        databases = {
            "databases": {
                name: {"table": table, "key": "customer_id", "fields": key} for table, name in DATABASES.items()
            },
            "notify": [{"on": alert_kinds(platform), "to": {"env": "ON_CALL"}}],
        }
        (home / "databases.yaml").write_text(yaml.safe_dump(databases, sort_keys=False))
        (home / "connections.yaml").write_text(yaml.safe_dump({"connections": vendors.connections}, sort_keys=False))
        world = World(folder, home, oracle, vendors, target, platform, mailbox, clock)
        stack.callback(world.over.set)
        for feed in oracle.feeds.values():
            world._specs[feed.name] = _specification(feed, f"{vendors.first_window:%Y-%m-%dT%H:%M}")
            world.write_import(feed)
        yield world


def describe(delivery: Delivery) -> str:
    """For the diary."""
    quality = "" if delivery.quality == "good" else f" ({delivery.quality})"
    return f"{delivery.feed} {delivery.label or delivery.number}{quality}"
