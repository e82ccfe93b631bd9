"""In a real browser, against real servers: from a project without an import to a loaded feed, and back through rejects.

Every step is followed by a reload: what was typed is there afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from ingest_pipelines_tests.servers import snowflake
from ingest_pipelines_tests.servers.sftp import SftpServer
from ingest_pipelines_tests.studio.conftest import Shop, empty_shop, password_in

DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields:
      customer_id: {type: string, max_length: 12}
      email: {type: email}
      points: {type: int}
"""
FILE = "CID,Email,Points\nC-1,ann@example.com,10\nC-2,bob@example.com,many\nC-3,cid@example.com,few\n"
LOADED = 60_000
"""Milliseconds that a run may take on a busy machine."""


@pytest.fixture(scope="module")
def shop(postgres_url: str, sftp_server: SftpServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project with a database, and nothing else."""
    variables = {
        "VENDOR_KEY": sftp_server.private_key, "SHOP_PASSWORD": password_in(postgres_url),
        "SNOWFLAKE_PASSWORD": snowflake.SnowflakeServer.password,
    }  # fmt: skip
    with empty_shop(postgres_url, tmp_path_factory.mktemp("way"), **variables) as shop:
        target = shop.terminal.environment["INGEST_DATABASE_URL"]
        shop.write("databases.yaml", DATABASES)
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA shop")
            connection.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, who text, points int)")
            connection.execute("INSERT INTO shop.orders VALUES (1, 'C-7', 7), (2, 'C-8', 8)")
        yield shop


@pytest.fixture
def vendor(sftp_server: SftpServer, sftp_folder: Path) -> dict[str, Any]:
    """The settings of a connection to a folder with one file."""
    file = sftp_folder / "Points_1767225600.csv"
    file.write_text(FILE)
    os.utime(file, (1_767_225_600, 1_767_225_600))
    return sftp_server.connection(root=str(sftp_folder))


def connect(page: Page, address: str, name: str, settings: dict[str, Any]) -> None:
    """Adds a connection by the form; a secret is the name of its variable."""
    page.set_default_timeout(20_000)
    page.goto(f"{address}/connections")
    page.get_by_role("link", name="New connection").click()
    page.get_by_role("link", name=settings["type"], exact=True).click()
    page.locator("[name=name]").fill(name)
    for key, value in settings.items():
        if key != "type":
            field = page.locator(f"[name='setting:{key}']")
            if field.count():
                field.fill(value["env"] if isinstance(value, dict) else str(value))
    page.get_by_role("button", name="Add and test").click()
    page.wait_for_url(f"{address}/connections/{name}")
    expect(page.locator("#test")).to_contain_text("ok")


def answer(page: Page, act: Callable[[], object]) -> None:
    """An answer on the page of a new import, and a reload after it."""
    with page.expect_response(lambda response: response.request.method == "POST" and "/new/" in response.url):
        act()
    expect(page.locator("#setup")).not_to_have_attribute("aria-busy", "true")
    page.reload()


def typed(page: Page, place: str, text: str) -> Callable[[], object]:
    def act() -> None:
        page.locator(place).fill(text)
        page.locator(place).press("Tab")

    return act


def complete(page: Page, address: str, name: str, said: str) -> None:
    """Completes the import with `run it now`, and waits until its page says how that ended."""
    expect(page.locator("#s-yaml")).to_contain_text("no mistakes")
    answer(page, lambda: page.get_by_label("run it now").check(force=True))
    page.get_by_role("button", name="Complete").click()
    page.wait_for_url(f"{address}/imports/{name}")
    page.reload()
    expect(page.locator("#part .notice.good")).to_contain_text(said, timeout=LOADED)


def test_from_an_empty_project_to_a_loaded_sftp_feed_and_back_through_the_rejects_bench(
    shop: Shop, address: str, clean: Page, chromium: Browser, vendor: dict[str, Any]
) -> None:
    clean.goto(address)
    expect(clean.locator("main")).to_contain_text("No import yet")
    connect(clean, address, "vendor", vendor)
    clean.get_by_role("link", name="New import").first.click()
    answer(clean, typed(clean, "#f-name", "points"))
    answer(clean, lambda: clean.get_by_label("vendor").check(force=True))
    answer(clean, lambda: clean.get_by_label("Points_1767225600.csv").check(force=True))
    expect(clean.locator("#s-columns")).to_contain_text("ann@example.com")
    answer(clean, lambda: clean.locator("#f-rejects").select_option("any"))
    clean.get_by_role("button", name="Plan", exact=True).click()
    expect(clean.locator("#s-plan")).to_contain_text("This is what a load would do now", timeout=LOADED)
    clean.reload()
    expect(clean.locator("#s-plan")).to_contain_text("This is what a load would do now")
    complete(clean, address, "points", "3 rows read, 1 inserted, 2 rejected")
    clean.goto(address)
    expect(clean.locator("tr[data-name=points]")).to_contain_text("2 rejected")

    clean.goto(f"{address}/imports/points/rejects")
    other = chromium.new_page()
    other.goto(f"{address}/imports/points/rejects")
    for person in (clean, other):
        person.get_by_label("Points, line 3").fill("20")
        person.get_by_label("Points, line 3").press("Tab")
        person.reload()
        expect(person.locator("tr[data-line='3'] .verdict")).to_have_text("passes")
    clean.get_by_role("button", name="Load what passes").click()
    expect(clean.locator("#part .notice.good")).to_contain_text("1 reject of load", timeout=LOADED)
    other.get_by_role("button", name="Load what passes").click()
    expect(other.locator("#said")).to_contain_text("resolved by another load")
    other.close()
    with psycopg.connect(shop.settings.database_url or "") as connection:
        rows = connection.execute("SELECT customer_id, points FROM crm.customers ORDER BY 1").fetchall()
    assert rows == [("C-1", 10), ("C-2", 20)]
    loads = json.loads(shop.terminal.ingest("report", "points", "--json").out)
    assert sorted(load["read"] for load in loads) == [1, 3]


@pytest.mark.slow  # the same way from another source
def test_from_an_empty_project_to_a_loaded_snowflake_table_and_back_through_the_rejects_bench(
    shop: Shop, address: str, clean: Page, snowflake_database: snowflake.SnowflakeDatabase
) -> None:
    """The connection is written by hand: its options lead the connector here instead of to snowflakecomputing.com."""
    server = snowflake_database.server
    snowflake_database.execute(
        "CREATE TABLE CONTACTS (CID VARCHAR, EMAIL VARCHAR, POINTS VARCHAR, SEEN_AT TIMESTAMP_NTZ)",
        "INSERT INTO CONTACTS VALUES ('S-1', 'ann@example.com', '10', '2026-01-01 06:00:00'), "
        "('S-2', 'bob@example.com', 'many', NULL), ('S-3', 'cid.example.com', '3', '2026-01-03 06:00:00')",
    )
    account = {
        "type": "snowflake", "account": server.account, "user": server.user, "password": {"env": "SNOWFLAKE_PASSWORD"},
        "database": snowflake_database.name, "schema": "PUBLIC", "options": server.options,
    }  # fmt: skip
    file = shop.settings.home / "connections.yaml"
    known = yaml.safe_load(file.read_text()) if file.exists() else {"connections": {}}
    known["connections"]["warehouse"] = account
    file.write_text(yaml.safe_dump(known))
    clean.set_default_timeout(20_000)
    clean.goto(f"{address}/connections/warehouse")
    expect(clean.locator("main")).to_contain_text("PUBLIC.CONTACTS")
    clean.get_by_role("button", name="Test").click()
    expect(clean.locator("#test")).to_contain_text("login")
    expect(clean.locator("#test .bad")).to_have_count(0)
    clean.get_by_role("link", name="New import").first.click()
    answer(clean, typed(clean, "#f-name", "contacts"))
    answer(clean, lambda: clean.get_by_label("warehouse").check(force=True))
    answer(clean, lambda: clean.get_by_label("PUBLIC.CONTACTS").check(force=True))
    expect(clean.locator("#s-columns")).to_contain_text("ann@example.com")
    expect(clean.locator("#key-0")).to_be_checked()
    answer(clean, lambda: clean.locator("#f-rejects").select_option("any"))
    complete(clean, address, "contacts", "3 rows read, 1 inserted, 2 rejected")

    clean.get_by_role("link", name="Rejects").click()
    expect(clean.locator("tr[data-line]")).to_have_count(2)
    clean.get_by_label("POINTS, line 2").fill("20")
    clean.get_by_label("EMAIL, line 3").fill("cid@example.com")
    clean.get_by_label("EMAIL, line 3").press("Tab")
    expect(clean.locator("#tally")).to_have_text("2 corrected, 2 pass")
    clean.reload()
    clean.get_by_role("button", name="Load what passes").click()
    expect(clean.locator("#part .notice.good")).to_contain_text("2 rejects of load", timeout=LOADED)
    with psycopg.connect(shop.settings.database_url or "") as connection:
        rows = connection.execute(
            "SELECT customer_id, email, points, seen_at::text FROM crm.customers "
            "WHERE customer_id LIKE 'S-%' ORDER BY customer_id"
        ).fetchall()
    assert rows == [
        ("S-1", "ann@example.com", 10, "2026-01-01 06:00:00+00"), ("S-2", "bob@example.com", 20, None),
        ("S-3", "cid@example.com", 3, "2026-01-03 06:00:00+00"),
    ]  # fmt: skip


def test_a_select_with_a_cursor_is_set_up_and_reads_what_is_new(shop: Shop, address: str, clean: Page) -> None:
    login = psycopg.conninfo.conninfo_to_dict(shop.settings.database_url or "")
    settings = {
        "type": "postgresql", "host": login.get("host", "127.0.0.1"), "port": login.get("port", 5432),
        "database": login["dbname"], "username": login["user"], "password": {"env": "SHOP_PASSWORD"},
    }  # fmt: skip
    connect(clean, address, "orders_db", settings)
    clean.goto(f"{address}/new")
    answer(clean, typed(clean, "#f-name", "orders"))
    answer(clean, lambda: clean.get_by_label("orders_db").check(force=True))
    answer(clean, lambda: clean.get_by_text("an own SELECT").click())
    query = "SELECT id, who, points FROM shop.orders WHERE id > {lastItem} ORDER BY id"
    answer(clean, typed(clean, "#f-query", query))
    answer(clean, lambda: clean.locator("#f-per").select_option("cursor"))
    answer(clean, typed(clean, "#f-cursor_column", "id"))
    answer(clean, typed(clean, "#f-cursor_start", "0"))
    expect(clean.locator("#s-data")).to_contain_text("C-7")
    answer(clean, lambda: clean.locator("#key-1").check(force=True))
    complete(clean, address, "orders", "2 rows read, 2 inserted")
    spec = yaml.safe_load((shop.settings.home / "imports" / "orders.yaml").read_text())
    assert spec["source"]["cursor"] == {"column": "id", "start": 0}
    clean.reload()
    expect(clean.locator("main")).to_contain_text("starts after id = 2")
