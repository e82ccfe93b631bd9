"""Query imports in the terminal: browse tables, plan and run a cursor's chunks, see where the next one starts."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.servers import mysql
from ingest_pipelines_tests.servers.postgres import fresh_database

IMPORT = """\
database: customers
source:
  connection: shop
  query: SELECT id, 'NAME' || customer AS customer, tier FROM members WHERE id > {lastItem} ORDER BY id LIMIT 4
  cursor: {column: id, start: 0}
columns: {customer: customer_id, tier: {field: tier, type: string, max_length: 10}}
"""


@pytest.fixture(scope="module")
def shop(postgres_url: str, starter: Terminal) -> Iterator[Terminal]:
    """A project with a connection to a shop's database."""
    with fresh_database(postgres_url) as url:
        with psycopg.connect(url) as source:
            source.execute("CREATE TABLE members (id bigint, customer text, tier text, joined date)")
            source.execute(
                "INSERT INTO members SELECT n, 'M' || n, 'Gold', DATE '2020-01-01' + n FROM generate_series(1, 10) n"
            )
        parts = urlsplit(url)
        with (starter.folder / "connections.yaml").open("a") as file:
            file.write(
                f"\n  shop:\n    type: postgresql\n    host: {parts.hostname}\n    port: {parts.port}\n"
                f"    database: {parts.path[1:]}\n    username: {parts.username}\n    password: {{env: SHOP_PW}}\n"
            )
        yield Terminal(starter.folder, {**starter.environment, "SHOP_PW": str(parts.password), "SHOP_URL": url})


@pytest.fixture
def members(shop: Terminal, request: pytest.FixtureRequest) -> str:
    """The name of an import that reads the shop's members in chunks of four, with customers of its own."""
    name = f"members_{request.node.name.removeprefix('test_')[:20]}"
    (shop.folder / "imports" / f"{name}.yaml").write_text(IMPORT.replace("NAME", f"{name}-"))
    return name


def test_browse_lists_tables_and_looks_into_one(shop: Terminal) -> None:
    assert "ingest browse shop 'public.members' --columns" in shop.ingest("browse", "shop").out
    columns = shop.ingest("browse", "shop", "public.members", "--columns", "--json").json["columns"]
    assert [(each["column"], each["first"], each["suggested"]) for each in columns] == [
        ("id", "1", "int"), ("customer", "M1", "string"), ("tier", "Gold", "string"), ("joined", "2020-01-02", "date"),
    ]  # fmt: skip


def test_check_connect_tests_a_database_step_by_step(shop: Terminal, members: str) -> None:
    answer = shop.ingest("check", members, "--connect", "--json")
    assert answer.code == 0
    assert answer.json["connections"][0]["ok"] is True
    wrong = shop.ingest("check", members, "--connect", SHOP_PW="wrong-password")
    assert wrong.code == 3
    assert "failed  login" in wrong.out
    assert "wrong-password" not in wrong.out + wrong.err


def test_a_plan_reads_one_chunk_and_moves_no_cursor(shop: Terminal, members: str) -> None:
    planned = shop.ingest("plan", members, "--json")
    assert planned.code == 0, planned.err
    assert (planned.json["read"], planned.json["inserted"]) == (4, 4)
    assert shop.ingest("cursor", "show", members, "--json").json["value"] is None
    assert shop.ingest("report", members, "--json").json == []


def test_a_run_drains_the_cursor_chunk_by_chunk(shop: Terminal, members: str) -> None:
    ran = shop.ingest("run", members, "--json")
    assert ran.code == 0, ran.err
    assert [load["inserted"] for load in ran.json] == [4, 4, 2]
    assert shop.ingest("cursor", "show", members, "--json").json["value"] == "10"
    shown = shop.ingest("cursor", "show", members).out
    assert shown.startswith(f"{members}: the next chunk starts after id = 10\n")


