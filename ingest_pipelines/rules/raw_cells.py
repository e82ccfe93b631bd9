"""Raw cells from source columns: text unchanged, Arrow types as text that means the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from ingest_pipelines.config.blanks import BLANKS
from ingest_pipelines.model import NUL_PICTURES, utf8_or_nul
from ingest_pipelines.rules.types import FieldKind


def raw_cell(
    column: pl.Expr, source: pl.DataType, kind: FieldKind, *,
    trim: bool = True, composed: bool = False, null_values: Sequence[str] = (),
) -> tuple[pl.Expr, pl.DataType]:  # fmt: skip
    """The column as `kind` reads it, and its dtype: String, or one that the kind takes as it is.

    An empty cell is NULL. Blanks and invisible characters at both ends of a text are removed.

    Args:
        trim: whether any cell may have them.
        composed: normalise to NFC, so that `e` with an accent and `é` are the same letter.
        null_values: texts that mean an empty cell.
    """
    if source != pl.String and kind.takes(source):
        if null_values:
            column = pl.when(~_as_text(column, source, kind).is_in(list(null_values))).then(column)
        return column, source
    text = _as_text(column, source, kind)
    if trim:
        # Blanks are quick to strip; the many invisible characters are not, and only some cells can have them.
        text = text.str.strip_chars()
        text = pl.coalesce(_beyond_ascii(text).str.strip_chars(BLANKS), text)
    if composed:
        text = pl.coalesce(_beyond_ascii(text).str.normalize("NFC"), text)
    filled = text != ""
    if null_values:
        filled &= ~text.is_in(list(null_values))
    return pl.when(filled).then(text), pl.String()


def _beyond_ascii(text: pl.Expr) -> pl.Expr:
    """The text; NULL where it is ASCII."""
    return pl.when(text.str.len_bytes() != text.str.len_chars()).then(text)


def _as_text(column: pl.Expr, source: pl.DataType, kind: FieldKind) -> pl.Expr:
    if source == pl.String:
        return column
    if source == pl.Binary:
        return column.map_batches(_decode, return_dtype=pl.String)
    if source.is_float():
        # SQL systems hand over whole numbers as floats (NUMBER, aggregates): 3.0 means 3.
        whole = (column == column.floor()) & (column.abs() < 2.0**53)
        return (
            pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
        )
    if source.is_decimal() and kind.drops_zeros:
        return column.cast(pl.String).str.replace(r"\.0*$", "")
    if isinstance(source, pl.Datetime):
        at = column.dt.convert_time_zone("UTC") if source.time_zone else column
        return at.dt.strftime("%Y-%m-%dT%H:%M:%S%.f" + ("Z" if source.time_zone else ""))
    if source.is_nested():
        wrapped = pl.struct(column.alias("v")).struct.json_encode()
        return pl.when(column.is_not_null()).then(wrapped.str.slice(5).str.strip_suffix("}"))
    if source == pl.Duration:
        return column.dt.to_string("iso")
    return column.cast(pl.String)


def _decode(cells: pl.Series) -> pl.Series:
    """Bytes as UTF-8."""
    return pl.Series(
        cells.name,
        [None if cell is None else utf8_or_nul(cell) for cell in cells.to_list()],
        dtype=pl.String,
    )


def display_cell(column: pl.Expr, source: pl.DataType, kinds: Iterable[FieldKind] = ()) -> pl.Expr:
    """The cell as text for the rejects, which a person reads and corrects; NUL is replaced by its picture.

    Args:
        kinds: the types that read the column; to them the text means the same as the cell.
    """
    kind = next((kind for kind in kinds if kind.drops_zeros), _PLAIN)
    text = column if source == pl.String else _as_text(column, source, kind)
    return text.str.replace_many(list(NUL_PICTURES), list(NUL_PICTURES.values()))


_PLAIN = FieldKind(code="bad_string", dtype=lambda _: pl.String(), reason=lambda _: "", read=lambda cell, _: cell.raw)
