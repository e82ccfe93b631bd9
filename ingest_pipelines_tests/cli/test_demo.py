"""`ingest demo`: every planted defect is found through the whole product, and the report says so."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from ingest_pipelines.demo.generate import DemoDelivery, deliveries
from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.open_to_others import open_to_others

Demo = tuple[Terminal, Answer]


@pytest.fixture(scope="module")
def made() -> list[DemoDelivery]:
    return list(deliveries())


def test_the_demo_loads_exactly_what_was_planted(demo: Demo, made: list[DemoDelivery]) -> None:
    terminal, answer = demo
    assert answer.code == 0, answer.err
    loads = terminal.ingest("demo", "--json").json
    assert [load["import"] for load in loads] == ["customers", "loyalty", "marketing"] * 2
    for load, delivery in zip(loads, made, strict=True):
        expected = delivery.expected
        assert load["status"] == "committed"
        assert {name: load[name] for name in vars(expected)} == vars(expected)
        assert load["codes"] == dict(delivery.codes)


def test_the_target_holds_what_the_last_deliveries_say(demo: Demo, made: list[DemoDelivery]) -> None:
    terminal, _ = demo
    inserted = sum(delivery.expected.inserted for delivery in made)
    with psycopg.connect(terminal.environment["INGEST_DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT count(*), count(tier), min(home_store) FROM crm.customers").fetchone()
    assert rows is not None
    assert rows[0] == inserted
    assert 0 < rows[1] < inserted
    assert rows[2] == "0001"


def test_the_report_fits_80_columns_and_says_what_to_type_next(demo: Demo) -> None:
    _, answer = demo
    lines = answer.out.splitlines()
    own_path = [line for line in lines if ".ingest/demo" in line or line.startswith("  source ")]
    assert max(len(line) for line in lines if line not in own_path) <= 80
    assert "exact: all 534 planted defects were found, and nothing else" in lines
    for command in ("ingest status", "ingest rejects list customers", "ingest up"):
        assert any(line.strip().startswith(command) for line in lines)
    assert answer.err == ""


def test_nobody_else_reaches_what_the_demo_left(demo: Demo) -> None:
    state = demo[0].folder / ".ingest"
    assert {path.name for path in state.iterdir()} >= {"dagster", "demo", "spill", "spool"}
    assert open_to_others(state) == []


def test_the_readme_shows_what_the_demo_prints(demo: Demo) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    report = demo[1].out.partition(" and nothing else")[0]
    assert report in readme


def test_a_second_demo_touches_nothing_and_says_so(demo: Demo) -> None:
    terminal, first = demo
    before = terminal.ingest("report", "customers", "--json").out
    again = terminal.ingest("demo")
    assert again.code == 0
    assert "nothing new: these deliveries were loaded before; nothing was changed" in again.out
    assert first.out.splitlines()[:11] == again.out.splitlines()[:11]
    assert terminal.ingest("report", "customers", "--json").out == before


def test_the_demo_project_belongs_to_the_person_who_edits_it(demo: Demo) -> None:
    terminal, _ = demo
    project = terminal.folder / ".ingest" / "demo"
    edited = project / "imports" / "loyalty.yaml"
    text = edited.read_text()
    try:
        edited.write_text(text.replace("max_rows: 500", "max_rowss: 500"))
        answer = terminal.ingest("demo")
        assert answer.code == 2
        assert "imports/loyalty.yaml:" in answer.err
        assert "did you mean 'max_rows'?" in answer.err
    finally:
        edited.write_text(text)
