"""Binary COPY brings every type as text COPY would, to the byte."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target
from ingest_pipelines.merge.copy import ROWS, copy_accepted, copy_profiles, rows_of
from ingest_pipelines.merge.ddl import additions
from ingest_pipelines.merge.key_filter import ChunkRows
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.model import LINE
from ingest_pipelines_tests.memory import resident
from ingest_pipelines_tests.merge.deliveries import bound_import, delivery

TYPES: dict[str, list[Any]] = {
    "string": ["", " ", "a\tb\nc\\N", "\\N", "Zoë Ångström", "日本語", "'\"", "x" * 4000, "é" * 8000],
    "int": [0, 1, -1, 2**63 - 1, -(2**63)],
    "decimal(12,2)": ["0.00", "0.01", "-0.01", "9999999999.99", "-9999999999.99", "10000.00", "1.50", "120000.00"],
    "decimal(38,0)": ["0", "1", "-1", "9" * 38, "-" + "9" * 38, "10000", "1" + "0" * 37, "90000000"],
    "decimal(38,38)": ["0." + "0" * 38, "0." + "9" * 38, "-0." + "0" * 37 + "1", "0.0001" + "0" * 34],
    "decimal(20,10)": ["0.0000000001", "1234567890.0987654321", "-1234567890.0000000001", "1.0000000000"],
    "float": [0.0, -0.0, 1.5, -1e308, 5e-324, 0.1, 1 / 3],
    "bool": [True, False],
    "date": [date(1753, 1, 1), date(1970, 1, 1), date(2000, 1, 1), date(1999, 12, 31), date(9999, 12, 31)],
    "datetime": [
        datetime(1753, 1, 1, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    "email": ["ann@example.com"],
    "phones": [["+442079460018"], [], ["+1", "+2", "+3"]],
    "ip": ["192.0.2.1", "2001:db8::1", "::", "255.255.255.255"],
    "object": ["{}", '{"b": 1, "a": [1, 2.50, null, "ü"]}', '{"n": 12345678901234567890.123}'],
    "objects": ["[]", '[{"a": 1}, {"a": null}]'],
    "array": ["[]", '[1, "two", 3.0, [true]]'],
}  # fmt: skip


def everything(*, but: str = "") -> BoundImport:
    fields: dict[str, Any] = {f"f{number}": {"type": kind} for number, kind in enumerate(TYPES) if kind != but}
    database = {"table": "t", "key": "id", "max_fields_per_import": 99, "fields": {"id": {"type": "int"}, **fields}}
    return bound_import(database=database, columns={"id": "id", **{name: name for name in fields}})


def rows() -> list[tuple[Any, ...]]:
    """Every value of every type beside every other's, NULLs between, then ten thousand random ones."""
    longest = max(map(len, TYPES.values())) + 1
    columns = [[*values, *[None] * (longest - len(values))] for values in TYPES.values()]
    found: list[tuple[Any, ...]] = [(number, *(column[number] for column in columns)) for number in range(longest)]
    rng = random.Random(7)
    for number in range(10_000):
        made = {kind: values[number % len(values)] for kind, values in TYPES.items()}
        made["int"] = rng.randint(-(2**63), 2**63 - 1)
        made["decimal(12,2)"] = str(Decimal(rng.randint(-(10**12) + 1, 10**12 - 1)).scaleb(-2))
        made["decimal(38,0)"] = str(rng.randint(0, 10 ** rng.randint(0, 38) - 1))
        made["decimal(20,10)"] = f"{Decimal(rng.randint(0, 10**20 - 1)).scaleb(-10):.10f}"
        made["float"] = rng.uniform(-1, 1) * 10 ** rng.randint(-300, 300)
        made["date"] = date(1753, 1, 1) + timedelta(days=rng.randint(0, 3_000_000))
        made["datetime"] = datetime(1753, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randint(0, 2 * 10**17))
        found.append((longest + number, *(None if rng.random() < 0.1 else made[kind] for kind in TYPES)))
    return found


def _as_delivered(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (
        row[0],
        *(Decimal(v) if k.startswith("decimal") and v is not None else v for k, v in zip(TYPES, row[1:], strict=True)),
    )


def contents(connection: psycopg.Connection, query: str) -> bytes:
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(query))) as copy:
        return b"".join(copy)


