"""Small imports and validated items, made from literals: input for the merge without landing and rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database, Field
from ingest_pipelines.config.imports import Import
from ingest_pipelines.model import LINE, Item, ItemKey, ItemKind, Landing, RejectSample, Run, Validated

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
SENSOR = Run(id="run-1", by="sensor")

CUSTOMERS: Mapping[str, Any] = {
    "table": "crm.customers",
    "key": "customer_id",
    "fields": {
        "customer_id": {"type": "string", "max_length": 64},
        "email": {"type": "email"},
        "phone": {"type": "phone"},
        "tier": {"type": "string"},
        "points": {"type": "int"},
    },
    "resources": {"newsletter": {"channels": ["email", "sms"]}, "offers": {"channels": ["push", "email"]}},
}
COLUMNS = {"CID": "customer_id", "Tier": "tier", "Points": "points"}


def bound_import(name: str = "loyalty", database: Mapping[str, Any] = CUSTOMERS, **spec: Any) -> BoundImport:
    """An import over the database, as the config would bind it; `spec` overrides its YAML."""
    connection = TypeAdapter[Connection](Connection).validate_python({"type": "csv", "directory": "/tmp"})
    parsed = Import.model_validate(
        {"database": "customers", "source": {"connection": "files"}, "columns": COLUMNS, **spec}
    )
    bound, problems = bind(name, parsed, {"files": connection}, {"customers": Database.model_validate(database)}, {})
    assert bound is not None
    assert not problems, problems
    return bound


def item(number: int = 1, *, name: str = "loyalty", kind: ItemKind = "file", **facts: Any) -> Item:
    """The n-th file of the import: each an hour younger than the one before."""
    known = {"modified_at": NOW + timedelta(hours=number), "serial": number, **facts}
    return Item(name, ItemKey(f"{name}-{number}"), kind, uri=f"file:///{name}-{number}.csv", **known)


_POLARS: Mapping[str, pl.DataType] = {
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
    "phones": pl.List(pl.String()),
}


def dtype(field: Field) -> pl.DataType:
    """The type of a field's column in a spill file."""
    if field.type == "decimal":
        assert field.precision is not None
        assert field.scale is not None
        return pl.Decimal(field.precision, field.scale)
    return _POLARS.get(field.type, pl.String())


@dataclass(frozen=True)
class Rejected:
    """A row that the rules refused, for a delivery's rejects."""

    line: int
    key: str | None = None
    field: str = "points"
    code: str = "bad_int"


def delivery(
    folder: Path,
    bound: BoundImport,
    rows: Sequence[Sequence[Any]],
    *,
    of: Item | None = None,
    rejected: Sequence[Rejected] = (),
    superseded: int = 0,
    chunks: int = 1,
    **landed: Any,
) -> Validated:
    """Validated rows on disk: values in the order of the import's fields, then of its extra columns.

    Args:
        chunks: number of spill files.
    """
    schema = {mapped.name: dtype(mapped.field) for mapped in bound.fields}
    schema |= {f"column:{name}": pl.String() for name in bound.extra_columns}
    frame = pl.DataFrame([list(row) for row in rows], schema=schema, orient="row")
    frame = frame.select(pl.int_range(2, pl.len() + 2, dtype=pl.Int64).alias(LINE), pl.all())
    content = hashlib.sha256(repr((rows, rejected)).encode()).hexdigest()
    of = of or item(name=bound.name)
    folder = folder / f"{of.key}-{content[:8]}"
    folder.mkdir(exist_ok=True)
    size = -(-max(1, frame.height) // chunks)
    files = []
    for number in range(chunks):
        part = frame.slice(number * size, size)
        files.append(folder / f"accepted-{number}.arrow")
        part.sort(bound.fields[0].name).write_ipc(files[-1])
    landing = Landing(of, folder / "landed.csv", "csv", content, 0, newlines=frame.height + 1)
    return Validated(
        replace(landing, **landed),
        tuple(files),
        _write_rejects(folder, rejected) if rejected else None,
        read=frame.height + len({r.line for r in rejected}) + superseded,
        accepted_rows=frame.height,
        rejected_rows=len({r.line for r in rejected}),
        superseded_rows=superseded,
        codes={code: sum(r.code == code for r in rejected) for code in sorted({r.code for r in rejected})},
        samples=tuple(RejectSample(r.line, r.key, r.field, r.code, "not a whole number") for r in rejected[:20]),
        columns=bound.required_columns,
    )


def _write_rejects(folder: Path, rejected: Sequence[Rejected]) -> Path:
    path = folder / "rejects.arrow"
    pl.DataFrame(
        {
            "line": [r.line for r in rejected],
            "key": [r.key for r in rejected],
            "field": [r.field for r in rejected],
            "code": [r.code for r in rejected],
            "reason": ["not a whole number"] * len(rejected),
            "row": [json.dumps({"CID": r.key, "Points": "1,5"}) for r in rejected],
        },
        schema_overrides={"line": pl.Int64, "key": pl.String},
    ).write_ipc(path)
    return path
