"""Nobody but a person whom the proxy knows, on a page of the studio, reads or changes anything."""

from __future__ import annotations

import re
import stat

import pytest

from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.errors import UsageError
from ingest_pipelines.studio import pages
from ingest_pipelines.studio.serve import serve
from ingest_pipelines_tests.studio.conftest import HERE, Client, Shop

SECRET = "s" * 32
CHANGES = [route.path for route in pages.ROUTES if "POST" in (route.methods or ())]
PROXY = StudioAccess(proxy_secret=SECRET)


def test_a_page_may_load_its_own_script_and_style_and_nothing_else(client: Client) -> None:
    answer = client.page("/")
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "unsafe" not in policies[0]
    assert "style=" not in answer.text
    assert all("src=" in tag for tag in re.findall(r"<script\b[^>]*>", answer.text))
    assert "<style" not in answer.text
    assert re.search(r"\son[a-z]+=", answer.text) is None
    assert answer.headers["cache-control"] == "no-store"
    assert {answer.headers["x-frame-options"], answer.headers["x-content-type-options"]} == {"DENY", "nosniff"}


def test_another_name_of_this_machine_is_refused(client: Client) -> None:
    assert client.page("/", Host="evil.example").status_code == 403
    assert client.page("/", Host="localhost").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_sites_page_reads_and_changes_nothing(client: Client, headers: dict[str, str]) -> None:
    assert client.page("/", **headers).status_code == 403
    token = client.token
    for path in ("/", *CHANGES):
        answer = client.http.post(path, json={}, headers={**headers, "X-Studio-Token": token})
        assert answer.status_code == 403


def test_a_change_needs_the_token_of_a_page_of_the_same_browser(shop: Shop, client: Client) -> None:
    stranger = shop.client()
    for token in ("", "0" * 64, stranger.token):
        answer = client.send("/imports/points/pause", token=token)
        assert answer.status_code == 403
        assert answer.json()["error"] == "this page is out of date; nothing was changed"


def test_a_form_of_any_site_cannot_be_a_change(client: Client) -> None:
    token = client.token
    for body in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        answer = client.http.post("/x", content="a=b", headers={"Content-Type": body, "X-Studio-Token": token})
        assert answer.status_code == 415
    assert client.http.put("/x", json={}, headers={"X-Studio-Token": token}).status_code == 405


def test_the_cookie_is_of_this_site_and_no_script_reads_it(client: Client) -> None:
    cookie = client.page("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    assert "set-cookie" not in client.page("/").headers


def test_open_pages_stay_of_use_when_the_studio_is_started_again(shop: Shop, client: Client) -> None:
    before = client.token
    again = shop.client()
    again.http.cookies = client.http.cookies
    assert again.token == before
    key = shop.settings.state / "studio" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_with_a_proxy_only_the_proxy_names_the_person(shop: Shop) -> None:
    named = {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "operators"}
    for forged in ({}, {"X-Ingest-Proxy": ""}, {"X-Ingest-Proxy": "s" * 31}, {"X-Ingest-Proxy": f"{SECRET}x"}):
        assert shop.client(PROXY, **named, **forged).page("/").status_code == 403
    assert shop.client(PROXY, **{"X-Ingest-Proxy": SECRET}).page("/").status_code == 403  # a proxy that names nobody
    page = shop.client(PROXY, **named, **{"X-Ingest-Proxy": SECRET}).page("/")
    assert page.status_code == 200
    assert ">ann<" in page.text.replace("\n", "")
    assert SECRET not in page.text


def test_without_a_proxy_no_header_names_the_person(client: Client) -> None:
    assert "mallory" not in client.page("/", **{"X-Forwarded-User": "mallory"}).text


def test_a_studio_without_a_proxy_listens_at_this_machine_only(shop: Shop) -> None:
    with pytest.raises(UsageError, match=r"has no login, so it does not listen at 0\.0\.0\.0"):
        serve(shop.settings, "0.0.0.0", 0)


def test_an_address_without_a_page_says_so(client: Client) -> None:
    answer = client.page("/imports/../../etc/passwd")
    assert answer.status_code == 404
    assert HERE not in answer.text
