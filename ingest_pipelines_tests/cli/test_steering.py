"""Commands that set up and steer: browse, new, plan, activate, pause, resume, unlock, cursor, purge."""

from __future__ import annotations

import gzip
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.servers.postgres import fresh_database

QUERY_IMPORT = """\
database: customers
source:
  connection: shop
  query: SELECT customer_id, tier FROM shop WHERE id > {lastItem} ORDER BY id LIMIT 10
  cursor: {column: id, start: 0}
columns: {customer_id: customer_id, tier: {field: tier, type: string}}
"""


@pytest.fixture(scope="module")
def project(starter: Terminal) -> Terminal:
    """A project with one load committed."""
    assert starter.ingest("run", "loyalty").code == 0
    return starter


@pytest.fixture
def rows(project: Terminal) -> Iterator[psycopg.Connection]:
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"], autocommit=True) as connection:
        yield connection


def audit(rows: psycopg.Connection) -> list[str]:
    return [what for (what,) in rows.execute("SELECT what FROM ingest.audit ORDER BY id").fetchall()]


def audited(project: Terminal) -> str:
    """What `ingest audit` prints, which fits 80 columns, as one line."""
    text = project.ingest("audit").out
    assert all(len(line) <= 80 for line in text.splitlines())
    return " ".join(text.split())


def assert_nobody_answered(answer: Answer) -> None:
    """The command asked, there was no terminal, and it says what to add."""
    assert answer.code == 2
    assert "nothing was changed: the command asks first, and there is no terminal to answer" in " ".join(
        answer.err.split()
    )
    assert "--yes" in answer.err


def write_import(project: Terminal, name: str, text: str) -> Path:
    file = project.folder / "imports" / f"{name}.yaml"
    file.write_text(text)
    return file


def test_browse_lists_files_newest_first_and_their_columns(project: Terminal) -> None:
    deep = project.folder / "uploads" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "Unseen.csv").write_text("CID\n1\n")
    answer = project.ingest("browse", "uploads")
    assert answer.code == 0
    assert "ingest browse uploads 'Loyalty.csv' --columns" in answer.out
    assert "1 file more than two folders deep; imports cannot read them" in answer.out
    listed = project.ingest("browse", "uploads", "--json").json
    assert [file["path"] for file in listed["files"]] == ["Loyalty.csv"]
    assert listed["too_deep"] == 1
    shutil.rmtree(project.folder / "uploads" / "a")
    columns = project.ingest("browse", "uploads", "Loyalty.csv", "--columns", "--json").json["columns"]
    assert [(c["column"], c["suggested"]) for c in columns] == [
        ("CID", "int"), ("Email", "email"), ("Tier", "string"), ("Points", "string"), ("Joined", "date"),
    ]  # fmt: skip
    assert columns[3]["first"] == "1250"


