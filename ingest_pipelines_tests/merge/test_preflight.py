"""A table that a merge cannot take as it is gets refused by name before anything moves; what mends it, does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import TargetRefused
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.preflight import probe
from ingest_pipelines.merge.target import scalar
from ingest_pipelines.model import Counts, Run, Validated
from ingest_pipelines_tests.merge.deliveries import CUSTOMERS, NOW, SENSOR, bound_import, delivery, item
from ingest_pipelines_tests.merge.hostile import CASELESS, TABLES, Hostile
from ingest_pipelines_tests.merge.targets import fresh_target, reader


@pytest.fixture(scope="module")
def role() -> str:
    """The loader's role: no superuser."""
    return f"loader_{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def url(server_url: str, role: str) -> Iterator[str]:
    """A target that these tests share, each with a table of its own; a superuser's login."""
    with fresh_target(server_url) as url:
        reader(url)(
            f"CREATE ROLE {role} LOGIN PASSWORD 'pw'; CREATE SCHEMA crm; GRANT USAGE, CREATE ON SCHEMA crm TO {role};"
            f"GRANT ALL ON SCHEMA ingest TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA ingest TO {role};"
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA ingest TO {role}"
        )
        try:
            yield url
        finally:
            reader(url)(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@pytest.fixture(scope="module")
def loader(url: str, role: str) -> Target:
    """The target as the loader's role reaches it."""
    parts = urlsplit(url)
    return Target(f"postgresql://{role}:pw@{parts.hostname}:{parts.port}{parts.path}", 20)


def made(url: str, role: str, name: str, hostile: Hostile) -> None:
    """The table stands there, and belongs to whom it should."""

    def run(statement: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL(statement.replace("{t}", name).replace("{r}", role)))

    run(hostile.ddl)
    if hostile.row:
        run(hostile.row)
    if hostile.owner:
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'c' THEN 'TYPE'"
                " WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, relname"
                " FROM pg_class c WHERE relnamespace = 'crm'::regnamespace AND starts_with(relname::text, %s)"
                " AND relkind NOT IN ('i', 'I') AND NOT (relkind = 'S' AND EXISTS"
                " (SELECT FROM pg_depend d WHERE d.objid = c.oid"
                " AND d.refobjid <> c.oid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass))",
                (name,),
            ).fetchall()
            for kind, relation in found:
                connection.execute(
                    sql.SQL("ALTER {} {} OWNER TO {}").format(
                        sql.SQL(kind), sql.Identifier("crm", relation), sql.Identifier(role)
                    )
                )
    if hostile.privileges:
        run(hostile.privileges)


def has_icu(url: str) -> bool:
    """Whether the server was built with ICU: the embedded one is not."""
    try:
        reader(url)(CASELESS)
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def parcel(name: str, hostile: Hostile, folder: Path) -> tuple[Validated, BoundImport]:
    """An import of the table, and two rows for it."""
    changes = {key: value for key, value in hostile.database.items() if isinstance(value, dict)}
    options = {key: value for key, value in hostile.database.items() if not isinstance(value, dict)}
    fields: dict[str, Any] = {**CUSTOMERS["fields"], **changes}
    bound = bound_import(name, {**CUSTOMERS, "table": f"crm.{name}", "fields": fields, **options}, **hostile.spec)
    cells: dict[str, tuple[Any, Any]] = {
        "customer_id": ("old", "new"), "tier": ("Gold", "Silver"), "points": (1, 2), "email": ("a@x.org", "b@x.org"),
    }  # fmt: skip
    rows = [
        (*(cells[mapped.name][number] for mapped in bound.fields), *["a@x.org"] * len(bound.extra_columns))
        for number in (0, 1)
    ]
    return delivery(folder, bound, rows, of=item(name=name)), bound


