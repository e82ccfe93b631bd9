"""The vendors of fourteen imports: two SFTP servers, a bucket, two databases, each behind a network that can break."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines_tests.guarantees.on_call.oracle import OWN_ROWS, SHARED_ROWS, Delivery, Feed, Oracle, Quality
from ingest_pipelines_tests.servers import mysql, postgres, s3, sftp
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.fleet import Fleet

CUSTOMERS, ACCOUNTS = "crm.customers", "crm.accounts"

SCHEDULED_EVERY = 120.0
"""Seconds between two ticks of the schedules of queries."""

TOLERANT = frozenset({"loyalty", "surveys"})
"""Feeds whose imports allow bad rows; their good deliveries have two."""


def all_feeds() -> dict[str, Feed]:
    """The fourteen feeds by name."""
    tick = SCHEDULED_EVERY + 45
    feeds = [
        Feed("tills", "all", "till_sftp", CUSTOMERS),
        Feed("returns", "all", "till_sftp", CUSTOMERS),
        Feed("stock", "last", "till_sftp", CUSTOMERS),
        Feed("loyalty", "all", "till_sftp", CUSTOMERS),
        Feed("leads", "all", "agency_sftp", CUSTOMERS),
        Feed("callbacks", "last", "agency_sftp", CUSTOMERS),
        Feed("coupons", "all", "drops", ACCOUNTS),
        Feed("surveys", "all", "drops", ACCOUNTS),
        Feed("visits", "window", "shop", ACCOUNTS, tick),
        Feed("calls", "window", "shop", ACCOUNTS, tick),
        Feed("orders", "cursor", "web", CUSTOMERS, tick),
        Feed("invoices", "cursor", "shop", ACCOUNTS, tick),
        Feed("members", "upload", "uploads", CUSTOMERS),
        Feed("wholesale", "draft", "drops", ACCOUNTS),
    ]
    return {feed.name: feed for feed in feeds}


@dataclass
class Vendors:
    """What the vendors have, and the networks in front of them.

    Attributes:
        networks: a proxy by the name of the connection behind it.
        connections: the project's connections.yaml, by name.
        secrets: environment variables that the connections name.
        first_window: where the windows start.
    """

    oracle: Oracle
    uploads: Path
    till_root: Path
    agency_root: Path
    bucket: s3.Bucket
    shop_url: str
    web: mysql.MysqlDatabase
    networks: dict[str, CutProxy]
    connections: dict[str, dict[str, Any]]
    secrets: dict[str, str]
    first_window: datetime
    _last_modified: float = 0.0
    _windows: dict[tuple[str, datetime], int] = field(default_factory=dict)

    def deliver(self, name: str, quality: Quality = "good", *, in_place_of: Delivery | None = None) -> Delivery:
        """New rows of the feed are there, as one delivery; a file may replace a bad one of the same name."""
        feed = self.oracle.feeds[name]
        number = self.oracle.next_number(name)
        now = time.time()
        if feed.kind == "cursor":
            self._insert_orders(feed, number)
            delivery = Delivery(name, number, "", now)
        else:
            label = in_place_of.label if in_place_of else f"{name.title()}_{1_767_225_600 + number}.csv"
            stamp = self._put(feed, label, _csv(name, number, quality))
            delivery = Delivery(name, number, label, now, quality, stamp)
        if in_place_of is not None:
            in_place_of.needless = True
        self.oracle.deliver(delivery)
        return delivery

    def upload(self, name: str) -> tuple[Path, Delivery]:
        """A file that a person loads by hand; whoever does notes the delivery."""
        number = self.oracle.next_number(name)
        path = self.uploads / f"{name.title()}_{number}.csv"
        path.write_text(_csv(name, number, "good"))
        return path, Delivery(name, number, path.name, time.time())

    def add_windows(self, name: str, hours: int, *, bad: Sequence[int] = ()) -> None:
        """Rows for that many windows from the first one on; the `bad` ones have a row without a key."""
        with psycopg.connect(self.shop_url) as connection:
            for hour in range(hours):
                start = self.first_window + timedelta(hours=hour)
                self._windows[name, start] = hour + 1
                rows: list[tuple[str | None, int, datetime]] = [
                    (f"{name}:{hour + 1}:{k}", hour + 1, start + timedelta(minutes=k)) for k in range(OWN_ROWS)
                ]
                if hour in bad:
                    rows.append((None, hour + 1, start + timedelta(minutes=30)))
                connection.cursor().executemany(f"INSERT INTO {name} (who, n, at) VALUES (%s, %s, %s)".encode(), rows)

    def fix_windows(self, name: str) -> None:
        """Every row has its key."""
        with psycopg.connect(self.shop_url) as connection:
            connection.execute(sql.SQL("DELETE FROM {} WHERE who IS NULL").format(sql.Identifier(name)))
        for delivery in self.oracle.deliveries.get(name, []):
            delivery.quality = "good"

    def expect_window(self, name: str, hour: int, *, bad: bool = False) -> str:
        """The window is wanted from now on: its schedule or a backfill asks for it; its key."""
        start = self.first_window + timedelta(hours=hour)
        key = f"{start:%Y-%m-%dT%H-%MZ}"
        known = self.oracle.deliveries.setdefault(name, [])
        if not any(delivery.number == hour + 1 for delivery in known):
            known.append(Delivery(name, hour + 1, key, time.time(), "rejected" if bad else "good"))
        return key

    def _insert_orders(self, feed: Feed, number: int) -> None:
        if feed.connection == "web":
            values = ", ".join(f"('orders:{number}:{k}', {number})" for k in range(OWN_ROWS))
            self.web.execute("INSERT INTO orders (who, n) VALUES " + values)
            return
        with psycopg.connect(self.shop_url) as connection:
            insert = sql.SQL("INSERT INTO {} (who, n) VALUES (%s, %s)").format(sql.Identifier(feed.name))
            connection.cursor().executemany(insert, [(f"{feed.name}:{number}:{k}", number) for k in range(OWN_ROWS)])

    def _put(self, feed: Feed, label: str, text: str) -> str:
        """The file is at its place; what its item's key starts with, where that is known."""
        if feed.connection == "drops":
            self.bucket.put(f"{feed.name}/{label}", text.encode())
            return ""
        root = self.till_root if feed.connection == "till_sftp" else self.agency_root
        draft = root / f".{label}"
        draft.write_text(text)
        self._last_modified = max(self._last_modified + 1, float(int(time.time())))
        os.utime(draft, (self._last_modified, self._last_modified))
        draft.rename(root / feed.name / label)
        return f"{datetime.fromtimestamp(self._last_modified, UTC):%Y-%m-%dT%H-%M-%SZ}"


