"""Columns change between two deliveries, in the source or in the target: the next load is right, or changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.servers.postgres import connection_to, fresh_database

Rows = Sequence[tuple[Any, ...]]

FIRST = "id,note,points\na,one,1\nb,two,2\n"
LOADED = [("a", "one", 1), ("b", "two", 2)]
SECOND = "id,note,points\na,uno,10\nc,tres,30000000000\n"
AFTER = [("a", "uno", 10), ("b", "two", 2), ("c", "tres", 30_000_000_000)]


def case(name: str, *values: object, slow: bool = False) -> Any:
    return pytest.param(*values, id=name, marks=pytest.mark.slow if slow else ())


FILES = [
    case("a column more", "id,more,note,points\na,x,uno,10\nc,y,tres,30000000000\n", AFTER),
    case("another order", "points,id,note\n10,a,uno\n30000000000,c,tres\n", AFTER, slow=True),
    case("a column less", "id,points\na,10\n", None, slow=True),
    case("a column renamed", "id,Note,points\na,uno,10\n", None),
    case("a column doubled", "id,note,note,points\na,uno,dos,10\n", None, slow=True),
    case("a column with a blank", "id,note ,points\na,uno,10\n", None, slow=True),
    case("names without rows", "id,note,points\n", LOADED, slow=True),
    case("no names", "a,uno,10\nc,tres,30\n", None, slow=True),
    case("another type", "id,note,points\na,uno,ten\nc,tres,30000000000\n", None),
    case("values of two columns exchanged", "id,note,points\na,10,uno\nc,30,tres\n", None, slow=True),
    case("nothing in a column", "id,note,points\na,,\n", [("a", None, None), ("b", "two", 2)], slow=True),
]
"""A second file, and the table after it; None: as it was."""


@dataclass(frozen=True)
class Change:
    """What somebody did to the target.

    Attributes:
        ddl: what was done.
        table: the table after the second file; None: as the change left it.
        says: a part of the refusal.
    """

    ddl: str
    table: Rows | None = None
    says: str = ""


TARGETS = [
    case("a column more", Change("ALTER TABLE crm.people ADD at timestamptz DEFAULT now()", AFTER)),
    case("a required column more", Change("ALTER TABLE crm.people ADD at text NOT NULL DEFAULT ''; ALTER TABLE"
                                          " crm.people ALTER at DROP DEFAULT", says="at")),
    case("a field's column dropped", Change(
        "ALTER TABLE crm.people DROP note", [("a", "uno", 10), ("b", None, 2), ("c", "tres", 30_000_000_000)])),
    case("a field's column renamed", Change(
        "ALTER TABLE crm.people RENAME note TO remark",
        [("a", "uno", 10), ("b", None, 2), ("c", "tres", 30_000_000_000)]), slow=True),
    case("a narrower number", Change("ALTER TABLE crm.people ALTER points TYPE integer", says="points")),
    case("a wider number", Change("ALTER TABLE crm.people ALTER points TYPE numeric", AFTER), slow=True),
    case("a shorter text", Change("ALTER TABLE crm.people ALTER note TYPE varchar(3)", says="note"), slow=True),
    case("a text for a number", Change("ALTER TABLE crm.people ALTER points TYPE text", says="points"), slow=True),
    case("a required field", Change("ALTER TABLE crm.people ALTER note SET NOT NULL", AFTER), slow=True),
    case("a key without an index", Change("ALTER TABLE crm.people DROP CONSTRAINT people_pkey", says="id")),
    case("a trigger that leaves rows out", Change(
        "CREATE FUNCTION crm.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 'c' THEN RETURN NULL; END IF;"
        " RETURN NEW; END $$; CREATE TRIGGER f BEFORE INSERT OR UPDATE ON crm.people FOR EACH ROW"
        " EXECUTE FUNCTION crm.f()", says="trigger")),
    case("a trigger that changes rows", Change(
        "CREATE FUNCTION crm.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := upper(NEW.note); RETURN NEW;"
        " END $$; CREATE TRIGGER f BEFORE INSERT OR UPDATE ON crm.people FOR EACH ROW EXECUTE FUNCTION crm.f()",
        [("a", "UNO", 10), ("b", "two", 2), ("c", "TRES", 30_000_000_000)]), slow=True),
    case("a rule", Change(
        "CREATE RULE r AS ON INSERT TO crm.people DO INSTEAD NOTHING", says="rule"), slow=True),
    case("a view in its place", Change(
        "ALTER TABLE crm.people RENAME TO real; CREATE VIEW crm.people AS SELECT * FROM crm.real", says="view"),
        slow=True),
    case("no table", Change("DROP TABLE crm.people", [("a", "uno", 10), ("c", "tres", 30_000_000_000)]), slow=True),
    case("no schema", Change(
        "DROP SCHEMA crm CASCADE", [("a", "uno", 10), ("c", "tres", 30_000_000_000)]), slow=True),
    case("a generated column", Change(
        "ALTER TABLE crm.people DROP note; ALTER TABLE crm.people ADD note text GENERATED ALWAYS AS ('x') STORED",
        says="note"), slow=True),
]  # fmt: skip

SOURCES = [
    case("a column more", "ALTER TABLE sales ADD more text DEFAULT 'x'", AFTER),
    case("a column less", "ALTER TABLE sales DROP note", None),
    case("a column renamed", "ALTER TABLE sales RENAME note TO remark", None, slow=True),
    case("numbers as text", "ALTER TABLE sales ALTER points TYPE text", AFTER, slow=True),
    case("numbers as decimals", "ALTER TABLE sales ALTER points TYPE numeric(20, 0)", AFTER, slow=True),
    case("numbers with a fraction", "ALTER TABLE sales ALTER points TYPE numeric; UPDATE sales SET points = 1.5", None),
    case("another type", "ALTER TABLE sales ALTER points TYPE date USING date '2026-01-01'", None, slow=True),
    case("no table", "DROP TABLE sales", None, slow=True),
    case(
        "a view in its place", "ALTER TABLE sales RENAME TO s; CREATE VIEW sales AS SELECT * FROM s", AFTER, slow=True
    ),
]
"""What somebody did to the source's table, which holds the second delivery, and the target's table after it."""


@pytest.fixture(scope="module")
def shared(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with (
        fresh_database(postgres_url) as shop,
        new_project(postgres_url, tmp_path_factory.mktemp("drift"), SHOP_PW=str(urlsplit(shop).password)) as project,
    ):
        source = connection_to(shop)
        uploads = {"type": "csv", "directory": "uploads"}
        project.write("connections", {"connections": {"uploads": uploads, "shop": source}})
        project.write_import(rejects={"max_rows": 0})
        project.write_import("sales", source={"connection": "shop", "table": "sales"}, rejects={"max_rows": 0})
        assert project.deliver(FIRST.encode()).code == 0
        project.execute("ALTER SCHEMA crm RENAME TO kept")
        (project.folder / "shop").write_text(shop)
        yield project


@pytest.fixture
def project(shared: Project) -> Project:
    """The project, whose target has the first delivery."""
    shared.execute(
        "DROP SCHEMA IF EXISTS crm CASCADE; CREATE SCHEMA crm;"
        "CREATE TABLE crm.people (LIKE kept.people INCLUDING ALL); INSERT INTO crm.people SELECT * FROM kept.people;"
        "SELECT setval(pg_get_serial_sequence('crm.people', 'profile_id'), 2)"
    )
    assert shared.table() == LOADED
    return shared


def everything(project: Project) -> list[tuple[Any, ...]]:
    """All columns of the table's rows."""
    return project.rows("SELECT to_jsonb(p) FROM crm.people p ORDER BY id") if project.table("id") else []