def state(url: str, name: str) -> list[tuple[Any, ...]]:
    """The table's definition and rows, and the ledger's loads of it."""
    with psycopg.connect(url) as connection:
        facts = connection.execute(
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull"
            " FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
            " WHERE c.relnamespace = 'crm'::regnamespace AND starts_with(c.relname::text, %s) ORDER BY 1, 2",
            (name,),
        ).fetchall()
        kinds = connection.execute("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (f"crm.{name}",))
        if kinds.fetchone() in [("r",), ("p",), ("v",)]:
            rows = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier("crm", name))
            facts += connection.execute(rows).fetchall()
        return facts + connection.execute("SELECT status FROM ingest.loads WHERE import = %s", (name,)).fetchall()


def statements(error: TargetRefused) -> list[str]:
    """The SQL in a refusal's hint."""
    return [line.strip() for line in error.hint.splitlines()[1:]]


@pytest.mark.parametrize(
    "odd", [pytest.param(odd, marks=[pytest.mark.slow] if position % 3 else []) for position, odd in enumerate(TABLES)]
)
def test_a_table_is_taken_as_it_is_or_refused_by_name(
    url: str, role: str, loader: Target, server_url: str, tmp_path: Path, odd: str
) -> None:
    hostile, name = TABLES[odd], f"t{uuid4().hex[:8]}"
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    made_here = version >= hostile.oldest if hostile.oldest > 0 else version <= -hostile.oldest
    made_here = made_here and (CASELESS not in hostile.ddl or has_icu(url))
    if not made_here:
        hostile = replace(hostile, ddl=TABLES["the product's own"].ddl, says="")
    # Every table here is of the database `customers`, and one test's mend lets the role see all rows.
    reader(url)(f"DELETE FROM ingest.fields; ALTER ROLE {role} NOBYPASSRLS")
    made(url, role, name, hostile)
    validated, bound = parcel(name, hostile, tmp_path)
    before = state(url, name)
    plan = Run("plan", by="ann", dry_run=True)
    if not hostile.says:
        probe(loader, bound)
        assert apply(validated, bound, loader, plan, NOW).status == "committed"
        assert state(url, name) == before
        agrees(url, name, apply(validated, bound, loader, SENSOR, NOW).counts, hostile)
        return
    told = []
    for run in (None, plan, SENSOR):
        ask = partial(probe, loader, bound) if run is None else partial(apply, validated, bound, loader, run, NOW)
        with pytest.raises(TargetRefused) as refusal:
            ask()
        told.append(str(refusal.value))
        assert state(url, name) == before
    assert len(set(told)) == 1
    assert hostile.says.replace("{t}", name).replace("{r}", role) in told[0]
    assert "bug" not in told[0]
    if not hostile.mended:
        return
    for statement in statements(refusal.value):
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL(statement))
    probe(loader, bound)
    agrees(url, name, apply(validated, bound, loader, SENSOR, NOW).counts, hostile)


def agrees(url: str, name: str, counts: Counts, hostile: Hostile) -> None:
    """The counts are what happened, every profile has a number of its own, and events and consents name them."""
    with psycopg.connect(url) as connection:
        table = sql.Identifier("crm", name)
        rows: dict[str, Any] = dict(
            connection.execute(
                sql.SQL("SELECT customer_id, points FROM {} WHERE customer_id IN ('old', 'new')").format(table)
            ).fetchall()
        )
        assert set(rows) == {"old", "new"}
        if "points" not in hostile.database:
            assert rows == {"old": 1, "new": 2}
        known = "('old')" in hostile.row or "'old'" in hostile.row
        assert counts == Counts(read=2, inserted=1 if known else 2, updated=1 if known else 0)
        shared = sql.SQL("SELECT count(*), count(profile_id), count(DISTINCT profile_id) FROM {}").format(table)
        [(everybody, numbered, distinct)] = connection.execute(shared).fetchall()
        assert everybody == numbered == distinct
        told = sql.SQL(
            "SELECT e.key, e.kind FROM ingest.events e JOIN ingest.loads l ON l.id = e.load"
            " JOIN {} t ON t.profile_id = e.profile_id AND t.customer_id = e.key WHERE l.import = %s ORDER BY 1"
        ).format(table)
        old = ("old", "profile.updated" if known else "profile.created")
        assert connection.execute(told, (name,)).fetchall() == [("new", "profile.created"), old]
        if "subscriptions" in hostile.spec:
            consents = sql.SQL("SELECT count(*) FROM {} JOIN {} USING (profile_id)").format(
                sql.Identifier("crm", f"{name}_subscriptions"), table
            )
            assert connection.execute(consents).fetchall() == [(2,)]


