"""`python -m ingest_pipelines_tests.benchmarks.thousand`: what a thousand imports cost before a single row is read.

Each import reads files from one of twenty connections to a real SFTP server, has ten columns, and every second one a
schedule. Measured: the code location in a process of its own, ticks of sensors and schedules, `ingest up` until it
answers, the queries and pages of the UI in a real browser, how often the daemon gets round all imports, what that costs
while no file comes, and how long an edited YAML takes to be loaded.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import gc
import json
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg

from ingest_pipelines_tests.benchmarks.many_imports import inside, print_found, timed, write_yaml
from ingest_pipelines_tests.benchmarks.process import tree_cpu
from ingest_pipelines_tests.orchestration.served import Served, serve, wait_for
from ingest_pipelines_tests.orchestration.ticks import schedule_tick, sensor_tick
from ingest_pipelines_tests.servers import browser, postgres, sftp
from ingest_pipelines_tests.servers.fleet import Fleet

MODULE = "ingest_pipelines_tests.benchmarks.thousand"

if TYPE_CHECKING:
    from dagster import ScheduleDefinition, SensorDefinition

PARTS = ["load", "ticks", "served", "idle", "edited"]
CONNECTIONS, DATABASES, FOLDERS, COLUMNS = 20, 10, 7, 10

QUERIES = {
    "assets (the catalog)": "{ assetNodes { id groupName kinds assetKey { path } description } }",
    "sensors and schedules": """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
        ... on RepositoryLocation { repositories { sensors { name sensorState { status } }
        schedules { name scheduleState { status } } } } } } } } }""",
    "one asset": """{ assetNodeOrError(assetKey: {path: ["db0", "import_0"]}) { ... on AssetNode {
        description partitionStats { numPartitions } opNames } } }""",
}
PAGES = {
    "/assets": "import_",
    "/assets/db0/import_0": "An import of a thousand",
    "/automation": "files_of_",
    "/overview/activity/timeline": "Timeline",
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imports", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the daemon's ticks are counted")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--inside", choices=["load", "ticks"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps({"load": load, "ticks": ticks}[options.inside]()))
        return
    wanted = options.only or PARTS
    with project(options.imports) as (home, environment):
        for name in ("load", "ticks"):
            if name in wanted:
                print_found(
                    f"{name}, {options.imports} imports",
                    inside(MODULE, environment, name),
                )
        if "served" in wanted:
            served(environment)
        if "idle" in wanted:
            idle(environment, options.seconds)
        if "edited" in wanted:
            edited(home, environment)


def load() -> dict[str, float]:
    """Seconds and megabytes of the code location, as every run, webserver and daemon pays them."""
    found: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        found[name] = round(time.perf_counter() - started, 2)
        started = time.perf_counter()

    import dagster  # noqa: F401

    lap("import dagster")
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.definitions import build_definitions
    from ingest_pipelines.orchestration.site import Site

    gc.disable()  # as ingest_pipelines.definitions does
    lap("import ours")
    settings = read_settings()
    read = read_project(settings.home)
    lap("read the YAML")
    definitions = build_definitions(Site(settings, read))
    lap("build definitions")
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    lap("repository")
    from dagster._core.remote_representation.external_data import RepositorySnap
    from dagster._serdes import serialize_value

    from ingest_pipelines.orchestration.dagster_internals.asset_job import derive_id_of_asset_job

    derive_id_of_asset_job("as a code server that waited does")
    text = serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
    lap("snapshot for the webserver")
    found["all, s"] = round(sum(found.values()), 2)
    found["all, CPU s"] = round(time.process_time(), 2)
    found["snapshot MB"] = round(len(text) / 1e6, 1)
    found["peak MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def ticks() -> dict[str, float]:
    """Milliseconds of a tick's evaluation in this process: nothing new, which is what most ticks find."""
    from dagster import DagsterInstance

    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
    from ingest_pipelines.orchestration.schedules.import_schedule import import_schedule
    from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
    from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
    from ingest_pipelines.orchestration.sensors.listings import Listings
    from ingest_pipelines.orchestration.sensors.shared_file_sensor import shared_file_sensors
    from ingest_pipelines.orchestration.site import Site

    settings = read_settings()
    site = Site(settings, read_project(settings.home))
    imports = list(site.project.imports.values())
    assert site.target
    listings = Listings()
    with DagsterInstance.local_temp() as instance:
        sensors = [file_sensor(site, bound, listings) for bound in imports]
        plans = [bound for bound in imports if bound.spec.schedule]
        schedules = [import_schedule(site, bound, listings, CursorLooks(), own_job=False) for bound in plans]
        moment = datetime.now(UTC)
        shared = shared_file_sensors(site, imports, listings)
        keep_house = housekeeping_sensor(site, imports, listings)

        def sensor(each: SensorDefinition) -> float:
            return timed(lambda: sensor_tick(each, instance))

        def schedule(each: ScheduleDefinition) -> float:
            return timed(lambda: schedule_tick(each, instance, moment))

        found = {
            "sensor": [sensor(each) for each in sensors],
            "shared sensor's first": [sensor(each) for each in shared],
            "shared sensor's later": [sensor(each) for each in shared],
            "schedule": [schedule(each) for each in schedules],
            "housekeeping": [sensor(keep_house)],
        }
    return {
        f"{name} tick, {what} ms": round(1000 * of(times), 1)
        for name, times in found.items()
        for what, of in (("median", median), ("longest", max))
    }


