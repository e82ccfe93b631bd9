"""`python -m ingest_pipelines_tests.benchmarks.served`: a thousand imports under `ingest up`, beside a ledger of years.

Half of the imports read a real SFTP server, a fifth a real S3 server, a fifth query a real Postgres, a tenth are
drafts. Measured: from the start to the catalog, memory, the pages of the UI in a real browser, an asset with 10,000
materialized partitions, how late the latest sensor is, 50 files that arrive at once until all are committed, and
housekeeping's tick.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.benchmarks.many_imports import inside, print_found, timed, write_yaml
from ingest_pipelines_tests.benchmarks.thousand import PAGES, QUERIES
from ingest_pipelines_tests.ledger import large_ledger
from ingest_pipelines_tests.orchestration.served import Served, serve, wait_for
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.servers import browser, postgres, s3, sftp
from ingest_pipelines_tests.servers.fleet import Fleet

MODULE = "ingest_pipelines_tests.benchmarks.served"

CONNECTIONS, DATABASES, FOLDERS, COLUMNS = 20, 10, 7, 10

PARTITIONED = ("db0", "import_0")
"""The asset with many partitions; it reads files."""

PARTITION_QUERIES = {
    "partitions of the asset, and which are materialized": """{
        assetNodeOrError(assetKey: {path: ["db0", "import_0"]}) { ... on AssetNode {
        partitionStats { numPartitions numMaterialized } partitionKeysByDimension { partitionKeys }
        assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } } }""",
    "latest events of the asset": """{ assetNodeOrError(assetKey: {path: ["db0", "import_0"]}) { ... on AssetNode {
        assetMaterializations(limit: 50) { partition timestamp runId metadataEntries { label } } } } }""",
}

PARTITION_PAGES = {"/assets/db0/import_0?view=partitions": "Materialized", **PAGES}


@dataclass(frozen=True)
class World:
    """The project on disk and its servers.

    Attributes:
        sftp_root: where the SFTP server's folders are on this machine.
    """

    environment: Mapping[str, str]
    imports: int
    sftp_root: Path

    @property
    def target(self) -> str:
        return self.environment["INGEST_DATABASE_URL"]

    def kind(self, number: int) -> str:
        """Of ten imports in a row five are on SFTP, two on S3, two are queries, one is a draft."""
        return ("sftp", "sftp", "sftp", "sftp", "sftp", "s3", "s3", "query", "query", "draft")[number % 10]

    def numbers(self, kind: str) -> list[int]:
        return [number for number in range(self.imports) if self.kind(number) == kind]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.benchmarks.served", description=__doc__)
    parser.add_argument("--imports", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=50, help="that arrive at once")
    parser.add_argument("--loads", type=int, default=225_000, help="in the ledger; 1,000,000 rejects at the default")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long ticks are watched")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--inside", choices=["partitions", "housekeeping"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside == "partitions":
        print(json.dumps(materialize(options.partitions)))
        return
    if options.inside == "housekeeping":
        print(json.dumps(housekeeping()))
        return
    with world(options.imports) as built, tempfile.TemporaryDirectory(prefix="ingest-served-") as folder:
        with psycopg.connect(built.target) as connection:
            migrate(built.target)
            large_ledger.fill(connection, loads=options.loads, rejects=options.loads * 40 // 9)
        measured = partial(inside, MODULE, built.environment)
        print_found("Dagster's storage", measured("partitions", f"--partitions={options.partitions}"))
        print_found(f"housekeeping beside {options.loads:,} loads", measured("housekeeping"))
        quiet = {**built.environment, "INGEST_AUTOMATION": "off"}
        begun = time.perf_counter()
        with serve(quiet, Path(folder)) as up:
            print_found("ingest up, nothing switched on", started(up, begun, options.imports))
            print_found("queries of the UI", queries(up))
            if not options.no_browser:
                print_found("pages of the UI", pages(up))
        with serve(built.environment, Path(folder)) as up:
            print_found(f"ticks of all sensors, {options.seconds:.0f} s", round_of_ticks(built, options.seconds))
            print_found(f"{options.files} files at once", arrive(built, options.files))
            print_found("memory with everything switched on", memory(up))


def started(up: Served, begun: float, imports: int) -> dict[str, float]:
    """Seconds until the UI answers and until it shows every import; memory of all processes."""
    answers = time.perf_counter() - begun
    wait_for(lambda: len(up.ask(QUERIES["assets (the catalog)"])["assetNodes"]) >= imports, "the code location")
    return {
        "until the UI answers, s": round(answers, 1),
        "until it shows every import, s": round(time.perf_counter() - begun, 1),
        **memory(up),
    }


def memory(up: Served) -> dict[str, float]:
    """Megabytes of `ingest up` and each of its children with what they started."""
    own = psutil.Process(up.process.pid)
    found: dict[str, float] = {}
    for process in [own, *own.children(recursive=True)]:
        try:
            words, resident = " ".join(process.cmdline()), process.memory_info().rss
        except psutil.NoSuchProcess:  # a run that ended meanwhile
            continue
        name = next((name for name in ("webserver", "daemon", "grpc", "postgres") if name in words), "others")
        found[f"memory, {name}, MB"] = found.get(f"memory, {name}, MB", 0) + round(resident / 1e6)
    return found


def queries(up: Served) -> dict[str, float]:
    """Seconds of what the pages ask."""
    asked = {**QUERIES, **PARTITION_QUERIES}
    return {
        f"{name}, s": round(min(timed(partial(up.ask, query)) for _ in range(3)), 2) for name, query in asked.items()
    }


def pages(up: Served) -> dict[str, float]:
    """Seconds until a page shows what it is opened for."""
    found: dict[str, float] = {}
    with browser.running() as chromium:
        for path, words in PARTITION_PAGES.items():
            page = chromium.new_page(viewport={"width": 1400, "height": 900})
            begun = time.perf_counter()
            page.goto(up.url + path)
            page.get_by_text(words).first.wait_for(timeout=120_000)
            found[f"page {path}, s"] = round(time.perf_counter() - begun, 1)
            page.close()
    return found


def round_of_ticks(built: World, seconds: float) -> dict[str, float]:
    """How late the latest sensor is: the longest time that any sensor of an import waited for its next tick."""
    ticks = "SELECT count(*) FROM job_ticks WHERE type = 'SENSOR'"
    names = len(built.numbers("sftp")) + len(built.numbers("s3"))
    with psycopg.connect(built.environment["INGEST_DAGSTER_URL"], autocommit=True) as connection:
        begun = time.monotonic()
        wait_for(lambda: _scalar(connection, ticks), "the first tick")
        first = time.monotonic() - begun
        watched, before = time.monotonic(), _scalar(connection, ticks)
        wait_for(lambda: time.monotonic() - watched > seconds)
        rate = (_scalar(connection, ticks) - before) / (time.monotonic() - watched)
        gaps = connection.execute(
            """
            SELECT selector_id, extract(epoch FROM max(gap)), count(*) FROM (
                SELECT selector_id, timestamp - lag(timestamp) OVER (PARTITION BY selector_id ORDER BY id) AS gap
                FROM job_ticks WHERE type = 'SENSOR'
            ) between_ticks GROUP BY selector_id
            """
        ).fetchall()
        failed = _scalar(connection, "SELECT count(*) FROM job_ticks WHERE status = 'FAILURE'")
    longest = [float(gap) for _, gap, _ in gaps if gap is not None]
    return {
        "until the first tick, s": round(first, 1),
        "ticks a second": round(rate, 1),
        "sensors of imports that ticked": len(gaps),
        "sensors of imports": names,
        "between two ticks, median of the longest, s": round(median(longest), 1) if longest else -1,
        "between two ticks, the latest, s": round(max(longest), 1) if longest else -1,
        "ticks that failed": failed,
    }


def arrive(built: World, files: int) -> dict[str, float]:
    """Seconds from 50 files of as many imports that arrive at once until each is seen, and until each is committed."""
    numbers = built.numbers("sftp")[:files]
    arrived = datetime.now(UTC)
    for number in numbers:
        path = built.sftp_root / f"folder_{number % FOLDERS}" / f"File{number}.csv"
        header = ",".join(["CID", *(f"Column {column}" for column in range(COLUMNS))])
        rows = "\n".join(f"C{row}," + ",".join(["x"] * COLUMNS) for row in range(100))
        path.write_text(f"{header}\n{rows}\n")
        os.utime(path, (arrived.timestamp() - 3600,) * 2)
    names = [f"import_{number}" for number in numbers]
    with psycopg.connect(built.target, autocommit=True) as connection:

        def committed() -> Sequence[tuple[datetime, datetime]]:
            return connection.execute(
                "SELECT i.created_at, l.finished_at FROM ingest.items i JOIN ingest.loads l"
                " ON l.import = i.import AND l.item = i.key AND l.status = 'committed' WHERE i.import = ANY(%s)",
                (names,),
            ).fetchall()

        deadline = time.monotonic() + 900
        while len(committed()) < len(numbers) and time.monotonic() < deadline:
            time.sleep(0.5)
        done = committed()
    seen = sorted((created - arrived).total_seconds() for created, _ in done)
    ended = sorted((finished - arrived).total_seconds() for _, finished in done)
    return {
        "committed": len(done),
        "until one is seen, median, s": round(median(seen), 1),
        "until all are seen, s": round(seen[-1], 1),
        "until one is committed, median, s": round(median(ended), 1),
        "until all are committed, s": round(ended[-1], 1),
    }


def materialize(partitions: int) -> dict[str, float]:
    """The asset PARTITIONED has that many partitions, each materialized. Runs in a process of its own.

    Dagster writes the first materialization; the others are copies of its row.
    """
    from dagster import AssetKey, AssetMaterialization

    from ingest_pipelines.config import read_settings
    from ingest_pipelines.orchestration.instance import open_instance

    settings = read_settings()
    instance = open_instance(settings)
    keys = [f"2026-01-01T00-00-00Z_File0.csv_{number:08x}" for number in range(partitions)]
    begun = time.perf_counter()
    instance.add_dynamic_partitions("/".join(PARTITIONED), keys)
    added = time.perf_counter() - begun
    instance.report_runless_asset_event(AssetMaterialization(AssetKey(PARTITIONED), partition=keys[0]))
    with psycopg.connect(str(settings.dagster_url)) as connection:
        connection.execute(
            """
            INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, asset_key, partition)
            SELECT run_id, replace(event, partition, key), dagster_event_type, timestamp, asset_key, key
            FROM event_logs, unnest(%s::text[]) key
            WHERE partition = %s AND dagster_event_type = 'ASSET_MATERIALIZATION'
            """,
            (keys[1:], keys[0]),
        )
    partitions_shown = len(instance.get_materialized_partitions(AssetKey(PARTITIONED)))
    return {"partitions": len(keys), "materialized": partitions_shown, "added in, s": round(added, 1)}


def housekeeping() -> dict[str, float]:
    """Seconds of housekeeping's tick in a process of its own: the first, and each of those that follow."""
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.instance import open_instance
    from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
    from ingest_pipelines.orchestration.sensors.listings import Listings
    from ingest_pipelines.orchestration.site import Site

    settings = read_settings()
    site = Site(settings, read_project(settings.home))
    keep_house = housekeeping_sensor(site, list(site.project.imports.values()), Listings())
    instance = open_instance(settings)
    times = [timed(lambda: sensor_tick(keep_house, instance)) for _ in range(5)]
    return {"first tick, s": round(times[0], 2), "later ticks, median, s": round(median(times[1:]), 2)}


