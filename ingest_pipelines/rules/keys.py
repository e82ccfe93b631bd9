"""The match key of a row, normalised so that equal keys are equal values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.rules.cells import SourceCell
from ingest_pipelines.rules.types import Cell, Rule

NULL_WORDS = (
    "null", "(null)", "<null>", "[null]", "'null'", '"null"', "null null", "\\n", "nil", "none", "(none)", "nan",
    "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "nat", "n/a", "na", "n.a.", "<na>", "#n/a", "#na", "#n/a n/a",
    "undefined", "unknown", "(blank)", "(empty)", "-", ".", "..", "...", "?", "#null!", "#ref!", "#value!", "#name?",
    "#num!", "#div/0!", "#spill!", "#calc!", "#field!", "#busy!", "#python!", "#blocked!", "#connect!", "#unknown!",
    *("?" * times for times in range(2, 10)),
    *(dash * times for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212" for times in (1, 2, 3)),
)  # fmt: skip
"""What databases, spreadsheets, programs and people write for "no value", in lower case. So are dashes and #, however
many: database clients print a line of dashes below the header, and Excel # for a value wider than its column."""


@dataclass(frozen=True)
class MatchKey:
    """What identifies a row's profile.

    Attributes:
        cells: the cells to match by, in order of preference; one must not be empty.
        value: over working frames and accepted files alike; NULL where the row has no key. `007` and `7` are the
            same int, addresses differ in more than case.
        has_null_word: for each cell that distinguishes customers, or consents, by its name: whether it holds a
            placeholder such as NULL, or a name of its own column, as a second header does.
        null_words: what such words are, for people, and what to write where they are keys.
    """

    cells: tuple[Cell, ...]
    value: pl.Expr
    has_null_word: Mapping[str, pl.Expr]
    null_words: tuple[str, str]

    @property
    def name(self) -> str:
        """The field in which a missing or repeated key is reported."""
        return self.cells[0].name

    @property
    def missing(self) -> Rule:
        """The rule `missing_key`."""
        there = pl.any_horizontal([cell.given for cell in self.cells])
        return self.cells[0].rule("missing_key", f"empty, and rows are matched by {self._names}", there)

    @property
    def null_word(self) -> Rule:
        """The rule `missing_key` for a row whose key is a placeholder."""
        return self.cells[0].rule("missing_key", self._reason(f"rows are matched by {self._names}"), ~self.is_null_word)

    def null_word_in(self, cell: Cell) -> Rule:
        """The same rule for another cell that identifies: the database's key, or the contact of a consent."""
        what = "consents" if is_column(cell) else "customers"
        return cell.rule(
            "missing_key", self._reason(f"{what} are told apart by {cell.name}"), ~self.has_null_word[cell.name]
        )

    @property
    def is_null_word(self) -> pl.Expr:
        """Whether the key's cells hold placeholders and no key."""
        said = [self.has_null_word[cell.name] for cell in self.cells]
        if len(said) == 1:
            return said[0]
        empty = [~cell.given for cell in self.cells]
        return pl.any_horizontal(said) & pl.all_horizontal(one | other for one, other in zip(said, empty, strict=True))

    @property
    def _names(self) -> str:
        return " and ".join(cell.name for cell in self.cells)

    def _reason(self, why: str) -> str:
        words, otherwise = self.null_words
        return f"{words}, and {why}{otherwise}"


def match_key(bound: BoundImport, sources: Sequence[SourceCell]) -> MatchKey:
    """The match key of the import."""
    names = _names(bound)
    by_name = {source.cell.name: source for source in sources}
    chosen = tuple(by_name[name].cell for name in names)
    values = [comparable(cell) for cell in chosen]
    value = values[0] if len(values) == 1 else pl.coalesce(values)
    declared = bound.spec.source.format.null_values is not None
    has_null_word = {
        name: _has_null_word(by_name[name], () if declared else NULL_WORDS)
        for name in identities(bound, names) & by_name.keys()
    }
    words = "a placeholder such as NULL or N/A, or the name of its column"
    otherwise = "; if NULL is a key, write source: {format: {null_values: []}}"
    return MatchKey(chosen, value, has_null_word, ("the name of its column", "") if declared else (words, otherwise))


def identities(bound: BoundImport, key: Iterable[str]) -> frozenset[str]:
    """The cells that distinguish one customer, or one consent, from another; `key`: those that rows are matched by."""
    contacts = (f"column:{subscription.contact}" for subscription in bound.spec.subscriptions)
    return frozenset((bound.database.key, *key, *contacts))


def _has_null_word(source: SourceCell, words: Sequence[str]) -> pl.Expr:
    """Whether the cell is one of the words, in any case, or a name of its column: its line is a header, no customer."""
    columns = (source.column or "", *(source.names if source.column else ()))
    names = sorted({trimmed(name).lower() for name in columns})
    raw = source.cell.raw.cast(pl.String)
    length = raw.str.len_bytes()
    # To look at every key in lower case is slow; few are as short as a word, or end as one of the column's names does.
    alike = pl.any_horizontal(
        [
            (length == len(name.encode())) & (raw.str.ends_with(name[-1:]) | raw.str.ends_with(name[-1:].upper()))
            for name in names
        ]
    )
    short = pl.when((length <= max(map(len, words), default=0)) | alike).then(raw)
    said = short.str.to_lowercase().is_in([*words, *names]).fill_null(False)
    may_fill = raw.str.starts_with("--") | raw.str.starts_with("##")
    fillers = pl.when(may_fill).then(raw).str.contains("^(-+|#+)$").fill_null(False)
    return said | fillers if words else said


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
