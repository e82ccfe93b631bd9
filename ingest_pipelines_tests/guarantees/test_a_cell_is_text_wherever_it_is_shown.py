"""Formulas, control characters and marks of direction, in cells, headers and file names: they run nothing, nowhere.

What is stored is what was delivered, or a reject; what a spreadsheet opens or a terminal shows is harmless.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines.cli.screen import quoted
from ingest_pipelines_tests.guarantees.projects import Project, new_project

FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "''+1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
]
CONTROLS = ["\x1b[31mred", "\x1b]0;title\x07", "a\0b", "\x08\x08", "\x7f", "\x85", "\x9b31m", "a\rb", "\x0bb", "\x0cb"]
MARKS = ["\u202eevil", "\u2066a\u2069", "\u200fa", "a\ufeffb", "\u061c1"]
CELLS = [*FORMULAS, *CONTROLS, *MARKS]

NAMES = [cell for cell in CELLS if "\0" not in cell]
"""Names of columns: a NUL in a header is a file in another encoding."""


def harmless(text: str) -> bool:
    """Whether a terminal shows the text as letters: no control character, no mark of direction, nothing invisible."""
    return all(letter == "\n" or letter.isprintable() for letter in text)


def letters(text: str | None) -> str:
    """The letters of a text that can be seen."""
    return "".join(letter for letter in text or "" if letter.isprintable() and not letter.isspace())


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that has loaded every such cell twice: with a good number, and with a bad one."""
    with new_project(postgres_url, tmp_path_factory.mktemp("cells")) as project:
        columns = {"id": "id", **{f"{cell}-note": "note" for cell in CELLS[:1]}, "points": "points"}
        project.write_import(columns=columns)
        yield project


def written(header: list[str], rows: list[list[str]]) -> bytes:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *rows]]
    return "\r\n".join([*quoted, ""]).encode()


def test_such_cells_are_stored_or_rejected_and_shown_harmlessly(project: Project) -> None:
    header = ["id", f"{CELLS[0]}-note", "points", *NAMES]
    rows = [[f"k{n}", cell, "1", *NAMES] for n, cell in enumerate(CELLS)]
    rows += [[f"{cell}{n}", cell, "bad", *NAMES] for n, cell in enumerate(CELLS)]
    name = "\u202e\x1b[31m=cmd|\ndelivery.csv"
    answer = project.deliver(written(header, rows), name=name)
    assert answer.code == 0, answer.err
    (load,) = answer.json
    stored = dict(project.rows("SELECT id, note FROM crm.people"))
    lines = dict(project.rows(f"SELECT DISTINCT line, key FROM ingest.rejects WHERE load = {load['load']}"))
    assert len(stored) + len(lines) == len(rows) == load["read"]
    for key, note in stored.items():
        cell = CELLS[int(key[1:])]
        assert letters(note) == letters(cell), "a note is its cell, trimmed at most"
        assert not any(ord(letter) < 32 and letter not in "\t\n\r" for letter in note or "")

    exported = project.folder / "rejects.csv"
    assert project.terminal.ingest("rejects", "export", "people", "--output", exported).code == 0
    text = exported.read_bytes().decode("utf-8")
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")), cell
            assert "\0" not in cell
    for words in (["run", "people", "--file", project.folder / name, "--force"], ["report", "people"], ["status"],
                  ["rejects", "list", "people"], ["check"], ["plan", "people", "--file", project.folder / name],
                  ["browse", "uploads"], ["audit"]):  # fmt: skip
        shown = project.terminal.ingest(*words)
        for stream in (shown.out, shown.err):
            assert harmless(stream), (words, [letter for letter in stream if not harmless(letter)])
    for words in (["report", "people", "--json"], ["rejects", "list", "people", "--json"]):
        out = project.terminal.ingest(*words).out
        assert json.loads(out)
        assert harmless(out)


@pytest.mark.parametrize("name", [*NAMES, "a'b\\\\c\u202e", "é李\x9b", "$(touch x)`y`", "-rf", "\udcff"])
def test_a_file_in_a_command_to_copy_is_harmless_to_read_and_the_same_to_a_shell(name: str) -> None:
    word = quoted(Path(name))
    assert harmless(word)
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert read == os.fsencode(Path(name))
