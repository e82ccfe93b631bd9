"""The ledger is made by what writes to it, with words where it cannot be; reading makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from psycopg import sql

from ingest_pipelines.errors import IngestError, TargetForbids, TargetUnavailable
from ingest_pipelines.ledger import list_imports, migrate, set_import_status
from ingest_pipelines.ledger.migrate import HEAD, revision
from ingest_pipelines.merge import Target
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.config.projects import RIGHT, write_project
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault

READS = (
    ["check"],
    ["status"],
    ["report", "loyalty"],
    ["rejects", "list", "loyalty"],
    ["events"],
    ["audit"],
)


@pytest.fixture
def visitor(database_url: str) -> Iterator[str]:
    """The URL of the empty database for a role that may connect to it, and nothing else."""
    role, parts = f"role_{uuid4().hex[:8]}", urlsplit(database_url)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw'").format(sql.Identifier(role)))
        yield parts._replace(netloc=f"{role}:pw@{parts.hostname}:{parts.port}").geturl()
        admin.execute(sql.SQL("DROP OWNED BY {r}; DROP ROLE {r}").format(r=sql.Identifier(role)))


def schemas(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")]


def test_reading_a_missing_ledger_makes_nothing(visitor: str, database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE dagster_of_the_test")
    storage = urlsplit(database_url)._replace(path="/dagster_of_the_test").geturl()
    terminal = Terminal(
        write_project(tmp_path, RIGHT),
        {"INGEST_DATABASE_URL": visitor, "INGEST_DAGSTER_URL": storage, "VENDOR_PW": "x"},
    )
    try:
        before = schemas(database_url)
        for words in READS:
            answer = terminal.ingest(*words)
            assert answer.code == 0, (words, answer)
        assert "never" in terminal.ingest("status").out
        assert "no load yet" in terminal.ingest("report", "loyalty").out
        assert schemas(database_url) == before
        answer = terminal.ingest("run", "loyalty")
        assert answer.code == 3
        role, database = urlsplit(visitor).username, urlsplit(visitor).path[1:]
        assert "insufficient privilege (42501)" in answer.err
        assert f"GRANT CREATE ON DATABASE {database} TO {role}" in " ".join(answer.err.split())
        assert "Traceback" not in answer.err
        assert schemas(database_url) == before
    finally:
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("DROP DATABASE dagster_of_the_test WITH (FORCE)")


RIGHTS = {
    "the schema is empty": "CREATE SCHEMA ingest",
    "the schema is empty and may be used": "CREATE SCHEMA ingest; GRANT USAGE ON SCHEMA ingest TO {}",
    "nothing": "",
    "the schema may be used": "GRANT USAGE ON SCHEMA ingest TO {}",
    "the version may be read": "GRANT USAGE ON SCHEMA ingest TO {0}; GRANT SELECT ON ingest.alembic_version TO {0}",
    "all may be read": "GRANT USAGE ON SCHEMA ingest TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO {0}",
}


@pytest.mark.parametrize(
    ("age", "rights"),
    [(age, rights) for age in ("none", "present", "earlier") for rights in RIGHTS
     if (age == "none") == ("CREATE SCHEMA" in RIGHTS[rights])],
)  # fmt: skip
def test_whatever_right_is_missing_is_said_with_what_to_grant(
    visitor: str, database_url: str, age: str, rights: str
) -> None:
    """By the two ways in which commands, ticks and runs open the ledger."""
    if age != "none":
        migrate(database_url)
    if age == "earlier":
        _downgrade(database_url, "0001")
    role = urlsplit(visitor).username or ""
    with psycopg.connect(database_url) as admin:
        admin.execute(sql.SQL(RIGHTS[rights]).format(sql.Identifier(role)))
    target, refused = Target(visitor), []

    def read() -> None:
        with target.ledger() as connection:
            list_imports(connection)

    def write() -> None:
        target.migrate()
        with target.session() as connection:
            set_import_status(connection, "loyalty", "customers", "paused", datetime.now(UTC))

    for act in (read, write):
        try:
            act()
        except IngestError as error:
            refused.append(error)
    reads = rights == "the schema is empty and may be used" or (age, rights) == ("present", "all may be read")
    assert len(refused) == (1 if reads else 2)
    for refusal in refused:
        assert refusal.exit_code == 3
        assert f"TO {role}" in (refusal.hint or "") or "an earlier version" in refusal.message
        assert "permission denied" not in f"{refusal.message}{refusal.hint}", "the server's own words"


def test_an_old_ledger_that_the_role_may_not_change_is_for_its_owner(visitor: str, database_url: str) -> None:
    migrate(database_url)
    _downgrade(database_url, "0001")
    reads = sql.SQL("GRANT USAGE ON SCHEMA ingest TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO {0}")
    with psycopg.connect(database_url) as admin:
        admin.execute(reads.format(sql.Identifier(urlsplit(visitor).username or "")))
    says = rf"the ledger is that of an earlier version \(0001; this one needs {HEAD}\)"
    with pytest.raises(TargetForbids, match=says) as refusal, Target(visitor).ledger():
        pass
    assert "an administrator, run: ingest status" in refusal.value.hint
    with Target(database_url).ledger() as ledger:
        assert revision(ledger) == HEAD


def _downgrade(url: str, to: str) -> None:
    """Makes the ledger that of an earlier revision."""
    config = Config()
    config.set_main_option("script_location", "ingest_pipelines:ledger/migrations")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_while_the_ledger_is_made_is_a_target_that_does_not_answer(
    database_url: str, cut_proxy: Callable[[str, int], CutProxy], reset: bool
) -> None:
    """Wherever it comes: what is sent is cut, or what is answered, the commit's acknowledgement among it."""
    parts = urlsplit(database_url)
    proxy = cut_proxy(str(parts.hostname), int(parts.port or 0))
    target = Target(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl())
    cuts = 0
    for position in range(5 if reset else 6, 21, 2):
        for direction in ("cut_after_received", "cut_after_sent"):
            proxy.break_with(Fault(reset=reset, **{direction: 2**position // 3}))
            try:
                target.migrate()
            except TargetUnavailable:
                cuts += 1
            with psycopg.connect(database_url, autocommit=True) as admin:
                admin.execute("DROP SCHEMA IF EXISTS ingest CASCADE")
    assert cuts > 8
    proxy.mend()
    target.migrate()
    with target.ledger() as connection:
        assert list_imports(connection) == {}


def test_a_lost_acknowledgement_of_the_ledger_s_making_is_asked_about(
    database_url: str, cut_proxy: Callable[[str, int], CutProxy]
) -> None:
    """The last bytes that the server sends are lost; a second look finds the ledger."""
    parts = urlsplit(database_url)
    proxy = cut_proxy(str(parts.hostname), int(parts.port or 0))
    target = Target(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl())

    def is_made(cut_after: int) -> bool:
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("DROP SCHEMA IF EXISTS ingest CASCADE")
        proxy.break_with(Fault(cut_after_received=cut_after))
        try:
            target.migrate()
        except TargetUnavailable:
            return False
        return True

    too_early, too_late, cuts = 2**11, 2**13, 0
    made = False
    while not made or proxy.cuts == cuts:
        assert too_late - too_early > 1, "no cut comes after the commit"
        middle, cuts = (too_early + too_late) // 2, proxy.cuts
        made = is_made(middle)
        too_early, too_late = (too_early, middle) if made else (middle, too_late)
    with Target(database_url).ledger() as ledger:
        assert revision(ledger) == HEAD


def test_a_cut_in_any_other_session_is_a_target_that_does_not_answer(
    database_url: str, cut_proxy: Callable[[str, int], CutProxy]
) -> None:
    Target(database_url).migrate()
    parts = urlsplit(database_url)
    proxy = cut_proxy(str(parts.hostname), int(parts.port or 0))
    target = Target(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl())
    ended = set()
    for size in range(0, 2_000, 60):
        proxy.break_with(Fault(cut_after_received=size))
        try:
            with target.session() as connection:
                set_import_status(connection, "loyalty", "customers", "paused", datetime.now(UTC))
            ended.add("committed")
        except TargetUnavailable:
            ended.add("cut")
    assert ended == {"committed", "cut"}
