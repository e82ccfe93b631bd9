"""Fixtures that every test may ask for. Servers start when the first test asks, once per run."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import is_hypothesis_test, settings

from ingest_pipelines_tests.merge.drawn_servers import draw_servers
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.servers import (
    azure,
    browser,
    clickhouse,
    gcs,
    hive,
    mssql,
    mysql,
    oracle,
    pgbouncer,
    postgres,
    postgres_debian,
    redis,
    s3,
    sftp,
    smtp,
    snowflake,
)
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.fleet import Fleet, memory_folder
from ingest_pipelines_tests.servers.http_endpoint import Endpoint, accepting_messages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Examples start servers, processes and transactions: how long one takes says nothing about the code.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

SHARE_OF_EXAMPLES = float(os.environ.get("INGEST_TEST_EXAMPLES", "0.25"))
"""What is tried of the examples that a property states; `make test-all` tries all."""

_FEW = 10
"""So many examples are tried in any case."""

_FLEET = pytest.StashKey[Fleet]()


def pytest_configure(config: pytest.Config) -> None:
    """One fleet per run, in memory like all files of tests: its owner assembles it, xdist's workers are told where."""
    # What we start would inherit signals that are ignored, as behind a shell's `&`, or held back: each end would take
    # 10 to 60 s. Dagster gives SIGTERM what SIGINT has.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    for number, action in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)
    memory = memory_folder(4 * 1024**3)
    if memory is not None and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(memory)  # of the workers and of all that tests start, too
        tempfile.tempdir = None  # where it was asked for before
    told = getattr(config, "workerinput", {}).get("fleet")
    config.stash[_FLEET] = Fleet(Path(told)) if told else Fleet.assemble()