def test_browse_looks_into_compressed_and_long_files_by_their_head(project: Terminal) -> None:
    folder = project.folder / "uploads" / "packed"
    folder.mkdir()
    text = "\ufeffid,note\n" + "".join(f'{n},"line\n{n}"\n' for n in range(50_000))
    (folder / "long.csv").write_text(text)
    (folder / "long.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(folder / "long.csv.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("long.csv", text)
    for name in ("long.csv", "long.csv.gz", "long.csv.zip"):
        columns = project.ingest("browse", "uploads", f"packed/{name}", "--columns", "--json").json["columns"]
        assert [(c["column"], c["first"], c["suggested"]) for c in columns] == [
            ("id", "0", "int"), ("note", "line\n0", "string"),
        ]  # fmt: skip
    shutil.rmtree(folder)


def test_browse_of_something_unknown_names_the_nearest(project: Terminal) -> None:
    answer = project.ingest("browse", "upload")
    assert answer.code == 2
    assert "did you mean 'uploads'?" in answer.err
    assert project.ingest("browse", "uploads", "--columns").code == 2
    assert "does not exist" in project.ingest("browse", "uploads", "none.csv", "--columns").err
    without_ending = project.ingest("browse", "uploads", "loyalty", "--columns").err
    assert "a whole name is wanted, such as Loyalty.csv" in without_ending


def test_new_takes_every_suggestion_and_leaves_a_draft_that_plans(project: Terminal) -> None:
    answer = project.ingest("new", "second", "--path", "Loyalty.csv", "--yes")
    assert answer.code == 0, answer.err
    try:
        assert project.ingest("check", "second", "--json").json["imports"][0]["status"] == "draft"
        planned = project.ingest("plan", "second", "--json")
        assert planned.code == 4
        assert planned.json["codes"] == {"bad_int": 1}
        again = project.ingest("new", "second", "--yes")
        assert again.code == 2
        assert "exists already; nothing was written" in again.err
    finally:
        (project.folder / "imports" / "second.yaml").unlink()


def test_new_with_a_connection_that_does_not_work_stops_there(project: Terminal) -> None:
    file = project.folder / "connections.yaml"
    text = file.read_text()
    file.write_text(text + "\n  lost:\n    type: csv\n    directory: nowhere\n")
    try:
        answer = project.ingest("new", "third", "--connection", "lost", "--yes")
        assert answer.code == 3
        assert "failed  folder" in answer.out
        assert not (project.folder / "imports" / "third.yaml").exists()
    finally:
        file.write_text(text)


def test_a_plan_changes_nothing_at_all(project: Terminal, rows: psycopg.Connection) -> None:
    new = project.folder / "uploads" / "Loyalty_1800000000.csv"
    new.write_text("CID,Email,Tier,Points,Joined\n2001,n@example.com,Gold,1,2020-01-01\n1001,,Gold,x,2020-01-01\n")
    facts = "SELECT (TABLE profiles), (TABLE loads), (TABLE items)"
    for name, table in (("profiles", "crm.customers"), ("loads", "ingest.loads"), ("items", "ingest.items")):
        rows.execute(f"CREATE TEMP VIEW {name} AS SELECT count(*) FROM {table}")
    before = rows.execute(facts).fetchone()
    try:
        answer = project.ingest("plan", "loyalty", "--json")
        assert answer.json["error"] == "" or "shrunk" in answer.json["error"]
        assert (answer.json["read"], answer.json["inserted"], answer.json["rejected"]) == (2, 1, 1)
        assert answer.json["dry_run"] is True
        shown = project.ingest("plan", "loyalty", "--file", new)
        assert "everything was rolled back" in shown.out
        assert rows.execute(facts).fetchone() == before
        assert list((project.folder / ".ingest" / "spool").glob("plan-*")) == []
    finally:
        new.unlink()


def test_a_plan_in_dagster_is_a_run_that_loads_nothing(project: Terminal, rows: psycopg.Connection) -> None:
    loads = rows.execute("SELECT count(*) FROM ingest.loads").fetchone()
    answer = project.ingest("plan", "loyalty", "--in-dagster", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["dry_run"], answer.json["status"], answer.json["error"]) == (True, "committed", "")
    assert answer.json["read"] == answer.json["unchanged"] + answer.json["rejected"]
    assert rows.execute("SELECT count(*) FROM ingest.loads").fetchone() == loads
    told = project.ingest("plan", "loyalty", "--in-dagster", "--file", "Loyalty.csv")
    assert (told.code, "ingest plan loyalty --file F" in told.err) == (2, True)


def test_a_paused_import_is_paused_everywhere_until_it_is_resumed(project: Terminal, rows: psycopg.Connection) -> None:
    def state() -> str:
        return str(project.ingest("status", "--json").json[0]["status"])

    assert project.ingest("pause", "loyalty").code == 0
    assert state() == "paused"
    twice = project.ingest("pause", "loyalty")
    assert twice.code == 2
    assert "import loyalty is already paused; nothing was changed" in twice.err
    assert project.ingest("resume", "loyalty").code == 0
    assert state() == "completed_with_rejects"
    assert audit(rows)[-2:] == ["paused", "resumed"]


def test_activation_shows_what_will_happen_and_asks(project: Terminal, rows: psycopg.Connection) -> None:
    text = (project.folder / "imports" / "loyalty.yaml").read_text()
    file = write_import(project, "later", f"status: draft\n{text}")
    try:
        refused = project.ingest("activate", "later")
        assert refused.code == 2
        assert_nobody_answered(refused)
        assert "CID -> customer_id" in refused.out
        states = {line["import"]: line["status"] for line in project.ingest("status", "--json").json}
        assert states["later"] == "draft"
        assert project.ingest("activate", "later", "--yes").code == 0
        states = {line["import"]: line["status"] for line in project.ingest("status", "--json").json}
        assert states["later"] == "scheduled"
        assert audit(rows)[-1] == "activated"
    finally:
        file.unlink()


def test_unlocking_says_what_has_changed(project: Terminal, rows: psycopg.Connection) -> None:
    file = project.folder / "imports" / "loyalty.yaml"
    text = file.read_text()
    file.write_text(text.replace("Joined: {field: joined_on, type: date}", "Joined: {field: member_since, type: date}"))
    try:
        locked = project.ingest("run", "loyalty")
        assert locked.code in {1, 2}
        assert "ingest unlock loyalty" in locked.err
        assert_nobody_answered(project.ingest("unlock", "loyalty"))
        answer = project.ingest("unlock", "loyalty", "--yes")
        assert answer.code == 0
        changed = "columns.Joined: it filled 'joined_on' (date), now 'member_since' (date)"
        assert changed in " ".join(answer.out.split())
        assert audit(rows)[-1] == "unlocked"
        assert f"loyalty: unlocked ({changed})" in audited(project)
        assert "is not locked" in project.ingest("unlock", "loyalty").out
        assert project.ingest("run", "loyalty").code == 0
    finally:
        file.write_text(text)
        assert project.ingest("unlock", "loyalty", "--yes").code == 0


def test_skip_without_a_terminal_changes_nothing(project: Terminal, rows: psycopg.Connection) -> None:
    before = audit(rows)
    assert_nobody_answered(project.ingest("skip", "loyalty", "--item", "2026-01-01"))
    assert audit(rows) == before


def test_a_cursor_is_shown_and_set_and_refused_where_there_is_none(project: Terminal, rows: psycopg.Connection) -> None:
    assert "import loyalty has no cursor" in project.ingest("cursor", "show", "loyalty").err
    connections = project.folder / "connections.yaml"
    before = connections.read_text()
    connections.write_text(before + "\n  shop:\n    type: postgresql\n    host: h\n    database: d\n    username: u\n")
    file = write_import(project, "orders", QUERY_IMPORT)
    try:
        shown = project.ingest("cursor", "show", "orders")
        assert shown.out == "orders: no chunk was committed yet; the first one starts after id = 0\n"
        wrong = project.ingest("cursor", "set", "orders", "soon", "--yes")
        assert wrong.code == 2
        assert "a cursor of numbers is spelled in digits" in wrong.err
        assert project.ingest("cursor", "set", "orders", "120000", "--yes").code == 0
        assert project.ingest("cursor", "show", "orders", "--json").json["value"] == "120000"
        assert audit(rows)[-1] == "cursor set"
        assert {deed["import"] for deed in project.ingest("audit", "orders", "--json").json} == {"orders"}
        assert "orders: cursor set (from its start to 120000)" in audited(project)
        assert_nobody_answered(project.ingest("cursor", "set", "orders", "1"))
        assert project.ingest("cursor", "show", "orders", "--json").json["value"] == "120000"
    finally:
        file.unlink()
        connections.write_text(before)


def test_purge_deletes_what_is_older_than_the_retention_and_nothing_else(
    project: Terminal, rows: psycopg.Connection
) -> None:
    count = "SELECT count(*) FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load WHERE l.import = 'loyalty'"
    kept = project.ingest("purge", "--json").json
    assert kept == [{"database": "customers", "rejects": 0, "events": 0, "unmatched": 0, "history": 0}]
    before = rows.execute(count).fetchone()
    rows.execute(
        "UPDATE ingest.loads SET started_at = started_at - interval '91 days'"
        " WHERE id = (SELECT min(id) FROM ingest.loads)"
    )
    assert project.ingest("purge", "--dry-run", "--json").json[0]["rejects"] == 1
    assert rows.execute(count).fetchone() == before
    assert "1 reject older than 90 days" in project.ingest("purge").out
    after = rows.execute(count).fetchone()
    assert before is not None
    assert after is not None
    assert before[0] - after[0] == 1
    assert "purged (customers: 1 reject, 4 events)" in audited(project)


def test_the_audit_says_who_did_what_and_when(project: Terminal, rows: psycopg.Connection) -> None:
    for deed in ("pause", "resume"):
        assert project.ingest(deed, "loyalty").code == 0
    deeds = project.ingest("audit", "--json").json
    assert [deed["what"] for deed in reversed(deeds)] == audit(rows)
    assert deeds[0]["what"] == "resumed"
    assert all("@" in deed["who"] for deed in deeds)
    assert "loyalty: paused" in audited(project)


def test_the_audit_is_cut_by_time_and_length(project: Terminal, rows: psycopg.Connection) -> None:
    for deed in ("pause", "resume"):
        assert project.ingest(deed, "loyalty").code == 0
    rows.execute("UPDATE ingest.audit SET at = at - interval '30 days' WHERE id = (SELECT min(id) FROM ingest.audit)")
    every = project.ingest("audit", "--json").json
    assert project.ingest("audit", "--since", "7d", "--json").json == every[:-1]
    assert project.ingest("audit", "--since", "2999-01-01").out.startswith("no manual actions since")
    cut = project.ingest("audit", "--last", "1", "--json")
    assert cut.json == every[:1]
    assert cut.err == "more entries: ingest audit --last 10\n"
    wrong = project.ingest("audit", "--since", "yesterday")
    assert (wrong.code, "ingest" in wrong.out) == (2, False)
    assert "for example 2026-11-22, or 7d" in wrong.err


def test_commands_for_one_target_leave_others_alone(postgres_url: str, project: Terminal) -> None:
    with fresh_database(postgres_url) as other:
        lines = project.ingest("status", "--json", INGEST_DATABASE_URL=other).json
        assert lines[0]["load"] is None


def test_every_failed_item_runs_again_in_order(project: Terminal) -> None:
    text = (project.folder / "imports" / "loyalty.yaml").read_text()
    imports = write_import(project, "failing", text)
    assert "no item has failed" in project.ingest("run", "failing", "--failed").err
    imports.write_text(text.replace("max_rows: 100", "max_rows: 0"))
    for number, key in ((1, "5001"), (2, "5002")):
        file = project.folder / f"bad_{number}.csv"
        rows = "".join(f"{key}{n},a@example.com,Gold,{n},2020-01-01\n" for n in range(4))
        file.write_text(f"CID,Email,Tier,Points,Joined\n{rows}{key},b@example.com,Gold,x,2020-01-01\n")
        failed = project.ingest("run", "failing", "--file", file)
        assert failed.code == 4
        assert failed.out.startswith("failed: import failing")
        assert re.search(r"rejected +1\n  not merged +4 ", failed.out), failed.out
    imports.write_text(text)
    loads = project.ingest("run", "failing", "--failed", "--json").json
    assert [(load["status"], load["inserted"], load["rejected"]) for load in loads] == [("committed", 4, 1)] * 2
    assert ["bad_1.csv" in load["item"] for load in loads] == [True, False]
    assert "no item has failed" in project.ingest("run", "failing", "--failed").err
    imports.unlink()


def test_a_one_time_import_runs_again_only_with_a_file_that_has_the_columns_of_the_first(
    project: Terminal, rows: psycopg.Connection
) -> None:
    profiles = "SELECT md5(string_agg(c::text, '|' ORDER BY c::text)) FROM crm.customers c"
    file = project.folder / "again.csv"
    file.write_text("CID,Email,Points,Joined\n6001,a@example.com,1,2020-01-01\n")
    before = rows.execute(profiles).fetchone()
    refused = project.ingest("run", "loyalty", "--file", file, "--json")
    assert (refused.code, refused.json[0]["status"]) == (1, "refused")
    assert "line 1: the header lacks 'Tier'" in refused.err
    assert rows.execute(profiles).fetchone() == before
    file.write_text("Extra,Joined,Points,Tier,Email,CID\nx,2020-01-01,1,Gold,a@example.com,6001\n")
    assert project.ingest("plan", "loyalty", "--file", file, "--json").json["inserted"] == 1
