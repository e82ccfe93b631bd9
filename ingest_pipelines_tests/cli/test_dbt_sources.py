"""`ingest dbt-sources`: what dbt and dagster-dbt read of the profile tables, and what their tests find in them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from ingest_pipelines.cli.dbt_sources import sources_yaml
from ingest_pipelines.config import read_project
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.dbt_environment import Dbt

EXAMPLE = Path(__file__).parents[2] / "examples" / "dbt_marts"

DATABASES: dict[str, Any] = {
    "customers": {
        "table": "crm.Customers",
        "key": "customer_id",
        "description": 'Who buys: {{ not a template }}, "quoted" and it\'s fine',
        "fields": {
            "customer_id": {"type": "string", "max_length": 64, "description": "The till's number"},
            "tier": {"type": "enum", "options": ["Bronze", "O'Neil", "{{ odd }}", 'a"b', "Größe"], "required": True},
            "email": {"type": "email", "unique": True},
            "stars": {"type": "int", "one_of": ["1", "2", "3"]},
            "name": {"type": "string", "required": True},
        },
    },
    "shops": {"table": "shops", "key": "id", "fields": {"id": {"type": "int"}, "city": {"type": "string"}}},
}
STARS = {"ID": "customer_id", "S": "stars"}
COLUMNS = {"ID": "customer_id", "Tier": "tier", "Mail": "email", "Stars": "stars", "Name": "name"}
ROWS = """ID,Tier,Mail,Stars,Name
C1,O'Neil,a@b.example,1,Ann
C2,{{ odd }},c@d.example,,Bo
C3,"a""b",,3,Cy
C4,Größe,,2,Di
"""


def write_project(folder: Path, *, imports: dict[str, dict[str, Any]] | None = None) -> Path:
    """A project of two tables, whose imports read uploads."""
    (folder / "imports").mkdir(parents=True)
    (folder / "uploads").mkdir()
    connections = {"connections": {"uploads": {"type": "csv", "directory": "uploads"}}}
    (folder / "connections.yaml").write_text(yaml.safe_dump(connections))
    (folder / "databases.yaml").write_text(yaml.safe_dump({"databases": DATABASES}, sort_keys=False))
    for name, spec in (imports or {}).items():
        whole = {"database": "customers", "source": {"connection": "uploads", "file": name}, **spec}
        (folder / "imports" / f"{name}.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    return folder


def columns_of(folder: Path, table: str = "Customers") -> dict[str, Any]:
    """The tests of each column."""
    document = yaml.safe_load(sources_yaml(read_project(folder)))
    [found] = [each for source in document["sources"] for each in source["tables"] if each["name"] == table]
    return {column["name"]: column.get("data_tests", []) for column in found["columns"]}


def test_a_table_is_a_source_with_the_asset_that_its_loads_materialize(tmp_path: Path) -> None:
    text = sources_yaml(read_project(write_project(tmp_path / "project")))
    document = yaml.safe_load(text)
    assert text.startswith("# Written by `ingest dbt-sources`")
    assert [(source["name"], source["schema"]) for source in document["sources"]] == [
        ("crm", "crm"),
        ("public", "public"),
    ]
    [table] = document["sources"][0]["tables"]
    assert table["config"] == {"meta": {"dagster": {"asset_key": ["table", "crm", "Customers"]}}}
    assert table["columns"][0] == {
        "name": "customer_id", "description": "The till's number", "data_type": "character varying(64)",
        "data_tests": ["unique", "not_null"],
    }  # fmt: skip
    assert text == sources_yaml(read_project(tmp_path / "project"))


WARN = {"config": {"severity": "warn"}}


@pytest.mark.parametrize(
    ("imports", "column", "tests"),
    [
        ({"all": {"columns": COLUMNS}}, "name", ["not_null"]),
        ({"all": {"columns": COLUMNS}, "some": {"columns": {"ID": "customer_id"}}}, "name", [{"not_null": WARN}]),
        (
            {"all": {"columns": COLUMNS}, "some": {"columns": STARS, "mode": "update_only"}},
            "name",
            ["not_null"],
        ),
        ({"all": {"columns": {**COLUMNS, "Name": {"field": "name", "required": False}}}}, "name", [{"not_null": WARN}]),
        ({}, "email", [{"unique": WARN}]),
        ({}, "stars", [{"accepted_values": {"arguments": {"values": ["1", "2", "3"]}}}]),
        (
            {
                "all": {"columns": {**COLUMNS, "Stars": {"field": "stars", "one_of": ["3", "4"]}}},
                "too": {"columns": COLUMNS},
            },
            "stars",
            [{"accepted_values": {"arguments": {"values": ["3", "4", "1", "2"]}}}],
        ),
        ({"all": {"columns": {**COLUMNS, "X": {"field": "score", "type": "int", "one_of": ["5"]}}}}, "score",
         [{"accepted_values": {"arguments": {"values": ["5"]}}}]),
        ({"all": {"columns": {**COLUMNS, "X": {"field": "score", "type": "int"}}}}, "score", []),
        ({}, "customer_id", ["unique", "not_null"]),
    ],
)  # fmt: skip
def test_a_test_is_an_error_where_every_load_keeps_it_and_else_a_warning(
    tmp_path: Path, imports: dict[str, dict[str, Any]], column: str, tests: list[Any]
) -> None:
    """`unique` and `required` are rules of an item; what they say of the whole table depends on all imports."""
    assert columns_of(write_project(tmp_path / "project", imports=imports))[column] == tests


def test_the_command_prints_or_writes_the_file_and_a_mistake_writes_nothing(tmp_path: Path) -> None:
    home = write_project(tmp_path / "project")
    terminal = Terminal(home, {"INGEST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    printed = terminal.ingest("dbt-sources")
    assert (printed.code, printed.out) == (0, sources_yaml(read_project(home)))
    file = tmp_path / "sources.yml"
    assert terminal.ingest("dbt-sources", "--output", file).code == 0
    assert file.read_text() == printed.out
    file.unlink()
    (home / "databases.yaml").write_text("databases: {customers: {table: crm.customers}}\n")
    answer = terminal.ingest("dbt-sources", "--output", file)
    assert answer.code == 2
    assert "databases.yaml:1" in answer.err
    assert not file.exists()


@pytest.mark.slow
def test_dbt_reads_every_word_and_finds_only_what_is_wrong_in_the_table(tmp_path: Path, database_url: str) -> None:
    home = write_project(tmp_path / "project", imports={"tills": {"columns": COLUMNS}})
    (home / "uploads" / "tills.csv").write_text(ROWS, encoding="utf-8")
    terminal = Terminal(home, {"INGEST_DATABASE_URL": database_url})
    assert terminal.ingest("run", "tills").code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE shops (id bigint PRIMARY KEY, city text)")
    dbt = Dbt(_dbt_project(tmp_path / "dbt", database_url))
    assert terminal.ingest("dbt-sources", "--output", dbt.project / "models" / "sources.yml").code == 0
    good = dbt.run("test")
    assert {test["outcome"] for test in good["tests"]} == {"pass"}
    [customers] = [source for relation, source in good["sources"].items() if "Customers" in relation]
    assert customers["asset_key"] == ["table", "crm", "Customers"]
    assert customers["description"] == DATABASES["customers"]["description"]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """UPDATE crm."Customers" SET tier = 'Pink', name = NULL, stars = 9, email = 'a@b.example'"""
        )
    spoiled = {(test["column"], test["test"]): test["outcome"] for test in dbt.run("test")["tests"]}
    assert {place for place, outcome in spoiled.items() if outcome != "pass"} == {
        ("tier", "accepted_values"), ("stars", "accepted_values"), ("name", "not_null"), ("email", "unique"),
    }  # fmt: skip
    assert (spoiled["name", "not_null"], spoiled["email", "unique"]) == ("fail", "warn")


def test_the_sources_of_the_example_are_those_of_its_project() -> None:
    written = (EXAMPLE / "models" / "sources.yml").read_text(encoding="utf-8")
    assert written == sources_yaml(read_project(EXAMPLE / "crm")), "run: ingest dbt-sources, as its README says"


@pytest.mark.slow
def test_the_example_builds_its_models_on_the_table_that_its_import_fills(tmp_path: Path, database_url: str) -> None:
    example = tmp_path / "dbt_marts"
    shutil.copytree(EXAMPLE, example)
    terminal = Terminal(example / "crm", {"INGEST_DATABASE_URL": database_url})
    assert terminal.ingest("run", "customers").code == 0
    parts = urlsplit(database_url)
    built = Dbt(example).run(
        "build", PGHOST=str(parts.hostname), PGPORT=str(parts.port), PGUSER=str(parts.username),
        PGPASSWORD=str(parts.password), PGDATABASE=parts.path[1:],
    )  # fmt: skip
    assert built["models"] == {"customers_by_tier": "success"}
    assert {test["outcome"] for test in built["tests"]} == {"pass"}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT tier, customers, points FROM marts.customers_by_tier ORDER BY 1").fetchall()
    assert rows == [("Bronze", 1, 0), ("Gold", 1, 120), ("Silver", 2, 75)]


def _dbt_project(folder: Path, database_url: str) -> Path:
    (folder / "models").mkdir(parents=True)
    parts = urlsplit(database_url)
    output = {
        "type": "postgres", "host": parts.hostname, "port": parts.port, "user": parts.username,
        "password": str(parts.password), "dbname": parts.path[1:], "schema": "marts", "threads": 2,
    }  # fmt: skip
    project = {"name": "team", "version": "1.0", "profile": "team", "model-paths": ["models"]}
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (folder / "profiles.yml").write_text(yaml.safe_dump({"team": {"target": "dev", "outputs": {"dev": output}}}))
    (folder / "models" / "bronze.sql").write_text(
        "select * from {{ source('crm', 'Customers') }} where tier = 'Bronze'\n"
    )
    return folder
