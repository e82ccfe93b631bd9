"""A row without a profile waits; the load that adds its customer applies it; every command knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage

SHOP = """\
database: customers
source: {connection: uploads}
columns: {id: customer_id, email: email}
"""
POINTS = """\
database: customers
source: {connection: uploads}
mode: update_only
unmatched: {keep: 30d}
columns: {id: customer_id, pts: {field: points, type: int}}
"""


@pytest.fixture(scope="module", params=["18", "15"])
def project(request: Any, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A project with a feed of customers, and one of points that may come before them, on each version of Postgres."""
    admin = postgres_url if request.param == "18" else request.getfixturevalue("postgres_15_url")
    with fresh_target(admin) as target, fresh_storage(postgres_url) as storage:
        home = tmp_path_factory.mktemp("waiting") / "project"
        terminal = Terminal(home.parent, {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage})
        assert terminal.ingest("init", home).code == 0
        for name, text in (("shop", SHOP), ("points", POINTS)):
            (home / "imports" / f"{name}.yaml").write_text(text)
        yield Terminal(home, terminal.environment)


def run(project: Terminal, name: str, text: str, *words: str) -> Any:
    file = project.folder / f"{name}.csv"
    file.write_text(text)
    answer = project.ingest("run", name, "--file", file, *words)
    assert answer.code == 0, answer.err
    return answer


def test_a_row_waits_and_heals_and_every_command_tells_it(project: Terminal) -> None:
    run(project, "shop", "id,email\nx,x@example.com\n")
    early = run(project, "points", "id,pts\nx,1\ny,2\nz,3\n", "--json").json[0]
    assert {name: early[name] for name in ("read", "updated", "unmatched", "kept", "healed")} == {
        "read": 3, "updated": 1, "unmatched": 2, "kept": 2, "healed": 0
    }  # fmt: skip
    told = project.ingest("status", "points")
    assert "waiting for a profile: 2 unmatched rows, the first until " in told.out, told.out
    line = next(line for line in project.ingest("status", "--json").json if line["import"] == "points")
    assert (line["kept"], line["kept_until"] is not None) == (2, True)

    planned = project.folder / "more.csv"
    planned.write_text("id,email\nx,x@example.com\ny,y@example.com\n")
    assert project.ingest("plan", "shop", "--file", planned, "--json").json["healed"] == 1
    answer = run(project, "shop", planned.read_text())
    assert "healed                1   rows of earlier loads that had no profile until now" in answer.out, answer.out
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        table = _customers(project)
        rows = connection.execute(f"SELECT customer_id, points FROM {table} ORDER BY 1").fetchall()
    assert rows == [("x", 1), ("y", 2)]
    assert "0 unmatched wait, 1 healed" in project.ingest("report", "shop", "--last", 1).out
    events = [json.loads(line) for line in project.ingest("events", "--json").out.splitlines()]
    assert [(event["key"], event["kind"], event["fields"]) for event in events][-2:] == [
        ("y", "profile.created", []), ("y", "profile.updated", ["points"])
    ]  # fmt: skip
    assert "1 unmatched row, the first" in project.ingest("status", "points").out

    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        connection.execute("UPDATE ingest.unmatched SET kept_until = now() - interval '1 minute'")
    assert "waiting" not in project.ingest("status", "points").out
    assert "1 unmatched row that waited for a profile in vain would be deleted" in project.ingest(
        "purge", "--dry-run"
    ).out  # fmt: skip
    assert project.ingest("purge", "--json").json[0]["unmatched"] == 1


def _customers(project: Terminal) -> str:
    text = (project.folder / "databases.yaml").read_text()
    return next(line.split()[-1] for line in text.splitlines() if line.strip().startswith("table:"))


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ("", "unmatched: goes with mode: update_only; add_and_update adds a profile for every such row"),
        ("mode: update_only\nmatch: {by: profile_id, column: number}",
         "unmatched: a profile_id belongs to no customer yet, and the next new one would get it; match by a field"),
        ("mode: update_only\nsubscriptions: [{resource: newsletter, channel: email, contact: email, status: invalid}]",
         "unmatched: rows with subscriptions do not wait; put the fields into an import of their own"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_wait_is_a_mistake(tmp_path: Path, terminal: Terminal, more: str, mistake: str) -> None:
    home = tmp_path / "checked"
    assert terminal.ingest("init", home).code == 0
    (home / "imports" / "wrong.yaml").write_text(SHOP + f"unmatched: {{keep: 30d}}\n{more}\n")
    answer = Terminal(home, terminal.environment).ingest("check")
    assert answer.code == 2
    assert mistake in " ".join((answer.out + answer.err).split())
