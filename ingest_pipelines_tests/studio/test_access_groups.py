"""An import with groups is there for the people in them, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.studio import pages
from ingest_pipelines.studio.access import OF_AN_IMPORT
from ingest_pipelines_tests.studio.conftest import PROJECT, Client, Shop

SECRET = "s" * 32
ABOUT_ONE = [route for route in pages.ROUTES if route.path.startswith(OF_AN_IMPORT)]
POINTS = PROJECT["imports/points.yaml"]


def person(shop: Shop, name: str, *groups: str) -> Client:
    headers = {"X-Ingest-Proxy": SECRET, "X-Forwarded-User": name, "X-Forwarded-Groups": ",".join(groups)}
    return shop.client(StudioAccess(proxy_secret=SECRET), **headers)


@pytest.fixture(autouse=True)
def grouped(shop: Shop) -> Iterator[None]:
    """`points` is for crm."""
    shop.write("imports/points.yaml", f"groups: [crm, sales team]\n{POINTS}")
    yield
    for name, text in PROJECT.items():
        shop.write(name, text)


def test_home_shows_an_import_to_people_in_its_groups(shop: Shop) -> None:
    assert 'data-name="points"' in person(shop, "ann", "crm").page("/").text
    assert 'data-name="points"' in person(shop, "cid", "x", " sales team ").page("/").text
    assert 'data-name="points"' in shop.client().page("/").text  # the account of this machine
    for groups in ((), ("operators",), ("operators", "pii", "CRM", "crm2", "sales")):
        html = person(shop, "bob", *groups).page("/").text
        assert "points" not in html.replace('name="points', "")
        assert 'data-name="orders"' in html
        assert "points" not in json.dumps(person(shop, "bob", *groups).page("/rows").json()["rows"]).replace(
            "points from", ""
        )


@pytest.mark.parametrize("route", ABOUT_ONE, ids=lambda route: f"{sorted(route.methods)[-1]} {route.path}")
def test_every_page_and_every_change_of_an_import_is_for_its_groups(shop: Shop, route: Any) -> None:
    stranger = person(shop, "bob", "operators", "pii")
    path = route.path.replace("{name}", "points")
    answer = stranger.send(path) if "POST" in route.methods else stranger.page(path)
    assert answer.status_code == 404
    assert "there is no such page" in answer.text
    with shop.ledger() as connection:
        assert connection.execute("SELECT count(*) FROM ingest.audit WHERE who = 'bob'").fetchone() == (0,)


@pytest.mark.parametrize("route", ABOUT_ONE, ids=lambda route: f"{sorted(route.methods)[-1]} {route.path}")
def test_an_import_that_is_not_there_is_answered_like_one_that_is_hidden(shop: Shop, route: Any) -> None:
    stranger = person(shop, "bob", "operators")
    path = route.path.replace("{name}", "nonexist")
    answer = stranger.send(path) if "POST" in route.methods else stranger.page(path)
    assert answer.status_code == 404
    assert "points" not in answer.text


def test_a_reader_in_the_group_reads_and_an_operator_in_it_acts_under_one_audit(shop: Shop) -> None:
    reader, operator = person(shop, "eve", "crm"), person(shop, "ann", "crm", "operators")
    assert reader.page("/imports/points").status_code == 200
    assert reader.send("/imports/points/pause").status_code == 403
    try:
        assert operator.send("/imports/points/pause").status_code == 200
    finally:
        assert shop.terminal.ingest("resume", "points").code == 0
    entries = json.loads(shop.terminal.ingest("audit", "points", "--json").out)
    assert {("ann", "paused")} <= {(entry["who"], entry["what"]) for entry in entries}
    assert "resumed" in {entry["what"] for entry in entries}


def test_a_database_has_a_default_and_an_import_its_own(shop: Shop) -> None:
    databases = PROJECT["databases.yaml"].replace(
        "    key: customer_id\n", "    key: customer_id\n    groups: [loyalty]\n"
    )
    shop.write("databases.yaml", databases)
    shop.write("imports/orders.yaml", f"groups: []\n{PROJECT['imports/orders.yaml']}")
    for groups, names in (((), {"orders"}), (("loyalty",), {"orders", "never"}), (("crm",), {"orders", "points"})):
        html = person(shop, "bob", *groups).page("/").text
        assert {name for name in ("points", "orders", "never") if f'data-name="{name}"' in html} == names


def test_where_groups_are_used_an_unreadable_import_is_seen_by_operators_only(shop: Shop) -> None:
    assert 'data-name="wrong"' not in person(shop, "bob", "crm").page("/").text
    assert person(shop, "bob", "crm").page("/imports/wrong").status_code == 404
    assert 'data-name="wrong"' in person(shop, "ann", "operators").page("/").text
    shop.write("imports/points.yaml", POINTS)
    assert 'data-name="wrong"' in person(shop, "bob", "crm").page("/").text


@pytest.mark.parametrize("name", ["a,b", " crm", "crm ", ""])
def test_a_group_that_the_header_cannot_carry_is_a_mistake(shop: Shop, name: str) -> None:
    shop.write("imports/points.yaml", yaml.safe_dump({"groups": [name]}) + POINTS)
    checked = shop.terminal.ingest("check", "points")
    assert checked.code != 0
    assert "groups" in checked.out + checked.err