@contextmanager
def world(imports: int) -> Iterator[World]:
    """The project on disk, its servers, and the environment that names both."""
    fleet = Fleet.assemble()
    try:
        with ExitStack() as stack:
            vendor = fleet.ask("sftp", sftp.SftpServer, sftp.launch)
            store = fleet.ask("s3", s3.S3Server, s3.launch)
            admin = fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url
            bucket = stack.enter_context(s3.fresh_bucket(store))
            target, runs, shop = (stack.enter_context(postgres.fresh_database(admin)) for _ in range(3))
            with psycopg.connect(shop) as connection:
                connection.execute(
                    "CREATE TABLE people AS SELECT 'C' || n AS id, 'x' AS name FROM generate_series(1, 10) n"
                )
            for number in range(FOLDERS):
                (Path(vendor.root) / f"folder_{number}").mkdir()
            on_sftp = vendor.connection()
            on_s3 = {
                "type": "s3", "bucket": bucket.name, "region": "us-east-1", "endpoint_url": store.endpoint_url,
                "path_style": True, "access_key_id": {"env": "S3_ID"}, "secret_access_key": {"env": "S3_SECRET"},
            }  # fmt: skip
            parts = urlsplit(shop)
            database = postgres.connection_to(shop, password="SHOP_PASSWORD")
            connections: dict[str, dict[str, Any]] = {f"vendor_{number}": on_sftp for number in range(CONNECTIONS)}
            connections |= {f"bucket_{number}": on_s3 for number in range(5)} | {"shop": database}
            environment = {
                "INGEST_HOME": str(fleet.folder / "project"), "INGEST_STATE": str(fleet.folder / "state"),
                "INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": runs, "VENDOR_KEY": vendor.private_key,
                "S3_ID": store.access_key_id, "S3_SECRET": store.secret_access_key,
                "SHOP_PASSWORD": str(parts.password),
            }  # fmt: skip
            built = World(environment, imports, Path(vendor.root))
            _write_project(built, connections)
            yield built
    finally:
        fleet.disband()


