"""Inputs made to take all memory or time: a clear refusal, or an ordinary load, within the memory that the docs state.

Each command runs in a process of its own, whose peak the kernel measures.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.measured import Measured, MeasuredTerminal, measuring
from ingest_pipelines_tests.guarantees.projects import PEOPLE, Project, new_project

MOST_MEMORY = 1000 << 20
"""Bytes; docs/security.md states the number."""

MOST_SECONDS = 20.0
"""Processor time that a bomb may take: no quadratic reading would be done by then."""

MB = 1 << 20
ZEROS = gzip.compress(bytes(16 * MB), 9, mtime=0)
HEADER = b"id,note,points\n"


@dataclass(frozen=True)
class Bomb:
    """A file.

    Attributes:
        parts: its content, piece by piece.
        says: what the refusal says; "": it is loaded.
    """

    name: str
    parts: Callable[[], Iterable[bytes]]
    says: str


def zipped(members: int, content: bytes = b"") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(members):
            file.writestr(f"{number}.csv", content)
    return archive.getvalue()


def lying(content: bytes) -> bytes:
    """The archive, whose list of files claims to be a gigabyte long."""
    end = content.rindex(b"PK\x05\x06")
    return content[: end + 12] + (1 << 30).to_bytes(4, "little") + content[end + 16 :]


def deep(depth: int, inside: str) -> bytes:
    """A row whose note is a nested JSON array."""
    document = "[" * depth + inside + "]" * depth
    return HEADER + b'1,"' + document.replace('"', '""').encode() + b'",1\n'


BOMBS: dict[str, Bomb] = {
    "gzip of zeros": Bomb("a.csv.gz", lambda: [ZEROS] * 64, "more than 200 times its compressed size"),
    "gzip of gzip": Bomb("a.csv.gz", lambda: [gzip.compress(gzip.compress(ZEROS * 9))], "the file is gzip data"),
    "gzip of empty members": Bomb(
        "a.csv.gz", lambda: [gzip.compress(HEADER), gzip.compress(b"", mtime=0) * 60_000], ""
    ),
    "zip of zeros": Bomb("a.csv.zip", lambda: [zipped(1, bytes(64 * MB))], "more than 200 times its compressed size"),
    "zip of zip": Bomb("a.csv.zip", lambda: [zipped(1, zipped(1, bytes(MB)))], "the file is a zip archive"),
    "zip of many files": Bomb("a.csv.zip", lambda: [zipped(24_000)], "the .zip holds many files"),
    "zip that lies about its list": Bomb("a.csv.zip", lambda: [lying(zipped(1, HEADER))], "damaged"),
    "one cell": Bomb("a.csv", lambda: [HEADER, b"1,", *[b"x" * MB] * 64], "is larger than 4,194,304 bytes"),
    "one quoted cell": Bomb("a.csv", lambda: [HEADER, b'1,"', *[b"x\n" * MB] * 32, b'"'], "is larger than"),
    "one name": Bomb("a.csv", lambda: [b'id,"', *[b"x\n" * MB] * 32, b'"'], "the header cannot be read"),
    "columns": Bomb("a.csv", lambda: [b"id,note,points", b"," * (7 * MB), b"\n1\n"], "at most 1,000 are allowed"),
    "names": Bomb(
        "a.csv", lambda: [b"id,note,points,", b",".join(b"%d" % n for n in range(800_000)), b"\n1\n"], "at most 1,000"
    ),
    "cells in a row": Bomb("a.csv", lambda: [HEADER, b"," * (8 * MB), b"\n"], "the row that starts here is larger"),
    "blank lines": Bomb("a.csv", lambda: [HEADER, *[b"\n" * MB] * 16], "more than 1,000,000 blank lines"),
    "JSON within JSON": Bomb("a.csv", lambda: [deep(100_000, "1")], "1 of 1 rows were rejected"),
    "JSON texts, deep down": Bomb(
        "a.csv", lambda: [deep(900, '"\\u0041",' + ",".join(['"a"'] * 150_000))], ""
    ),
    "JSON numbers": Bomb("a.csv", lambda: [deep(1, "1" * 900_000)], "1 of 1 rows were rejected"),
}  # fmt: skip

LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
MERGED = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))])
YAMLS: dict[str, tuple[str, str]] = {
    "aliases": (LAUGHS, "its aliases (*name) unfolded"),
    "merged aliases": (MERGED, "its aliases (*name) unfolded"),
    "an alias of itself": ("a: &a [*a]", "an alias (*name) unfolds without end"),
    "nested lists": ("a: " + "[" * 50_000, "nest"),
    "nested dashes": ("- " * 50_000, "nest"),
    "nested keys": ("".join(" " * depth + "a:\n" for depth in range(980)), "nested too deep"),
    "many values": ("- a\n" * 2_000_000, "longer than 1,000,000 characters"),
    "values": ("- a\n" * 101_000, "more than 100,000 values"),
    "one value": ("a: " + "x" * 20_000_000, "longer than 1,000,000 characters"),
    "a number": ("a: " + "1" * 900_000, "not YAML"),
}
PATTERNS: dict[str, tuple[str, str]] = {
    "repetitions of repetitions": ("(?:.{0,100}){0,100}b", "describes more than 5,000 characters"),
    "a repetition": ("a{99999999999999}", "describes more than 5,000 characters"),
    "a count of many digits": ("a{" + "9" * 5_000 + "}", "describes more than 5,000 characters"),
    "alternatives": ("|".join(map(str, range(100_000))), "describes more than 5,000 characters"),
    "groups in groups": ("(" * 2_000 + "a" + ")" * 2_000, "nested too deep"),
    "classes": (r"\pL{4000}", "too large"),
    "backtracking": ("(a+)+b", ""),
    "optional letters": ("(?:a?){1000}a{1000}", ""),
    "overlapping letters": ("[ab]*a[ab]{4000}c", ""),
}


def documents(**changes: object) -> dict[str, object]:
    """The database, its `note` of another type."""
    return {"databases": {"people": {**PEOPLE, "fields": {**PEOPLE["fields"], "note": {**changes}}}}}


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with new_project(postgres_url, tmp_path_factory.mktemp("bombs")) as project:
        project.write("databases", documents(type="array"))
        project.write_import(rejects={"max_rows": 0})
        yield project


@pytest.fixture(scope="module")
def person(project: Project) -> Iterator[MeasuredTerminal]:
    with measuring(project.terminal) as person:
        yield person


def within_limits(measured: Measured) -> None:
    assert measured.peak < MOST_MEMORY, f"{measured.peak >> 20} MB"
    assert measured.cpu < MOST_SECONDS
    assert "Traceback" not in measured.answer.err


def check_file(person: MeasuredTerminal, project: Project, bomb: Bomb) -> Measured:
    """Plans the load of the bomb."""
    file = project.folder / bomb.name
    with file.open("wb") as opened:
        opened.writelines(bomb.parts())
    measured = person.ingest("plan", "people", "--file", file)
    file.unlink()
    within_limits(measured)
    assert measured.answer.code == (0 if not bomb.says else 4 if "rejected" in bomb.says else 1), measured.answer.err
    assert bomb.says in " ".join(measured.answer.err.split())
    assert not list((project.folder / ".ingest" / "spool").glob("*"))
    return measured


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_is_a_bomb_is_refused(person: MeasuredTerminal, project: Project, bomb: str) -> None:
    check_file(person, project, BOMBS[bomb])


@pytest.mark.parametrize("file", ["imports/people", "databases", "connections", "notify"])
def test_a_yaml_file_that_is_a_bomb_is_a_mistake(person: MeasuredTerminal, project: Project, file: str) -> None:
    path = project.folder / f"{file}.yaml"
    before = path.read_text() if path.exists() else None
    for text, says in YAMLS.values() if file == "imports/people" else [YAMLS["aliases"]]:
        path.write_text(text)
        measured = person.ingest("check")
        within_limits(measured)
        assert measured.answer.code == 2
        assert f"{file}.yaml:" in measured.answer.err
        assert says in " ".join(measured.answer.err.split())
    path.unlink() if before is None else path.write_text(before)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_is_a_bomb_is_a_mistake_or_linear(
    person: MeasuredTerminal, project: Project, pattern: str
) -> None:
    text, says = PATTERNS[pattern]
    project.write("databases", documents(type="string", pattern=text))
    checked = person.ingest("check")
    within_limits(checked)
    if says:
        assert checked.answer.code == 2
        assert says in " ".join(checked.answer.err.split())
    else:
        assert checked.answer.code == 0, checked.answer.err
        row = b"1," + (b"ab" * 4_000)[: 8_000 if "ab" in text else None].replace(b"b", b"b" if "ab" in text else b"a")
        check_file(person, project, Bomb("a.csv", lambda: [HEADER, row, b",1\n"], "1 of 1 rows were rejected"))
    project.write("databases", documents(type="array"))


def wide(rows: int, cell: bytes) -> Iterator[bytes]:
    yield HEADER
    for number in range(rows):
        yield b"%d,%s,1\n" % (number, cell)


LETTERS = b"x" * 990_000


def check_wide_rows(person: MeasuredTerminal, project: Project, rows: int) -> None:
    """Rows of a megabyte each: all rejected, then all loaded."""
    for cell, rejected in ((LETTERS, rows), (b'"[""' + LETTERS + b'""]"', 0)):
        project.write_import(rejects={"unlimited": True}, events=False)
        file = project.folder / "wide.csv"
        with file.open("wb") as opened:
            opened.writelines(wide(rows, cell))
        measured = person.ingest("run", "people", "--file", file, "--json")
        file.unlink()
        assert measured.answer.code == 0, measured.answer.err
        assert f'"rejected": {rejected}' in measured.answer.out
        assert measured.peak < MOST_MEMORY, f"{rows} rows: {measured.peak >> 20} MB"
        project.write_import(rejects={"max_rows": 0})


def test_rows_of_a_megabyte_are_handled_some_at_a_time(person: MeasuredTerminal, project: Project) -> None:
    check_wide_rows(person, project, 150)


@pytest.mark.slow
def test_a_gigabyte_of_wide_rows_takes_no_more(person: MeasuredTerminal, project: Project) -> None:
    check_wide_rows(person, project, 1_000)


def test_the_stated_memory_is_the_tested_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert f"at most {MOST_MEMORY >> 20} MB of memory" in " ".join(page.split())
