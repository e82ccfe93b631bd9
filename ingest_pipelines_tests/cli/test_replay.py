"""Rejects: exported, corrected, replayed. Twice is safe, and nothing is ever marked that was not loaded."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines.actions.reject_file import OWN
from ingest_pipelines_tests.cli.terminal import Answer, Terminal

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


@pytest.fixture(scope="module")
def exported(project: Terminal) -> Path:
    """The first load's rejects as a CSV file that nobody changes."""
    file = project.folder / "first.csv"
    assert project.ingest("rejects", "export", "loyalty", "-o", file).code == 0
    return file


@dataclass(frozen=True)
class Replay:
    """Three corrected rows, one of them still wrong, what their replay said, and the first load's list after it."""

    original: int
    file: Path
    answer: Answer
    listed: list[dict[str, Any]]
    shown: str


@pytest.fixture(scope="module")
def replayed(project: Terminal, exported: Path) -> Replay:
    """A replay of the export's rows 2, 4 and 5."""
    original = project.ingest("report", "loyalty", "--json").json[0]["load"]
    header, *rows = rows_of(exported)
    corrected = [row for row in rows if row[0] in {"2", "4", "5"}]
    for row in corrected:
        row[3] = "7" if row[0] != "5" else "still wrong"
        row[4] = "2021-05-05"
    file = project.folder / "rejects.csv"
    write_rows(file, [header, *corrected])
    answer = project.ingest("rejects", "replay", "loyalty", file, "--json")
    listed = project.ingest("rejects", "list", "loyalty", "--load", original, "--json").json
    return Replay(original, file, answer, listed, project.ingest("rejects", "list", "loyalty", "--load", original).out)


def test_an_export_neutralises_formulas_and_keeps_every_cell(exported: Path) -> None:
    header, *rows = rows_of(exported)
    assert header == [*HEADER.split(","), *OWN]
    by_key = {row[0]: row for row in rows}
    assert by_key["3"][1:3] == ["'=cmd|calc@example.com", "'-Silver\n1"]
    assert by_key["4"][1:3] == ["'+44@example.com", "'@Bronze"]
    assert by_key["5"][1] == "''=quoted@example.com"
    assert by_key["9"][2] == "Go␀ld"
    assert [row[6] for row in rows] == ["3", "4", "6", "7", "8"]
    assert set(by_key["4"][8].split()) == {"bad_int", "default_date"}


def test_the_reasons_of_an_export_are_those_of_the_list(project: Terminal, exported: Path) -> None:
    header, *rows = rows_of(exported)
    listed = project.ingest("rejects", "list", "loyalty", "--load", rows[0][5], "--json").json
    by_line = {int(row[header.index("ingest.line")]): row[header.index("ingest.reasons")] for row in rows}
    for line, reasons in by_line.items():
        assert reasons == "; ".join(f"{each['field']}: {each['reason']}" for each in listed if each["line"] == line)
    assert "points: " in by_line[6]
    assert "joined_on: " in by_line[6]


def test_corrected_rows_load_and_their_rejects_are_resolved(project: Terminal, replayed: Replay) -> None:
    answer, listed = replayed.answer, replayed.listed
    assert answer.code == 0, answer.err
    (load,) = answer.json
    assert (load["read"], load["inserted"], load["rejected"], load["resolved"]) == (3, 2, 1, 2)
    with psycopg.connect(project.environment["INGEST_DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT customer_id, email, tier, points FROM crm.customers WHERE points = 7"
        ).fetchall()
    assert sorted(found) == [("2", "bob@example.com", "Gold", 7), ("4", "+44@example.com", "@Bronze", 7)]
    assert {entry["key"] for entry in listed if entry["resolved_at"]} == {"2", "4"}
    assert [bool(entry["resolved_at"]) for entry in listed] == sorted(bool(entry["resolved_at"]) for entry in listed)
    assert "5 of 6 rows rejected, 2 resolved, 3 open; the others were merged" in replayed.shown
    again = project.ingest("rejects", "list", "loyalty", "--load", load["load"], "--json").json
    assert all(entry["resolved_at"] for entry in again), "what is still wrong stays open in the first load only"


def test_replaying_twice_changes_nothing(project: Terminal, replayed: Replay) -> None:
    file = project.folder / "twice.csv"
    header, *rows = rows_of(replayed.file)
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
def test_rows_that_are_no_rejects_are_refused_before_anything_runs(
    project: Terminal, exported: Path, replayed: Replay, own: str, message: str
) -> None:
    _, *rows = rows_of(exported)
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


def test_an_older_versions_export_needs_its_load_by_name(project: Terminal, exported: Path, replayed: Replay) -> None:
    _, *rows = rows_of(exported)
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


def test_a_missing_file_and_a_wrong_load_are_named(project: Terminal, exported: Path) -> None:
    assert "nowhere.csv does not exist" in project.ingest("rejects", "replay", "loyalty", "nowhere.csv").err
    answer = project.ingest("rejects", "replay", "loyalty", exported, "--load", 999_999)
    assert answer.code == 2
    assert "not of load 999999" in answer.err
