"""The `ingest` schema comes up once, whoever asks, and costs one query afterwards."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from ingest_pipelines.errors import TargetForbids
from ingest_pipelines.ledger import migrate
from ingest_pipelines.ledger.migrate import HEAD, REVISIONS, revision

TABLES = {
    "items",
    "imports",
    "fields",
    "loads",
    "rejects",
    "corrections",
    "cursors",
    "source_checks",
    "open_item_counts",
    "watchers",
    "metrics",
    "event_batches",
    "events",
    "audit",
    "alerts",
    "alert_routes",
    "alert_addresses",
    "alembic_version",
    "suppressed",
    "suppression_secret",
    "unmatched",
}


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'ingest'")
        return {str(row[0]) for row in found}


def test_the_first_call_creates_every_table_and_the_second_does_nothing(database_url: str) -> None:
    assert migrate(database_url) is True
    assert tables(database_url) == TABLES
    assert migrate(database_url) is False


def test_two_processes_may_migrate_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(migrate, [database_url] * 4))
    assert any(outcomes)
    assert tables(database_url) == TABLES


def test_head_is_the_newest_revision_in_the_package(database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", "ingest_pipelines:ledger/migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [HEAD]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        assert revision(connection) == HEAD


def test_every_migration_can_be_undone_and_done_again(database_url: str) -> None:
    migrate(database_url)
    config = Config()
    config.set_main_option("script_location", "ingest_pipelines:ledger/migrations")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=sqlalchemy.NullPool
    )
    kept: dict[str, set[str]] = {HEAD: tables(database_url)}
    for step in reversed(range(len(REVISIONS) - 1)):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, REVISIONS[step])
        with psycopg.connect(database_url) as session:
            assert revision(session) == REVISIONS[step]
        kept[REVISIONS[step]] = tables(database_url)
    later = {"corrections", "source_checks", "alerts", "alert_routes", "alert_addresses"}
    later |= {"suppressed", "suppression_secret", "unmatched"}
    assert kept["0001"] == TABLES - later - {"open_item_counts", "watchers", "metrics"}
    assert migrate(database_url) is True
    assert tables(database_url) == TABLES


def test_a_ledger_of_a_later_version_is_left_alone(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE ingest.alembic_version SET version_num = '9999'")
    with pytest.raises(TargetForbids, match="made by a later version of this product: its revision is 9999"):
        migrate(database_url)
    assert tables(database_url) == TABLES


def test_an_up_to_date_schema_needs_neither_alembic_nor_sqlalchemy(database_url: str) -> None:
    migrate(database_url)
    code = (
        "import sys; from ingest_pipelines.ledger import migrate; "
        "assert migrate(sys.argv[1]) is False; assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, database_url], check=True)
