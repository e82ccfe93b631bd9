"""Rejects: exported, corrected, replayed. Twice is safe, and nothing is ever marked that was not loaded."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines.cli.reject_file import OWN
from ingest_pipelines_tests.cli.terminal import Terminal

HEADER = "CID,Email,Tier,Points,Joined"
NUL_ROW = "9,nul@example.com,Go\0ld,1,2020-01-01"


@pytest.fixture(scope="module")
def project(starter: Terminal) -> Terminal:
    """A project whose first file has one row of every trouble that an export must survive."""
    rows = [
        HEADER,
        "1,ann@example.com,Gold,10,2020-01-01",
        "2,bob@example.com,Gold,ten,2020-01-01",
        '3,=cmd|calc@example.com,"-Silver\n1",x,2020-01-01',
        "4,+44@example.com,@Bronze,1.5,1900-01-01",
        NUL_ROW,
        "5,'=quoted@example.com,Gold,y,2020-01-01",
    ]
    (starter.folder / "uploads" / "Loyalty.csv").write_bytes(("\n".join(rows) + "\n").encode())
    answer = starter.ingest("run", "loyalty", "--json")
    assert answer.code == 0, answer.err
    assert answer.json[0]["rejected"] == 5
    return starter


def rows_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened))


def write_rows(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)


def test_an_export_neutralises_formulas_and_keeps_every_cell(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    assert project.ingest("rejects", "export", "loyalty", "-o", file).code == 0
    header, *rows = rows_of(file)
    assert header == [*HEADER.split(","), *OWN]
    by_key = {row[0]: row for row in rows}
    assert by_key["3"][1:3] == ["'=cmd|calc@example.com", "'-Silver\n1"]
    assert by_key["4"][1:3] == ["'+44@example.com", "'@Bronze"]
    assert by_key["5"][1] == "''=quoted@example.com"
    assert by_key["9"][2] == "Go␀ld"
    assert [row[6] for row in rows] == ["3", "4", "6", "7", "8"]
    assert set(by_key["4"][8].split()) == {"bad_int", "default_date"}


def test_the_reasons_of_an_export_are_those_of_the_list(project: Terminal) -> None:
    listed = project.ingest("rejects", "list", "loyalty", "--json").json
    header, *rows = rows_of(project.folder / "rejects.csv")
    exported = {int(row[header.index("ingest.line")]): row[header.index("ingest.reasons")] for row in rows}
    for line, reasons in exported.items():
        assert reasons == "; ".join(f"{each['field']}: {each['reason']}" for each in listed if each["line"] == line)
    assert "points: " in exported[6]
    assert "joined_on: " in exported[6]


def test_corrected_rows_load_and_their_rejects_are_resolved(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    original = project.ingest("report", "loyalty", "--json").json[0]["load"]
    project.ingest("rejects", "export", "loyalty", "-o", file)
    (project.folder / "first.csv").write_bytes(file.read_bytes())
    header, *rows = rows_of(file)
    corrected = [row for row in rows if row[0] in {"2", "4", "5"}]
    for row in corrected:
        row[3] = "7" if row[0] != "5" else "still wrong"
        row[4] = "2021-05-05"
    write_rows(file, [header, *corrected])

    answer = project.ingest("rejects", "replay", "loyalty", file, "--json")
    assert answer.code == 0, answer.err
    (load,) = answer.json
    assert (load["read"], load["inserted"], load["rejected"], load["resolved"]) == (3, 2, 1, 2)
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT customer_id, email, tier, points FROM crm.customers WHERE points = 7"
        ).fetchall()
    assert sorted(found) == [("2", "bob@example.com", "Gold", 7), ("4", "+44@example.com", "@Bronze", 7)]
    listed = project.ingest("rejects", "list", "loyalty", "--load", original, "--json").json
    assert {entry["key"] for entry in listed if entry["resolved_at"]} == {"2", "4"}
    assert [bool(entry["resolved_at"]) for entry in listed] == sorted(bool(entry["resolved_at"]) for entry in listed)
    shown = project.ingest("rejects", "list", "loyalty", "--load", original).out
    assert "5 of 6 rows rejected, 2 resolved, 3 open; the others were merged" in shown
    again = project.ingest("rejects", "list", "loyalty", "--load", load["load"], "--json").json
    assert all(entry["resolved_at"] for entry in again), "what is still wrong stays open in the first load only"


def test_replaying_twice_changes_nothing(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    header, *rows = rows_of(file)
    write_rows(file, [header, *(row for row in rows if row[0] != "5")])
    loads = len(project.ingest("report", "loyalty", "--json").json)
    answer = project.ingest("rejects", "replay", "loyalty", file)
    assert answer.code == 0
    assert answer.err == f"nothing to replay: all 2 rows of {file} are already resolved\n"
    assert len(project.ingest("report", "loyalty", "--json").json) == loads
    assert [path.name for path in (project.folder / ".ingest" / "replays").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("{load},3,{check}", ""),
        ("{load},4,{check}", "line 2: load {load} did not reject this row on line 4"),
        ("{load},99,{check}", "line 2: load {load} did not reject this row on line 99"),
        ("{load},3,bcdfghjklm", "line 2: load {load} did not reject this row on line 3"),
        ("999999,3,{check}", "line 2: import loyalty has no load 999999"),
        (
            "{load},3,{check},,\n1,a@example.com,Gold,1,2020-01-01,{load},3,{check}",
            "corrects the same reject as line 2",
        ),
    ],
)
def test_rows_that_are_no_rejects_are_refused_before_anything_runs(project: Terminal, own: str, message: str) -> None:
    _, *rows = rows_of(project.folder / "first.csv")
    load, line, check = rows[0][5:8]
    assert line == "3"
    said = {"load": load, "check": check}
    text = f"{HEADER},{','.join(OWN)}\n1,a@example.com,Gold,1,2020-01-01,{own.format(**said)}\n"
    (project.folder / "other.csv").write_text(text)
    loads = project.ingest("report", "loyalty", "--json").out
    answer = project.ingest("rejects", "replay", "loyalty", "other.csv")
    assert answer.code == (2 if message else 0), answer.err
    assert (message.format(**said) or "all 1 row of other.csv are already resolved") in answer.err
    assert project.ingest("report", "loyalty", "--json").out == loads


def test_an_older_versions_export_needs_its_load_by_name(project: Terminal) -> None:
    _, *rows = rows_of(project.folder / "first.csv")
    row = next(row for row in rows if row[0] == "5")
    old = [[*HEADER.split(","), "line", "codes", "reasons"], [*row[:3], "8", "2021-01-01", row[6], row[8], row[9]]]
    write_rows(project.folder / "old.csv", old)
    answer = project.ingest("rejects", "replay", "loyalty", "old.csv")
    assert answer.code == 2
    assert "was exported by an older version" in answer.err
    assert "ingest rejects replay loyalty FILE --load N" in answer.err
    wrong = int(row[5]) + 1
    assert project.ingest("rejects", "replay", "loyalty", "old.csv", "--load", wrong).code == 2
    answer = project.ingest("rejects", "replay", "loyalty", "old.csv", "--load", row[5], "--json")
    assert answer.code == 0, answer.err
    assert answer.json[0]["resolved"] == 1


def test_a_missing_file_and_a_wrong_load_are_named(project: Terminal) -> None:
    assert "there is no file nowhere.csv" in project.ingest("rejects", "replay", "loyalty", "nowhere.csv").err
    file = project.folder / "first.csv"
    answer = project.ingest("rejects", "replay", "loyalty", file, "--load", 999_999)
    assert answer.code == 2
    assert "not of load 999999" in answer.err
