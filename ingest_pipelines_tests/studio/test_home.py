"""Home: every import, what needs a person first; each name and text from outside is text."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from ingest_pipelines.ledger import LoadBar
from ingest_pipelines.studio import live
from ingest_pipelines.studio.charts import count_bar, sparkline
from ingest_pipelines.studio.home_rows import HomeRows
from ingest_pipelines.studio.live import Lookout, Seen
from ingest_pipelines.studio.pages import home
from ingest_pipelines.studio.people import Person
from ingest_pipelines.studio.render import templates
from ingest_pipelines.studio.state import Studio
from ingest_pipelines_tests.studio.conftest import Client, Shop, text_of
from ingest_pipelines_tests.waiting import until


def names(html: str) -> list[str]:
    return re.findall(r'data-name="(\w+)"', html)


def test_every_import_has_a_row_and_what_needs_a_person_is_first(client: Client) -> None:
    html = client.page("/").text
    assert names(html) == ["wrong", "points", "orders", "never"]
    words = text_of(html)
    for expected in ("4 imports", "invalid", "completed with rejects", "draft", "Points from the tills", "1 rejected"):
        assert expected in words
    assert "3 read, 2 new" in words


def test_text_from_outside_is_text_on_one_line(client: Client) -> None:
    html = client.page("/").text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "\u202e" not in re.sub(r'data-search="[^"]*"', "", html)
    assert html.count("long ") < 1000


def test_search_status_and_database_choose_rows_without_a_script(client: Client) -> None:
    assert names(client.page("/?q=TILLS").text) == ["points"]
    assert names(client.page("/?status=draft").text) == ["never"]
    grouped = client.page("/?group=database").text
    assert text_of(grouped).count("customers") >= 1
    assert "no database" in text_of(grouped)
    assert sorted(names(grouped)) == ["never", "orders", "points", "wrong"]


def test_a_bar_shows_each_part_and_words_say_it(client: Client) -> None:
    bar = count_bar({"inserted": 1, "updated": 0, "unchanged": 100_000, "unmatched": 0, "skipped": 0, "rejected": 1})
    assert [part.name for part in bar] == ["inserted", "unchanged", "rejected"]
    assert min(part.width for part in bar) > 1.5
    assert abs(sum(part.width for part in bar) - 100) < 0.1
    assert 'aria-label="2 inserted, 1 rejected"' in client.page("/").text


def test_a_sparkline_ends_with_the_newest_load_and_marks_failures() -> None:
    loads = [LoadBar("a", 1, "committed", 10, 0), LoadBar("a", 2, "failed", 0, 0), LoadBar("a", 3, "committed", 20, 1)]
    drawn = sparkline(loads, 20)
    assert dict(drawn.paths) == {"good": "M68 20v-10h3v10z", "bad": "M72 20v-2h3v2z", "warn": "M76 20v-20h3v20z"}
    assert drawn.said == "the last 3 loads, 1 failed, 1 with rejects; the largest read 20 rows"
    assert sparkline([], 20).said == "no load yet"


def test_two_looks_between_which_nothing_happened_are_equal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lookout = Lookout(shop.settings)
    try:
        before = lookout.seen()
        monkeypatch.setattr(live, "now", lambda: before.at + timedelta(seconds=5))
        after = lookout.seen(-1.0)
    finally:
        lookout.close()
    assert after.at > before.at
    rows = HomeRows()
    assert [id(row) for row in rows.of(before)] == [id(row) for row in rows.of(after)] != []


def test_a_load_and_a_pause_are_pushed_to_an_open_page(shop: Shop) -> None:
    async def watch() -> list[Seen]:
        lookout = Lookout(shop.settings)
        looks: list[Seen] = []
        try:
            async for seen in lookout.changes():
                if looks and seen is looks[-1]:
                    continue
                looks.append(seen)
                if len(looks) == 1:
                    assert shop.terminal.ingest("pause", "points").code == 0
                elif any(line["status"] == "paused" for line in seen.lines):
                    return looks
        finally:
            lookout.close()
        return looks

    looks = asyncio.run(asyncio.wait_for(watch(), 30))
    assert shop.terminal.ingest("resume", "points").code == 0
    status = {line["import"]: line["status"] for line in looks[0].lines}
    assert status["points"] == "completed_with_rejects"
    assert json.dumps({line["import"]: line["status"] for line in looks[-1].lines}).count("paused") == 1


def test_a_commit_is_seen_at_once_and_the_rest_with_the_next_look(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lookout = Lookout(shop.settings)
    try:
        lookout.seen()
        lookout._seen_if_changed()
        shop.write("fresh.csv", "CID,Email,Tier,Points\nC-30,kim@example.com,Silver,1\nC-31,lee@example.com,Silver,2\n")
        assert shop.terminal.ingest("run", "points", "--file", shop.settings.home / "fresh.csv").code == 0
        monkeypatch.setattr(lookout, "_felt_at", float("-inf"))
        wanted: list[object] = []
        monkeypatch.setattr(lookout, "_look_in_background", lambda: wanted.append(None))
        at_once = lookout._seen_if_changed()
        monkeypatch.undo()
        assert len(wanted) == 1
        until(lambda: lookout._seen_if_changed() is not at_once)
        everything = lookout._seen_if_changed()
    finally:
        lookout.close()
    lines = {line["import"]: line for line in at_once.lines}
    assert (lines["points"]["read"], lines["points"]["inserted"]) == (2, 2)
    assert at_once.bars["points"][-1].read == 2
    assert everything is not at_once
    assert [line for line in everything.lines if line not in at_once.lines] == []


def test_a_commit_during_a_look_is_on_the_page_before_the_look_ends_and_after_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout = Lookout(shop.settings)
    begun, goes_on = Event(), Event()
    look_now = lookout._look_now

    def slow() -> Any:
        found = look_now()
        begun.set()
        assert goes_on.wait(60)
        return found

    try:
        before = lookout.seen()
        lookout._seen_if_changed()
        monkeypatch.setattr(lookout, "_look_now", slow)
        lookout._look_in_background()
        assert begun.wait(60)
        assert shop.terminal.ingest("pause", "points").code == 0
        monkeypatch.setattr(lookout, "_felt_at", float("-inf"))
        during = lookout.latest()
        goes_on.set()
        until(lambda: lookout._seen_if_changed().at > during.at)
        after = lookout._seen_if_changed()
    finally:
        goes_on.set()
        lookout.close()
        shop.terminal.ingest("resume", "points")
    states = [{line["import"]: line["status"] for line in seen.lines}["points"] for seen in (before, during, after)]
    assert states == ["completed", "paused", "paused"]


def test_the_first_rows_come_with_the_page_and_the_others_after_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = names(client.page("/").text)
    assert "data-rest" not in client.page("/").text
    monkeypatch.setattr(home, "FIRST_ROWS", 2)
    html = client.page("/").text
    assert names(html) == everything[:2]
    assert 'data-rest="/rows"' in html
    assert "2 more imports" in text_of(html)
    assert names("".join(client.page("/rows").json()["rows"])) == everything
    assert names(client.page("/?all=1").text) == everything
    assert names(client.page("/?status=draft").text) == ["never"]
    grouped = client.page("/?group=database").text
    assert "customers 3 imports" in text_of(grouped)


def test_what_changes_between_a_page_and_its_stream_is_pushed(shop: Shop) -> None:
    studio, person = Studio(shop.settings), Person("ann", acts=True, sees_personal=True)
    try:
        seen = studio.lookout.seen()
        news, known = home._news(studio, seen, person, seen.at, set())
        assert (news["rows"], news["gone"], news["total"]) == ([], [], 4)
        earlier, _ = home._news(studio, seen, person, seen.at - timedelta(seconds=1), known)
        assert len(earlier["rows"]) == 4
        less = replace(seen, at=seen.at + timedelta(seconds=1), lines=[{**seen.lines[0], "read": 7}, *seen.lines[2:]])
        news, _ = home._news(studio, less, person, seen.at, known)
        assert names("".join(news["rows"])) == [seen.lines[0]["import"]]
        assert news["gone"] == [seen.lines[1]["import"]]
    finally:
        studio.close()


@pytest.mark.parametrize("status", ["scheduled", "failed", "ended", "running"])
def test_an_import_of_uploads_takes_the_next_file_and_runs_what_lies_there_whatever_was_before(status: str) -> None:
    actions = templates().get_template("actions.html").module
    buttons = text_of(actions.for_import("points", {"status": status}, uploads=True))  # type: ignore[attr-defined]
    run = {"failed": "Run failed again", "running": ""}.get(status, "Run now")
    assert buttons.split(" Pause")[0].strip() == f"Upload {run}".strip()


def test_an_import_of_uploads_offers_one_and_each_a_run(client: Client) -> None:
    rows = {names(row)[0]: row for row in client.page("/rows").json()["rows"]}
    assert 'data-upload="/imports/points/upload"' in rows["points"]
    assert "Run now" in rows["points"]
    assert "data-upload" not in rows["orders"]
    assert "Run now" in rows["orders"]


def test_a_target_that_does_not_answer_is_said_and_not_a_stack_trace(shop: Shop) -> None:
    gone = replace(shop, settings=replace(shop.settings, database_url="postgresql://nobody:secret@127.0.0.1:1/none"))
    answer = gone.client().page("/")
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "Not possible" in answer.text
