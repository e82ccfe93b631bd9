"""A report has one verdict: what a plan would do, why nothing came, why rows did not move."""

from __future__ import annotations

import pytest

from ingest_pipelines_tests.cli.terminal import Terminal

IMPORT = """\
status: active
database: customers
source: {{connection: uploads}}
columns: {{id: customer_id, pts: {{field: verdict_points, type: int}}, v: {{field: verdict_version, type: int}}}}
rejects: {{max_rows: 1}}
{more}
"""


def write(project: Terminal, name: str, more: str = "") -> None:
    (project.folder / "imports" / f"{name}.yaml").write_text(IMPORT.format(more=more))


def deliver(project: Terminal, *rows: str) -> str:
    (project.folder / "some file.csv").write_text("\n".join(["id,pts,v", *rows, ""]))
    return "some file.csv"


@pytest.fixture(scope="module")
def project(starter: Terminal) -> Terminal:
    """A project whose import `points` has loaded four rows."""
    write(starter, "points")
    answer = starter.ingest("run", "points", "--file", deliver(starter, *(f"{n},1,1" for n in range(4))))
    assert answer.code == 0, answer.err
    return starter


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["1,2,2", "2,2,2", "3,2,2", "4,2,2"], ""),
        (["1,2,2", "2,2,2", "3,2,2", "4,x,2"], ""),
        (["1,x,2", "2,y,2", "3,2,2"], "2 of 3 rows were rejected"),
        (["1,2,2"], "shrunk: 1 row is less than 50 % of the 4 in the last item, some_file.csv"),
    ],
)
def test_a_plan_says_either_how_to_apply_it_or_why_it_would_not_commit(
    project: Terminal, rows: list[str], why: str
) -> None:
    answer = project.ingest("plan", "points", "--file", deliver(project, *rows))
    applies = "ingest run points --file 'some file.csv'    loads it"
    if not why:
        assert (answer.code, answer.err) == (0, "")
        assert applies in answer.out
        assert "what a load would do now" in answer.out
        return
    assert answer.code != 0
    assert "loads it" not in answer.out
    assert "would do" not in answer.out
    assert answer.err.startswith("error: this load would not commit: ")
    assert why in answer.err
    assert "rejects list" not in answer.err, "a plan keeps no rejects"


@pytest.mark.parametrize(
    "rows", [["1,2,2", "2,2,2", "3,2,2", "4,2,2"], ["1,x,2", "2,y,2", "3,2,2"], ["1,2,2"]],
    ids=["good", "above the limit", "shrunk"],
)  # fmt: skip
def test_a_plan_ends_with_the_status_of_the_run_that_follows(project: Terminal, rows: list[str]) -> None:
    file = deliver(project, *rows)
    planned = project.ingest("plan", "points", "--file", file, "--json")
    ran = project.ingest("run", "points", "--file", file, "--json")
    assert planned.json["status"] == ran.json[0]["status"], ran.err
    assert planned.code == ran.code


@pytest.mark.parametrize(
    ("more", "reasons"),
    [
        ("duplicates: last", "a later row of the item has the same key"),
        ("duplicates: first", "an earlier row of the item has the same key"),
        ("mode: add_only", "their profiles exist already"),
        ("version: v", "they are older than their profiles"),
        (
            "mode: add_only\nduplicates: last",
            "their profiles exist already, or a later row of the item has the same key",
        ),
    ],
)
def test_rows_that_were_skipped_are_told_why(project: Terminal, more: str, reasons: str) -> None:
    name = f"skips_{sum(map(ord, more))}"
    write(project, name, more)
    rows = ["1,7,0", "1,8,0"] if "duplicates" in more else ["1,7,0"]
    planned = project.ingest("plan", name, "--file", deliver(project, *rows)).out
    [skipped] = [line.split(None, 2) for line in planned.splitlines() if line.startswith("  skipped")]
    assert int(skipped[1]) >= 1
    assert skipped[2].strip() == reasons


def test_an_item_without_rows_has_nothing_new(project: Terminal) -> None:
    write(project, "empty", "shrink: {min_percent: 0}")
    answer = project.ingest("run", "empty", "--file", deliver(project))
    assert answer.code == 0, answer.err
    assert "  nothing new: the item has no rows\n" in answer.out
