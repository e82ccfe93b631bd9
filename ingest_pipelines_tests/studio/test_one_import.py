"""An import's page shows what `ingest status`, `report` and `audit` print, and does what they suggest."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ingest_pipelines import ledger
from ingest_pipelines.actions import apart, run_apart
from ingest_pipelines.actions.target import now
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.model import item_name
from ingest_pipelines.studio import pages
from ingest_pipelines.studio.jobs import Job, Jobs
from ingest_pipelines_tests.studio.conftest import Client, Shop, text_of
from ingest_pipelines_tests.studio.test_guard import CHANGES, SECRET
from ingest_pipelines_tests.waiting import until


@pytest.fixture
def viewer(shop: Shop) -> Client:
    return shop.client(StudioAccess(SECRET), **{"X-Ingest-Proxy": SECRET, "X-Forwarded-User": "eve"})


@pytest.fixture
def ann(shop: Shop) -> Client:
    headers = {"X-Ingest-Proxy": SECRET, "X-Forwarded-User": "ann", "X-Forwarded-Groups": "crm, operators"}
    return shop.client(StudioAccess(SECRET), **headers)


def audit(shop: Shop) -> list[tuple[str, str]]:
    entries = shop.terminal.ingest("audit", "--json").json
    return [(entry["who"], entry["what"]) for entry in entries]


def test_the_page_has_mapping_loads_yaml_and_links_to_dagster(client: Client) -> None:
    answer = client.page("/imports/points")
    words = text_of(answer.text)
    for expected in (
        "completed with rejects", "Points from the tills", "CID customer_id string", "max length 12", "personal",
        "committed", "seconds, at most", "by itself", "imports/points.yaml", "rejects: {unlimited: true}",
    ):  # fmt: skip
        assert expected in words
    assert "/assets/customers/points" in answer.text
    assert "view=partitions" in answer.text
    assert "/runs/" in answer.text


@pytest.mark.parametrize("name", ["never", "wrong", "orders"])
def test_an_import_without_loads_or_with_mistakes_has_a_page(client: Client, name: str) -> None:
    answer = client.page(f"/imports/{name}")
    assert answer.status_code == 200
    assert "no load yet" in text_of(answer.text)
    assert "<script>alert" not in answer.text


def test_an_unknown_import_is_refused_in_words(client: Client) -> None:
    for name in ("nothing", "..%2Fdatabases", "%00"):
        answer = client.page(f"/imports/{name}")
        assert answer.status_code in {400, 404}
        assert "table: crm.customers" not in answer.text


def test_pause_and_resume_are_in_the_audit_trail_under_the_persons_name(shop: Shop, ann: Client) -> None:
    assert ann.send("/imports/points/pause").json()["said"].startswith("points is paused")
    again = ann.send("/imports/points/pause")
    assert again.status_code == 400
    assert "already paused" in again.json()["error"]
    assert "Resume" in ann.page("/imports/points").text
    assert ann.send("/imports/points/resume").status_code == 200
    assert audit(shop)[:2] == [("ann", "resumed"), ("ann", "paused")]


def test_a_viewer_changes_nothing_and_sees_no_button(shop: Shop, viewer: Client) -> None:
    before = audit(shop)
    assert len(CHANGES) == len({route.path for route in pages.ROUTES if "POST" in (route.methods or ())}) > 5
    for path in set(CHANGES) - {"/alerts"}:  # what a viewer is told of concerns nobody else
        answer = viewer.send(path.format(name="points", draft="0" * 24), {"value": "5"})
        assert (answer.status_code, answer.json()["error"]) == (403, "you may look, and not change anything")
    for page in ("/", "/imports/points", "/imports/orders"):
        assert "data-send" not in viewer.page(page).text
    assert audit(shop) == before


def test_who_may_only_look_is_offered_no_new_import(viewer: Client, ann: Client) -> None:
    assert ('href="/new"' in ann.page("/").text, 'href="/new"' in viewer.page("/").text) == (True, False)


def test_a_cursor_that_moved_meanwhile_is_not_set(shop: Shop, ann: Client) -> None:
    assert ann.send("/imports/orders/cursor", {"seen": "", "value": "700"}).status_code == 200
    stale = ann.send("/imports/orders/cursor", {"seen": "", "value": "5"})
    assert (stale.status_code, stale.json()["error"]) == (400, "the cursor was moved meanwhile; nothing was changed")
    wrong = ann.send("/imports/orders/cursor", {"seen": "700", "value": "soon"})
    assert wrong.status_code == 400
    assert shop.terminal.ingest("cursor", "show", "orders", "--json").json["value"] == "700"
    assert audit(shop)[0] == ("ann", "cursor set")
    assert "700" in text_of(ann.page("/imports/orders").text)


def test_an_item_is_run_again_in_a_process_of_its_own_and_its_end_is_shown(shop: Shop, ann: Client) -> None:
    with shop.ledger() as connection:
        [load] = ledger.recent_loads(connection, "points")
    assert ann.send("/imports/points/run", {"item": load.item}).status_code == 200
    busy = ann.send("/imports/points/run")
    assert busy.json()["error"] == "import points is running already"
    assert "Cancel run" in ann.page("/imports/points").text
    until(lambda: "Cancel run" not in ann.page("/imports/points").text)
    with shop.ledger() as connection:
        newest, _ = ledger.recent_loads(connection, "points", 2)
    assert (newest.item, newest.by) == (load.item, "ann")


def test_a_run_is_cancelled_by_its_own_imports_page_only(ann: Client) -> None:
    jobs = ann.jobs
    process = subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    job = Job(77, run_apart.WantedRun("points", "ann"), now(), process)
    jobs._jobs.appendleft(job)
    try:
        assert ann.send("/imports/never/cancel", {"job": "77"}).status_code == 400
        assert process.poll() is None
        assert ann.send("/imports/points/cancel", {"job": "77"}).status_code == 200
        assert process.wait(30) != 0
        jobs._follow(job)
        assert (job.state, job.said) == ("cancelled", "points: cancelled")
    finally:
        process.kill()
        process.wait()
        jobs._jobs.remove(job)


def test_a_run_that_cannot_begin_says_why(ann: Client) -> None:
    assert ann.send("/imports/points/run").status_code == 200
    until(lambda: "Cancel run" not in ann.page("/imports/points").text)
    [notice] = re.findall(r'class="notice bad">(.*?)</div>', ann.page("/imports/points").text)
    assert "uploads does not exist" in notice


def test_the_rows_of_a_run_are_counted_while_they_are_validated_and_the_page_shows_them(
    shop: Shop, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Mapping[str, Any]] = []
    monkeypatch.setattr(run_apart, "report", said.append)
    shop.write("uploads/Points_1.csv", "CID,Email,Tier,Points\n" + "".join(f"R-{n},,Silver,{n}\n" for n in range(500)))
    outcome = run_apart._outcome(run_apart.WantedRun("points", "ann"))
    assert outcome["counts"]["inserted"] == 500
    assert {"rows": 500, "of": 501} in said  # line breaks: about so many rows
    stages = [line["stage"] for line in said if "stage" in line]
    assert said.index({"stage": "validate"}) < said.index({"rows": 500, "of": 501}) < said.index({"stage": "merge"})
    assert stages == ["land", "validate", "merge"]

    job = Job(1, run_apart.WantedRun("points", "ann"), now(), cast("subprocess.Popen[bytes]", None))
    monkeypatch.setattr(apart, "reports", lambda _: iter([{"stage": "validate"}, {"rows": 1000, "of": 5000}]))
    Jobs()._follow(job)
    job.state, job.error = "running", ""
    monkeypatch.setattr(Jobs, "of_import", lambda *_: [job])
    html = client.page("/imports/points").text
    assert "validating 1,000 of about 5,000 rows" in text_of(html)
    assert '<progress value="1000" max="5000"' in html


def test_an_item_that_failed_is_loaded_anyway_or_never_and_the_audit_trail_says_who_and_why(
    shop: Shop, ann: Client
) -> None:
    def run(fields: dict[str, str]) -> str:
        assert ann.send("/imports/points/run", fields).status_code == 200
        until(lambda: "Cancel run" not in ann.page("/imports/points").text)
        [said] = re.findall(r'class="notice (?:good|bad)">(.*?)</div>', ann.page("/imports/points").text)
        return text_of(said)

    def not_in_the_table() -> list[str]:
        [line] = shop.terminal.ingest("status", "points", "--json").json
        return [item["item"] for item in line["open"]]

    shop.write("uploads/Points_2.csv", "CID,Email,Tier,Points\nR-1,,Silver,7\n")  # the file before it has 500 rows
    assert "1 row" in run({})
    [shrunk] = not_in_the_table()
    page = shop.client().page("/imports/points").text  # a studio that has looked at nothing before
    assert all(f'aria-label="{name}: points"' in page for name in ("Run again", "Load anyway", "Skip"))
    assert run({"item": shrunk, "forced": "true"}).startswith("points: ")
    assert not_in_the_table() == []
    assert audit(shop)[0] == ("ann", "forced")

    shop.write("uploads/Points_3.csv", "CID,Email,Tier\nR-1,,Silver\n")
    assert "Points" in run({})
    [refused] = not_in_the_table()
    assert "Load anyway" not in shop.client().page("/imports/points").text  # a file without the column stays one
    said = ann.send("/imports/points/skip", {"item": refused, "reason": "the vendor sent it by mistake"})
    assert said.json()["said"] == f"{item_name(refused)} of points will not be loaded; nothing in the table has changed"
    assert not_in_the_table() == []
    [skipped] = [e for e in shop.terminal.ingest("audit", "--json").json if e["what"].startswith("skipped")]
    assert (skipped["who"], skipped["item"], skipped["detail"]["reason"]) == (
        "ann", refused, "the vendor sent it by mistake",
    )  # fmt: skip
    for item in (shrunk, "nobody's"):
        assert ann.send("/imports/points/skip", {"item": item}).status_code == 400
