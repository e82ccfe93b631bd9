"""The real world of the machine: servers, networks, a project, `ingest` as processes; and what all of them say."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import yaml
from dagster import AssetKey, DagsterInstance, DynamicPartitionsDefinition

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines_tests.guarantees.killable_commands import Runner, Running
from ingest_pipelines_tests.guarantees.whole_way.oracle import SENTINEL, Load, Row, World
from ingest_pipelines_tests.guarantees.whole_way.sources import SourceRow
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.pipeline.engines import ENGINES, Engine
from ingest_pipelines_tests.servers import sftp
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.fleet import Fleet
from ingest_pipelines_tests.waiting import until

RANKS = 40
"""Ranks that a source's rows may have."""

FILE_COLUMNS = ("line", "ingest.load", "codes", "reasons\rhere", "'=sum")
"""Key, note, points, contact, and a column that fills no field: named like the columns of an export, and worse."""

ODD_CELLS = ("", "\r", "\n", "\r\n", "\u0085", "\u2028", "\x0c", "\0", "@", 'q"q', ",", "\ufeff")
"""What stands in the column that fills no field."""

FIRST_TIME = datetime(2026, 3, 1, tzinfo=UTC)
"""Times of files: a minute apart, all of them in the past."""


@dataclass(frozen=True)
class Kind:
    """A type of a cursor's column.

    Attributes:
        literal: SQL of a rank, spelled one way or another where the type allows it.
        texts: all ways in which the ledger may spell it.
        start: what comes before every rank.
        exact: the product can tell its values apart by itself.
        before: how far below a rank the next smaller value lies; 0: the type has no lag here.
    """

    engine: str
    type: str
    literal: Callable[[int, int], str]
    texts: Callable[[int], Sequence[str]]
    start: int | str
    exact: bool = True
    before: float = 0


def _number(rank: int, place: int) -> str:
    return str(rank + 1)


def _decimal(rank: int, place: int) -> str:
    return f"{rank + 1}.5{'0' * (place % 4)}"


def _moment(rank: int, place: int) -> str:
    return f"'2026-03-29 01:30:00.{rank + 1:06d}'"


def _day(rank: int, place: int) -> str:
    return f"'{datetime(2026, 1, 1) + timedelta(days=rank):%Y-%m-%d}'"


def _word(rank: int, place: int) -> str:
    return f"'b{rank:02d}x'"


def _capital(rank: int, place: int) -> str:
    word = f"b{chr(97 + rank // 10)}{chr(97 + rank % 10)}"
    return f"'{(word, word.upper(), word.capitalize())[place % 3]}'"


def _accent(rank: int, place: int) -> str:
    return f"'{'eEé'[place % 3]}{rank:02d}'"


def _blank(rank: int, place: int) -> str:
    return f"'b{rank:02d}{' ' * (place % 3)}'"


def _uuid(rank: int, place: int) -> str:
    return f"'{rank + 1:08x}-0000-7000-8000-000000000000'"


def _spelled(literal: Callable[[int, int], str]) -> Callable[[int], Sequence[str]]:
    return lambda rank: [literal(rank, place).strip("'") for place in range(4)]


def _moments(zone: str) -> Callable[[int], Sequence[str]]:
    return lambda rank: [f"2026-03-29T01:30:00.{rank + 1:06d}".rstrip("0") + zone]


TIME, LOWEST = "2000-01-01T00:00:00", "00000000-0000-0000-0000-000000000000"

KINDS = [
    Kind("postgresql", "bigint", _number, _spelled(_number), 0, before=1),
    Kind("mysql", "bigint", _number, _spelled(_number), 0, before=1),
    Kind("postgresql", "numeric", _decimal, _spelled(_decimal), 0, before=0.5),
    Kind("mysql", "varchar(9) COLLATE utf8mb4_general_ci", _accent, _spelled(_accent), "", exact=False),
    Kind("postgresql", "timestamptz", _moment, _moments("+00:00"), TIME),
    Kind("mysql", "datetime(6)", _moment, _moments(""), TIME),
    Kind("postgresql", "citext", _capital, _spelled(_capital), "", exact=False),
    Kind("postgresql", "uuid", _uuid, _spelled(_uuid), LOWEST, exact=False),
    Kind("postgresql", "date", _day, _spelled(_day), "2000-01-01"),
    Kind("mysql", "decimal(20, 4)", _decimal, _spelled(_decimal), 0, before=0.5),
    Kind("mysql", "varchar(9) COLLATE utf8mb4_bin", _blank, _spelled(_blank), "", exact=False),
    Kind("postgresql", 'text COLLATE "C"', _word, _spelled(_word), "", exact=False),
    Kind("postgresql", "text", _word, _spelled(_word), "", exact=False),
    Kind("postgresql", "char(5)", _blank, _spelled(_blank), "", exact=False),
    Kind("postgresql", "timestamp", _moment, _moments(""), TIME),
    Kind("mysql", "date", _day, _spelled(_day), "2000-01-01"),
    Kind("mysql", "uuid", _uuid, _spelled(_uuid), LOWEST, exact=False),
]
"""Types of cursors; a history has one of them."""


