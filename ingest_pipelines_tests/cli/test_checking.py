"""`ingest check`, `schema`, `init`: a project is right before anything runs, and a new one is right from the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.config.projects import RIGHT, write_project


def test_check_of_a_right_project_sums_it_up(terminal: Terminal) -> None:
    write_project(terminal.folder, RIGHT)
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == f"ok: 1 import, 3 connections, 1 database in {terminal.folder}"
    assert "  loyalty  add_and_update        3  customers  vendor: loyalty/Customers" in answer.out.splitlines()


def test_check_as_json(terminal: Terminal) -> None:
    write_project(terminal.folder, RIGHT)
    answer = terminal.ingest("check", "loyalty", "--json", "--rules", VENDOR_PW="x").json
    assert answer["imports"] == [
        {
            "import": "loyalty", "source": "loyalty/Customers", "connection": "vendor", "type": "sftp",
            "mode": "add_and_update", "database": "customers", "columns": 3, "status": "active",
        }
    ]  # fmt: skip
    assert {"field": "customer_id", "code": "too_long", "rule": "over 12 characters"} in answer["rules"]["loyalty"]
    assert answer["formats"]["loyalty"]["delimiter"] == '","'


def test_check_names_the_line_of_a_pattern_that_the_rules_cannot_read(terminal: Terminal) -> None:
    text = RIGHT["databases.yaml"].replace("{type: int}", r'{type: string, pattern: "(?<=a)b"}')
    write_project(terminal.folder, {**RIGHT, "databases.yaml": text})
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 2
    assert "databases.yaml:11: databases.customers.fields.points.pattern: uses back-references" in answer.err


def test_check_finds_what_only_the_rules_can_tell(terminal: Terminal) -> None:
    too_large = RIGHT["databases.yaml"].replace("{type: int}", r'{type: string, pattern: "\\w{1000}"}')
    write_project(terminal.folder, {**RIGHT, "databases.yaml": too_large})
    loyalty = terminal.folder / "imports" / "loyalty.yaml"
    loyalty.write_text(RIGHT["imports/loyalty.yaml"].replace("  Tier: tier", "  Points: points"))
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 2
    assert "imports/loyalty.yaml:7: points.pattern: is too large" in answer.err


def test_check_names_the_line_of_a_query_that_is_no_select(terminal: Terminal) -> None:
    query = "  connection: shop_db\n  query: DELETE FROM customers"
    loyalty = RIGHT["imports/loyalty.yaml"].replace("  connection: vendor\n  file: loyalty/Customers", query)
    write_project(terminal.folder, {**RIGHT, "imports/loyalty.yaml": loyalty})
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 2
    assert "imports/loyalty.yaml:4: source.query: not a SELECT" in answer.err


@pytest.mark.parametrize("other", ["", "database: nowhere", "mod: add_only", "broken databases.yaml"])
def test_check_reads_a_query_whatever_else_is_wrong(terminal: Terminal, other: str) -> None:
    query = "  connection: shop_db\n  query: SELECT 1 AS cid; DROP TABLE customers"
    loyalty = RIGHT["imports/loyalty.yaml"].replace("  connection: vendor\n  file: loyalty/Customers", query)
    if other.startswith("database: "):
        loyalty = loyalty.replace("database: customers", other)
    elif other.startswith("mod: "):
        loyalty += f"{other}\n"
    databases = (
        RIGHT["databases.yaml"].replace("key:", "kee:") if other.startswith("broken") else RIGHT["databases.yaml"]
    )
    write_project(terminal.folder, {**RIGHT, "imports/loyalty.yaml": loyalty, "databases.yaml": databases})
    for words in (("check",), ("check", "loyalty")):
        answer = terminal.ingest(*words, VENDOR_PW="x")
        assert answer.code == 2
        assert answer.err.count("imports/loyalty.yaml:4: source.query: ") == 1, answer.err


@pytest.mark.parametrize(
    ("condition", "mistake"),
    [
        ("id > {lastItem}", "{lastItem} has a value only with cursor: {column, start}"),
        ("seen >= {windowStart}", "{windowStart} has a value only with window: {every, start}"),
        ("id > {last_item}", "{last_item} is no placeholder; did you mean {lastItem}?"),
        ("id > 0 -- {lastItem}", None),
    ],
)
def test_check_finds_a_placeholder_that_nothing_gives_a_value(
    terminal: Terminal, condition: str, mistake: str | None
) -> None:
    query = f"source: {{connection: shop_db, query: 'SELECT cid FROM orders WHERE {condition}'}}"
    write_project(
        terminal.folder,
        {**RIGHT, "imports/loyalty.yaml": f"database: customers\n{query}\ncolumns: {{cid: customer_id}}\n"},
    )
    answer = terminal.ingest("check", "loyalty", VENDOR_PW="x")
    assert answer.code == (0 if mistake is None else 2)
    assert mistake is None or f"imports/loyalty.yaml:2: source.query: {mistake}" in answer.err


def test_check_notes_a_query_that_is_sent_without_being_understood(terminal: Terminal) -> None:
    query = "  connection: shop_db\n  query: SELECT cid FROM CHANGETABLE(CHANGES dbo.t, 0) AS c"
    loyalty = RIGHT["imports/loyalty.yaml"].replace("  connection: vendor\n  file: loyalty/Customers", query)
    connections = RIGHT["connections.yaml"].replace("postgresql", "mssql")
    write_project(terminal.folder, {**RIGHT, "imports/loyalty.yaml": loyalty, "connections.yaml": connections})
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 0, answer.err
    said = " ".join(answer.out.split())
    assert "note: imports/loyalty.yaml:4: source.query: the parser understands it up to line 1" in said
    assert "SQL Server has no read-only sessions" in said
    assert "CHANGETABLE" not in answer.out
    [note] = terminal.ingest("check", "--json", VENDOR_PW="x").json["notes"]
    assert note.startswith("imports/loyalty.yaml:4: source.query: ")


def test_check_connect_names_the_step_that_failed_and_is_exit_3(terminal: Terminal) -> None:
    write_project(
        terminal.folder, {**RIGHT, "imports/loyalty.yaml": RIGHT["imports/loyalty.yaml"].replace("vendor", "uploads")}
    )
    answer = terminal.ingest("check", "--connect", VENDOR_PW="x")
    assert answer.code == 3
    assert "failed  folder" in answer.out
    assert answer.err == "error: uploads: the connection test failed at the step shown above\n"


def test_schema_prints_one_or_all_and_writes_files(terminal: Terminal) -> None:
    assert set(terminal.ingest("schema").json) == {"connections", "databases", "import", "notify"}
    one = terminal.ingest("schema", "import").json
    assert "columns" in one["properties"]
    answer = terminal.ingest("schema", "--output", "schemas")
    assert answer.code == 0
    assert json.loads((terminal.folder / "schemas" / "import.json").read_text()) == one


def test_init_lays_out_a_project_that_checks_and_loads(starter: Terminal) -> None:
    assert starter.ingest("check").code == 0
    loads = starter.ingest("run", "loyalty", "--json").json
    assert [(load["read"], load["inserted"], load["rejected"]) for load in loads] == [(5, 4, 1)]
    assert (starter.folder / ".gitignore").read_text().startswith(".ingest/")
    for name in ("connections", "databases"):
        modeline = (starter.folder / f"{name}.yaml").read_text().splitlines()[0]
        assert (starter.folder / modeline.split("$schema=")[1]).is_file()


def test_init_never_writes_into_a_folder_with_something_in_it(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    answer = terminal.ingest("init", "mine")
    assert answer.code == 2
    assert answer.err == "error: mine is not empty; nothing was written\n  name a new folder\n"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
