"""New import: what a person answers is kept, becomes the YAML beside it, and is written only when it has no mistake."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pysequoia as openpgp
import pytest
import yaml
from starlette.requests import Request

from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.studio import uploads
from ingest_pipelines_tests.studio.conftest import Client, Shop, empty_shop, password_in
from ingest_pipelines_tests.studio.form import fields_of_form, mistakes_shown, yaml_beside

SECRET = "p" * 32
DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    max_fields_per_import: 4
    fields:
      customer_id: {type: string, max_length: 12}
      email: {type: email, pii: true}
      tier: {type: enum, options: [Bronze, Silver]}
      points: {type: int}
    resources:
      newsletter: {channels: [email]}
"""
LOYALTY = "CID,Email,Tier,Points\nC-1,ann@example.com,Silver,10\nC-2,bob@example.com,Gold,many\n"
LOYALTY_IMPORT = """\
database: customers
source: {connection: uploads, file: loyalty}
columns: {CID: customer_id}
"""
HOSTILE = '<img src=x onerror="alert(1)">\u202e'


@dataclass
class Page:
    """The page of one import that is being set up."""

    client: Client
    path: str
    html: str
    token: str

    def fill(self, **answers: Any) -> Page:
        """Changes answers as a person does: the whole form is sent."""
        fields = {**fields_of_form(self.html), **{name.replace("__", ":"): value for name, value in answers.items()}}
        sent = {name: value for name, value in fields.items() if value is not None}
        answer = self.client.send(self.path, sent, self.token)
        assert answer.status_code == 200, answer.text
        self.html = answer.text
        return self

    def press(self, what: str) -> Any:
        """Presses a button; returns the answer."""
        return self.client.send(self.path, {**fields_of_form(self.html), "do": what}, self.token)

    def wait(self, what: Callable[[str], bool]) -> str:
        """Looks again until the page shows it."""
        deadline = time.monotonic() + 60
        while not what(self.html):
            assert time.monotonic() < deadline, self.html
            self.fill()
        return self.html


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project without an import, with uploads, and a database with one table."""
    home = tmp_path_factory.mktemp("desk")
    with empty_shop(postgres_url, home, SHOP_PASSWORD=password_in(postgres_url)) as shop:
        target = shop.terminal.environment["INGEST_DATABASE_URL"]
        login = psycopg.conninfo.conninfo_to_dict(target)
        database = {
            "type": "postgresql", "host": str(login.get("host", "127.0.0.1")), "port": int(login.get("port") or 5432),
            "database": str(login["dbname"]), "username": str(login["user"]), "password": {"env": "SHOP_PASSWORD"},
        }  # fmt: skip
        connections = {"uploads": {"type": "csv", "directory": "uploads"}, "db": database}
        shop.write("connections.yaml", yaml.safe_dump({"connections": connections}))
        shop.write("databases.yaml", DATABASES)
        shop.write("uploads/Loyalty_1.csv", LOYALTY)
        shop.write("uploads/Days_1.csv", "CID,Joined\nC-1,03/12/2020\nC-2,01/02/2021\n")
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA shop")
            connection.execute(
                "CREATE TABLE shop.contacts (id int PRIMARY KEY, email text, changed int, seen timestamp)"
            )
            connection.execute(
                "INSERT INTO shop.contacts VALUES (1, 'ann@example.com', 7, '2026-01-05 05:00'), "
                "(2, 'bob@example.com', 9, '2026-01-05 06:00')"
            )
        yield shop


@pytest.fixture
def client(shop: Shop) -> Client:
    """A browser of a person at this machine."""
    return shop.client()


@pytest.fixture
def page(client: Client, shop: Shop) -> Iterator[Page]:
    """The page of a new import; the project has none afterwards."""
    yield begun(client)
    for file in (shop.settings.home / "imports").glob("*"):
        file.unlink()


def begun(client: Client, **headers: str) -> Page:
    answer = client.page("/new", **headers)
    token = re.search(r'name="studio-token" content="(\w+)"', answer.text)
    assert token is not None, answer.text
    return Page(client, answer.url.path, answer.text, token[1])


def loyalty(page: Page, **more: Any) -> Page:
    """The page with a file chosen."""
    return page.fill(name="loyalty", connection="uploads").fill(path="Loyalty_1.csv").fill(rejects="any", **more)


def test_what_was_typed_survives_a_reload_and_a_restart(page: Page, shop: Shop) -> None:
    loyalty(page, description="Points & <b>tiers</b>", mode="update_only")
    assert fields_of_form(page.client.page(page.path).text) == fields_of_form(page.html)
    again = shop.client()
    assert fields_of_form(again.page(page.path).text)["description"] == "Points & <b>tiers</b>"
    other = begun(page.client)
    assert ">loyalty<" in other.html  # the one that is not complete is offered


def test_what_stands_beside_the_form_is_what_is_written_and_check_passes_it(page: Page, shop: Shop) -> None:
    loyalty(page, activate="off", sub_resource="newsletter").fill(sub_channel="email", sub_contact="Email")
    text = yaml_beside(page.html)
    assert mistakes_shown(page.html) == []
    assert not (shop.settings.home / "imports" / "loyalty.yaml").exists()
    assert page.press("write").json()["goto"] == "/imports/loyalty"
    file = shop.settings.home / "imports" / "loyalty.yaml"
    assert file.read_text() == text
    assert yaml.safe_load(text)["columns"] == {
        "CID": "customer_id", "Email": "email", "Tier": "tier", "Points": "points",
    }  # fmt: skip
    assert yaml.safe_load(text)["status"] == "draft"
    assert shop.terminal.ingest("check", "loyalty").code == 0
    assert page.press("write").status_code == 400  # once
    assert "created" in shop.terminal.ingest("audit", "--json").out


def test_a_field_is_skipped_renamed_or_new_with_the_limits_of_its_database(page: Page) -> None:
    loyalty(page, on__3=None, field__2="level")
    assert yaml.safe_load(yaml_beside(page.html))["columns"] == {
        "CID": "customer_id", "Email": "email", "Tier": {"field": "level", "type": "string"},
    }  # fmt: skip
    page.fill(field__2="email")
    assert "the field email is filled by two columns" in mistakes_shown(page.html)
    page.fill(field__2="level").fill(type__2="datum")
    assert any("is not a type" in mistake for mistake in mistakes_shown(page.html))
    assert page.press("write").status_code == 400


def test_what_the_sample_does_not_say_is_asked_and_not_guessed(page: Page) -> None:
    page.fill(name="days", connection="uploads").fill(path="Days_1.csv")
    assert any(mistake.startswith("choose how its cells are read") for mistake in mistakes_shown(page.html))
    assert page.press("write").status_code == 400
    page.fill(way__1="1")
    assert mistakes_shown(page.html) == []
    assert yaml.safe_load(yaml_beside(page.html))["columns"]["Joined"]["format"] == "%m/%d/%Y"


def test_a_format_is_proposed_although_a_few_cells_of_the_sample_are_bad(page: Page, shop: Shop) -> None:
    rows = [f"{n},{10 + n % 19}/{1 + n % 12:02}/2001" for n in range(1, 40)]
    shop.write(
        "uploads/Joins_1.csv", "CID,Joined\n" + "\n".join([*rows[:10], "90,soon", *rows[10:], "91,later"]) + "\n"
    )
    page.fill(name="joins", connection="uploads").fill(path="Joins_1.csv").fill(rejects="any")
    (shop.settings.home / "uploads" / "Joins_1.csv").unlink()
    assert yaml.safe_load(yaml_beside(page.html))["columns"]["Joined"]["format"] == "%d/%m/%Y"
    assert "2 of 41 cells of the sample are no date: such rows would be rejected" in page.html
    assert "(lines 12, 42)" in page.html


def test_a_mistake_of_check_stands_at_its_field(page: Page, shop: Shop) -> None:
    page.fill(name="contacts", connection="db").fill(path="shop.contacts", key="0")
    page.fill(when="every", every="7m")
    section = page.html.partition('id="s-schedule"')[2].partition("</section>")[0]
    assert any("divide an hour" in mistake for mistake in mistakes_shown(section))
    assert page.press("write").status_code == 400
    shop.write("imports/Contacts.yaml", "database: customers\n")
    assert any("exists already" in mistake for mistake in mistakes_shown(page.fill().html))


def test_the_next_five_ticks_are_in_the_schedules_time_zone(page: Page) -> None:
    page.fill(name="contacts", connection="db").fill(path="shop.contacts", key="0").fill(when="weekdays")
    page.fill(weekdays=["mon", "thu"], at="06:30", schedule_timezone="Europe/Berlin")
    ticks = re.findall(r"<li><time[^>]*>(\w+) .*? 06:30 CES?T</time>", page.html)
    assert len(ticks) == 5
    assert set(ticks) == {"Mon", "Thu"}
    assert yaml.safe_load(yaml_beside(page.html))["schedule"] == {
        "at": ["06:30"], "weekdays": ["mon", "thu"], "timezone": "Europe/Berlin",
    }  # fmt: skip


def test_of_two_pages_of_one_draft_the_one_that_is_out_of_date_keeps_nothing(page: Page) -> None:
    def save(tab: str, seen: int, **answers: str) -> int:
        return page.client.send(page.path, {**answers, "tab": tab, "seen": str(seen)}, page.token).status_code

    [saves] = re.findall(r'data-saves="(\d+)"', page.client.page(page.path).text)
    assert save("one", int(saves), name="loyalty", description="ours") == 200
    assert save("two", int(saves), name="", groups="crm") == 400
    assert save("one", int(saves), name="loyalty", description="still ours") == 200
    assert fields_of_form(page.client.page(page.path).text)["description"] == "still ours"
    [saves] = re.findall(r'data-saves="(\d+)"', page.client.page(page.path).text)
    assert save("two", int(saves), name="points2") == 200
    assert save("two", int(saves), do="drop") == 200
    assert save("one", int(saves), name="loyalty") == 400
    assert fields_of_form(page.client.page(page.path).text).get("name", "") == ""


def test_an_answer_of_another_kind_is_refused_and_the_draft_stays_as_it_was(page: Page) -> None:
    page.fill(name="loyalty")
    for body in (
        b'{"database": ["customers", "y"]}', b'{"name": "\\ud800"}', b'{"name":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ):  # fmt: skip
        headers = {"X-Studio-Token": page.token, "Content-Type": "application/json"}
        assert page.client.http.post(page.path, content=body, headers=headers).status_code == 400
    assert fields_of_form(page.client.page(page.path).text)["name"] == "loyalty"


def test_an_own_select_shows_its_first_rows_and_one_that_writes_is_refused(page: Page) -> None:
    page.fill(name="contacts", connection="db", reads="query")
    page.fill(query="DELETE FROM shop.contacts")
    assert "notice bad" in page.html.partition('id="s-data"')[2].partition("</section>")[0]
    query = "SELECT id, email, changed\nFROM shop.contacts\nWHERE changed > {lastItem}\nORDER BY changed"
    assert "the cursor is not complete" in page.fill(query=query, per="cursor").html
    page.fill(cursor_column="changed", cursor_start="7").fill(key="0", field__2="changed")
    assert "bob@example.com" in page.html
    assert "ann@example.com" not in page.html  # before the start
    source = yaml.safe_load(yaml_beside(page.html))["source"]
    assert source["query"].strip() == query
    assert source["cursor"] == {"column": "changed", "start": 7}
    assert mistakes_shown(page.html) == []


def test_a_select_of_one_window_after_the_other_shows_rows_of_the_first_ones(page: Page) -> None:
    page.fill(name="contacts", connection="db", reads="query")
    query = "SELECT id, email FROM shop.contacts WHERE seen >= {windowStart} AND seen < {windowEnd}"
    page.fill(query=query, per="window").fill(window_every="week", window_start="soon")
    assert "window.start: " in page.html.partition('id="s-data"')[2].partition("</section>")[0]
    page.fill(window_start="2026-01-05", window_timezone="Europe/Berlin", window_offset="6h", window_wall_clock="on")
    assert "bob@example.com" in page.html
    assert "ann@example.com" not in page.html  # before the first window
    assert yaml.safe_load(yaml_beside(page.fill(key="0").html))["source"]["window"] == {
        "every": "week", "start": "2026-01-05", "timezone": "Europe/Berlin", "offset": "6h", "wall_clock": True,
    }  # fmt: skip
    assert mistakes_shown(page.html) == []


def test_an_encrypted_file_is_read_with_keys_that_variables_hold_and_no_path_is_a_key(
    page: Page, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = openpgp.Tsk.generate("Shop <shop@example.com>")
    message = openpgp.encrypt(LOYALTY.encode(), [secret.extract_certificate()])
    file = shop.settings.home / "uploads" / "Till_7.csv.pgp"
    file.write_bytes(message)
    shop.write("till.key", str(secret))
    monkeypatch.setenv("TILL_KEY", str(secret))
    try:
        page.fill(name="till", connection="uploads").fill(path="Till_7.csv.pgp")
        assert "the file is encrypted" in page.html
        for name in ("NO_SUCH_KEY", str(shop.settings.home / "till.key")):
            page.fill(decrypt_private_key=name)
            assert "is not set" in page.html
        page.fill(decrypt_private_key="TILL_KEY").fill(rejects="any")
    finally:
        file.unlink()
    assert "ann@example.com" in page.html
    assert mistakes_shown(page.html) == []
    source = yaml.safe_load(yaml_beside(page.html))["source"]
    assert source == {"connection": "uploads", "file": "Till", "decrypt": {"private_key": {"env": "TILL_KEY"}}}


def test_files_that_are_called_like_parts_are_one_item_unless_a_person_says_otherwise(page: Page, shop: Shop) -> None:
    names = [f"Sales_7_part{part}.csv" for part in (1, 2)]
    for name in names:
        shop.write(f"uploads/{name}", LOYALTY)
    try:
        page.fill(name="sales", connection="uploads").fill(path=names[0]).fill(rejects="any")
    finally:
        for name in names:
            (shop.settings.home / "uploads" / name).unlink()
    parts = {"pattern": r"Sales_(?P<serial>[0-9]+)_part(?P<part>[0-9]+)\.csv", "count": 2}
    source = yaml.safe_load(yaml_beside(page.html))["source"]
    assert source == {"connection": "uploads", "file": "Sales", "parts": parts}
    assert yaml.safe_load(yaml_beside(page.fill(parts_count="5").html))["source"]["parts"]["count"] == 5
    assert any("count" in mistake for mistake in mistakes_shown(page.fill(parts_count="many").html))
    assert "parts" not in yaml.safe_load(yaml_beside(page.fill(parts="each").html))["source"]


def test_consents_by_a_column_places_and_limits_of_new_fields_are_in_the_yaml(page: Page, shop: Shop) -> None:
    shop.write("uploads/People_1.csv", "CID,Consent,IP,Nick,Age\nC-1,subscribed,192.0.2.1,annie,30\n")
    shop.write("geo.mmdb", "")
    shop.write("databases.yaml", DATABASES.replace("    key: ", "    geo_database: geo.mmdb\n    key: "))
    try:
        page.fill(name="people", connection="uploads").fill(path="People_1.csv", key="0", sub_resource="newsletter")
        page.fill(sub_channel="email", sub_contact="Nick", sub_status="column", geo_ip="IP", on__1=None, on__2=None)
        assert "choose the column with the status" in mistakes_shown(page.html)
        page.fill(sub_column="Consent", sub_update_status="on", geo_country="tier")
        page.fill(max_length__3="20", min__4="18", max__4="120")
        text = yaml_beside(page.html)
    finally:
        (shop.settings.home / "uploads" / "People_1.csv").unlink()
        (shop.settings.home / "geo.mmdb").unlink()
        shop.write("databases.yaml", DATABASES)
    written = yaml.safe_load(text)
    assert written["subscriptions"] == [{
        "resource": "newsletter", "channel": "email", "contact": "Nick", "status_column": "Consent",
        "update_status": True,
    }]  # fmt: skip
    assert written["geo"] == {"ip": "IP", "country": "tier"}
    assert written["columns"]["Nick"] == {"field": "nick", "type": "string", "max_length": 20}
    assert written["columns"]["Age"] == {"field": "age", "type": "int", "min": 18, "max": 120}
    assert mistakes_shown(page.html) == ["geo.country: 'tier' must be of type string"]


def test_hostile_names_and_cells_are_text(page: Page, shop: Shop) -> None:
    name = f"{HOSTILE.replace('/', '')}.csv"
    shop.write(f"uploads/{name}", f'CID,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\nC-1,"<script>alert(1)</script>"\n')
    try:
        page.fill(name="loyalty", connection="uploads", description=HOSTILE).fill(path=name)
    finally:
        (shop.settings.home / "uploads" / name).unlink()
    assert "<img src=x" not in page.html
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert(1)" in page.html
    assert HOSTILE in yaml.safe_load(yaml_beside(page.html).replace("\\\\u202e", "\\u202e"))["columns"]


def test_a_path_that_the_source_does_not_list_is_not_read(page: Page, shop: Shop) -> None:
    shop.write("secret.csv", "CID\nC-1\n")
    for path in ("../secret.csv", "/etc/passwd", str(shop.settings.home / "secret.csv")):
        page.fill(name="loyalty", connection="uploads").fill(path=path)
        assert "not there any more" in page.html
    assert page.client.page("/new/../../etc").status_code == 404
    assert page.client.page("/new/..%2f..%2fetc").status_code in {400, 404}


def test_values_are_for_people_who_may_see_them_and_each_look_is_in_the_audit_trail(shop: Shop) -> None:
    access = StudioAccess(proxy_secret=SECRET)
    seen = {}
    for groups in ("operators", "operators,pii"):
        person = shop.client(
            access, **{"X-Ingest-Proxy": SECRET, "X-Forwarded-User": groups[-3:], "X-Forwarded-Groups": groups}
        )
        seen[groups] = loyalty(begun(person)).html
    assert "ann@example.com" not in seen["operators"]
    assert "Silver" in seen["operators"]
    assert "ann@example.com" in seen["operators,pii"]
    assert shop.terminal.ingest("audit", "--json").out.count("looked at a sample") >= 1


def test_a_viewer_sets_up_nothing(shop: Shop) -> None:
    headers = {"X-Ingest-Proxy": SECRET, "X-Forwarded-User": "eve", "X-Forwarded-Groups": ""}
    viewer = shop.client(StudioAccess(proxy_secret=SECRET), **headers)
    for path in ("/new", f"/new/{'0' * 24}", "/connections/new", "/connections/uploads"):
        assert viewer.page(path).status_code == 403
    for path in (f"/new/{'0' * 24}", f"/new/{'0' * 24}/upload", "/connections/new", "/connections/uploads/test"):
        assert viewer.send(path).status_code == 403


def test_a_plan_is_the_real_load_rolled_back_and_survives_a_reload(page: Page, shop: Shop) -> None:
    loyalty(page)
    page.html = page.press("plan").text
    assert "planning" in page.html
    html = page.wait(lambda html: "planning" not in html)
    assert "This is what a load would do now" in html
    assert re.search(r"<dt>inserted</dt><dd>1<", html)
    assert re.search(r"<dt>rejected</dt><dd class=\"bad\">1<", html)
    assert "CREATE TABLE" in html
    assert "line 3" in html
    again = page.client.page(page.path).text
    assert 'id="plan"' in again
    outdated = "The import was changed since this plan"
    assert outdated not in again
    assert outdated in page.fill(description="Points").html
    assert outdated not in page.fill(description="").html
    with psycopg.connect(shop.settings.database_url or "") as connection:
        assert connection.execute("SELECT to_regclass('crm.customers')").fetchone() == (None,)


def test_a_plan_can_be_cancelled(page: Page, shop: Shop) -> None:
    loyalty(page)
    with psycopg.connect(shop.settings.database_url or "") as somebody:
        somebody.execute("CREATE SCHEMA crm")  # the plan waits for it
        page.html = page.press("plan").text
        page.html = page.press("cancel").text
        assert "cancelled" in page.wait(lambda html: "planning" not in html)
        somebody.rollback()


def test_an_upload_is_kept_under_a_name_of_ours_and_its_run_is_reported(page: Page, shop: Shop) -> None:
    page.fill(name="loyalty", connection="uploads")
    headers = {"X-Studio-Token": page.token, "Content-Type": "application/octet-stream"}
    sent = page.client.http.post(f"{page.path}/upload?ending=.csv", content=LOYALTY.encode(), headers=headers)
    assert sent.status_code == 200
    page.html = page.client.page(page.path).text
    assert re.fullmatch(r"loyalty_\d+\.csv", fields_of_form(page.html)["path"])
    page.fill(rejects="any", run_now="on")
    assert yaml.safe_load(yaml_beside(page.html))["source"]["file"] == "loyalty"
    assert page.press("write").json()["said"] == "imports/loyalty.yaml is written; it runs"
    deadline = time.monotonic() + 60
    while not (loads := json.loads(shop.terminal.ingest("report", "loyalty", "--json").out)):
        assert time.monotonic() < deadline
    assert [(load["inserted"], load["rejected"]) for load in loads] == [(1, 1)]
    assert page.client.page("/imports/loyalty/upload").status_code == 200


def test_uploads_at_the_same_time_are_files_of_their_own(tmp_path: Path) -> None:
    async def keep(body: bytes) -> Path:
        halves = [body[:3], body[3:]]

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": halves.pop(0), "more_body": bool(halves)}

        scope = {"type": "http", "method": "POST", "headers": [], "query_string": b"ending=.csv"}
        return await uploads.keep_upload(Request(scope, receive), tmp_path, "visits")

    async def at_once() -> list[Path]:
        return await asyncio.gather(*(keep(body) for body in bodies))

    bodies = [b"CID\nC-1\n", b"CID\nC-2\n", b"CID\nC-3\n"]
    assert [file.read_bytes() for file in asyncio.run(at_once())] == bodies
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_is_refused_before_it_is_sent_while_another_one_of_the_import_comes_or_is_loaded(shop: Shop) -> None:
    client = shop.client()
    headers = {"X-Studio-Token": client.token, "Content-Type": "application/octet-stream"}
    before = sorted((shop.settings.home / "uploads").iterdir())
    shop.write("imports/loyalty.yaml", LOYALTY_IMPORT)
    try:
        with client.jobs.place("loyalty"):
            sent = client.http.post("/imports/loyalty/upload?ending=.csv", content=LOYALTY.encode(), headers=headers)
            assert (sent.status_code, "is being uploaded" in sent.text) == (400, True)
            assert client.send("/imports/loyalty/run").status_code == 400
    finally:
        (shop.settings.home / "imports" / "loyalty.yaml").unlink()
    assert sorted((shop.settings.home / "uploads").iterdir()) == before


@pytest.mark.parametrize("ending", ["", ".csv/../../x", ".exe", ".CSV%00", "csv"])
def test_an_upload_of_another_kind_is_refused(page: Page, shop: Shop, ending: str) -> None:
    before = sorted((shop.settings.home / "uploads").iterdir())
    page.fill(name="loyalty", connection="uploads")
    headers = {"X-Studio-Token": page.token, "Content-Type": "application/octet-stream"}
    sent = page.client.http.post(f"{page.path}/upload?ending={ending}", content=b"CID\nC-1\n", headers=headers)
    assert sent.status_code == 400
    assert sorted((shop.settings.home / "uploads").iterdir()) == before


def test_an_upload_above_the_cap_leaves_nothing(page: Page, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    page.fill(name="loyalty", connection="uploads")
    headers = {"X-Studio-Token": page.token, "Content-Type": "application/octet-stream"}

    def endless() -> Iterator[bytes]:
        yield from (b"x" * 400 for _ in range(5))

    before = sorted((shop.settings.home / "uploads").iterdir())
    for content in (b"x" * 1001, endless(), b""):
        sent = page.client.http.post(f"{page.path}/upload?ending=.csv", content=content, headers=headers)
        assert sent.status_code == 400
    assert sorted((shop.settings.home / "uploads").iterdir()) == before


def test_connections_are_listed_tested_and_browsed(client: Client) -> None:
    assert {"uploads", "db"} <= set(re.findall(r"<bdi>(\w+)</bdi>", client.page("/connections").text))
    assert ">ok<" in client.send("/connections/db/test").text
    assert "shop.contacts" in client.page("/connections/db").text
    assert "Loyalty_1.csv" in client.page("/connections/uploads").text
    assert client.page("/connections/nowhere").status_code == 400


def test_a_new_connection_names_its_secret_and_no_folder_of_this_machine(client: Client, shop: Shop) -> None:
    before = (shop.settings.home / "connections.yaml").read_text()
    csv = {"name": "etc", "type": "csv", "setting:directory": "/etc"}
    assert client.send("/connections/new", csv).status_code == 400
    ours = yaml.safe_load(before)["connections"]["db"]
    fields = {"name": "again", "type": "postgresql", "setting:password": "SHOP_PASSWORD"}
    fields |= {f"setting:{key}": str(ours[key]) for key in ("host", "port", "database", "username")}
    assert client.send("/connections/new", {**fields, "setting:password": "hunter 2"}).status_code == 400
    assert (shop.settings.home / "connections.yaml").read_text() == before
    try:
        assert client.send("/connections/new", fields).json()["goto"] == "/connections/again"
        written = yaml.safe_load((shop.settings.home / "connections.yaml").read_text())["connections"]
        assert written["again"]["password"] == {"env": "SHOP_PASSWORD"}
        assert client.send("/connections/new", fields).status_code == 400  # there is one of that name
        page = loyalty(begun(client))
        assert f'href="/connections/new?draft={page.path[-24:]}"' in page.html
        added = client.send("/connections/new", {**fields, "name": "third", "draft": page.path[-24:]})
        assert added.json()["goto"] == page.path
        answers = fields_of_form(client.page(page.path).text)
        assert (answers["name"], answers["connection"], answers.get("path")) == ("loyalty", "third", None)
        known = (shop.settings.home / "connections.yaml").read_text()
        assert client.send("/connections/new", {**fields, "name": "fourth", "draft": "../x"}).status_code == 400
        assert (shop.settings.home / "connections.yaml").read_text() == known
    finally:
        shop.write("connections.yaml", before)
