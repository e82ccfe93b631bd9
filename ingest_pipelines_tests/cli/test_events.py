"""`ingest events`: every profile that a load created or changed, once, in order, for who reads and who follows."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.waiting import until

HEADER = "CID,Email,Tier,Points,Joined\n"


@pytest.fixture(scope="module")
def project(starter: Terminal) -> Terminal:
    """A project with one load of four new profiles."""
    assert starter.ingest("run", "loyalty").code == 0
    return starter


def deliver(project: Terminal, name: str, rows: str) -> None:
    file = project.folder / name
    file.write_text(HEADER + rows)
    answer = project.ingest("run", "loyalty", "--file", file, "--force")
    assert answer.code == 0, answer.err


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_name_what_changed_and_never_a_value(project: Terminal) -> None:
    created = lines(project.ingest("events", "--json").out)
    assert [event["kind"] for event in created] == ["profile.created"] * 4
    changed, same = "1001,ann@example.com,Silver,9,2019-04-02\n", "1002,bob@example.com,Silver,410,2021-11-30\n"
    deliver(project, "change.csv", changed + same)
    after = created[-1]["id"]
    (updated,) = lines(project.ingest("events", "loyalty", "--after", after, "--json").out)
    assert (updated["kind"], updated["key"], updated["fields"]) == ("profile.updated", "1001", ["tier", "points"])
    text = project.ingest("events").out
    assert "profile.updated" in text
    assert "Silver" not in text


def test_a_cut_list_says_where_to_go_on(project: Terminal) -> None:
    answer = project.ingest("events", "--limit", 2, "--json")
    shown = lines(answer.out)
    assert len(shown) == 2
    assert answer.err == f"more events: ingest events --after {shown[-1]['id']}\n"


def test_who_follows_gets_each_event_once_as_its_load_commits(project: Terminal, tmp_path: Path) -> None:
    process = project.process("events", "--follow", "--after", 0, "--json", PYTHONUNBUFFERED="1")
    got: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        got.extend(iter(process.stdout.readline, ""))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        known = len(lines(project.ingest("events", "--json").out))
        until(lambda: len(got) == known)
        deliver(project, "new.csv", "3001,new@example.com,Gold,1,2020-01-01\n3002,two@example.com,Gold,1,2020-01-01\n")
        until(lambda: len(got) == known + 2)
    finally:
        process.send_signal(signal.SIGINT)
        reader.join(timeout=60)
        assert process.wait(timeout=60) == 130
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert got == project.ingest("events", "--json").out.splitlines(keepends=True)
