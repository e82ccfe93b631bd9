"""What a person sees: real commands on a pseudo-terminal, read from its screen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from ingest_pipelines_tests.cli.person import at_a_terminal
from ingest_pipelines_tests.cli.terminal import Terminal

SPINNER = re.compile("[\u2800-\u28ff]")
ESCAPE = b"\x1b["


def test_a_report_begins_and_ends_on_lines_of_its_own(starter: Terminal) -> None:
    """The spinner leaves nothing behind, and takes nothing away."""
    with at_a_terminal(starter, "run", "loyalty") as person:
        code = person.waits()
        seen = [line for line in person.lines() if line]
    piped = starter.ingest("report", "loyalty", "--json").json[0]
    assert code == 0
    assert SPINNER.search(bytes(person.raw).decode()), "the terminal showed no progress"
    assert not SPINNER.search("\n".join(seen))
    assert seen[0].startswith("committed: import loyalty")
    assert seen[-1].strip().startswith("ingest rejects export loyalty")
    assert [line.split() for line in seen if line.split()[0] == "read"] == [["read", str(piped["read"])]]


@pytest.mark.parametrize("asked", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_and_no_moving_line_where_none_is_wanted(starter: Terminal, asked: dict[str, str]) -> None:
    for words in (("status",), ("check", "--connect")):
        with at_a_terminal(starter, *words, variables=asked) as person:
            person.waits()
        assert ESCAPE not in person.raw.replace(b"\x1b[?25h", b"")
        assert not SPINNER.search(person.raw.decode())


def test_a_terminal_that_takes_colours_gets_them(starter: Terminal) -> None:
    with at_a_terminal(starter, "check") as person:
        assert person.waits() == 0
    assert ESCAPE in person.raw


@pytest.mark.parametrize("columns", [40, 80, *(pytest.param(n, marks=pytest.mark.slow) for n in (60, 132))])
def test_no_word_is_broken_at_the_edge_of_the_terminal(starter: Terminal, columns: int) -> None:
    """Each line of ours fits, unless it is one word that is longer than the terminal is wide."""
    wide = starter.ingest("check", "--rules", COLUMNS="400").out
    with at_a_terminal(starter, "check", "--rules", columns=columns) as person:
        person.waits()
        seen = " ".join("\n".join(person.lines()).split())
    fit = [word for word in wide.split() if len(word) <= columns - 24 and not word.startswith("/")]
    assert [word for word in fit if word not in seen] == []


def test_no_line_is_cut_by_the_edge_of_the_terminal(starter: Terminal) -> None:
    """What does not fit goes on below; only commands and single words are longer than the terminal is wide."""
    assert starter.ingest("run", "loyalty").code == 0
    for words in (("report", "loyalty"), ("status",), ("plan", "loyalty"), ("run", "nobody")):
        with at_a_terminal(starter, *words, columns=48) as person:
            person.waits()
        for line in click.unstyle(person.raw.decode()).replace("\r", "").split("\n"):
            command = line.strip().startswith("ingest ") or len(line.split()) < 2
            assert len(line) <= 48 or command or SPINNER.search(line), (words, line)
    with at_a_terminal(starter, "report", "loyalty", "--json", columns=48) as person:
        assert person.waits() == 0
    assert json.loads(person.raw.decode())[0]["status"] == "committed"


def test_a_person_who_waits_for_the_ui_is_told_what_starts(starter: Terminal) -> None:
    with at_a_terminal(starter, "up") as person:
        person.sees("starting Dagster's web server and daemon ...")
        assert "ready" not in "\n".join(person.lines())
        person.presses(b"\x03")
        person.waits()


class TestWizard:
    """`ingest new`, answered as people answer: with mistakes among the answers."""

    def test_a_wrong_answer_is_asked_again_and_nothing_is_lost(self, starter: Terminal) -> None:
        file = starter.folder / "imports" / "second.yaml"
        assert not file.exists()
        with at_a_terminal(starter, "new") as person:
            for question, wrong, says, right in (
                ("name of the import", "", "this needs an answer; Ctrl-C leaves, and nothing is written", ""),
                ("name of the import", "2nd import", "a name is a letter", "second"),
                ("connection (a new name adds one)", "up loads", "a name is a letter", "uploads"),
                ("file [Loyalty.csv]:", "Loyalti.csv", "did you mean 'Loyalty.csv'?", "1"),
                ("the column with customer_id", "CDI", "did you mean 'CID'?", "CID"),
                ("mode", "-", "'-' is not one of them", "update_only"),
                ("Email fills field", "e mail", "a field's name is a letter", "email"),
                ("Tier fills field", "email", "'email' is taken", "level"),
                ("level is new; its type", "strng", "'strng' is not a type; did you mean 'string'?", "enum"),
                ("options of level", "Gold,,Gold", "name each option once", "Gold, Silver, Bronze"),
                ("Points fills field", "-", "", ""),
                ("Joined fills field", "-", "", ""),
                ("rejected rows to allow", "ten", "a whole number", "10"),
            ):
                person.sees(question)
                person.types(wrong)
                if says:
                    person.sees(says)
                    person.types(right)
            person.sees("description")
            person.types("")
            person.sees("write it?")
            assert not file.exists()
            person.types("y")
            assert person.waits() == 0
        try:
            assert starter.ingest("check", "second").code == 0
            text = file.read_text()
            assert "level, type: enum" in text
            assert "mode: update_only" in text
            assert "max_rows: 10" in text
        finally:
            file.unlink()

    def test_a_name_like_that_of_a_connection_is_asked_about_first(self, starter: Terminal) -> None:
        for answer, comes in (("y", "file"), ("n", "type of the new connection")):
            with at_a_terminal(starter, "new", "third") as person:
                person.sees("connection (a new name adds one)")
                person.types("upload")
                person.sees("there is no connection 'upload'; did you mean 'uploads'?")
                person.types(answer)
                person.sees(comes)
                person.presses(b"\x03")
                assert person.waits() != 0

    def test_a_new_connection_is_written_only_with_an_import_that_passes(self, starter: Terminal) -> None:
        connections = starter.folder / "connections.yaml"
        before = connections.read_text()
        with at_a_terminal(starter, "new", "third") as person:
            person.sees("connection (a new name adds one)")
            person.types("drops")
            person.sees("type of the new connection")
            person.types("scv", "csv")
            person.sees("directory")
            person.types("nowhere")
            person.sees("answer the questions again?")
            person.types("y", "uploads")
            person.sees("file [Loyalty.csv]")
            person.types("")
            person.sees("the column with customer_id")
            assert connections.read_text() == before
            person.presses(b"\x03")
            assert person.waits() != 0
        assert connections.read_text() == before
        assert not (starter.folder / "imports" / "third.yaml").exists()

    @pytest.mark.parametrize("header", ["Email,Loyalty Number,Tier", "Email,Tier,customer_id", "Email,Tier"])
    def test_an_existing_field_is_never_proposed_for_the_key(self, starter: Terminal, header: str) -> None:
        proposed = {"Loyalty Number": "Loyalty Number", "customer_id": "customer_id"}.get(header.split(",")[1], "")
        proposed = proposed or ("customer_id" if header.endswith("customer_id") else "")
        file = starter.folder / "uploads" / "Other.csv"
        file.write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
        try:
            with at_a_terminal(starter, "new", "third", "--connection", "uploads", "--path", "Other.csv") as person:
                person.sees("the column with customer_id")
                person.sees(
                    f"the column with customer_id [{proposed}]:" if proposed else "the column with customer_id:"
                )
        finally:
            file.unlink()


def test_init_prints_a_command_that_a_shell_takes_as_it_stands(terminal: Terminal, tmp_path: Path) -> None:
    said = terminal.ingest("init", tmp_path / "my feeds").out
    assert f"cd '{tmp_path / 'my feeds'}'" in said