def test_every_spelling_is_stored_in_a_caseless_column(url: str, role: str, loader: Target, tmp_path: Path) -> None:
    for odd in ("a caseless column by citext", *(["a caseless column"] if has_icu(url) else [])):
        name = f"t{uuid4().hex[:8]}"
        made(url, role, name, TABLES[odd])
        for number, tier in enumerate(("gold", "Gold", "Gold"), 1):
            _, bound = parcel(name, TABLES[odd], tmp_path)
            validated = delivery(tmp_path, bound, [("old", tier, 1)], of=item(number, name=name))
            counts = apply(validated, bound, loader, Run(f"run-{number}", by="ann"), NOW).counts
            assert (counts.updated, counts.unchanged) == ((1, 0) if number < 3 else (0, 1))
        assert reader(url)(f"SELECT tier::text FROM crm.{name}") == [("Gold",)]


def test_a_role_that_may_not_make_temporary_tables_is_told_so(server_url: str) -> None:
    role = f"loader_{uuid4().hex[:8]}"
    with fresh_target(server_url) as url:
        database = urlsplit(url).path[1:]
        reader(url)(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC; CREATE ROLE {role} LOGIN PASSWORD 'pw'")
        reader(url)(f"CREATE SCHEMA crm AUTHORIZATION {role}; GRANT USAGE ON SCHEMA ingest TO {role};"
                    f"GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO {role}")  # fmt: skip
        parts = urlsplit(url)
        loader = Target(f"postgresql://{role}:pw@{parts.hostname}:{parts.port}{parts.path}", 20)
        with pytest.raises(TargetRefused, match="may not make temporary tables") as refusal:
            probe(loader, bound_import())
        for statement in statements(refusal.value):
            with psycopg.connect(url) as connection:
                connection.execute(sql.SQL(statement))
        probe(loader, bound_import())
        reader(url)(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_numbers_that_another_application_takes_meanwhile_are_no_obstacle(
    url: str, role: str, loader: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, name = TABLES["an owner's identity"], f"t{uuid4().hex[:8]}"
    made(url, role, name, hostile)
    _, bound = parcel(name, hostile, tmp_path)

    def after_others(connection: Any, query: Any, *parameters: Any) -> Any:
        reader(url)(f"INSERT INTO crm.{name} (customer_id) VALUES (gen_random_uuid()::text)")
        return scalar(connection, query, *parameters)

    monkeypatch.setattr("ingest_pipelines.merge.numbers.scalar", after_others)
    probe(loader, bound)
    assert len(reader(url)(f"SELECT customer_id FROM crm.{name}")) > 1


def test_everything_that_is_wrong_is_said_at_once(url: str, role: str, loader: Target) -> None:
    name = f"t{uuid4().hex[:8]}"
    reader(url)(f"CREATE TABLE crm.{name} (profile_id text, customer_id text, points integer, region text NOT NULL)")
    bound = bound_import(name, {**CUSTOMERS, "table": f"crm.{name}"})
    with pytest.raises(TargetRefused) as refusal:
        probe(loader, bound)
    for part in ("'customer_id' is not unique", "'profile_id'", "'points'", "'region'"):
        assert part in refusal.value.message
    assert len(statements(refusal.value)) == 4
