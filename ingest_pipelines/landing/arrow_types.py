"""Converts Arrow types that frames cannot hold into text with the same content. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.landing.json_values import document

Convert = Callable[[pa.Array], pa.Array]


def text_array(texts: Sequence[str | None]) -> pa.Array:
    """The texts as an array. Polars makes it: Arrow imports all of pandas to look through a list.

    Raises:
        UnicodeEncodeError: half of a surrogate pair.
    """
    return pl.Series(texts, dtype=pl.String).to_arrow().cast(pa.string())


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
        return pa.string(), _digits
    if pa.types.is_interval(kind) or (pa.types.is_nested(kind) and not _is_plain(kind)):
        return pa.string(), _json
    return kind, None


def _cast(kind: pa.DataType, to: pa.DataType) -> tuple[pa.DataType, Convert | None]:
    return to, None if kind == to else lambda array: pc.cast(array, to)


def _digits(array: pa.Array) -> pa.Array:
    """Decimals as text without an exponent, as decimals that frames hold are written: `0.000000001`, not `1E-9`."""
    texts = pc.cast(array, pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    return text_array([None if value is None else format(value, "f") for value in array.to_pylist()])


_PLAIN = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_float32, pa.types.is_float64,
    pa.types.is_boolean, pa.types.is_date32, pa.types.is_timestamp, pa.types.is_time, pa.types.is_duration,
    pa.types.is_null,
)  # fmt: skip
"""What lists and structs of frames may hold: of other values the frames' own JSON is wrong, or there is none."""


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    return any(matches(kind) for matches in _PLAIN)


def _json(array: pa.Array) -> pa.Array:
    """Maps and nested values as JSON, intervals as their parts. Rare, so it converts value by value."""
    values = array.to_pylist(maps_as_pydicts="lossy") if pa.types.is_nested(array.type) else array.to_pylist()
    return text_array([None if value is None else document(value) for value in values])
