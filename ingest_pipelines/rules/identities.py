"""What identifies a person in an import's rows: the database's key, and what rows are matched by. Pure.

Both `ingest forget` and the validation of rows compare people by these, in the form in which rows are compared: `007`
and `7` are the same int, addresses differ in more than case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.identities import KEY_KIND, contact_kind, field_kind
from ingest_pipelines.rules.cells import SourceCell
from ingest_pipelines.rules.keys import MatchKey, comparable
from ingest_pipelines.rules.raw_cells import raw_cell
from ingest_pipelines.rules.types import TYPES, Cell


@dataclass(frozen=True)
class Identity:
    """A cell that identifies people.

    Attributes:
        kind: see `config.identities`.
    """

    kind: str
    cell: Cell

    @property
    def text(self) -> pl.Expr:
        """The value as identities are compared, as text; NULL where the row has none."""
        return comparable(self.cell).cast(pl.String)


def identities(bound: BoundImport, sources: Sequence[SourceCell], key: MatchKey) -> tuple[Identity, ...]:
    """The identities of an import's rows: the database's key if it is mapped, then what rows are matched by."""
    found = [Identity(KEY_KIND, source.cell) for source in sources if source.cell.name == bound.database.key]
    return (*found, *(Identity(_kind(bound, cell), cell) for cell in matched_cells(bound, key)))


def matched_cells(bound: BoundImport, key: MatchKey) -> tuple[Cell, ...]:
    """The cells that rows are matched by; none where that is the database's key."""
    return () if bound.match is None else key.cells


def _kind(bound: BoundImport, cell: Cell) -> str:
    match = bound.match
    assert match is not None
    if match.by == "profile_id":
        return "profile_id"
    if match.by == "field":
        return field_kind(cell.name)
    if match.by in {"push", "channel"}:
        return contact_kind(match.channel or "push")
    return cell.field.type  # email or phone


def identity_texts(field: Field, texts: Sequence[str | None]) -> pl.Series:
    """Values of a field as identities are compared; NULL where the type does not accept one."""
    cell, kind = Cell("identity", field), TYPES[field.type]
    raw, dtype = raw_cell(pl.col("given"), pl.String(), kind, composed=True)
    working = pl.LazyFrame({"given": pl.Series(texts, dtype=pl.String)}).select(raw.alias(cell.raw_name))
    for stage in kind.before(cell, dtype):
        working = working.with_columns(**stage)
    working = working.with_columns(**{cell.given_name: cell.raw.is_not_null()})
    if cell.raw_name != cell.name:
        working = working.with_columns(**{cell.name: kind.read(cell, dtype)})
    return working.select(comparable(cell).cast(pl.String)).collect().to_series()
