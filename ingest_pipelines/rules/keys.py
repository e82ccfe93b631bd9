"""The match key of a row, normalised so that equal keys are equal values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.rules.types import Cell, Rule

NULL_WORDS = (
    "null", "(null)", "<null>", "[null]", "\\n", "nil", "none", "nan", "nat", "n/a", "na", "n.a.", "<na>", "#n/a",
    "#na", "undefined", "-", "--", "---", ".", "?", "#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!",
)  # fmt: skip
"""What databases, spreadsheets, programs and people write for "no value", in lower case."""


@dataclass(frozen=True)
class MatchKey:
    """What identifies a row's profile.

    Attributes:
        cells: the cells to match by, in order of preference; one must not be empty.
        value: over working frames and accepted files alike; NULL where the row has no key. `007` and `7` are the
            same int, addresses differ in more than case.
        null_words: lower-case words that mean "no key".
    """

    cells: tuple[Cell, ...]
    value: pl.Expr
    null_words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The field in which a missing or repeated key is reported."""
        return self.cells[0].name

    @property
    def missing(self) -> Rule:
        """The rule `missing_key`."""
        has_key = pl.any_horizontal([cell.given for cell in self.cells])
        names = " and ".join(cell.name for cell in self.cells)
        return self.cells[0].rule("missing_key", f"empty, and rows are matched by {names}", has_key)

    @property
    def null_word(self) -> Rule | None:
        """The rule `missing_key` for a cell that holds one of `null_words`; None where there are none."""
        if not self.null_words:
            return None
        reason = f"a word for nothing, such as NULL or N/A, and rows are matched by {self.name}"
        otherwise = "if it is a key, write source: {format: {null_values: []}}"
        return self.cells[0].rule("missing_key", f"{reason}; {otherwise}", ~self.is_null_word)

    @property
    def is_null_word(self) -> pl.Expr:
        """Whether the key's cell is one of `null_words`, in any case."""
        raw = self.cells[0].raw.cast(pl.String)
        short = pl.when(raw.str.len_bytes() <= max(map(len, self.null_words))).then(raw)
        return short.str.to_lowercase().is_in(list(self.null_words)).fill_null(False)


def match_key(bound: BoundImport, cells: Sequence[Cell]) -> MatchKey:
    """The match key of the import."""
    names = _names(bound)
    by_name = {cell.name: cell for cell in cells}
    chosen = tuple(by_name[name] for name in names)
    values = [comparable(cell) for cell in chosen]
    value = values[0] if len(values) == 1 else pl.coalesce(values)
    declared = bound.spec.source.format.null_values is not None
    # With an address and a number one of them is enough; a null word there is rejected as no address or no number.
    return MatchKey(chosen, value, NULL_WORDS if len(chosen) == 1 and not declared else ())


def comparable(cell: Cell) -> pl.Expr:
    """The value normalised so that equal values compare equal; NULL where there is none."""
    value = cell.value
    if FIELD_TYPES[cell.field.type].ignores_case:
        return value.str.to_lowercase()
    return value.cast(pl.String) if is_column(cell) else value


def is_column(cell: Cell) -> bool:
    """Whether the cell is a source column that fills no field."""
    return cell.name.startswith("column:")


def _names(bound: BoundImport) -> list[str]:
    match = bound.match
    if match is None:
        assert bound.key is not None
        return [bound.key.name]
    if match.by == "field":
        assert match.field is not None
        return [match.field]
    names = [] if match.column is None else [f"column:{match.column}"]
    if match.by.startswith("email") and not names:
        names += _of_type(bound, "email")
    if match.by.startswith("phone") and not names:
        names += _of_type(bound, "phone")
    if match.by.startswith("email_or_phone"):
        names += _of_type(bound, "phone")
    return names


def _of_type(bound: BoundImport, type_name: str) -> list[str]:
    return [mapped.name for mapped in bound.fields if mapped.field.type == type_name][:1]