def test_a_drained_source_has_nothing_new(shop: Terminal, members: str) -> None:
    assert shop.ingest("run", members).code == 0
    answer = shop.ingest("run", members)
    assert answer.code == 0, answer.err
    assert "  nothing new: the source has no rows after 10\n" in answer.out


def test_a_cursor_set_back_reads_again_and_changes_nothing(shop: Terminal, members: str) -> None:
    assert shop.ingest("run", members).code == 0
    assert shop.ingest("cursor", "set", members, "8", "--yes").code == 0
    ran = shop.ingest("run", members, "--json")
    assert [(load["read"], load["unchanged"]) for load in ran.json] == [(2, 2)]
    assert shop.ingest("cursor", "show", members, "--json").json["value"] == "10"


TIES = """\
database: customers
source:
  connection: {connection}
  query: SELECT cid, tier, seq FROM {table} WHERE seq > {{lastItem}} ORDER BY seq LIMIT 3
  cursor: {{column: seq, start: {start}}}
columns: {{cid: customer_id, tier: {{field: tier, type: string, max_length: 10}}}}
"""


@pytest.mark.parametrize(
    ("kind", "values", "start"),
    [
        ("bigint", ["1", "2", "3", "3", "4"], "0"),
        (
            "uuid",
            [f"'{digit * 8}-0000-7000-8000-000000000000'" for digit in "12334"],
            "00000000-0000-0000-0000-000000000000",
        ),
    ],
    ids=["bigint", "uuid"],
)
def test_a_row_that_the_limit_cuts_from_its_like_is_not_lost(
    shop: Terminal, kind: str, values: list[str], start: str
) -> None:
    """The fourth row shares its value with the third, where the first chunk ends."""
    with psycopg.connect(shop.environment["SHOP_URL"], autocommit=True) as source:
        source.execute(sql.SQL("CREATE TABLE ties_{} (cid text, tier text, seq {})").format(*[sql.SQL(kind)] * 2))
        for number, value in enumerate(values, 1):
            statement = sql.SQL("INSERT INTO ties_{} VALUES ({}, 'Gold', {})")
            source.execute(statement.format(sql.SQL(kind), f"{kind}{number}", sql.SQL(value)))
    written = TIES.format(connection="shop", table=f"ties_{kind}", start=start)
    (shop.folder / "imports" / f"ties_{kind}.yaml").write_text(written)
    for read in ([2, 3], [0]):
        ran = shop.ingest("run", f"ties_{kind}", "--json")
        assert ran.code == 0, ran.err
        assert [load["read"] for load in ran.json] == read


def test_texts_that_only_the_database_takes_for_equal_are_not_lost(
    shop: Terminal, mysql_database: mysql.MysqlDatabase
) -> None:
    """A collation says that e is é and x is 'x '; chunks of three rows end between them."""
    mysql_database.execute(
        "CREATE TABLE ties (cid varchar(9), tier varchar(9), seq varchar(9)) COLLATE utf8mb4_general_ci",
        "INSERT INTO ties VALUES ('M1', 'Gold', 'a'), ('M2', 'Gold', 'A'), ('M3', 'Gold', 'b'), ('M4', 'Gold', 'e'),"
        " ('M5', 'Gold', 'é'), ('M6', 'Gold', 'x'), ('M7', 'Gold', 'x '), ('M8', 'Gold', 'z')",
    )
    server = mysql_database.server
    with (shop.folder / "connections.yaml").open("a") as file:
        file.write(
            f"\n  tills:\n    type: mysql\n    host: {server.host}\n    port: {server.port}\n"
            f"    database: {mysql_database.name}\n    username: {server.username}\n    password: {{env: TILLS_PW}}\n"
        )
    written = TIES.format(connection="tills", table="ties", start='""')
    (shop.folder / "imports" / "ties_text.yaml").write_text(written)
    ran = shop.ingest("run", "ties_text", "--json", TILLS_PW=server.password)
    assert ran.code == 0, ran.err
    assert sum(load["read"] for load in ran.json) == 8
