"""A sample read as a declared format says, by the readers of the imports."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import Format, written
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import printable
from ingest_pipelines.landing.arrow_types import plain_batch, plain_schema
from ingest_pipelines.landing.file_reader import open_as
from ingest_pipelines.model import LINE, TRIM, Item, ItemKey, Landing
from ingest_pipelines.owner_only import write_private
from ingest_pipelines.rules.raw_cells import display_cell

Keys = Mapping[str, Any]
"""Keys of `source.format` that are not its defaults."""


@dataclass(frozen=True)
class Option:
    """One of several ways to read a sample.

    Attributes:
        label: what declares it in YAML.
        preview: what the first cells on which the ways differ are then; "": nothing to show.
    """

    label: str
    preview: str = ""


Choose = Callable[[str, Sequence[Option]], int]
"""Decides between readings that differ: takes the question and the ways, likeliest first; returns one's position."""


@dataclass(frozen=True)
class Reading:
    """A sample as the import would read it.

    Attributes:
        keys: of the format.
        frame: a column per cell of the header; text, or what a typed source has.
        lines: of the rows in the file; empty: they are numbered from 1.
        member: the pattern of the file in an archive of several; "": the file itself, or the archive's only one.
    """

    keys: Keys
    frame: pl.DataFrame
    member: str = ""
    lines: tuple[int, ...] = ()

    @classmethod
    def of_batch(cls, batch: pa.RecordBatch) -> Reading:
        """Rows of a table."""
        plain = plain_batch(batch, plain_schema(batch.schema))
        return cls({}, pl.DataFrame(pl.from_arrow(plain)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The header's cells."""
        return tuple(self.frame.columns)

    @cached_property
    def rows(self) -> tuple[tuple[str | None, ...], ...]:
        """Raw cells as text; None: empty."""
        texts = [display_cell(pl.col(name), kind).alias(name) for name, kind in self.frame.schema.items()]
        return tuple(self.frame.select(texts).rows())

    @property
    def declared(self) -> Format:
        """The format."""
        return Format.model_validate(dict(self.keys))

    @property
    def label(self) -> str:
        """The line of YAML that declares it."""
        return written(self.keys) if self.keys else "CSV with commas in UTF-8, as it is by default"

    @cached_property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """Per column its cells that are not empty, without the blanks at their ends."""
        columns: list[list[str]] = [[] for _ in self.columns]
        for row in self.rows:
            for column, cell in zip(columns, row, strict=True):
                if text := trimmed(cell or ""):
                    column.append(text)
        return tuple(map(tuple, columns))


def read_sample(content: bytes, name: str, keys: Keys) -> Reading:
    """The content as a file of that format.

    Raises:
        ItemRefused: it is none.
        pydantic.ValidationError: there is no such format.
    """
    declared = Format.model_validate(dict(keys))
    with tempfile.TemporaryDirectory(prefix="ingest-sample-") as folder:
        path = Path(folder) / "sample"
        write_private(path, content)
        item = Item("sample", ItemKey("sample"), "upload", uri=name, path=name)
        landing = Landing(
            item, path, "csv", "", len(content), newlines=content.count(b"\n"), quotes=content.count(b'"')
        )  # fmt: skip
        with open_as(landing, (), declared, Limits()) as (columns, frames):
            read = list(frames)
    if not read:
        return Reading(keys, pl.DataFrame(schema=dict.fromkeys(columns, pl.String)))
    whole = pl.concat(read)
    return Reading(keys, whole.drop(LINE, TRIM), lines=tuple(whole[LINE]))


def ask_if_different(question: str, readings: Sequence[tuple[Option, Reading]], choose: Choose) -> Reading:
    """The only reading; of several that differ the one that is chosen."""
    different: list[tuple[Option, Reading]] = []
    for option, reading in readings:
        if all((reading.columns, reading.rows) != (other.columns, other.rows) for _, other in different):
            different.append((option, reading))
    place = choose(question, [option for option, _ in different]) if len(different) > 1 else 0
    return different[place][1]


PREVIEWED = 4
"""Cells that a preview shows."""


def preview(reading: Reading) -> str:
    """The names of the first columns, each with its first cell."""
    pairs = [
        f"{printable(name, 20)} = {printable(cells[0], 20) if cells else ''}"
        for name, cells in zip(reading.columns, reading.cells, strict=True)
    ]
    more = f" | {len(pairs) - PREVIEWED} more" if len(pairs) > PREVIEWED else ""
    return " | ".join(pairs[:PREVIEWED]) + more
