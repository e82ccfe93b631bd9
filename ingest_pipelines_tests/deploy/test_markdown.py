"""What a vendor or a colleague wrote is shown in the Dagster UI as it stands: no page fetches what it points at."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from playwright.sync_api import Page, expect

from ingest_pipelines.orchestration.assets.markdown import block, bullets, code, plain, table
from ingest_pipelines.orchestration.resources.connections import resources_of
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.deploy.places import dagster_home
from ingest_pipelines_tests.orchestration.conftest import Shop
from ingest_pipelines_tests.servers.fleet import Fleet, answers

MARKS = st.text(st.sampled_from("\\`*_[]()<>|!#-+=~&;$:/.1 \n\tab"), max_size=30)


RENDERER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


class Rendered(HTMLParser):
    """A page as a browser has it: its words, and the names of its elements."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.cells: list[str] = []
        self.feed(RENDERER.render(markdown))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.cells += [""] if tag in {"td", "th"} else []

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.cells:
            self.cells[-1] = (self.cells[-1] + data).strip()


@given(MARKS | st.text(max_size=30))
@example("![i](http://evil.example)")
@example("<img src=x onerror=alert(1)>")
@example("1. one")
@example("&lt;img&gt;")
@example("a | b")
def test_plain_text_is_shown_as_it_stands(text: str) -> None:
    rendered = Rendered(plain(text))
    assert set(rendered.tags) <= {"p"}
    assert rendered.words.split() == _seen(text)


@given(MARKS, MARKS)
def test_code_is_shown_as_it_stands_and_does_not_end_early(text: str, after: str) -> None:
    rendered = Rendered(f"run {code(text)} then {plain(after)}")
    assert set(rendered.tags) <= {"p", "code"}
    assert "".join(rendered.words.split()) == "".join(["run", *text.split(), "then", *after.split()])


@given(MARKS)
def test_a_block_holds_all_of_it(text: str) -> None:
    rendered = Rendered(f"{block(text)}\n\nafter")
    assert rendered.tags == ["pre", "code", "p"]
    assert rendered.words.split() == [*text.split(), "after"]