@pytest.mark.parametrize(("text", "table"), FILES)
def test_a_file_with_other_columns(project: Project, text: str, table: Rows | None) -> None:
    answer = project.deliver(text.encode(), "--force")
    assert (answer.code == 0) == (table is not None), answer.err
    assert project.table() == (LOADED if table is None else table)


@pytest.mark.parametrize("change", TARGETS)
def test_a_target_that_somebody_altered(project: Project, change: Change) -> None:
    project.execute(change.ddl)
    before = everything(project) if change.table is None else []
    answer = project.deliver(SECOND.encode(), "--force")
    if change.table is None:
        assert answer.code in {1, 3}
        assert change.says in " ".join(answer.err.split())
        assert everything(project) == before
    else:
        assert answer.code == 0, answer.err
        assert project.table() == change.table


@pytest.mark.parametrize(("ddl", "table"), SOURCES)
def test_a_source_that_somebody_altered(project: Project, ddl: str, table: Rows | None) -> None:
    with psycopg.connect((project.folder / "shop").read_text(), autocommit=True) as source:
        source.execute(
            "DROP VIEW IF EXISTS sales_view; DROP TABLE IF EXISTS s CASCADE; DROP TABLE IF EXISTS sales CASCADE;"
            "CREATE TABLE sales (id text, note text, points bigint);"
            "INSERT INTO sales VALUES ('a', 'uno', 10), ('c', 'tres', 30000000000)"
        )
        source.execute(ddl.encode())
    answer = project.terminal.ingest("run", "sales", "--json")
    assert (answer.code == 0) == (table is not None), answer.err
    assert project.table() == (LOADED if table is None else table)
