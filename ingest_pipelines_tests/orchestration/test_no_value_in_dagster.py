"""Dagster's storage holds no value of a row, whatever a load does: every type, every stage, every way to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines import ledger
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.orchestration.value_shape import printable_cursor, shape
from ingest_pipelines_tests.orchestration.conftest import DATABASES, Shop, new_shop

SENTINEL = "zqvx"
"""In every text cell and every key."""

DIGITS = "70417"
"""In every cell of a number, a date's fraction, a phone."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "enum": {"options": ["gold", "silver"]},
    "phone": {"region": "GB"},
    "phones": {"region": "GB"},
    "decimal": {"type": "decimal(9,2)"},
}
TYPES = {name: {"type": name, **_OPTIONS.get(name, {})} for name in FIELD_TYPES}


@pytest.fixture
def shop(tmp_path: Path, ledger_url: str) -> Shop:
    shop = new_shop(tmp_path, ledger_url)
    columns = {"CID": "customer_id", **{f"c_{name}": {"field": f"f_{name}", **rules} for name, rules in TYPES.items()}}
    shop.write_import(columns=columns, rejects={"max_rows": 1})
    databases = {"databases": {"customers": {**DATABASES["databases"]["customers"], "max_fields_per_import": 40}}}
    (shop.home / "databases.yaml").write_text(yaml.safe_dump(databases))
    return shop


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[tuple[DagsterInstance, Path]]:
    """An instance on disk, and the folder with all that it stores: databases and logs of processes."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with DagsterInstance.local_temp(str(folder)) as instance:
        yield instance, folder


def cells(number: int) -> dict[str, str]:
    """A row in which every cell is a mistake of its type, and holds a sentinel."""
    row = {"CID": f"{SENTINEL}-key-{number}"}
    for name in TYPES:
        row[f"c_{name}"] = f"{SENTINEL} {DIGITS}{number}" if name != "string" else f"{SENTINEL} text {number}"
    return row


def stored(folder: Path) -> str:
    """All that the storage has, as text."""
    return "\n".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def text_of(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows), ""])


def only_keys(number: int) -> dict[str, str]:
    """A valid row: its key, and a text."""
    return {name: value if name in {"CID", "c_string"} else "" for name, value in cells(number).items()}


def test_no_value_of_a_row_is_in_dagsters_storage(shop: Shop, storage: tuple[DagsterInstance, Path]) -> None:
    instance, folder = storage
    ends: list[tuple[str, list[dict[str, str]] | str, dict[str, Any]]] = [
        ("failed", [cells(1), cells(2)], {}),
        ("plan", [only_keys(3)], {"ingest/dry_run": "true"}),
        ("committed", [*map(only_keys, range(4, 12)), cells(12)], {}),
        ("refused", text_of([only_keys(13)]) + f'"{SENTINEL},{DIGITS}\n', {}),
        ("shrunk", [only_keys(14)], {}),
    ]
    for number, (_, rows, tags) in enumerate(ends):
        text = rows if isinstance(rows, str) else text_of(rows)
        shop.now += timedelta(minutes=1)
        shop.deliver(f"Points_{number}.csv", text)
        item = shop.arrive(instance)
        shop.run(instance, item, **tags)
        if tags:  # a plan loads nothing, and the next file would wait for its own
            with shop.site().target.session() as connection:
                ledger.set_item_status(connection, item, "refused")
    assert [status for (status,) in shop.rows("SELECT status FROM ingest.loads ORDER BY id")] == [
        "failed", "committed", "refused", "failed",
    ]  # fmt: skip
    found = stored(folder)
    assert "bad_int" in found  # it is all there
    assert "a" * len(SENTINEL) in found
    assert SENTINEL not in found
    assert DIGITS not in found


@pytest.mark.parametrize("by", ["email", "email_profile"])
def test_no_contact_that_rows_are_matched_by_is_in_dagsters_storage(
    shop: Shop, storage: tuple[DagsterInstance, Path], by: str
) -> None:
    """The merge's own rejects: a row that matches two profiles."""
    instance, folder = storage
    shop.write_import("points", columns={"CID": "customer_id", "Mail": "email"})
    shop.deliver("Points_1.csv", f"CID,Mail\nA1,{SENTINEL}@x.example\nA2,{SENTINEL}@x.example\n")
    assert shop.run(instance, shop.arrive(instance)).success
    shop.write_import(
        "tiers",
        source={"connection": "uploads", "file": "points/Tiers", "settle": "1s"},
        columns={"Mail": "email", "Tier": "tier"},
        match={"by": by},
        rejects={"unlimited": True},
        mode="update_only",
        duplicates="reject",
    )
    shop.deliver("Tiers_2.csv", f"Mail,Tier\n{SENTINEL}@x.example,Gold\n")
    result = shop.run(instance, shop.arrive(instance, "tiers"))
    assert result.success
    assert shop.rows("SELECT DISTINCT family FROM (SELECT right(code, 5) AS family FROM ingest.rejects) r") == [
        ("match",)
    ]
    assert SENTINEL not in stored(folder)


def test_a_field_that_says_so_is_shown(shop: Shop, storage: tuple[DagsterInstance, Path]) -> None:
    instance, folder = storage
    shop.write_import(columns={"CID": "customer_id", "Points": {"field": "points", "type": "int", "pii": False}})
    shop.deliver("Points_1.csv", f"CID,Points\n{SENTINEL}1,many-{DIGITS}\n")
    shop.run(instance, shop.arrive(instance))
    assert f"many-{DIGITS}" in stored(folder)
    assert SENTINEL not in stored(folder)


@given(st.text())
def test_a_shape_has_no_letter_or_digit_of_its_value(value: str) -> None:
    assert len(shape(value)) == len(value)
    assert not {letter for letter in shape(value) if letter.isalnum()} - {"a", "9"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("O'Neil-42 £", "a'aaaa-99 ?"), ("many", "aaaa"), ("12,5", "99,9"), ("\u0661", "9"), ("a\u0301b", "aaa"),
        ("\x1b[0m", "?[9a"),
    ],
)  # fmt: skip
def test_shapes(value: str, shown: str) -> None:
    assert shape(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("17", "17"), ("2026-01-31T06:00:00Z", "2026-01-31T06:00:00Z"), ("anna@example.com", "aaaa@aaaaaaa.aaa")],
)
def test_a_cursors_value_is_shown_only_if_it_is_a_number_or_a_time(value: str, shown: str) -> None:
    assert printable_cursor(value) == shown
