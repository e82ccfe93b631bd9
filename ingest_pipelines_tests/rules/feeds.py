"""Small imports and frames for the tests of the rules: no file, no server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import
from ingest_pipelines.model import LINE, Item, ItemKey, Landing, Validated
from ingest_pipelines.rules import compile_rules, validate_rows
from ingest_pipelines.suppression import NOBODY, Suppressed

KEY_FIELD = {"type": "string", "max_length": 64}


def bound_import(
    fields: Mapping[str, Mapping[str, Any]],
    *,
    key: Mapping[str, Any] = KEY_FIELD,
    columns: Mapping[str, Any] | None = None,
    database: Mapping[str, Any] | None = None,
    **spec: Any,
) -> BoundImport:
    """An import `feed` into `customers`: the key `id` from column `id`, each field from the column of its name.

    Args:
        columns: instead of that mapping.
        database, spec: further keys of the database and of the import.
    """
    known = Database.model_validate(
        {"table": "crm.customers", "key": "id", "max_fields_per_import": 100, "fields": {"id": key, **fields}}
        | dict(database or {})
    )
    mapping = dict(columns) if columns is not None else {name: name for name in ("id", *fields)}
    wanted = Import.model_validate(
        {"database": "customers", "source": {"connection": "uploads"}, "columns": mapping, **spec}
    )
    uploads = CsvConnection.model_validate({"type": "csv", "directory": "uploads"})
    bound, problems = bind("feed", wanted, {"uploads": uploads}, {"customers": known}, {})
    assert bound is not None
    assert not problems, problems
    return bound


def frame(columns: Mapping[str, Sequence[Any] | pl.Series], first_line: int = 2) -> pl.DataFrame:
    """A source's frame: text columns unless a Series says otherwise."""
    made = pl.DataFrame(
        {
            name: cells if isinstance(cells, pl.Series) else pl.Series(name, list(cells), dtype=pl.String)
            for name, cells in columns.items()
        }
    )
    lines = pl.int_range(first_line, first_line + len(made), dtype=pl.Int64, eager=True).alias(LINE)
    return made.select(lines, pl.all())


def landing() -> Landing:
    """A landing that nobody reads."""
    return Landing(Item("feed", ItemKey("item"), "file", "csv:feed"), Path("feed.csv"), "csv", "0" * 64, 0)


def validate(bound: BoundImport, spill: Path, *frames: pl.DataFrame, suppressed: Suppressed = NOBODY) -> Validated:
    """The frames, validated as one item."""
    header = tuple(name for name in frames[0].columns if name != LINE)
    return validate_rows(landing(), header, iter(frames), compile_rules(bound), spill, suppressed=suppressed)


def accepted(validated: Validated) -> pl.DataFrame:
    """All accepted rows, by line."""
    if not validated.accepted:
        return pl.DataFrame({LINE: []}, schema={LINE: pl.Int64})
    return pl.concat([pl.scan_ipc(path) for path in validated.accepted]).sort(LINE).collect()


def rejects(validated: Validated) -> list[dict[str, Any]]:
    """All reject records, `row` parsed."""
    if validated.rejects is None:
        return []
    records = pl.read_ipc(validated.rejects).to_dicts()
    return [record | {"row": json.loads(record["row"])} for record in records]


def codes(validated: Validated) -> dict[int, list[str]]:
    """Line -> the codes of that row."""
    found: dict[int, list[str]] = {}
    for record in rejects(validated):
        found.setdefault(record["line"], []).append(record["code"])
    return found


def outcomes(field: Mapping[str, Any], cells: Sequence[Any] | pl.Series, **spec: Any) -> list[tuple[Any, list[str]]]:
    """(value, broken codes) of each cell of one field, without spilling anything."""
    rules = compile_rules(bound_import({"f": field}, **spec))
    keys = [f"C{number}" for number in range(len(cells))]
    rows = frame({"id": keys, "f": cells})
    values = rules.validated(rows)["f"].to_list()
    _, masks = rules.explained(rows)
    return [
        (value, [rule.code for rule, mask in zip(rules.rules, masks, strict=True) if mask[row]])
        for row, value in enumerate(values)
    ]


def values(field: Mapping[str, Any], cells: Sequence[Any] | pl.Series, **spec: Any) -> dict[Any, Any]:
    """Cell -> its value; a list of codes in its place where the cell is rejected."""
    return {cell: codes or value for cell, (value, codes) in zip(cells, outcomes(field, cells, **spec), strict=True)}


def broken(field: Mapping[str, Any], cells: Sequence[Any] | pl.Series, **spec: Any) -> dict[Any, list[str]]:
    """Cell -> the codes of the rules it breaks."""
    return {cell: codes for cell, (_, codes) in zip(cells, outcomes(field, cells, **spec), strict=True)}
