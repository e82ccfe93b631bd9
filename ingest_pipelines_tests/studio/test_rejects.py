"""The rejects bench: what broke is marked, corrections meet the import's own rules, what passes is loaded once."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from ingest_pipelines import ledger
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.studio.pages import rejects
from ingest_pipelines_tests.studio.conftest import HOSTILE, PROJECT, Client, Shop, text_of
from ingest_pipelines_tests.studio.test_guard import SECRET
from ingest_pipelines_tests.waiting import until

BENCH = "/imports/points/rejects"
GOOD = {"Email": "cy@example.com", "Tier": "Silver", "Points": "7"}


@pytest.fixture(scope="module")
def load(shop: Shop) -> int:
    """A load with two rejected rows: line 3 breaks three rules, line 5 is hostile."""
    row = f'C-9,"{HOSTILE}",Gold,"<img src=x onerror=alert(1)>"'
    header, *rows = ["CID,Email,Tier,Points", "C-1,ann@example.com,Silver,11", "C-2,=cmd|'x',Gold,many"]
    shop.write("more.csv", "\n".join([header, *rows, "C-3,bob@example.com,Bronze,4", row, ""]))
    answer = shop.terminal.ingest("run", "points", "--file", shop.settings.home / "more.csv", "--json")
    return int(answer.json[0]["load"])


def person(shop: Shop, name: str, *groups: str) -> Client:
    headers = {"X-Ingest-Proxy": SECRET, "X-Forwarded-User": name, "X-Forwarded-Groups": ",".join(groups)}
    return shop.client(StudioAccess(SECRET), **headers)


def judge(client: Client, load: int, rows: dict[str, dict[str, str]]) -> Any:
    return client.send(f"{BENCH}/judge", {"load": str(load), "rows": rows}).json()


def test_broken_cells_are_marked_with_their_reasons_and_personal_ones_masked(shop: Shop, load: int) -> None:
    html = person(shop, "ann", "operators").page(f"{BENCH}?load={load}").text
    row = html.split('data-line="3"')[1].split("</tr>")[0]
    assert row.count('class="broken"') == 3
    assert 'value="Gold"' in row
    assert 'placeholder="masked"' in row
    assert "cmd|" not in html
    assert "<img" not in html.split("<main")[1]
    assert "<script>alert" not in html
    assert "2 open" in text_of(html)


def test_a_cell_of_two_lines_keeps_its_line_break_and_hidden_characters_are_spelled_out(client: Client) -> None:
    cells = rejects.GridCell("Email", "one\n\u202etwo", masked=False, broken=[])
    row = rejects.GridRow(3, "3", [cells, replace(cells, value="\ttab")], [], editable=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejects, "_grid_row", lambda *_, **__: row)
        html = client.page(BENCH).text
    cell, *_ = re.findall(r'<textarea data-column="Email"[^>]*>\n(.*?)</textarea>', html, re.DOTALL)
    assert cell == "one\n\u202etwo"
    assert re.findall(r'class="spelled">(.*?)<', html)[0] == r"one \u202etwo"
    assert 'value="\ttab"' in html


def test_a_load_that_did_not_commit_says_that_none_of_its_rows_is_in_the_table(shop: Shop, client: Client) -> None:
    limited = PROJECT["imports/points.yaml"].replace("rejects: {unlimited: true}\n", "")
    shop.write("imports/points.yaml", limited)
    try:
        shop.write("limited.csv", "CID,Email,Tier,Points\nC-60,,Silver,1\nC-61,,Silver,many\n")
        assert shop.terminal.ingest("run", "points", "--file", shop.settings.home / "limited.csv").code != 0
    finally:
        shop.write("imports/points.yaml", PROJECT["imports/points.yaml"])
    with shop.ledger() as connection:
        [newest] = ledger.recent_loads(connection, "points", 1)
    words = text_of(client.page(f"{BENCH}?load={newest.id}").text)
    assert f"Load {newest.id} failed: none of its rows is in the table" in words
    assert "1 of 2 rows were rejected" in words


def test_personal_data_need_the_right_and_each_look_is_in_the_audit_trail(shop: Shop, load: int) -> None:
    address = f"{BENCH}?load={load}&personal=1"
    refused = person(shop, "ann", "operators").page(address)
    assert (refused.status_code, "cmd|" in refused.text) == (403, False)
    shown = person(shop, "dora", "pii").page(address).text
    assert "=cmd|" in shown
    assert "\u202e" in shown  # in the value of a field, as the sender wrote it
    assert "readonly" in shown  # she reads, and is no operator
    with shop.ledger() as connection:
        newest = ledger.list_audit(connection, import_name="points")[0]
    assert (newest.who, newest.what, dict(newest.detail)) == ("dora", "personal data shown", {"load": load, "rows": 2})


def test_rows_are_chosen_by_rule_and_field_a_page_at_a_time(client: Client, load: int) -> None:
    def lines(query: str) -> list[str]:
        return re.findall(r'data-line="(\d+)"', client.page(f"{BENCH}?load={load}{query}").text)

    assert lines("") == ["3", "5"]
    assert lines("&field=points") == ["3", "5"]
    assert lines("&after=3") == ["5"]
    assert lines("&code=missing_key") == []
    assert client.page(f"{BENCH}?load=999999").status_code == 400


def test_a_correction_is_judged_by_the_imports_own_rules(shop: Shop, load: int) -> None:
    ann = person(shop, "ann", "operators")
    broken = judge(ann, load, {"3": {**GOOD, "Points": "1.5"}})["broken"]["3"]
    assert [(rule["column"], rule["field"]) for rule in broken] == [("Points", "points")]
    assert {rule["column"] for rule in judge(ann, load, {"3": {"Points": "7"}})["broken"]["3"]} == {"Email", "Tier"}
    assert judge(ann, load, {"3": GOOD})["broken"] == {"3": []}


@pytest.mark.parametrize(
    "rows", [{}, {"x": GOOD}, {"3": {"secret": "x"}}, {"3": "x"}, {"3": {"Points": "9" * 70_000}}, {"-3": GOOD}]
)
def test_what_no_page_sends_is_refused(client: Client, load: int, rows: dict[str, Any]) -> None:
    for path in ("judge", "replay"):
        assert client.send(f"{BENCH}/{path}", {"load": str(load), "rows": rows}).status_code == 400
    assert client.send(f"{BENCH}/judge", {"load": "x", "rows": {"3": GOOD}}).status_code == 400


def test_the_csv_is_the_export_and_needs_the_right_to_personal_data(shop: Shop, client: Client, load: int) -> None:
    assert person(shop, "ann", "operators").page(f"/imports/points/rejects.csv?load={load}").status_code == 403
    answer = client.page(f"/imports/points/rejects.csv?load={load}")
    assert "attachment" in answer.headers["content-disposition"]
    header, first, _ = csv.reader(io.StringIO(answer.text))
    assert header[:4] == ["CID", "Email", "Tier", "Points"]
    assert first[1] == "'=cmd|'x'"  # no spreadsheet runs it


def test_what_passes_is_loaded_once_though_two_people_correct_the_same_row(shop: Shop, load: int) -> None:
    ann, ben = person(shop, "ann", "operators"), person(shop, "ben", "operators")
    nothing = ann.send(f"{BENCH}/replay", {"load": str(load), "rows": {"5": {"Points": "x"}}})
    assert nothing.json()["error"] == "no corrected row passes; nothing was loaded"
    sent = ann.send(f"{BENCH}/replay", {"load": str(load), "rows": {"3": GOOD, "5": {"Points": "x"}}})
    assert sent.json()["said"] == f"1 corrected row of load {load} is on the way; 1 did not pass and stay on the page"
    until(lambda: f"1 reject of load {load} resolved" in text_of(ann.page("/imports/points").text))
    late = judge(ben, load, {"3": {**GOOD, "Points": "8"}, "5": {"Points": "5"}})
    assert late["gone"] == ["3"]
    assert "5" in late["broken"]
    refused = ben.send(f"{BENCH}/replay", {"load": str(load), "rows": {"3": {**GOOD, "Points": "8"}}})
    assert "1 row were resolved by another load" in refused.json()["error"]
    assert re.findall(r'data-line="(\d+)"', ann.page(f"{BENCH}?load={load}").text) == ["5"]
    with shop.ledger() as connection:
        newest = ledger.recent_loads(connection, "points", 1)[0]
    assert (newest.by, newest.status, newest.inserted) == ("ann", "committed", 1)
    assert shop.settings.database_url is not None
    with psycopg.connect(shop.settings.database_url) as connection:
        row = connection.execute("SELECT email, tier, points FROM crm.customers WHERE customer_id = 'C-2'").fetchone()
    assert row == ("cy@example.com", "Silver", 7)
    assert not list((shop.settings.state / "studio").glob("corrected_*"))
