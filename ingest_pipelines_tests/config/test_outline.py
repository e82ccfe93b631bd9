"""A broken import keeps its place in Dagster: its database and windows are read, whatever else is wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ingest_pipelines.config.outline import Outline, read_outline

WHOLE = """\
# Members, by the day
database: customers
source:
  connection: crm
  query: |
    SELECT id FROM members
    WHERE changed >= {windowStart} AND changed < {windowEnd}
  window:
    every: day
    start: 2026-11-01
    timezone: Europe/London
columns:
  id: customer_id
  tier: {field: tier, type: string}
schedule: {at: "06:00"}
"""
WINDOW = {"every": "day", "start": date(2026, 11, 1), "timezone": "Europe/London"}
BREAKS = ["\tx: 1", "a: 'open", "b: [1, 2", "c: {d", "e: f: g", "- item", "&", '"', "  : :", "database2: x", "@@@"]


@pytest.mark.parametrize("mistake", BREAKS)
def test_one_broken_line_anywhere_outside_of_them_leaves_database_and_windows(tmp_path: Path, mistake: str) -> None:
    lines = WHOLE.splitlines()
    for place in (0, 11, 12, 14, 15):
        text = "\n".join([*lines[:place], mistake, *lines[place:]]) + "\n"
        outline = _outline(tmp_path, text)
        assert outline is not None, text
        assert outline.database == "customers"
        assert outline.window is not None, text
        assert {key: getattr(outline.window, key) for key in WINDOW} == WINDOW, text


@pytest.mark.parametrize(
    ("text", "outline"),
    [
        ("", None),
        ("\0\0", None),
        ("- a\n- b\n", None),
        ("database: [a, b]\n", None),
        ("database: '../x'\n", None),
        ("database: customers\nsource: {window: {every: moment}}\n", Outline("customers")),
        ("database: customers\nsource: text\n", Outline("customers")),
        ("a: &x [*x]\ndatabase: customers\n", Outline("customers")),
    ],
)
def test_what_is_no_import_has_an_outline_of_what_it_says(tmp_path: Path, text: str, outline: Outline | None) -> None:
    assert _outline(tmp_path, text) == outline


def test_a_file_that_is_gone_has_none(tmp_path: Path) -> None:
    assert read_outline(tmp_path, "members") is None


def _outline(home: Path, text: str) -> Outline | None:
    (home / "imports").mkdir(exist_ok=True)
    (home / "imports" / "members.yaml").write_text(text, encoding="utf-8")
    return read_outline(home, "members")