@dataclass
class Place:
    """Everything that is real. One for many histories.

    Attributes:
        target: the target as it is, past every fault of its network.
        network: in front of the target, and of each engine by its name.
        environment: of every `ingest`.
        vendor: a folder on an SFTP server, which is the connection `vendor`; None: there is none.
        clock: minutes since FIRST_TIME: the time of the next file.
    """

    folder: Path
    target: str
    dagster: str
    network: Mapping[str, CutProxy]
    engines: Mapping[str, Engine]
    runner: Runner
    instance: DagsterInstance
    environment: Mapping[str, str]
    vendor: Path | None = None
    histories: int = 0
    clock: int = 0
    _scanned: int = 0

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query in the target."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        """A statement of another application in the target."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def wait_until_alone(self) -> None:
        """Returns when no session of a command is left in the target."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        until(lambda: self.rows(query) == [(0,)])

    def mend(self) -> None:
        """Every network works."""
        for proxy in self.network.values():
            proxy.mend()


@dataclass
class Told:
    """What a command said."""

    words: tuple[str, ...]
    code: int
    text: str


class History:
    """A table, its imports and their sources, of one history alone."""

    def __init__(self, place: Place, kind: Kind) -> None:
        place.histories += 1
        self.place, self.kind = place, kind
        self.name = f"h{os.getpid()}x{place.histories}"
        self.folder = place.folder / "files" / self.name
        self.folder.mkdir(parents=True)
        self.upload, self.feed, self.orders = f"{self.name}up", f"{self.name}feed", f"{self.name}orders"
        self.leavers = f"{self.name}leavers"
        self.engine = place.engines[kind.engine]
        self.source = f"s{self.name}"
        self.keys: dict[str, str] = {}
        self.told: list[Told] = []
        self._ranks = {self._canonical(text): rank for rank in range(RANKS) for text in kind.texts(rank)}
        texts = ", ".join(f"{name} varchar(60)" for name in ("id", "note", "points", "contact"))
        columns = f"number int PRIMARY KEY, {texts}, seq {kind.type}"
        self.engine.execute(self.engine.table.format(name=self.source, columns=columns))
        fields = {"customer_id": {"type": "string"}, "note": {"type": "string"}, "points": {"type": "int"}}
        database = {
            "table": f"crm.{self.name}", "key": "customer_id", "fields": fields,
            "resources": {"newsletter": {"channels": ["email"]}},
        }  # fmt: skip
        self._write("databases.yaml", {"databases": {self.name: database}})
        for old in (place.folder / "project" / "imports").iterdir():
            old.unlink()

    def _write(self, path: str, content: Mapping[str, Any]) -> None:
        file = self.place.folder / "project" / path
        file.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")

    def configure(
        self, name: str, setting: Any, source: Mapping[str, Any], columns: Sequence[str], **more: Any
    ) -> None:  # fmt: skip
        """The import's YAML; `more` is added to it."""
        key, note, points, contact = columns[:4]
        limit = {"unlimited": True} if setting.max_rejects is None else {"max_rows": setting.max_rejects}
        if setting.mode == "delete":
            what: dict[str, Any] = {"columns": {key: "customer_id"}, "deletes": {"max_percent": setting.deletes}}
        else:
            subscription = {"resource": "newsletter", "channel": "email", "contact": contact, "status": "subscribed"}
            what = {
                "empty": "keep" if setting.keep else "clear",
                "columns": {key: "customer_id", note: "note", points: "points"}, "subscriptions": [subscription],
            }  # fmt: skip
        self._write(
            f"imports/{name}.yaml",
            {
                "database": self.name, "source": dict(source), "mode": setting.mode, "duplicates": setting.duplicates,
                **what, "rejects": limit, "shrink": {"min_percent": setting.min_percent}, **more,
            },
        )  # fmt: skip

    # Commands

    def ingest(self, *words: object, dies_at: str = "") -> Told:
        """The command, to its end."""
        return self.ended(self.begin(*words, dies_at=dies_at))

    def begin(self, *words: object, dies_at: str = "", stops_at: str = "") -> tuple[tuple[str, ...], Running]:
        """The command, under way."""
        texts = tuple(map(str, words))
        return texts, self.place.runner.start(*texts, dies_at=dies_at, stops_at=stops_at)

    def ended(self, begun: tuple[tuple[str, ...], Running]) -> Told:
        """What the command said, now that it has ended."""
        words, running = begun
        code = running.wait()
        self.told.append(Told(words, code, running.text))
        return self.told[-1]

    # Sources

    def insert(self, row: SourceRow, connection: Any = None) -> None:
        """The row is in the source; on a connection of its own it is not committed."""
        values = ", ".join([str(row.number), *map(_quoted, row.cells), self.kind.literal(row.rank, row.number)])
        statement = f"INSERT INTO {self.source} VALUES ({values})"
        if connection is None:
            self.engine.execute(statement)
        else:
            connection.cursor().execute(statement)

    def delete(self, number: int) -> None:
        """The row is gone."""
        self.engine.execute(f"DELETE FROM {self.source} WHERE number = {number}")

    def clear(self) -> None:
        """All rows are gone."""
        self.engine.execute(f"DELETE FROM {self.source}")

    def connect(self) -> Any:
        """A connection of an application to the source, in a transaction."""
        keys = {**self.engine.keys}
        if self.kind.engine == "postgresql":
            return psycopg.connect(
                host=keys["host"], port=keys["port"], dbname=keys["database"], user=keys["username"],
                password=self.engine.secret,
            )  # fmt: skip
        import pymysql

        return pymysql.connect(
            host=keys["host"], port=keys["port"], database=keys["database"], user=keys["username"],
            password=self.engine.secret,
        )  # fmt: skip

    def query(self, limit: int | None, *, again: bool) -> str:
        """The import's query."""
        text = self.engine.limited.replace("id, seq", "number, id, note, points, contact, seq", 1)
        text = text.format(name=self.source, limit=limit).replace("{{", "{").replace("}}", "}")
        text = text.replace("> {lastItem}", ">= {lastItem}") if again else text
        return text.removesuffix(" LIMIT None")

    # What there is to see

    def rank_of(self, text: str | None) -> object:
        """What the ledger's cursor stands for."""
        return None if text is None else self._ranks.get(self._canonical(text), text)

    def _canonical(self, text: str) -> object:
        if isinstance(self.kind.start, int):
            return Decimal(text)
        return text.strip() if self.kind.literal is _blank else text

    def label(self, key: str) -> str:
        """The oracle's name of the item with that key."""
        return self.keys.get(key, key)

    def keys_of(self, import_name: str) -> dict[str, str]:
        """The import's item keys, by path."""
        query = "SELECT key, path, kind, modified_at FROM ingest.items WHERE import = %s ORDER BY created_at, key"
        return {f"{path}@{modified}": key for key, path, _, modified in self.place.rows(query, import_name)}

    @property
    def imports(self) -> list[str]:
        return [self.upload, self.feed, self.orders, self.leavers]

    def observe(self) -> World:
        """What table, ledger and audit say."""
        names = self.imports
        with psycopg.connect(self.place.target, autocommit=True) as connection:

            def ask(query: str, *values: object) -> list[tuple[Any, ...]]:
                return connection.execute(query.encode(), values).fetchall()

            def exists(table: str) -> bool:
                return ask("SELECT to_regclass(%s)", table) != [(None,)]

            items = ask("SELECT import, key, kind, status FROM ingest.items WHERE import = ANY(%s)", names)
            loads = ask(
                "SELECT id, import, item, status, read, inserted, updated, unchanged, unmatched, skipped, rejected,"
                " deleted FROM ingest.loads WHERE import = ANY(%s) ORDER BY id", names,
            )  # fmt: skip
            numbers = {row[0]: number for number, row in enumerate(loads)}
            rejects: dict[tuple[int, int], tuple[set[str], bool]] = {}
            for load, line, code, number, is_open in ask(
                "SELECT load, line, code, row ->> 'number', resolved_at IS NULL FROM ingest.rejects"
                " WHERE load = ANY(%s) AND code <> 'unmatched'", list(numbers),
            ):  # fmt: skip
                place = int(number) if loads[numbers[load]][1] == self.orders else line
                entry = rejects.setdefault((numbers[load], place), (set(), is_open))
                entry[0].add(code)
                assert entry[1] == is_open, "a row's rules are resolved apart from each other"
            events = ask(
                "SELECT load, key, CASE kind WHEN 'profile.deleted' THEN ARRAY[kind] ELSE fields END"
                " FROM ingest.events WHERE load = ANY(%s)", list(numbers),
            )  # fmt: skip
            told = Counter((numbers[load], key, tuple(sorted(fields))) for load, key, fields in events)
            assert not told or max(told.values()) == 1, "an event was told twice"
            query = "SELECT import, value FROM ingest.cursors WHERE import = ANY(%s) AND value IS NOT NULL"
            cursors = ask(query, names)
            audit = ask("SELECT what, import FROM ingest.audit WHERE import = ANY(%s) ORDER BY id", names)
            states = ask("SELECT name, status FROM ingest.imports WHERE name = ANY(%s) AND status IS NOT NULL", names)
            table: dict[str, tuple[str | None, int | None]] = {}
            consents: list[tuple[str, str]] = []
            if exists(f"crm.{self.name}"):
                table = {
                    key: (note, points)
                    for key, note, points in ask(
                        "SELECT p ->> 'customer_id', p ->> 'note', (p ->> 'points')::bigint"
                        f" FROM (SELECT to_jsonb(c) FROM crm.{self.name} c) AS profiles (p)"
                    )
                }
            if exists(f"crm.{self.name}_subscriptions"):
                found = ask(
                    f"SELECT customer_id, contact FROM crm.{self.name}_subscriptions"
                    f" JOIN crm.{self.name} USING (profile_id)"
                )
                consents = [(key, contact) for key, contact in found]
                assert len(set(consents)) == len(consents)
        return World(
            table, frozenset(consents),
            tuple(Load(row[1], self.label(row[2]), *row[3:]) for row in loads),
            {place: (frozenset(codes), is_open) for place, (codes, is_open) in rejects.items()},
            frozenset(told), {name: self.rank_of(value) for name, value in cursors},
            {(name, self.label(key)): (kind, status) for name, key, kind, status in items},
            tuple(audit), dict(states),
        )  # fmt: skip

    def new_loads(self, import_name: str, after: int) -> list[tuple[str, str, int]]:
        """Item, status and rows of the import's loads after so many of the history's."""
        found = self.place.rows(
            "SELECT import, item, status, read FROM ingest.loads WHERE import = ANY(%s) ORDER BY id", self.imports
        )
        return [(item, status, read) for name, item, status, read in found[after:] if name == import_name]

    def order_of_loads(self, after: int) -> list[str]:
        """The imports of the loads after so many of the history's, in order."""
        query = "SELECT import FROM ingest.loads WHERE import = ANY(%s) ORDER BY id"
        return [name for (name,) in self.place.rows(query, self.imports)[after:]]

    def partitions(self, import_name: str) -> dict[str, str]:
        """How Dagster's pages show the import's items."""
        name = f"{self.name}/{import_name}"
        keys = list(self.place.instance.get_dynamic_partitions(name))
        if not keys:
            return {}
        asset, definition = AssetKey([self.name, import_name]), DynamicPartitionsDefinition(name=name)
        shown = self.place.instance.get_status_by_partition(asset, keys, definition) or {}
        return {self.label(key): status.value for key in keys if (status := shown.get(key)) is not None}

    def leaks(self) -> list[str]:
        """Where a value of a row stands that should be in the table only."""
        found = [f"ingest {' '.join(told.words)}: {told.text}" for told in self.told if SENTINEL in told.text]
        self.told = [replace_text(told) for told in self.told]
        query = (
            "SELECT 'load ' || id FROM ingest.loads l WHERE import = ANY(%s) AND to_jsonb(l)::text LIKE %s"
            " UNION ALL SELECT 'audit ' || id FROM ingest.audit a WHERE import = ANY(%s) AND to_jsonb(a)::text LIKE %s"
            " UNION ALL SELECT 'reason ' || load FROM ingest.rejects WHERE reason LIKE %s"
        )
        like = f"%{SENTINEL}%"
        found += [where for (where,) in self.place.rows(query, self.imports, like, self.imports, like, like)]
        with psycopg.connect(self.place.dagster, autocommit=True) as connection:
            found += [
                f"Dagster's event {number}"
                for (number,) in connection.execute(
                    "SELECT id FROM event_logs WHERE id > %s AND event LIKE %s", (self.place._scanned, like)
                )
            ]
            last = connection.execute("SELECT max(id) FROM event_logs").fetchone()
            self.place._scanned = (last and last[0]) or 0
        return found


