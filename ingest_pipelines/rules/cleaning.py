"""Cells cleaned as an import declares: step by step over whole columns, each step counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.blanks import BLANKS, INSIDE_A_KEY
from ingest_pipelines.config.bound import MappedField
from ingest_pipelines.config.cleaning import Cleaning, CleanWord
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.file_format import Format
from ingest_pipelines.rules.raw_cells import raw_cell
from ingest_pipelines.rules.types.base import FieldKind
from ingest_pipelines.rules.types.numbers import NUMBERS, with_point
from ingest_pipelines.rules.types.text import LATIN_1_CEILING, UNICODE_CEILING, UNSUPPORTED

Step = Callable[[pl.Series], pl.Series]

UNCOUNTED = ""
"""A step that is no word: it changes how a cell is written, and not the cell."""

Changes = Counter[tuple[str, str]]
"""(field, word) -> cells that the word changed."""


@dataclass(frozen=True)
class ColumnCleaning:
    """How the cells of a source column are cleaned.

    Attributes:
        column: as the item at hand calls it.
        steps: words, and what they do to a column of text; NULL is an empty cell.
    """

    column: str
    field: str
    steps: tuple[tuple[str, Step], ...]
    null_values: Sequence[str]

    def cleaned(self, frame: pl.DataFrame, changes: Changes | None, *, trim: bool) -> pl.Series:
        """The frame's column as clean text; adds to `changes`."""
        source = frame.schema[self.column]
        raw, _ = raw_cell(pl.col(self.column), source, _TEXT, trim=False)
        trimmed, _ = raw_cell(pl.col("cell"), pl.String(), _TEXT, trim=trim, null_values=self.null_values)
        cells = frame.select(raw.alias("cell")).to_series()
        before, cells = cells, cells.to_frame().select(trimmed.alias("cell")).to_series()
        if changes is not None and "trim" in dict(self.steps):
            ends = before.to_frame().select(
                (pl.col("cell") != pl.col("cell").str.strip_chars().str.strip_chars(BLANKS)).sum()
            )
            changes[self.field, "trim"] += int(ends.item() or 0)
        for word, step in self.steps:
            before, cells = cells, step(cells)
            cells = cells.set(cells == "", None)
            if changes is not None and word != UNCOUNTED:
                changes[self.field, word] += int(cells.ne_missing(before).sum())
        return cells.alias(self.column)


def column_cleanings(bound: BoundImport, identities: frozenset[str]) -> Iterator[ColumnCleaning]:
    """The import's columns whose cells are cleaned.

    Args:
        identities: the cells that distinguish customers, or consents.
    """
    for mapped in bound.fields:
        if mapped.cleaning.cleans:
            declared = bound.spec.source.format
            steps = tuple(_steps(mapped, declared, identifies=mapped.name in identities))
            yield ColumnCleaning(bound.in_item(mapped.column), mapped.name, steps, declared.null_values or ())


def _steps(mapped: MappedField, declared: Format, *, identifies: bool) -> Iterator[tuple[str, Step]]:
    cleaning: Cleaning = mapped.cleaning
    for word in cleaning.clean:
        yield word, partial(_expression, _word(word, mapped.field, identifies=identifies))
    if mapped.field.type in NUMBERS and declared.has_number_signs:
        # From here on cells are written as the YAML writes its own texts: with a point, and nothing between digits.
        yield UNCOUNTED, partial(_expression, with_point(_CELL, declared.number_signs))
    if cleaning.map:
        yield "map", partial(_expression, _CELL.replace(cleaning.map))
    if cleaning.default is not None:
        yield "default", partial(_expression, _CELL.fill_null(cleaning.default))
    if cleaning.hash is not None:
        salt = cleaning.hash.salt.reveal() if cleaning.hash.salt is not None else ""
        yield "hash", partial(_hashed, salt.encode())


_CELL = pl.col("cell")


def _expression(expression: pl.Expr, cells: pl.Series) -> pl.Series:
    return cells.alias("cell").to_frame().select(expression.alias("cell")).to_series()


def _word(word: CleanWord, field: Field, *, identifies: bool) -> pl.Expr:
    if word == "trim":
        return _CELL.str.strip_chars(BLANKS)
    if word == "collapse":
        return _CELL.str.replace_all(r"\s+", " ")
    if word == "lower":
        return _CELL.str.to_lowercase()
    if word == "upper":
        return _CELL.str.to_uppercase()
    if word == "digits":
        return _CELL.str.replace_all("[^0-9]", "")
    if word == "strip_unsupported":
        unsupported = UNSUPPORTED if field.characters == "basic" else "\\x00"
        wrong = f"[{unsupported}{INSIDE_A_KEY}]" if identifies else unsupported
        return _CELL.str.replace_all(wrong, "").str.strip_chars(BLANKS)
    return _cut(field)


def _cut(field: Field) -> pl.Expr:
    """The most characters that the field holds, without a blank at their end."""
    longest = field.max_length or LATIN_1_CEILING
    latin = ~_CELL.str.slice(0, longest).str.contains(r"[^\x00-\xff]")
    shorter = _CELL.str.slice(0, min(longest, UNICODE_CEILING))
    cut = pl.when(latin).then(_CELL.str.slice(0, longest)).otherwise(shorter)
    return cut.str.strip_chars_end(BLANKS)


def _hashed(salt: bytes, cells: pl.Series) -> pl.Series:
    """Each cell's hash. Equal cells are hashed once."""
    distinct = cells.drop_nulls().unique()
    begun = hashlib.sha256(salt)
    hashes = []
    for cell in distinct.to_list():
        one = begun.copy()
        one.update(cell.encode())
        hashes.append(one.hexdigest())
    return cells.replace_strict(distinct, pl.Series(hashes, dtype=pl.String), default=None, return_dtype=pl.String)


_TEXT = FieldKind(code="bad_string", dtype=lambda _: pl.String(), reason=lambda _: "", read=lambda cell, _: cell.raw)