def served(environment: Mapping[str, str]) -> None:
    """`ingest up` with all of them: until it answers, its queries, its pages."""
    with tempfile.TemporaryDirectory(prefix="ingest-thousand-") as folder:
        begun = time.perf_counter()
        with serve({**environment, "INGEST_AUTOMATION": "off"}, Path(folder)) as up:
            found: dict[str, float] = {"until the UI answers, s": round(time.perf_counter() - begun, 1)}
            wait_for(lambda: up.ask(QUERIES["assets (the catalog)"])["assetNodes"], "the code location")
            found["until it shows the assets, s"] = round(time.perf_counter() - begun, 1)
            for name, query in QUERIES.items():
                found[f"query: {name}, s"] = round(min(timed(partial(up.ask, query)) for _ in range(3)), 2)
            found |= _pages(up)
        print_found("ingest up, nothing switched on", found)


def idle(environment: Mapping[str, str], seconds: float) -> None:
    """`ingest up` that looks for files where none come: how often it gets round, and its CPU."""
    with (
        tempfile.TemporaryDirectory(prefix="ingest-thousand-") as folder,
        serve(environment, Path(folder)) as up,
        psycopg.connect(environment["INGEST_DAGSTER_URL"], autocommit=True) as connection,
    ):
        print_found(f"ingest up, sensors on, counted for {seconds:.0f} s", _round(up, connection, seconds))


def edited(home: Path, environment: Mapping[str, str]) -> None:
    """`ingest up` with nothing switched on, and a YAML that is edited once its code servers are ready."""
    from ingest_pipelines_tests.benchmarks.overhead import standbys  # imports Dagster, which `load` times

    file = home / "imports" / "import_0.yaml"
    with (
        tempfile.TemporaryDirectory(prefix="ingest-thousand-") as folder,
        serve({**environment, "INGEST_AUTOMATION": "off"}, Path(folder)) as up,
    ):
        for words in ("edited", "edited again"):
            wait_for(lambda: standbys(up) == 2, "code servers that are ready")
            cpu, begun = tree_cpu(up.process.pid), time.perf_counter()
            text = file.read_text()
            [before] = [line for line in text.splitlines() if line.startswith("description")]
            file.write_text(text.replace(before, f"description: {words}"))
            wait_for(partial(_shows, up, words), "the edit")
            shown = time.perf_counter() - begun
            cpu = tree_cpu(up.process.pid) - cpu
            print_found(
                f"a YAML that is {words}", {"until the UI shows it, s": round(shown, 1), "CPU s": round(cpu, 1)}
            )


def _shows(up: Served, words: str) -> bool:
    return f"{words}." in up.ask(QUERIES["one asset"])["assetNodeOrError"]["description"]