def replace_text(told: Told) -> Told:
    """What a command said, once it was looked through."""
    return replace(told, text=told.text.replace(SENTINEL, "..."))


def _quoted(text: str) -> str:
    return "NULL" if not text else "'" + text.replace("'", "''") + "'"


def csv_bytes(columns: Sequence[str], rows: Sequence[Row], end: str) -> tuple[bytes, list[int]]:
    """The rows as a file of quoted cells, and the line on which each starts."""
    text, lines = "", []
    for row in [columns, *((*row, ODD_CELLS[at % len(ODD_CELLS)]) for at, row in enumerate(rows, len(rows)))]:
        lines.append(1 + sum(text.count(mark) for mark in "\r\n") - text.count("\r\n"))
        text += ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + end
    return text.encode(), lines[1:]


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of an export."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    return header, rows


@contextmanager
def place_of(
    folder: Path,
    fleet: Fleet,
    server: str,
    *,
    breaks: str = "",
    engines: Sequence[str] = ("postgresql", "mysql"),
    vendor: sftp.SftpServer | None = None,
) -> Iterator[Place]:
    """Servers, networks and a project without imports.

    Args:
        server: a superuser's URL of the Postgres for target and runs.
        breaks: a fault that is put into the product on purpose.
    """
    folder.mkdir(exist_ok=True, parents=True)
    with ExitStack() as end:
        target = end.enter_context(fresh_target(server))
        runs = end.enter_context(fresh_storage(server))
        started = {name: end.enter_context(ENGINES[name](fleet)) for name in engines}
        if "postgresql" in started:
            started["postgresql"].execute("CREATE EXTENSION citext")
        parts = urlsplit(target)
        network = {"target": end.enter_context(CutProxy(str(parts.hostname), int(parts.port or 0)))}
        connections: dict[str, Any] = {"uploads": {"type": "csv", "directory": str(folder / "files")}}
        secrets = {}
        for name, engine in started.items():
            proxy = network[name] = end.enter_context(CutProxy(engine.keys["host"], engine.keys["port"]))
            secrets[f"{name}_PW".upper()] = engine.secret
            connections[name] = {
                **engine.keys, "host": proxy.host, "port": proxy.port, "password": {"env": f"{name}_PW".upper()},
                "retries": 1, "timeout_seconds": 5, "query_timeout_seconds": 5,
            }  # fmt: skip
        root = None
        if vendor is not None:
            root = Path(vendor.root) / uuid4().hex
            root.mkdir()
            secrets["VENDOR_KEY"] = vendor.private_key
            connections["vendor"] = {
                "type": "sftp", "host": vendor.host, "port": vendor.port, "username": vendor.username,
                "private_key": {"env": "VENDOR_KEY"}, "host_key": vendor.host_key, "root": str(root),
                "timeout_seconds": 8, "retries": 1,
            }  # fmt: skip
        (folder / "project" / "imports").mkdir(parents=True)
        (folder / "files").mkdir()
        (folder / "outputs").mkdir()
        (folder / "project" / "connections.yaml").write_text(yaml.safe_dump({"connections": connections}))
        through = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{network['target'].port}")).geturl()
        environment = {
            "INGEST_HOME": str(folder / "project"), "INGEST_STATE": str(folder / "state"),
            "INGEST_DATABASE_URL": through, "INGEST_DAGSTER_URL": runs, "INGEST_LOCK_TIMEOUT": "1",
            "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", **secrets,
        }  # fmt: skip
        patch = end.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        instance = end.enter_context(open_instance(read_settings()))
        program = "ingest_pipelines_tests.guarantees.whole_way.program"
        runner = end.enter_context(Runner(folder / "outputs", environment, program, breaks))
        yield Place(folder, target, runs, network, started, runner, instance, environment, root)
