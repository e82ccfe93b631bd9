"""What an import has loaded stands: `check` says what the ledger, the table or another import will refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage

CONNECTIONS = """\
connections:
  uploads: {type: csv, directory: uploads}
  shop: {type: postgresql, host: 127.0.0.1, port: 1, database: x, username: x, password: {env: SHOP_PW}}
"""
DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields: {customer_id: {type: string, max_length: 64}}
"""
LIVE = """\
database: customers
source: {connection: uploads}
columns:
  id: customer_id
  pts: {field: points, type: int}
rejects: {unlimited: true}
"""


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A project whose import `live` has loaded two rows."""
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as storage:
        home = tmp_path_factory.mktemp("live")
        (home / "imports").mkdir()
        (home / "uploads").mkdir()
        (home / "connections.yaml").write_text(CONNECTIONS)
        (home / "databases.yaml").write_text(DATABASES)
        environment = {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage, "SHOP_PW": "x"}
        terminal = Terminal(home, environment)
        write(terminal, "live", LIVE)
        assert terminal.ingest("check").code == 0  # nothing is there yet, not even the ledger
        answer = deliver(terminal, "live", "a,1", "b,2")
        assert answer.code == 0, answer.err
        yield terminal


@pytest.fixture(autouse=True)
def mended(project: Terminal) -> Iterator[None]:
    """After each test the project is as it was."""
    yield
    for file in (project.folder / "imports").iterdir():
        file.unlink()
    write(project, "live", LIVE)
    (project.folder / "databases.yaml").write_text(DATABASES)


def write(project: Terminal, name: str, text: str) -> None:
    (project.folder / "imports" / f"{name}.yaml").write_text(text)


def deliver(project: Terminal, name: str, *rows: str, header: str = "id,pts"):  # type: ignore[no-untyped-def]
    file: Path = project.folder / f"{name}.csv"
    file.write_text("\n".join([header, *rows, ""]))
    return project.ingest("run", name, "--file", file)


@pytest.mark.parametrize("newcomer", ["aaa", "zzz"])
@pytest.mark.parametrize("kind", ["string", "float", '"decimal(9,2)"'])
def test_of_two_imports_that_disagree_the_one_that_has_not_loaded_is_wrong(
    project: Terminal, newcomer: str, kind: str
) -> None:
    write(project, newcomer, LIVE.replace("type: int", f"type: {kind}"))
    mistake = (
        f"imports/{newcomer}.yaml:5: columns.pts: 'points' is int in imports/live.yaml and {kind.strip(chr(34))} here"
    )
    for words in (("check",), ("check", newcomer)):
        answer = project.ingest(*words)
        assert answer.code == 2
        assert mistake in answer.err
        assert "imports/live.yaml:" not in answer.err
    assert project.ingest("check", "live").code == 0
    assert project.ingest("plan", "live", "--file", project.folder / "live.csv").code == 0


RETYPED = {
    "of the import": (
        DATABASES,
        DATABASES.replace("max_length: 64}}", "max_length: 64}, points: {type: string}}"),
        LIVE,
    ),
    "of the key": (DATABASES, DATABASES.replace("{type: string, max_length: 64}", "{type: int}"), LIVE),
    "of both": (
        DATABASES.replace("max_length: 64}}", "max_length: 64}, points: {type: int, min: 0}}"),
        DATABASES.replace("max_length: 64}}", 'max_length: 64}, points: {type: "decimal(9,2)", min: 0}}'),
        LIVE,
    ),
    "of databases.yaml": (
        DATABASES.replace("max_length: 64}}", "max_length: 64}, points: {type: int, required: true}}"),
        DATABASES.replace("max_length: 64}}", "max_length: 64}, points: {type: string, max_length: 9}}"),
        LIVE.replace("{field: points, type: int}", "points"),
    ),
    "of another import": (
        DATABASES.replace("max_length: 64}}", "max_length: 64}, tier: {type: string}}"),
        DATABASES.replace("max_length: 64}}", "max_length: 64}, tier: {type: int}}"),
        LIVE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("field", RETYPED)
def test_a_field_retyped_in_databases_yaml_is_the_mistake_and_live_imports_go_on(
    project: Terminal, postgres_url: str, field: str
) -> None:
    before, after, live = RETYPED[field]
    with fresh_target(postgres_url) as target:
        project = Terminal(project.folder, {**project.environment, "INGEST_DATABASE_URL": target})
        write(project, "live", live)
        (project.folder / "databases.yaml").write_text(before)
        assert deliver(project, "live", "a,1", "b,2").code == 0
        (project.folder / "databases.yaml").write_text(after)
        checked = project.ingest("check")
        assert checked.code == 2
        assert "1 mistake" in checked.err
        assert "databases.yaml:5: databases.customers.fields." in checked.err
        assert "since the first load of imports/live.yaml" in checked.err
        assert project.ingest("check", "live").code == 0
        planned = project.ingest("plan", "live", "--file", project.folder / "live.csv")
        assert planned.code == 0, planned.err
        loaded = deliver(project, "live", "a,7", "b,x", "c,9")
        assert loaded.code == 0, loaded.err
        assert "as it was created; databases.yaml says" in " ".join(loaded.out.split())
        with psycopg.connect(target) as connection:
            rows = connection.execute("SELECT customer_id, points FROM crm.customers ORDER BY 1").fetchall()
        assert rows == [("a", 7), ("b", 2), ("c", 9)]


def test_an_import_that_contradicts_databases_yaml_loads_nothing(project: Terminal) -> None:
    more = DATABASES.replace("max_length: 64}}", "max_length: 64}, score: {type: string}}")
    (project.folder / "databases.yaml").write_text(more)
    write(project, "zzz", LIVE.replace("{field: points, type: int}", "{field: score, type: int}"))
    for words in (("check",), ("check", "zzz")):
        answer = project.ingest(*words)
        assert answer.code == 2
        assert "imports/zzz.yaml:5: columns.pts: 'score' is string in databases.yaml and int here" in answer.err
    refused = deliver(project, "zzz", "c,1")
    assert refused.code == 1
    assert "the field 'score' is string in databases.yaml, and int in the import" in refused.err
    assert deliver(project, "live", "a,1", "b,2").code == 0


def test_the_newcomer_loads_nothing_and_the_live_import_goes_on(project: Terminal) -> None:
    write(project, "aaa", LIVE.replace("type: int", "type: string"))
    refused = deliver(project, "aaa", "c,x")
    assert refused.code == 1
    assert "'points' was created as int by import live, and the YAML says string" in refused.err
    assert deliver(project, "live", "a,7", "b,8").code == 0
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT customer_id, points FROM crm.customers ORDER BY 1").fetchall()
    assert rows == [("a", 7), ("b", 8)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("type: int", "type: string", "it filled 'points' (int), now 'points' (string)"),
        ("type: int", '"type": "decimal(9,2)"', "it filled 'points' (int), now 'points' (decimal(9,2))"),
        ("field: points", "field: score", "it filled 'points' (int), now 'score' (int)"),
        ("  pts: {field: points, type: int}\n", "", "columns.pts: removed; it filled 'points' (int)"),
        ("rejects", "  more: {field: more, type: int}\nrejects", "columns.more: added since the first committed load"),
    ],
)
def test_what_a_committed_import_is_locked_to_is_said_by_check_and_by_the_run(
    project: Terminal, old: str, new: str, says: str
) -> None:
    write(project, "live", LIVE.replace(old, new))
    for words in (("check",), ("check", "live")):
        answer = project.ingest(*words)
        assert answer.code == 2
        assert says in answer.err
        assert answer.err.count("columns.") == 1
        assert "ingest unlock live" in answer.err
    run = deliver(project, "live", "a,x,1", "b,y,1", header="id,pts,more")
    assert run.code == 2
    assert says in run.err
    assert "rejected" not in run.err


def test_every_mistake_is_said_at_once(project: Terminal) -> None:
    write(project, "live", LIVE.replace("type: int", "type: string"))
    write(project, "newcomer", LIVE.replace("type: int", "type: float"))
    query = "source: {connection: shop, query: DELETE FROM customers}"
    write(project, "query", LIVE.replace("source: {connection: uploads}", query))
    both = LIVE.replace("source: {connection: uploads}", query).replace("  id: customer_id\n", "")
    write(project, "query_and_more", both.replace("pts", "points"))
    write(project, "typo", LIVE + "mod: add_only\n")
    answer = project.ingest("check")
    assert answer.code == 2
    for part in (
        "live.yaml:5: columns.pts: it filled", "newcomer.yaml:5: columns.pts: 'points' is int in imports/live.yaml",
        "query.yaml:2: source.query: not a SELECT", "query_and_more.yaml:2: source.query: not a SELECT",
        "query_and_more.yaml:3: columns: one column must be mapped", "typo.yaml:7: mod: unknown key",
    ):  # fmt: skip
        assert part in answer.err
    assert "6 mistakes" in answer.err
    one = project.ingest("check", "query_and_more")
    assert one.code == 2
    assert "not a SELECT" in one.err
    assert "one column must be mapped" in one.err


def test_a_ledger_that_does_not_answer_is_no_mistake(project: Terminal) -> None:
    answer = project.ingest("check", INGEST_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert answer.code == 0
    assert "note: the YAML was not compared" in answer.out
    refused = project.ingest("check", "--connect", INGEST_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert refused.code == 3


def test_check_and_plan_tell_a_table_in_no_order_with_the_statement_that_changes_it(
    project: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SMALL": 2_000, "PLACES": 5, "NEIGHBOURS": 40}.items():
        monkeypatch.setattr(f"ingest_pipelines.merge.table_order.{name}", value)
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        connection.execute(
            "CREATE TABLE crm.heap (customer_id varchar(64) PRIMARY KEY, points bigint, more text,"
            " profile_id bigint GENERATED BY DEFAULT AS IDENTITY)"
        )
        connection.execute(
            "INSERT INTO crm.heap (customer_id, points, more) SELECT 'C' || lpad(n::text, 6, '0'), n, repeat('x', 1500)"
            " FROM generate_series(1, 2000) n ORDER BY md5(n::text)"
        )
        connection.execute("ANALYZE crm.heap")
    (project.folder / "databases.yaml").write_text(
        DATABASES + DATABASES.partition("\n")[2].replace("customers", "heap")
    )
    write(project, "heap", LIVE.replace("customers", "heap"))
    (project.folder / "heap.csv").write_text("id,pts\na,1\n")
    told = [
        project.ingest("check", "heap", "--connect"),
        project.ingest("plan", "heap", "--file", project.folder / "heap.csv"),
    ]
    assert [answer.code for answer in told] == [0, 0]
    for answer in told:
        words = " ".join(answer.out.split())
        assert "the rows of crm.heap do not lie in the order of customer_id (correlation" in words
        assert 'CLUSTER "crm"."heap" USING "heap_pkey" puts them in order' in words
    [table] = project.ingest("check", "heap", "--connect", "--json").json["tables"]
    assert abs(table["correlation"]) < 0.2
    assert "CLUSTER" in table["order"]


def test_check_plan_and_run_refuse_a_table_with_the_same_words(project: Terminal) -> None:
    url = project.environment["INGEST_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE crm.mine (customer_id varchar(64) UNIQUE, points integer)")
    (project.folder / "databases.yaml").write_text(
        DATABASES + DATABASES.partition("\n")[2].replace("customers", "mine")
    )
    write(project, "mine", LIVE.replace("customers", "mine").replace("field: points", "field: points"))
    assert project.ingest("check", "mine").code == 0
    (project.folder / "mine.csv").write_text("id,pts\na,1\n")
    told = [
        project.ingest("check", "mine", "--connect"),
        project.ingest("plan", "mine", "--file", project.folder / "mine.csv"),
        project.ingest("run", "mine", "--file", project.folder / "mine.csv"),
    ]
    assert [answer.code for answer in told] == [1, 1, 1]
    for answer in told:
        assert "the column 'points' of crm.mine is integer; the field is int and needs bigint" in " ".join(
            answer.err.split()
        )
        assert 'ALTER TABLE "crm"."mine" ALTER COLUMN "points" TYPE bigint' in " ".join(answer.err.split())
    [table] = project.ingest("check", "mine", "--connect", "--json").json["tables"]
    assert (table["table"], table["ok"]) == ("crm.mine", False)
    statement = next(line for line in table["hint"].splitlines() if line.strip().startswith("ALTER")).strip()
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())
    assert project.ingest("check", "mine", "--connect").code == 0
    assert project.ingest("run", "mine", "--file", project.folder / "mine.csv").code == 0