DEAREST_FIRST = (
    "test_a_backfill_survives_the_death_of_any_process.py",
    "test_the_daemon_agrees_with_the_model.py",
    "test_run_server.py",
    "test_any_kill_or_cut_leaves_the_target_old_or_new.py",
    "test_up.py",
    "test_every_page.py",
    "test_no_row_is_lost.py",
    "test_the_whole_way.py",
    "test_a_bomb_is_refused_within_the_memory_that_is_stated.py",
    "test_hive.py",
    "test_cuts.py",
    "test_refused_rows.py",
    "test_a_killed_load_leaves_the_target_old_or_new.py",
    "test_a_killed_run_stops_nobody_and_leaves_nothing.py",
    "test_healing.py",
    "test_match.py",
    "test_no_secret_and_no_row_leaves.py",
    "test_errors.py",
    "test_forgetting.py",
    "test_alert_senders.py",
    "test_the_cursor_never_lies.py",
    "test_in_a_browser.py",
    "test_celery.py",
    "test_driver_errors.py",
    "test_replays_at_once.py",
    "test_set_back_clock.py",
    "test_queries.py",
    "test_preflight.py",
    "test_at_a_terminal.py",
    "test_formats.py",
    "test_drain.py",
    "test_session.py",
    "test_roles.py",
    "test_alert_kinds.py",
    "test_standby.py",
    "test_alerts.py",
    "test_error_codes.py",
    "test_assets.py",
    "test_demo.py",
)
"""Files that take 15 seconds or more. They start first: none is left to one worker while others have nothing.

Of three in a row one waits for most of its time, for a daemon or a time-out: three at once would leave the cores idle.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The dearest files first; cases on servers that are drawn; a share of each property's examples.

    A slow test may take two hours; the others have the time-out of pyproject.toml.
    """
    place = {name: number for number, name in enumerate(DEAREST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    draw_servers(items)
    _share_examples(items)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(7200))


def _share_examples(items: list[pytest.Item]) -> None:
    """Properties that are fast try SHARE_OF_EXAMPLES of their examples."""
    functions = {item: getattr(item.obj, "__func__", item.obj) for item in items if isinstance(item, pytest.Function)}
    thorough = {function for item, function in functions.items() if item.get_closest_marker("slow")}
    for function in set(filter(is_hypothesis_test, functions.values())) - thorough:
        stated = function._hypothesis_internal_use_settings
        share = round(stated.max_examples * SHARE_OF_EXAMPLES)
        function._hypothesis_internal_use_settings = settings(
            stated, max_examples=max(share, min(stated.max_examples, _FEW))
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: nothing looks through it for garbage, now or while tests run.

    Garbage is looked for a thirtieth as often as by default: it took a quarter of the processor time of a Dagster run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tells an xdist worker where the fleet is."""
    node.workerinput["fleet"] = str(node.config.stash[_FLEET].folder)  # type: ignore[attr-defined]  # xdist has no types


def pytest_unconfigure(config: pytest.Config) -> None:
    """The owner ends all servers."""
    if not hasattr(config, "workerinput"):
        config.stash[_FLEET].disband()


@pytest.fixture(scope="session", autouse=True)
def _dagsters_migrations_are_read_once() -> Iterator[None]:
    """Each new instance, and each run on disk, notes the newest one, for which Alembic reads all of them."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def read_once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """The run's servers."""
    return pytestconfig.stash[_FLEET]


@pytest.fixture(scope="session")
def postgres_url(fleet: Fleet) -> str:
    """A superuser's URL of a Postgres 18 that all tests share. Take `database_url` unless you test the server."""
    return fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database that only this test uses."""
    with postgres.fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def ledger_url(postgres_url: str) -> Iterator[str]:
    """The URL of a database with an empty ledger that only this test uses."""
    with fresh_target(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_15_url(fleet: Fleet) -> str:
    """A superuser's URL of a PostgreSQL 15 that all tests share."""
    return fleet.ask("postgres-15", postgres.PostgresServer, postgres_debian.launch).url


@pytest.fixture
def database_15_url(postgres_15_url: str) -> Iterator[str]:
    """The URL of an empty database of PostgreSQL 15 that only this test uses."""
    with postgres.fresh_database(postgres_15_url) as url:
        yield url


@pytest.fixture(scope="session")
def german_postgres(fleet: Fleet) -> postgres_debian.GermanPostgres:
    """A PostgreSQL 15 whose messages are German, shared by all tests."""
    return fleet.ask("postgres-german", postgres_debian.GermanPostgres, postgres_debian.launch_german)


@pytest.fixture(scope="session")
def polyglot_postgres_url(fleet: Fleet) -> str:
    """A superuser's URL of a PostgreSQL 15 that speaks several languages, shared by all tests."""
    return fleet.ask("postgres-polyglot", postgres.PostgresServer, postgres_debian.launch_polyglot).url


@pytest.fixture(scope="session")
def poolers(fleet: Fleet, postgres_url: str, postgres_15_url: str) -> Mapping[str, pgbouncer.PgBouncer]:
    """PgBouncer in transaction mode, by the superuser's URL of the server behind it."""
    urls = {"pgbouncer": postgres_url, "pgbouncer-15": postgres_15_url}
    return {
        url: fleet.ask(name, pgbouncer.PgBouncer, partial(pgbouncer.launch_before, url)) for name, url in urls.items()
    }


@pytest.fixture(scope="session")
def sftp_server(fleet: Fleet) -> sftp.SftpServer:
    """OpenSSH's server, shared by all tests."""
    return fleet.ask("sftp", sftp.SftpServer, sftp.launch)


@pytest.fixture
def sftp_folder(sftp_server: sftp.SftpServer) -> Path:
    """A folder below the SFTP server's root that only this test uses; a connection's `root` is its absolute path.

    It belongs to the account, as a vendor's does.
    """
    folder = Path(sftp_server.root) / uuid4().hex
    folder.mkdir()
    shutil.chown(folder, sftp_server.username)
    return folder


@pytest.fixture
def cut_proxy() -> Iterator[Callable[[str, int], CutProxy]]:
    """`cut_proxy(host, port)`: a proxy with faults in front of a server; it ends with the test."""
    with ExitStack() as proxies:
        yield lambda host, port: proxies.enter_context(CutProxy(host, port))


@pytest.fixture(scope="session")
def s3_server(fleet: Fleet) -> s3.S3Server:
    """An S3 server, shared by all tests."""
    return fleet.ask("s3", s3.S3Server, s3.launch)


@pytest.fixture
def s3_bucket(s3_server: s3.S3Server) -> Iterator[s3.Bucket]:
    """An empty S3 bucket that only this test uses."""
    with s3.fresh_bucket(s3_server) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def gcs_server(fleet: Fleet) -> gcs.GcsServer:
    """A Google Cloud Storage server, shared by all tests."""
    return fleet.ask("gcs", gcs.GcsServer, gcs.launch)


@pytest.fixture
def gcs_bucket(gcs_server: gcs.GcsServer) -> Iterator[gcs.Bucket]:
    """An empty Google Cloud Storage bucket that only this test uses."""
    with gcs.fresh_bucket(gcs_server) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def azure_server(fleet: Fleet) -> azure.AzureServer:
    """An Azure Blob Storage server, shared by all tests."""
    return fleet.ask("azure", azure.AzureServer, azure.launch)


@pytest.fixture
def azure_container(azure_server: azure.AzureServer) -> Iterator[azure.Container]:
    """An empty Azure container that only this test uses."""
    with azure.fresh_container(azure_server) as container:
        yield container


@pytest.fixture(scope="session")
def mysql_server(fleet: Fleet) -> mysql.MysqlServer:
    """A MariaDB, shared by all tests."""
    return fleet.ask("mysql", mysql.MysqlServer, mysql.launch)


@pytest.fixture
def mysql_database(mysql_server: mysql.MysqlServer) -> Iterator[mysql.MysqlDatabase]:
    """An empty MariaDB database that only this test uses."""
    with mysql.fresh_database(mysql_server) as database:
        yield database


@pytest.fixture(scope="session")
def clickhouse_server(fleet: Fleet) -> clickhouse.ClickhouseServer:
    """A ClickHouse, shared by all tests."""
    return fleet.ask("clickhouse", clickhouse.ClickhouseServer, clickhouse.launch)


@pytest.fixture
def clickhouse_database(clickhouse_server: clickhouse.ClickhouseServer) -> Iterator[clickhouse.ClickhouseDatabase]:
    """An empty ClickHouse database that only this test uses."""
    with clickhouse.fresh_database(clickhouse_server) as database:
        yield database


@pytest.fixture(scope="session")
def hive_server(fleet: Fleet) -> hive.HiveServer:
    """A HiveServer2, shared by all tests."""
    return fleet.ask("hive", hive.HiveServer, hive.launch)


@pytest.fixture
def hive_database(hive_server: hive.HiveServer) -> Iterator[hive.HiveDatabase]:
    """An empty Hive database that only this test uses."""
    with hive.fresh_database(hive_server) as database:
        yield database


@pytest.fixture(scope="session")
def mssql_server(fleet: Fleet) -> mssql.MssqlServer:
    """A stand-in for SQL Server, shared by all tests."""
    return fleet.ask("mssql", mssql.MssqlServer, mssql.launch)


@pytest.fixture
def mssql_database(mssql_server: mssql.MssqlServer) -> Iterator[mssql.MssqlDatabase]:
    """An empty database of the SQL Server stand-in that only this test uses."""
    with mssql.fresh_database(mssql_server) as database:
        yield database


@pytest.fixture(scope="session")
def oracle_server(fleet: Fleet) -> oracle.OracleServer:
    """A stand-in for Oracle, shared by all tests."""
    return fleet.ask("oracle", oracle.OracleServer, oracle.launch)


@pytest.fixture
def oracle_schema(oracle_server: oracle.OracleServer) -> Iterator[oracle.OracleSchema]:
    """A user of the Oracle stand-in, with an empty schema, that only this test uses."""
    with oracle.fresh_schema(oracle_server) as schema:
        yield schema


@pytest.fixture(scope="session")
def snowflake_server(fleet: Fleet) -> snowflake.SnowflakeServer:
    """Something that speaks Snowflake's protocol, shared by all tests."""
    return fleet.ask("snowflake", snowflake.SnowflakeServer, snowflake.launch)


@pytest.fixture
def snowflake_database(snowflake_server: snowflake.SnowflakeServer) -> snowflake.SnowflakeDatabase:
    """An empty Snowflake database that only this test uses."""
    return snowflake.fresh_database(snowflake_server)


@pytest.fixture(scope="session")
def redis_server(fleet: Fleet) -> redis.RedisServer:
    """A Redis, shared by all tests."""
    return fleet.ask("redis", redis.RedisServer, redis.launch)


@pytest.fixture
def smtp_server(fleet: Fleet, tmp_path: Path) -> Iterator[smtp.SmtpServer]:
    """A mail server of this test alone; what was sent is in `letters`."""
    with smtp.running(tmp_path, fleet.free_port()) as server:
        yield server


@pytest.fixture
def http_endpoint() -> Iterator[Endpoint]:
    """An endpoint of this test alone for messages by HTTP; what was sent is in `got`."""
    with accepting_messages() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with browser.running() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page with its own cookies, large enough for a screenshot."""
    context = chromium.new_context(viewport={"width": 1500, "height": 950})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()
