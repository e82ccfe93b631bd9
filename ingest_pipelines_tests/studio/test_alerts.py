"""A person subscribes herself to alerts, in the studio, and gets those of imports that she may see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
import yaml
from dagster import DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.config import read_project
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.orchestration.alerts.recipients import PROJECT, Routes, as_route
from ingest_pipelines.orchestration.alerts.send_alerts import send_alerts
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.servers.smtp import SmtpServer
from ingest_pipelines_tests.studio.conftest import PROJECT as FILES
from ingest_pipelines_tests.studio.conftest import Client, Shop, text_of

SECRET = "s" * 32


def person(shop: Shop, name: str, *groups: str) -> Client:
    headers = {"X-Ingest-Proxy": SECRET, "X-Forwarded-User": name, "X-Forwarded-Groups": ",".join(groups)}
    return shop.client(StudioAccess(proxy_secret=SECRET), **headers)


@contextmanager
def closing_instance(shop: Shop) -> Iterator[DagsterInstance]:
    instance = open_instance(shop.settings)
    try:
        yield instance
    finally:
        instance.dispose()


@pytest.fixture(autouse=True)
def people(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """People have an address."""
    monkeypatch.setenv("PEOPLE_MAIL", "mailto://mail.example?to={person}@example.com")
    shop.write("notify.yaml", "people: {env: PEOPLE_MAIL}\n")
    yield
    for name in ("notify.yaml", "subscriptions.yaml"):
        (shop.settings.home / name).unlink(missing_ok=True)
    shop.write("imports/points.yaml", FILES["imports/points.yaml"])


def told(shop: Shop, name: str) -> dict[str, set[str]]:
    """Who is told of the import, and of what."""
    found = Routes(read_project(shop.settings.home), {}).of(name)
    return {one.address.reveal().partition("to=")[2]: set(one.kinds) for one in found}


def test_a_viewer_subscribes_herself_and_is_told_of_what_she_chose(shop: Shop) -> None:
    ann = person(shop, "ann")
    assert "ann is not subscribed" in text_of(ann.page("/alerts").text)
    assert ann.send("/alerts", {"on": ["late", "failed"], "imports": "points, or*"}).status_code == 200
    assert told(shop, "points") == told(shop, "orders") == {"ann@example.com": {"failed", "late"}}
    assert told(shop, "never") == {}
    assert told(shop, PROJECT) == {"ann@example.com": {"failed", "late"}}
    html = ann.page("/alerts").text
    assert 'value="late" checked' in html
    assert 'value="points, or*"' in html
    entries = json.loads(shop.terminal.ingest("audit", "--json").out)
    assert [entry["who"] for entry in entries if entry["what"] == "subscribed"] == ["ann"]
    assert ann.send("/alerts", {"on": [], "imports": ""}).status_code == 200
    assert told(shop, "points") == {}


def test_an_alert_reaches_the_mailbox_of_who_subscribed_by_the_form_and_nobody_elses(
    shop: Shop, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = f"{smtp_server.username}:{smtp_server.password}@{smtp_server.host}:{smtp_server.port}"
    monkeypatch.setenv("SSL_CERT_FILE", str(smtp_server.ca_file))
    monkeypatch.setenv(
        "PEOPLE_MAIL", f"mailtos://{login}?from=ingest@example.com&to={{person}}@example.com&mode=starttls"
    )
    for name, kind, imports in (("ann", "config", "points"), ("bob", "config", "orders"), ("eve", "late", "")):
        assert person(shop, name).send("/alerts", {"on": [kind], "imports": imports}).status_code == 200
    with closing_instance(shop) as instance:
        assert alerted(shop, instance) == ()
        shop.write("imports/points.yaml", FILES["imports/points.yaml"].replace("customers", "nowhere"))
        assert len(alerted(shop, instance)) == 1
        assert alerted(shop, instance) == ()
    [letter] = smtp_server.letters
    assert letter["To"] == "ann@example.com"
    body = letter.get_body(("plain",))
    assert body is not None
    assert "imports/points.yaml" in body.get_content()


def alerted(shop: Shop, instance: DagsterInstance) -> tuple[str, ...]:
    """What a tick of the alerts sends."""
    outcome = send_alerts(Site(shop.settings, read_project(shop.settings.home)), instance, datetime.now(UTC))
    assert outcome.unsent == ()
    return outcome.sent


def test_two_people_are_two_and_neither_changes_the_other(shop: Shop) -> None:
    assert person(shop, "ann").send("/alerts", {"on": "failed", "imports": ""}).status_code == 200
    assert person(shop, "bob@corp").send("/alerts", {"on": ["stuck"], "imports": ""}).status_code == 200
    assert told(shop, "points") == {"ann@example.com": {"failed"}, "bob%40corp@example.com": {"stuck"}}
    assert person(shop, "ann").send("/alerts", {"on": [], "imports": ""}).status_code == 200
    assert told(shop, "points") == {"bob%40corp@example.com": {"stuck"}}


def test_nobody_is_told_of_an_import_of_groups_that_are_not_hers(shop: Shop) -> None:
    shop.write("imports/points.yaml", f"groups: [crm]\n{FILES['imports/points.yaml']}")
    for name, groups in (("ann", ["crm"]), ("bob", ["sales"]), ("eve", [])):
        assert person(shop, name, *groups).send("/alerts", {"on": ["failed"], "imports": ""}).status_code == 200
    assert set(told(shop, "points")) == {"ann@example.com"}
    assert set(told(shop, "orders")) == {"ann@example.com", "bob@example.com", "eve@example.com"}
    assert "points" not in person(shop, "bob", "sales").page("/alerts").text


def test_a_route_in_the_ledger_keeps_the_person_and_never_the_address(shop: Shop) -> None:
    assert person(shop, "ann").send("/alerts", {"on": ["failed"], "imports": ""}).status_code == 200
    [kept] = as_route(Routes(read_project(shop.settings.home), {}).of("points"))
    assert (kept["env"], kept["person"]) == ("PEOPLE_MAIL", "ann")
    assert "example" not in json.dumps(kept)


@pytest.mark.parametrize("name", ["ann,boss", "a b", "ann?cc=boss", "ann&cc=boss", "ann/x"])
def test_a_name_that_would_be_another_address_subscribes_nobody(shop: Shop, name: str) -> None:
    answer = person(shop, name).send("/alerts", {"on": ["failed"], "imports": ""})
    assert answer.status_code == 400
    assert not (shop.settings.home / "subscriptions.yaml").exists()


def test_what_cannot_be_is_refused_and_nothing_changes(shop: Shop) -> None:
    ann = person(shop, "ann")
    assert ann.send("/alerts", {"on": ["failed"], "imports": ""}).status_code == 200
    before = (shop.settings.home / "subscriptions.yaml").read_text()
    assert yaml.safe_load(before)["people"]["ann"]["on"] == ["failed"]
    for fields in ({"on": ["lost"], "imports": ""}, {"on": ["failed"], "imports": "a/b"}):
        assert ann.send("/alerts", fields).status_code == 400
    (shop.settings.home / "notify.yaml").unlink()
    assert ann.send("/alerts", {"on": ["failed"], "imports": ""}).status_code == 400
    assert "There is no address for people yet" in ann.page("/alerts").text
    assert (shop.settings.home / "subscriptions.yaml").read_text() == before


def test_of_an_alert_about_imports_of_others_a_person_reads_nothing_that_names_them(shop: Shop) -> None:
    shop.write("imports/points.yaml", f"groups: [crm]\n{FILES['imports/points.yaml']}")
    about = {"one": ["points"], "both": ["points", "orders"], "hers": ["orders"], "project": []}
    with psycopg.connect(shop.settings.database_url or "") as connection:
        ledger.save_alerts(
            connection,
            [
                ledger.AlertRecord("", "source", name, datetime.now(UTC), words=f"words of {name}", imports=imports)
                for name, imports in about.items()
            ],
        )
    try:
        words = text_of(person(shop, "bob", "sales").page("/alerts").text)
        everything = text_of(person(shop, "ann", "crm").page("/alerts").text)
    finally:
        with psycopg.connect(shop.settings.database_url or "") as connection:
            ledger.delete_alerts(connection, [("", "source", name) for name in about])
    assert "3 alerts open" in words
    assert {name for name in about if f"words of {name}" in words} == {"hers", "project"}
    assert {name for name in about if f"words of {name}" in everything} == set(about)