def _write_project(built: World, connections: Mapping[str, Any]) -> None:
    home = Path(built.environment["INGEST_HOME"])
    (home / "imports").mkdir(parents=True)
    fields = {"customer_id": {"type": "string"}, **{f"f{n}": {"type": "string"} for n in range(100)}}
    tables = {f"db{n}": {"table": f"crm.table_{n}", "key": "customer_id", "fields": fields} for n in range(DATABASES)}
    write_yaml(home / "connections.yaml", {"connections": dict(connections)})
    write_yaml(home / "databases.yaml", {"databases": tables})
    for number in range(built.imports):
        write_yaml(home / "imports" / f"import_{number}.yaml", _import(built.kind(number), number))


def _import(kind: str, number: int) -> dict[str, Any]:
    columns = {"CID": "customer_id", **{f"Column {n}": f"f{(number + n) % 100}" for n in range(COLUMNS)}}
    spec: dict[str, Any] = {
        "description": "An import of a thousand",
        "owners": ["team:crm"],
        "labels": ["many"],
        "database": f"db{number % DATABASES}",
        "columns": columns,
    }
    file = f"folder_{number % FOLDERS}/File{number}"
    if kind == "query":
        by_hand = {"connection": "shop", "query": "SELECT id, name FROM people"}
        return {
            **spec, "source": by_hand, "columns": {"id": "customer_id", "name": "f0"},
            "schedule": {"every": "24h", "start": "2027-01-01T03:30"},
        }  # fmt: skip
    connection = f"bucket_{number % 5}" if kind == "s3" else f"vendor_{number % CONNECTIONS}"
    spec["source"] = {"connection": connection, "file": file}
    return {**spec, "status": "draft"} if kind == "draft" else spec


def _scalar(connection: psycopg.Connection, query: Any) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