@given(st.lists(st.tuples(MARKS, MARKS), min_size=1, max_size=3))
def test_a_table_has_the_cells_that_went_in(rows: list[tuple[str, str]]) -> None:
    rendered = Rendered(table(["a", "b"], [[plain(left), plain(right)] for left, right in rows]))
    assert set(rendered.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    wanted = [" ".join(cell.split()) for row in [("a", "b"), *rows] for cell in row]
    assert [" ".join(cell.split()) for cell in rendered.cells] == wanted


@given(st.lists(MARKS, min_size=1, max_size=4))
def test_a_list_has_the_lines_that_went_in(lines: list[str]) -> None:
    rendered = Rendered(bullets(lines))
    assert set(rendered.tags) <= {"ul", "li", "p"}
    assert rendered.words.split() == [word for line in lines for word in line.split()]


def test_what_the_definitions_say_is_escaped_wherever_the_ui_renders_it(shop: Shop) -> None:
    """Every description of an asset, a resource and a sensor, of a whole and of a broken import."""
    text = hostile(1, "place")
    databases = yaml.safe_load((shop.home / "databases.yaml").read_text())
    databases["databases"]["customers"] |= {"description": text}
    databases["databases"]["customers"]["fields"]["tier"]["description"] = text
    (shop.home / "databases.yaml").write_text(yaml.safe_dump(databases))
    connections = yaml.safe_load((shop.home / "connections.yaml").read_text())
    connections["connections"]["drops"] = {
        "type": "s3", "bucket": "b", "endpoint_url": "https://a/![i](http://127.0.0.1:1/)<img src=x>`|`",
    }  # fmt: skip
    (shop.home / "connections.yaml").write_text(yaml.safe_dump(connections))
    columns = {"CID": "customer_id", text: "tier", "K": {"field": "kind", "type": "enum", "options": [text, "b"]}}
    shop.write_import(description=text, labels=[text], columns=columns)
    shop.write_import("broken", description=text, database=text)
    assert shop.site().project.broken.keys() == {"broken"}
    definitions = shop.definitions()
    said = [
        *(spec.description for spec in definitions.resolve_all_asset_specs()),
        *(resource.description for resource in resources_of(shop.site().project).values()),
        *(sensor.description for sensor in definitions.sensors or ()),
    ]
    shown = [Rendered(words) for words in said if words]
    assert len(shown) == 7
    for page in shown:
        assert not {"img", "a", "em", "strong", "h1", "h2"} & set(page.tags)
    assert sum("![i]" in page.words for page in shown) == 3


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A server that nobody should ask for anything; its port, and what it was asked for."""
    asked: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def _seen(text: str) -> list[str]:
    """The words of a text as a page shows them: NUL has no place in one."""
    return text.replace("\0", "\ufffd").split()


def hostile(port: int, place: str) -> str:
    """Text that fetches something wherever Markdown or HTML is rendered."""
    here = f"http://127.0.0.1:{port}/{place}"
    return f"{place} ![i]({here}-md) <img src='{here}-html'> ``` ![j]({here}-code) | ![k]({here}-cell)"


@pytest.mark.slow
def test_the_pages_show_what_was_written_and_fetch_nothing(
    shop: Shop, fleet: Fleet, page: Page, tmp_path: Path, database_url: str
) -> None:
    with listening() as (port, asked):
        column = hostile(port, "column")
        option, pattern = hostile(port, "option"), hostile(port, "pattern").replace("|", "/")
        databases = yaml.safe_load((shop.home / "databases.yaml").read_text())
        databases["databases"]["customers"] |= {"description": hostile(port, "database")}
        databases["databases"]["customers"]["fields"]["tier"]["description"] = hostile(port, "field")
        (shop.home / "databases.yaml").write_text(yaml.safe_dump(databases))
        shop.write_import(
            description=hostile(port, "description"),
            labels=[hostile(port, "label")],
            rejects={"unlimited": True},
            columns={
                "CID": "customer_id",
                column: "tier",
                "Kind": {"field": "kind", "type": "enum", "options": [option, "b"]},
                "Code": {"field": "code", "type": "string", "pattern": re.escape(pattern)},
            },
        )
        shop.write_import("broken", description=hostile(port, "broken"), database=hostile(port, "mistake"))
        cells = ['"' + hostile(port, place).replace('"', '""') + '"' for place in ("cell", "raw")]
        header = '"' + column + '"'
        shop.deliver("Points_1.csv", f"CID,{header},Kind,Code\nC1,Gold,b,\nC2,Gold,{cells[0]},{cells[1]}\n")
        home = dagster_home(tmp_path / "home")
        environment = {
            "INGEST_HOME": str(shop.home), "INGEST_STATE": str(shop.state), "INGEST_DATABASE_URL": database_url,
            "INGEST_DAGSTER_URL": database_url, "DAGSTER_HOME": str(home),
        }  # fmt: skip
        done = Terminal(tmp_path, environment).ingest("run", "points")
        assert done.code == 0, done.err
        with psycopg.connect(database_url) as connection:
            [(run,)] = connection.execute("SELECT run_id FROM ingest.loads").fetchall()
        served = fleet.free_port()
        process = fleet.spawn(  # without the guard, whose headers forbid foreign images on their own
            [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(served), "-m",
             "ingest_pipelines.definitions"],
            tmp_path,
            lambda: answers(f"http://127.0.0.1:{served}/server_info"),
            env=environment,
        )  # fmt: skip
        page.set_default_timeout(120_000)
        try:
            for path, words in {
                "assets/customers/points": "source column",
                "assets/customers/points?view=events": "inserted",
                "assets/customers/points?view=checks": "rules",
                "assets/invalid/broken": "broken",
                "assets/table/crm/customers": "database",
                "assets/source/uploads/points/Points": "uploads",
                f"runs/{run}": "merge",
                "automation": "housekeeping",
            }.items():
                page.goto(f"http://127.0.0.1:{served}/{path}")
                expect(page.get_by_text(words).first).to_be_visible(timeout=120_000)
                page.wait_for_load_state("networkidle")
            page.goto(f"http://127.0.0.1:{served}/assets/customers/points")
            expect(page.get_by_text(f"![i](http://127.0.0.1:{port}/column-md)").first).to_be_visible(timeout=120_000)
        finally:
            process.terminate()
            process.wait(timeout=30)
        assert sorted(set(asked)) == []