def _pages(up: Served) -> dict[str, float]:
    found: dict[str, float] = {}
    with browser.running() as chromium:
        for path, words in PAGES.items():
            page = chromium.new_page(viewport={"width": 1400, "height": 900})
            begun = time.perf_counter()
            page.goto(up.url + path)
            page.get_by_text(words).first.wait_for(timeout=60_000)
            found[f"page {path}, s"] = round(time.perf_counter() - begun, 1)
            page.close()
    return found


FIRST_ROUND = 60.0
"""Seconds that are not counted: the first look at each folder registers what lies there."""

_GAPS = """
SELECT max(gap), percentile_cont(0.5) WITHIN GROUP (ORDER BY gap), count(DISTINCT selector_id),
       count(*) FILTER (WHERE tick_body LIKE '%%are left to the next tick%%')
FROM (
    SELECT selector_id, tick_body, timestamp,
           extract(epoch FROM timestamp - lag(timestamp) OVER (PARTITION BY selector_id ORDER BY id)) AS gap
    FROM job_ticks WHERE type = 'SENSOR' AND tick_body LIKE '%%files%%'
) between_ticks WHERE timestamp > now() AT TIME ZONE 'UTC' - make_interval(secs => %s)
"""


def _round(up: Served, connection: psycopg.Connection, seconds: float) -> dict[str, float]:
    """How long the daemon takes to get round all imports, and the processor time of `ingest up` meanwhile."""
    wait_for(lambda: connection.execute("SELECT 1 FROM job_ticks WHERE type = 'SENSOR'").fetchone(), "the first tick")
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() - begun > FIRST_ROUND)
    cpu, begun = tree_cpu(up.process.pid), time.monotonic()
    wait_for(lambda: time.monotonic() - begun > seconds)
    lasted = time.monotonic() - begun
    busy = (tree_cpu(up.process.pid) - cpu) / lasted
    row = connection.execute(_GAPS, [lasted]).fetchone()
    assert row is not None
    return {
        "sensors that look for files": row[2],
        "between two looks, median, s": round(float(row[1]), 1),
        "between two looks, the longest, s": round(float(row[0]), 1),
        "ticks that left imports to the next one": row[3],
        "CPU of ingest up and its processes, % of a core": round(100 * busy),
    }


@contextmanager
def project(imports: int) -> Iterator[tuple[Path, dict[str, str]]]:
    """The project on disk, its servers, and the environment that names both."""
    fleet = Fleet.assemble()
    try:
        server = fleet.ask("sftp", sftp.SftpServer, sftp.launch)
        admin = fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url
        home = fleet.folder / "project"
        (home / "imports").mkdir(parents=True)
        for number in range(FOLDERS):
            (Path(server.root) / f"folder_{number}").mkdir()
        connection = server.connection()
        write_yaml(home / "connections.yaml", {"connections": {f"vendor_{n}": connection for n in range(CONNECTIONS)}})
        fields = {"customer_id": {"type": "string"}, **{f"f{n}": {"type": "string"} for n in range(100)}}
        tables = {
            f"db{n}": {"table": f"crm.table_{n}", "key": "customer_id", "fields": fields} for n in range(DATABASES)
        }
        write_yaml(home / "databases.yaml", {"databases": tables})
        for number in range(imports):
            write_yaml(home / "imports" / f"import_{number}.yaml", _import(number))
        with postgres.fresh_database(admin) as target, postgres.fresh_database(admin) as runs:
            environment = {
                "INGEST_HOME": str(home), "INGEST_STATE": str(fleet.folder / "state"),
                "INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": runs, "VENDOR_KEY": server.private_key,
            }  # fmt: skip
            yield home, environment
    finally:
        fleet.disband()


def _import(number: int) -> dict[str, Any]:
    columns = {"CID": "customer_id", **{f"Column {n}": f"f{(number + n) % 100}" for n in range(COLUMNS)}}
    spec = {
        "description": "An import of a thousand", "owners": ["team:crm"], "labels": ["many"],
        "database": f"db{number % DATABASES}", "columns": columns,
        "source": {
            "connection": f"vendor_{number % CONNECTIONS}", "file": f"folder_{number % FOLDERS}/File{number}",
        },
    }  # fmt: skip
    return {**spec, "schedule": {"every": "6h"}} if number % 2 else spec


if __name__ == "__main__":
    main()
