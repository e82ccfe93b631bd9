"""`ingest history`: what loads have changed in a profile, and what was known of it on a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage

DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    history: true
    fields:
      customer_id: {type: int}
      email: {type: email, pii: true}
      balance: {type: "decimal(12,2)"}
  others:
    table: crm.others
    key: id
    fields: {id: {type: string, max_length: 9}}
"""
IMPORT = "database: customers\nsource: {connection: uploads}\ncolumns: {id: customer_id, email: email, sum: balance}\n"


@pytest.fixture(scope="module", params=["18", "15"])
def project(request: Any, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A project whose database keeps old values, on each version of Postgres."""
    admin = postgres_url if request.param == "18" else request.getfixturevalue("postgres_15_url")
    with fresh_target(admin) as target, fresh_storage(postgres_url) as storage:
        home = tmp_path_factory.mktemp("history") / "project"
        terminal = Terminal(home.parent, {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage})
        assert terminal.ingest("init", home).code == 0
        (home / "databases.yaml").write_text(DATABASES)
        for old in (home / "imports").iterdir():
            old.unlink()
        (home / "imports" / "shop.yaml").write_text(IMPORT)
        yield Terminal(home, terminal.environment)


def run(project: Terminal, *rows: str) -> datetime:
    """Loads the rows; returns a time after the load, by the target's clock."""
    file = project.folder / "some.csv"
    file.write_text("\n".join(["id,email,sum", *rows, ""]))
    answer = project.ingest("run", "shop", "--file", file)
    assert answer.code == 0, answer.err
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        [moment] = connection.execute("SELECT clock_timestamp()").fetchone() or []
    assert isinstance(moment, datetime)
    return moment


def test_history_answers_what_was_known_and_purge_ends_it(project: Terminal) -> None:
    early = project.ingest("history", "customers", "1")
    assert (early.code, "no load with a history yet" in early.err) == (2, True)
    first = run(project, "1,a@example.com,12.10", "2,b@example.com,1")
    second = run(project, "1,z@example.com,12.10", "2,b@example.com,1")
    run(project, "1,z@example.com,0.05", "2,b@example.com,1")

    def at(name: str, key: str, moment: datetime | str) -> Answer:
        return project.ingest("history", name, key, "--at", str(moment), "--json")

    assert at("customers", "1", first.isoformat()).json == {"customer_id": 1, "email": "***", "balance": "12.10"}
    assert at("shop", "1", second.isoformat()).json["balance"] == "12.10"
    assert at("customers", "1", datetime(2999, 1, 1, tzinfo=UTC).isoformat()).json["balance"] == "0.05"
    assert at("customers", "1", "2001-12-31").json is None
    assert "nothing was known of this key" in project.ingest("history", "customers", "1", "--at", "2001-12-31").out
    changes = project.ingest("history", "customers", "1", "--json").json
    assert [change["old"] for change in changes] == [{"balance": "12.10"}, {"email": "***"}]
    assert "  balance: 12.10" in project.ingest("history", "customers", "1").out
    assert "no load has changed a profile with this key" in project.ingest("history", "customers", "2").out

    for words, why in (
        (("others", "1"), "others: its loads keep no old values"),
        (("customers", "x"), "such a key cannot be; it is a int"),
        (("customers", "1", "--at", "noon"), "'noon' is no time"),
        (("nobody", "1"), "there is no"),
    ):
        answer = project.ingest("history", *words)
        assert (answer.code, why in answer.err) == (2, True), answer.err

    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        connection.execute("UPDATE crm.customers_history SET valid_to = valid_to - interval '366 days'")
    assert "the old values of 2 changes before 365 days would be deleted" in project.ingest("purge", "--dry-run").out
    assert project.ingest("purge", "--json").json[0]["history"] == 2
