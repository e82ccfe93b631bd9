"""Converts Arrow types that frames cannot hold into text with the same content. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

Convert = Callable[[pa.Array], pa.Array]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `plain_batch`'s result, without metadata."""
    return pa.schema([pa.field(field.name, _conversion(field.type)[0]) for field in schema])


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch, converted to a schema of `plain_schema`, whose names may have been changed."""
    arrays = []
    for array in batch.columns:
        _, convert = _conversion(array.type)
        arrays.append(array if convert is None else convert(array))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _conversion(kind: pa.DataType) -> tuple[pa.DataType, Convert | None]:
    """The type that frames hold instead, and the conversion; None if the type stays."""
    if isinstance(kind, pa.BaseExtensionType):
        inner, convert = _conversion(kind.storage_type)
        return inner, lambda array: convert(array.storage) if convert else array.storage
    if pa.types.is_dictionary(kind):
        inner, convert = _conversion(kind.value_type)
        return inner, lambda array: convert(array.dictionary_decode()) if convert else array.dictionary_decode()
    if pa.types.is_timestamp(kind):
        better = pa.timestamp("us" if kind.unit == "s" else kind.unit, "UTC" if kind.tz else None)
        return _cast(kind, better)
    if pa.types.is_date64(kind):
        return _cast(kind, pa.date32())
    if pa.types.is_float16(kind):
        return _cast(kind, pa.float32())
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return _cast(kind, pa.string())
    if pa.types.is_decimal256(kind) or (pa.types.is_decimal(kind) and not 0 <= kind.scale <= kind.precision):
        return _cast(kind, pa.string())
    if _holds_map(kind) or pa.types.is_interval(kind):
        return pa.string(), _json
    return kind, None


def _cast(kind: pa.DataType, to: pa.DataType) -> tuple[pa.DataType, Convert | None]:
    return to, None if kind == to else lambda array: pc.cast(array, to)


def _holds_map(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        return True
    return pa.types.is_nested(kind) and any(_holds_map(kind.field(n).type) for n in range(kind.num_fields))


def _json(array: pa.Array) -> pa.Array:
    """Maps as JSON objects, intervals as their parts. Rare, so it converts value by value."""
    values = array.to_pylist(maps_as_pydicts="lossy") if _holds_map(array.type) else array.to_pylist()
    written = [None if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in values]
    return pa.array(written, pa.string())
