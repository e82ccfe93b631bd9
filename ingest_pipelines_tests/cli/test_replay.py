"""Rejects: exported, corrected, replayed. Twice is safe, and nothing is ever marked that was not loaded."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.cli.rejects import neutral, restored
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


@given(st.text(max_size=12) | st.sampled_from(["=1", "'=1", "''+1", "-", "@a", "\tb", "\rc", "'", "''"]))
def test_a_neutral_cell_is_no_formula_and_comes_back_whole(cell: str) -> None:
    assert not neutral(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert restored(neutral(cell)) == cell


def test_an_export_neutralises_formulas_and_keeps_every_cell(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    assert project.ingest("rejects", "export", "loyalty", "-o", file).code == 0
    header, *rows = rows_of(file)
    assert header == [*HEADER.split(","), "line", "codes", "reasons"]
    by_key = {row[0]: row for row in rows}
    assert by_key["3"][1:3] == ["'=cmd|calc@example.com", "'-Silver\n1"]
    assert by_key["4"][1:3] == ["'+44@example.com", "'@Bronze"]
    assert by_key["5"][1] == "''=quoted@example.com"
    assert by_key["9"][2] == "Go␀ld"
    assert [row[5] for row in rows] == ["3", "4", "6", "7", "8"]
    assert set(by_key["4"][6].split()) == {"bad_int", "default_date"}


def test_corrected_rows_load_and_their_rejects_are_resolved(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    original = project.ingest("report", "loyalty", "--json").json[0]["load"]
    project.ingest("rejects", "export", "loyalty", "-o", file)
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
    again = project.ingest("rejects", "list", "loyalty", "--load", load["load"], "--json").json
    assert all(entry["resolved_at"] for entry in again), "what is still wrong stays open in the first load only"


def test_replaying_twice_changes_nothing(project: Terminal) -> None:
    file = project.folder / "rejects.csv"
    header, *rows = rows_of(file)
    write_rows(file, [header, *(row for row in rows if row[0] != "5")])
    loads = len(project.ingest("report", "loyalty", "--json").json)
    answer = project.ingest("rejects", "replay", "loyalty", file)
    assert answer.code == 0
    assert answer.err == f"nothing to replay: all 2 rows of {file} are resolved already\n"
    assert len(project.ingest("report", "loyalty", "--json").json) == loads
    assert list((project.folder / ".ingest" / "replays").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\n1,a@example.com,Gold,1,2020-01-01\n", "has no columns 'line' and 'codes'"),
        (f"{HEADER},line,codes\n1,a@example.com,Gold,1,2020-01-01,99,bad_int\n", "are no rejects of any of the last"),
        (f"{HEADER},line,codes\n1,a@example.com,Gold,1,2020-01-01,3,bad_date\n", "are no rejects of any of the last"),
        (f"{HEADER},line,codes\n1,a@example.com,Gold,1,,x,bad_int\n", "the column 'line' holds no line number"),
        (f"{HEADER},line,codes\n1,a@example.com\n", "line 2: 2 cells, and the header has 7"),
        ('a,line,codes\n"b', "is not a comma-separated file"),
        ("", "has no columns 'line' and 'codes'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_export_is_refused_before_anything_runs(
    project: Terminal, content: str, message: str
) -> None:
    (project.folder / "other.csv").write_text(content)
    loads = project.ingest("report", "loyalty", "--json").out
    answer = project.ingest("rejects", "replay", "loyalty", "other.csv")
    assert answer.code == 2
    assert message in answer.err
    assert project.ingest("report", "loyalty", "--json").out == loads


def test_a_missing_file_and_a_wrong_load_are_named(project: Terminal) -> None:
    assert "there is no file nowhere.csv" in project.ingest("rejects", "replay", "loyalty", "nowhere.csv").err
    file = project.folder / "rejects.csv"
    answer = project.ingest("rejects", "replay", "loyalty", file, "--load", 999_999)
    assert answer.code == 2
    assert "no rejects of load 999999" in answer.err