def _csv(name: str, number: int, quality: Quality) -> str:
    rows = [f"{name}:{number}:{k},{number}" for k in range(OWN_ROWS)]
    rows += [f"{name}:s{k},{number}" for k in range(SHARED_ROWS)]
    bad = 2 if name in TOLERANT else 0
    if quality == "rejected":
        bad = 9
    rows += [f"{name}:{number}:bad{k},many" for k in range(bad)]
    header = "Key,Worth" if quality == "refused" else "Key,Value"
    return "\n".join([header, *rows, ""])


@contextmanager
def vendors_of(folder: Path, fleet: Fleet, shop_server: str, oracle: Oracle, windows: int) -> Iterator[Vendors]:
    """The vendors' servers, empty; their networks work."""
    tills = fleet.ask("till-sftp", sftp.SftpServer, sftp.launch)
    agency = fleet.ask("agency-sftp", sftp.SftpServer, sftp.launch)
    store = fleet.ask("s3", s3.S3Server, s3.launch)
    maria = fleet.ask("mysql", mysql.MysqlServer, mysql.launch)
    with ExitStack() as stack:
        bucket = stack.enter_context(s3.fresh_bucket(store))
        web = stack.enter_context(mysql.fresh_database(maria))
        shop_url = stack.enter_context(postgres.fresh_database(shop_server))
        shop = urlsplit(shop_url)
        assert shop.hostname is not None
        assert shop.port is not None
        networks = {
            name: stack.enter_context(CutProxy(host, port))
            for name, host, port in (
                ("till_sftp", tills.host, tills.port),
                ("agency_sftp", agency.host, agency.port),
                ("drops", "127.0.0.1", store.port),
                ("shop", shop.hostname, shop.port),
                ("web", maria.host, maria.port),
            )
        }
        roots = {"till_sftp": _root(tills, oracle, "till_sftp"), "agency_sftp": _root(agency, oracle, "agency_sftp")}
        web.execute("CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, who varchar(60), n int)")
        with psycopg.connect(shop_url) as connection:
            connection.execute("CREATE TABLE invoices (id bigserial PRIMARY KEY, who text, n int)")
            for name in ("visits", "calls"):
                table = sql.SQL("CREATE TABLE {} (who text, n int, at timestamptz)").format(sql.Identifier(name))
                connection.execute(table)
        (folder / "uploads").mkdir()
        common = {"timeout_seconds": 8, "retries": 2}
        connections: dict[str, dict[str, Any]] = {
            name: server.connection(
                key=f"{name}_key".upper(), port=networks[name].port, root=str(roots[name]), **common
            )
            for name, server in (("till_sftp", tills), ("agency_sftp", agency))
        }  # fmt: skip
        connections["drops"] = {
            "type": "s3", "bucket": bucket.name, "endpoint_url": f"http://127.0.0.1:{networks['drops'].port}",
            "region": "us-east-1", "path_style": True, "access_key_id": {"env": "DROPS_ID"},
            "secret_access_key": {"env": "DROPS_SECRET"}, **common,
        }  # fmt: skip
        connections["shop"] = {
            "type": "postgresql", "host": "127.0.0.1", "port": networks["shop"].port, "database": shop.path[1:],
            "username": shop.username, "password": {"env": "SHOP_PW"}, "query_timeout_seconds": 30, **common,
        }  # fmt: skip
        connections["web"] = {
            "type": "mysql", "host": "127.0.0.1", "port": networks["web"].port, "database": web.name,
            "username": maria.username, "password": {"env": "WEB_PW"}, "query_timeout_seconds": 30, **common,
        }  # fmt: skip
        connections["uploads"] = {"type": "csv", "directory": str(folder / "uploads")}
        secrets = {
            "TILL_SFTP_KEY": tills.private_key, "AGENCY_SFTP_KEY": agency.private_key,
            "DROPS_ID": store.access_key_id, "DROPS_SECRET": store.secret_access_key,
            "SHOP_PW": str(shop.password), "WEB_PW": maria.password,
        }  # fmt: skip
        this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        yield Vendors(
            oracle, folder / "uploads", roots["till_sftp"], roots["agency_sftp"], bucket, shop_url, web, networks,
            connections, secrets, this_hour - timedelta(hours=windows),
        )  # fmt: skip


def _root(server: sftp.SftpServer, oracle: Oracle, connection: str) -> Path:
    root = Path(server.root) / uuid4().hex
    root.mkdir()
    for feed in oracle.feeds.values():
        if feed.connection == connection:
            (root / feed.name).mkdir()
    return root
