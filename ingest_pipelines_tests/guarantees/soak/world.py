"""Thirty imports over SFTP, S3 and SQL, real servers behind networks that can be cut, and `ingest up`."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import yaml
from psycopg import sql

from ingest_pipelines_tests.guarantees.on_call.platform import Platform
from ingest_pipelines_tests.guarantees.on_call.world import Target
from ingest_pipelines_tests.guarantees.soak.deliveries import Deliveries, Seen, keys
from ingest_pipelines_tests.servers import mysql, postgres, s3, sftp
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.fleet import Fleet

Kind = Literal["sftp", "s3", "postgresql", "mysql"]

KINDS: dict[Kind, int] = {"sftp": 12, "s3": 9, "postgresql": 5, "mysql": 4}
"""Imports of each kind: thirty."""

TABLES = ("customers", "accounts", "members")
COMMON = {"timeout_seconds": 8, "retries": 2}
FIRST_SERIAL = 1_767_225_600


@dataclass(frozen=True)
class Feed:
    """One import: its name, where it reads, the table it writes."""

    name: str
    kind: Kind
    table: str


FEEDS = tuple(
    Feed(f"{kind}{number}", kind, TABLES[(number + place) % len(TABLES)])
    for place, (kind, count) in enumerate(KINDS.items())
    for number in range(1, count + 1)
)


@dataclass
class World:
    """The servers, the project, and the book of what was delivered.

    Attributes:
        networks: a proxy in front of the vendors' server of each kind.
        state: the product's local files.
    """

    platform: Platform
    target: Target
    networks: dict[Kind, CutProxy]
    state: Path
    deliveries: Deliveries
    _random: random.Random
    _sftp_root: Path
    _bucket: s3.Bucket
    _shop_url: str
    _web: mysql.MysqlDatabase
    _files: float
    _modified: float = 0.0
    _store: Any = field(default=None)

    def deliver(self) -> None:
        """A vendor delivers: five new rows, as a file or as rows of a table."""
        of_files = self._random.random() < self._files
        feed = self._random.choice([feed for feed in FEEDS if (feed.kind in {"sftp", "s3"}) is of_files])
        number = self.deliveries.next_number(feed.name)
        began = time.time()  # a row may be read before its delivery is in the book
        self.deliveries.add(feed.name, number, began)
        rows = [(key, number) for key in keys(feed.name, number)]
        name = f"{feed.name.title()}_{FIRST_SERIAL + number}.csv"
        text = "\n".join(["Key,Value", *(f"{key},{value}" for key, value in rows), ""])
        if feed.kind == "sftp":
            draft = self._sftp_root / f".{name}"
            draft.write_text(text)
            self._modified = max(self._modified + 1, float(int(began)))  # each file is younger than the one before
            os.utime(draft, (self._modified,) * 2)
            draft.rename(self._sftp_root / feed.name / name)
        elif feed.kind == "s3":
            self._store.put_object(Bucket=self._bucket.name, Key=f"{feed.name}/{name}", Body=text.encode())
        elif feed.kind == "postgresql":
            with psycopg.connect(self._shop_url) as connection:
                insert = sql.SQL("INSERT INTO {} (who, n) VALUES (%s, %s)").format(sql.Identifier(feed.name))
                connection.cursor().executemany(insert, rows)
        else:
            values = ", ".join(f"('{key}', {value})" for key, value in rows)
            self._web.execute(f"INSERT INTO {feed.name} (who, n) VALUES {values}")

    def see(self) -> Seen:
        """What the target holds, at one moment.

        Raises:
            psycopg.OperationalError: it does not answer.
        """
        rows: dict[str, int | None] = {}
        strange: set[str] = set()
        tables = {feed.name: feed.table for feed in FEEDS}
        with psycopg.connect(self.target.url, connect_timeout=5) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for table in TABLES:
                if connection.execute("SELECT to_regclass(%s)", [f"crm.{table}"]).fetchone() == (None,):
                    continue
                query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier("crm", table))
                for (row,) in connection.execute(query):
                    feed = str(row["customer_id"]).partition(":")[0]
                    if tables.get(feed) != table or row["customer_id"] in rows:
                        strange.add(row["customer_id"])
                    rows[row["customer_id"]] = row.get(f"f_{feed}")
            if connection.execute("SELECT to_regclass('ingest.loads')").fetchone() == (None,):
                return Seen(rows, frozenset(strange))
            sums = connection.execute(
                "SELECT import, sum(read), sum(inserted) FROM ingest.loads WHERE status = 'committed' GROUP BY 1"
            ).fetchall()
            twice = connection.execute(
                "SELECT import || ' ' || item FROM ingest.loads WHERE status = 'committed'"
                " AND (import LIKE 'sftp%' OR import LIKE 's3%') GROUP BY import, item HAVING count(*) > 1"
            ).fetchall()
            created = connection.execute(
                "SELECT split_part(key, ':', 1), count(*) FROM ingest.events WHERE kind = 'profile.created' GROUP BY 1"
            ).fetchall()
        return Seen(
            rows, frozenset(strange), {name: int(read) for name, read, _ in sums},
            {name: int(inserted) for name, _, inserted in sums}, frozenset(words for (words,) in twice), dict(created),
        )  # fmt: skip


def _specification(feed: Feed) -> dict[str, Any]:
    spec: dict[str, Any] = {"status": "active", "database": feed.table, "source": {"connection": feed.kind}}
    if feed.kind in {"sftp", "s3"}:
        spec["source"] |= {"file": f"{feed.name}/{feed.name.title()}", "pick": "all", "settle": "2s"}
        spec["columns"] = {"Key": "customer_id", "Value": {"field": f"f_{feed.name}", "type": "int"}}
        spec["sensor"] = {"every": "20s"}
        return spec
    spec["source"] |= {
        "query": f"SELECT id, who, n FROM {feed.name} WHERE id > {{lastItem}} ORDER BY id LIMIT 100",
        "cursor": {"column": "id", "start": 0},
    }
    spec["columns"] = {"who": "customer_id", "n": {"field": f"f_{feed.name}", "type": "int"}}
    spec["schedule"] = {"cron": "*/2 * * * *"}
    return spec


@contextmanager
def world_of(folder: Path, fleet: Fleet, seed: int, files: float) -> Iterator[World]:
    """The world before its first minute: `ingest up` does not run yet.

    Args:
        files: the share of deliveries that are files; each file is a run of its own.
    """
    vendor = fleet.ask("sftp", sftp.SftpServer, sftp.launch)
    store = fleet.ask("s3", s3.S3Server, s3.launch)
    maria = fleet.ask("mysql", mysql.MysqlServer, mysql.launch)
    shop_server = fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url
    home, state = folder / "project", folder / "state"
    (home / "imports").mkdir(parents=True)
    with ExitStack() as stack:
        bucket = stack.enter_context(s3.fresh_bucket(store))
        web = stack.enter_context(mysql.fresh_database(maria))
        shop_url = stack.enter_context(postgres.fresh_database(shop_server))
        shop = urlsplit(shop_url)
        ports: dict[Kind, int] = {
            "sftp": vendor.port, "s3": store.port, "postgresql": int(shop.port or 0), "mysql": maria.port,
        }  # fmt: skip
        networks = {kind: stack.enter_context(CutProxy("127.0.0.1", port)) for kind, port in ports.items()}
        root = Path(vendor.root) / uuid4().hex
        root.mkdir()
        with psycopg.connect(shop_url) as connection:
            for feed in FEEDS:
                if feed.kind == "sftp":
                    (root / feed.name).mkdir()
                elif feed.kind == "postgresql":
                    table = sql.SQL("CREATE TABLE {} (id bigserial PRIMARY KEY, who text, n int)")
                    connection.execute(table.format(sql.Identifier(feed.name)))
                elif feed.kind == "mysql":
                    web.execute(
                        f"CREATE TABLE {feed.name} (id bigint AUTO_INCREMENT PRIMARY KEY, who varchar(60), n int)"
                    )
        connections: dict[str, dict[str, Any]] = {
            "sftp": vendor.connection(key="SFTP_KEY", port=networks["sftp"].port, root=str(root), **COMMON),
            "s3": {
                "type": "s3", "bucket": bucket.name, "endpoint_url": f"http://127.0.0.1:{networks['s3'].port}",
                "region": "us-east-1", "path_style": True, "access_key_id": {"env": "S3_ID"},
                "secret_access_key": {"env": "S3_SECRET"}, **COMMON,
            },
            "postgresql": {
                "type": "postgresql", "host": "127.0.0.1", "port": networks["postgresql"].port,
                "database": shop.path[1:], "username": shop.username, "password": {"env": "SHOP_PW"}, **COMMON,
            },
            "mysql": {
                "type": "mysql", "host": "127.0.0.1", "port": networks["mysql"].port, "database": web.name,
                "username": maria.username, "password": {"env": "WEB_PW"}, **COMMON,
            },
        }  # fmt: skip
        target = Target(folder / "target", fleet.free_port())
        stack.callback(target.stop)
        environment = {
            "INGEST_HOME": str(home), "INGEST_STATE": str(state), "INGEST_DATABASE_URL": target.url,
            "INGEST_DAGSTER_URL": target.dagster_url, "SFTP_KEY": vendor.private_key, "S3_ID": store.access_key_id,
            "S3_SECRET": store.secret_access_key, "SHOP_PW": str(shop.password), "WEB_PW": maria.password,
        }  # fmt: skip
        platform = Platform(folder, environment)
        stack.callback(platform.stop)
        key = {"customer_id": {"type": "string", "max_length": 64}}
        databases = {name: {"table": f"crm.{name}", "key": "customer_id", "fields": key} for name in TABLES}
        (home / "databases.yaml").write_text(yaml.safe_dump({"databases": databases}, sort_keys=False))
        (home / "connections.yaml").write_text(yaml.safe_dump({"connections": connections}, sort_keys=False))
        for feed in FEEDS:
            path = home / "imports" / f"{feed.name}.yaml"
            path.write_text(yaml.safe_dump(_specification(feed), sort_keys=False))
        yield World(
            platform, target, networks, state, Deliveries(), random.Random(seed), root, bucket, shop_url, web, files,
            _store=store.client(),
        )  # fmt: skip
