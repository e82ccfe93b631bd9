"""A bad cell of every type, from a file or a query: exported, corrected, replayed, as if it had been right at first."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.servers.postgres import fresh_database

# type, its options, a bad cell, a good one
TYPES: list[tuple[str, dict[str, Any], str, str]] = [
    ("string", {"max_length": 3}, "four", "=1"),
    ("int", {"min": -5}, "-7", "-5"),
    ("decimal", {"type": "decimal(6,2)"}, "1.234", "-1.20"),
    ("float", {}, "1e999", "-1.5e3"),
    ("bool", {}, "perhaps", "no"),
    ("date", {"format": "%d/%m/%Y"}, "31/02/2024", "29/02/2024"),
    ("datetime", {}, "2024-01-01 25:00", "2024-01-01T10:00:00+02:00"),
    ("enum", {"options": ["Gold", "Silver"]}, "Tin", "2"),
    ("object", {}, "[1]", '{"a": "b,\\n"}'),
    ("objects", {}, '{"a": 1}', '[{"a": 1}]'),
    ("array", {}, "1", '["=x", 2]'),
    ("email", {}, "@example", "ann@example.com"),
    ("phone", {"region": "GB"}, "+0", "+44 20 7946 0018"),
    ("phones", {"region": "GB"}, "+0;1", "+442079460018;+33612345678"),
    ("ip", {}, "=1.2.3", "::1"),
]


def configure(project: Terminal, name: str, source: dict[str, Any]) -> None:
    """An import of every type into a table of its own."""
    databases = yaml.safe_load((project.folder / "databases.yaml").read_text())
    fields = {f"f_{kind}": {"type": kind, **more} for kind, more, *_ in TYPES}
    databases["databases"][name] = {
        "table": f"crm.{name}", "key": "customer_id", "max_fields_per_import": 20,
        "fields": {"customer_id": {"type": "string"}, **fields},
    }  # fmt: skip
    (project.folder / "databases.yaml").write_text(yaml.safe_dump(databases))
    columns = {"id": "customer_id", **{kind: f"f_{kind}" for kind, *_ in TYPES}}
    spec = {"status": "active", "database": name, "source": source, "columns": columns, "rejects": {"unlimited": True}}
    (project.folder / "imports" / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def table(project: Terminal, name: str) -> list[tuple[Any, ...]]:
    fields = ", ".join(f"f_{kind}::text" for kind, *_ in TYPES)
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        return connection.execute(f"SELECT customer_id, {fields} FROM crm.{name} ORDER BY 1".encode()).fetchall()


def replay_corrected(project: Terminal, name: str, corrections: dict[str, tuple[str, str]]) -> Any:
    """The export with one cell of each row corrected, replayed: row's key -> column and cell."""
    assert project.ingest("rejects", "export", name, "-o", "types.csv").code == 0
    with (project.folder / "types.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    for row in rows:
        column, cell = corrections[row[header.index("id")]]
        row[header.index(column)] = cell
    with (project.folder / "types.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    answer = project.ingest("rejects", "replay", name, "types.csv", "--json")
    assert answer.code == 0, answer.err
    return answer.json[0]


def test_a_bad_cell_of_every_type_in_a_file(starter: Terminal) -> None:
    configure(starter, "types_of_files", {"connection": "uploads"})
    good = [cell for *_, cell in TYPES]
    rows = [[f"r{at:02}", *good[:at], bad, *good[at + 1 :]] for at, (_, _, bad, _) in enumerate(TYPES)]
    with (starter.folder / "delivery.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", *(kind for kind, *_ in TYPES)], ["right", *good], *rows])
    [load] = starter.ingest("run", "types_of_files", "--file", "delivery.csv", "--json").json
    assert (load["inserted"], load["rejected"]) == (1, len(TYPES))
    corrections = {f"r{at:02}": (kind, cell) for at, (kind, _, _, cell) in enumerate(TYPES)}
    replayed = replay_corrected(starter, "types_of_files", corrections)
    assert (replayed["inserted"], replayed["resolved"]) == (len(TYPES), len(TYPES))
    values = {row[1:] for row in table(starter, "types_of_files")}
    assert len(values) == 1, "every row as if it had been right at first"


@pytest.fixture
def shop(postgres_url: str, starter: Terminal) -> Iterator[tuple[Terminal, str]]:
    """A project with a connection to a database, and that database's URL."""
    with fresh_database(postgres_url) as url:
        parts = urlsplit(url)
        with (starter.folder / "connections.yaml").open("a") as file:
            file.write(
                f"\n  shop:\n    type: postgresql\n    host: {parts.hostname}\n    port: {parts.port}\n"
                f"    database: {parts.path[1:]}\n    username: {parts.username}\n    password: {{env: SHOP_PW}}\n"
            )
        yield Terminal(starter.folder, {**starter.environment, "SHOP_PW": str(parts.password)}), url


def test_a_row_of_a_query_keeps_the_meaning_of_its_other_cells(shop: tuple[Terminal, str]) -> None:
    project, url = shop
    columns = """
        'x'::text AS "string", 3::numeric(9,0) AS "int", 1.2::numeric(9,4) AS "decimal", 2.5::float8 AS "float",
        true AS "bool", DATE '2024-02-29' AS "date", TIMESTAMPTZ '2024-01-01 10:00:00.123456+02' AS "datetime",
        'Silver'::text AS "enum", '{"a": 1}'::jsonb AS "object", '[{"a": 1}]'::jsonb AS "objects",
        '[1, "b"]'::jsonb AS "array",
        '+442079460018'::text AS "phone", '+442079460018;+33612345678'::text AS "phones", host('::1'::inet) AS "ip"
    """
    configure(
        project, "types_of_queries",
        {"connection": "shop", "query": f"SELECT id, email, {columns} FROM people ORDER BY id"},
    )  # fmt: skip
    with psycopg.connect(url) as source:
        source.execute("CREATE TABLE people (id text, email text)")
        source.execute("INSERT INTO people VALUES ('bad', 'nobody'), ('right', 'ann@example.com')")
    answer = project.ingest("run", "types_of_queries", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json[0]["inserted"], answer.json[0]["rejected"]) == (1, 1)
    replayed = replay_corrected(project, "types_of_queries", {"bad": ("email", "ann@example.com")})
    assert replayed["resolved"] == 1
    bad, right = table(project, "types_of_queries")
    assert bad[1:] == right[1:]
