"""Each page, with hostile names and cells in it: as text, in its screen, in both schemes, and for a screen reader."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from ingest_pipelines.studio import pages
from ingest_pipelines_tests.studio.conftest import Client, Shop, text_of
from ingest_pipelines_tests.studio.hostile_shop import ADDRESSES, fill_with_hostile_names

AXE = Path(sys.prefix, "npm", "node_modules", "axe-core", "axe.min.js")
TOO_WIDE = """
width => document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > width)
    .map((one) => one.tagName + "." + one.className).slice(0, 9)
"""
"""What makes a page wider than the screen."""

NO_PAGE = {"/changes", "/imports/{name}/changes", "/imports/{name}/rejects.csv", "/new"}
"""What is pushed, downloaded, or leads to another page."""

NARROW = 390
"""A telephone's screen, whose colours are those of the wide one."""

PAGES = [addresses[0] for route, addresses in ADDRESSES.items() if route != "/rows"]


@pytest.fixture(scope="module")
def hostile(shop: Shop) -> Iterator[Shop]:
    """The shop, full of hostile names."""
    os.environ["PEOPLE_MAIL"] = "mailto://mail.example?to={person}@example.com"
    try:
        fill_with_hostile_names(shop, shop.client())
        yield shop
    finally:
        del os.environ["PEOPLE_MAIL"]


@pytest.fixture(scope="module")
def reader(hostile: Shop) -> Client:
    """A browser without a screen."""
    return hostile.client()


def test_no_page_is_left_out() -> None:
    routes = {route.path for route in pages.ROUTES if "GET" in (route.methods or ())}
    assert routes - NO_PAGE == ADDRESSES.keys() - {""}


@pytest.mark.parametrize("path", list(chain.from_iterable(ADDRESSES.values())))
def test_hostile_names_and_cells_are_text_that_nothing_turns_or_hides(reader: Client, path: str) -> None:
    answer = reader.page(path)
    html = answer.json() if path == "/rows" else answer.text
    html = "".join(html["rows"]) if isinstance(html, dict) else html
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert re.search(r"""<[^>]*["'\s]on\w+\s*=\s*["']?alert""", re.sub(r'"[^"]*"', '""', html)) is None
    words = text_of(re.sub(r"<textarea.*?</textarea>", " ", html, flags=re.DOTALL))
    assert not {"\u202e", "\u2066", "\u200b"} & set(words)
    cut = text_of(re.sub(r"<(textarea|code|pre)\b.*?</\1>", " ", html, flags=re.DOTALL))
    assert "long" * 200 not in cut


@pytest.mark.parametrize("width", [1280, NARROW])
def test_every_page_fits_its_screen_and_is_fit_for_a_screen_reader(
    hostile: Shop, chromium: Browser, address: str, width: int
) -> None:
    axe = AXE.read_text(encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 860})
    page = context.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    for path in PAGES:
        page.emulate_media(color_scheme="light")
        page.goto(f"{address}{path}")
        assert page.evaluate(TOO_WIDE, width) == [], path
        page.evaluate(axe)
        assert serious(page, "axe.run()") == [], path
        if width > NARROW:
            page.emulate_media(color_scheme="dark")
            assert serious(page, 'axe.run({ runOnly: ["color-contrast"] })') == [], path  # what a scheme changes
    assert said == []
    context.close()


def serious(page: Page, run: str) -> list[str]:
    """What keeps people from using the page."""
    found = page.evaluate(f"{run}.then((result) => result.violations)")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found if one["impact"] in {"serious", "critical"}
    ]