def test_every_type_arrives_as_text_copy_would_bring_it(target: Target, tmp_path: Path) -> None:
    bound, made = everything(), rows()
    validated = delivery(tmp_path, bound, [_as_delivered(row) for row in made], chunks=3)
    stage = Stage(bound)
    with target.connect() as connection:
        connection.execute(stage.create())
        assert copy_accepted(connection, rows_of(validated.accepted), stage, lambda: None) == len(made)
        connection.execute("CREATE TEMP TABLE by_text (LIKE ingest_stage)")
        with connection.cursor().copy("COPY by_text FROM STDIN") as copy:
            for line, row in enumerate(made, start=2):
                copy.write_row((line, *row))
        columns = ", ".join(f'"{name}"' for name in ["_line", "id", *(f"f{n}" for n in range(len(TYPES)))])
        binary = contents(connection, f"SELECT {columns} FROM ingest_stage ORDER BY _line")
        assert binary == contents(connection, f"SELECT {columns} FROM by_text ORDER BY _line")
        assert len(binary) > 1_000_000


def test_every_type_arrives_in_new_profiles_as_in_the_stage(target: Target, tmp_path: Path) -> None:
    bound = everything(but="ip")  # which travels as text, so such rows are merged
    at = 1 + list(TYPES).index("ip")
    made = [_as_delivered(row) for row in rows()]
    (run,) = delivery(tmp_path, bound, [(*row[:at], *row[at + 1 :]) for row in made]).accepted
    stage = Stage(bound)
    assert stage.copies_profiles
    assert not Stage(everything()).copies_profiles
    frame = pl.read_ipc(run)
    wanted = ChunkRows(frame, frame[LINE] % 2 == 0)
    numbers = np.arange(7, 7 + len(wanted))
    with target.connect() as connection:
        for statement in (stage.create(), *additions(stage, TableShape(schema_exists=True))):
            connection.execute(statement)
        assert copy_accepted(connection, wanted.batches(), stage, lambda: None) == len(wanted)
        assert copy_profiles(connection, wanted.numbered(numbers), stage, lambda: None) == len(wanted)
        columns = ", ".join(f'"{column.name}"' for column in stage.fields)
        copied = contents(connection, f"SELECT {columns} FROM t ORDER BY id")
        assert copied == contents(connection, f"SELECT {columns} FROM ingest_stage ORDER BY id")
        ids = connection.execute("SELECT array_agg(profile_id ORDER BY _line) FROM t JOIN ingest_stage USING (id)")
        assert ids.fetchall() == [(numbers.tolist(),)]


@pytest.mark.parametrize("count", [0, 1, ROWS, ROWS + 1])
def test_no_row_is_lost_at_the_edges_of_a_batch(target: Target, tmp_path: Path, count: int) -> None:
    bound = bound_import()
    validated = delivery(tmp_path, bound, [(str(number), "x", number) for number in range(count)])
    batches: list[int] = []
    with target.connect() as connection:
        stage = Stage(bound)
        connection.execute(stage.create())
        assert copy_accepted(connection, rows_of(validated.accepted), stage, lambda: batches.append(1)) == count
        assert connection.execute("SELECT count(*), count(DISTINCT customer_id) FROM ingest_stage").fetchone() == (
            count,
            count,
        )
    assert len(batches) == -(-count // ROWS)


def test_a_spill_file_of_any_size_takes_the_memory_of_one_batch(tmp_path: Path) -> None:
    """A gigabyte of rejected rows lies in one file, in batches of 16 MB."""
    path, batch = tmp_path / "rejects.arrow", 16 << 20
    schema = pa.schema([("row", pa.large_string())])
    with pa.ipc.new_file(path, schema) as file:
        for _ in range(12):
            file.write_batch(pa.record_batch([pa.array(["x" * batch], pa.large_string())], schema=schema))
    before, most = resident(), 0
    for rows in rows_of([path]):
        assert sum(rows.column(0).buffers()[2].to_pybytes()[:: 1 << 12]) == ord("x") * (batch >> 12)
        most = max(most, resident() - before)
    assert batch / 2 < most < 4 * batch
