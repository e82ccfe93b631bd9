"""An import's config compiled into rules: expressions over whole frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.model import LINE, TRIM
from ingest_pipelines.rules.cells import SourceCell, geo_fields, source_cells
from ingest_pipelines.rules.cleaning import Changes, ColumnCleaning, column_cleanings
from ingest_pipelines.rules.field_rules import field_rules
from ingest_pipelines.rules.geo_fill import GeoFill
from ingest_pipelines.rules.identities import Identity, identities
from ingest_pipelines.rules.keys import MatchKey, comparable, is_column, match_key
from ingest_pipelines.rules.raw_cells import raw_cell
from ingest_pipelines.rules.schema import build_schema, declared_rules
from ingest_pipelines.rules.types import TYPES, Cell, Rule
from ingest_pipelines.rules.types.documents import document_text
from ingest_pipelines.rules.types.numbers import NUMBERS, with_point
from ingest_pipelines.rules.types.text import character_rule, length_rules
from ingest_pipelines.rules.types.times import date_rules
from ingest_pipelines.suppression import Suppressed

if TYPE_CHECKING:
    import pandera.polars as pa

KEY, BAD = "_key", "_bad"
"""Columns of a validated frame: the match key in its comparable form; whether the row breaks a rule."""


@dataclass(frozen=True)
class Unique:
    """A value, besides the match key, that may occur only once in an item."""

    cell: Cell
    rule: Rule

    @property
    def name(self) -> str:
        """Its column in a validated frame."""
        return f"unique:{self.cell.name}"


@dataclass(frozen=True)
class Rules:
    """The rules that an import's rows must keep.

    Attributes:
        schema: declares the rules as its checks.
        sources: the cells and where they come from, in the order of an accepted file's columns.
        rules: the schema's, in its order.
        key: what identifies a row's profile.
        uniques: other values that may not repeat within the item.
        geo_fill: fills fields from an address; None where the import has no `geo`.
        cleanings: columns whose cells are cleaned before they are cast.
    """

    bound: BoundImport
    schema: pa.DataFrameSchema
    sources: tuple[SourceCell, ...]
    rules: tuple[Rule, ...]
    key: MatchKey
    uniques: tuple[Unique, ...]
    geo_fill: GeoFill | None
    cleanings: tuple[ColumnCleaning, ...] = ()

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """What identifies the person of a row, by any of which the person may be kept out."""
        return identities(self.bound, self.sources, self.key)

    def suppressed(self, rows: pl.DataFrame, suppressed: Suppressed) -> pl.Series:
        """Which rows of a validated frame are of people who are kept out."""
        texts = rows.select(identity.text.alias(str(place)) for place, identity in enumerate(self.identities))
        found = pl.Series([False]).new_from_index(0, len(rows))
        for identity, values in zip(self.identities, texts.get_columns(), strict=True):
            found |= suppressed.among(identity.kind, values)
        return found

    def identify(self, frame: pl.DataFrame) -> pl.DataFrame:
        """LINE, and the columns that `suppressed` reads, of a frame that holds the source columns of `identities`."""
        names = {identity.cell.name for identity in self.identities}
        return replace(
            self, sources=tuple(source for source in self.sources if source.cell.name in names), geo_fill=None,
            uniques=(),
        )._cast(frame).select(LINE, *names).collect()  # fmt: skip

    @property
    def identifying_columns(self) -> tuple[str, ...]:
        """The source columns of `identities`."""
        names = {identity.cell.name for identity in self.identities}
        columns = (source.column for source in self.sources if source.cell.name in names)
        return tuple(dict.fromkeys(column for column in columns if column is not None))

    @property
    def accepted(self) -> list[pl.Expr]:
        """The columns of an accepted file."""
        cells = (source.cell for source in self.sources)
        return [pl.col(LINE), *(cell.value.cast(pl.String) if is_column(cell) else cell.value for cell in cells)]

    def validated(self, frame: pl.DataFrame, changes: Changes | None = None) -> pl.DataFrame:
        """The frame cast and validated in one pass: values, what rules look at, KEY, uniques and BAD.

        Args:
            changes: counts the cells that are cleaned.
        """
        good = pl.all_horizontal(rule.passes for rule in self.rules)
        return self._cast(frame, changes).with_columns((~good).alias(BAD)).select(self._kept).collect()

    def explained(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.Series]]:
        """LINE and KEY of every row, and a mask per rule: which rows break it."""
        masks = [(~rule.passes).alias(f"broken:{index}") for index, rule in enumerate(self.rules)]
        answer = self._cast(frame).select(LINE, KEY, *masks).collect()
        return answer.select(LINE, KEY), answer.get_columns()[2:]

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns of a working frame that must not repeat in an item: KEY and those of `uniques`."""
        return (KEY, *(unique.name for unique in self.uniques))

    @property
    def compared_columns(self) -> tuple[str, ...]:
        """The source columns that `compared` are made of."""
        return tuple(source.column for source in self._compared_sources if source.column is not None)

    def compare(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns `compared` of a frame that holds `compared_columns`."""
        lines = frame.with_columns(pl.lit(0, pl.Int64).alias(LINE))
        return replace(self, sources=self._compared_sources, geo_fill=None)._cast(lines).select(self.compared).collect()

    def accepts(self, name: str, frame: pl.DataFrame) -> pl.Series:
        """Which of a field's cells its type accepts, the empty ones too."""
        source = next(source for source in self.sources if source.cell.name == name)
        cell, kind = source.cell, TYPES[source.cell.field.type]
        frame = self.cleaned(frame)
        raw, dtype = self._raw(source, frame, trim=True)
        working = frame.lazy().select(raw.alias(cell.raw_name))
        for stage in kind.before(cell, dtype):
            working = working.with_columns(**stage)
        working = working.with_columns(**{cell.given_name: cell.raw.is_not_null(), cell.name: kind.read(cell, dtype)})
        return working.select(kind.accepted(cell).passes).collect().to_series()

    @property
    def _compared_sources(self) -> tuple[SourceCell, ...]:
        names = {cell.name for cell in (*self.key.cells, *(unique.cell for unique in self.uniques))}
        return tuple(source for source in self.sources if source.cell.name in names)

    @property
    def _kept(self) -> list[str]:
        """The columns of a validated frame."""
        names = [LINE, KEY, BAD, *(unique.name for unique in self.uniques)]
        for source in self.sources:
            cell = source.cell
            names += [cell.name, cell.given_name]
            names += [cell.local_name] if cell.field.type == "datetime" else []
            kept = TYPES[cell.field.type].keeps_raw or cell.name in self.key.has_null_word
            names += [cell.raw_name] if kept else []
        names += [self.geo_fill.miss_name] if self.geo_fill else []
        return list(dict.fromkeys(names))

    def cleaned(self, frame: pl.DataFrame, changes: Changes | None = None) -> pl.DataFrame:
        """The frame with clean cells; the same frame if the import declares no cleaning."""
        if not self.cleanings:
            return frame
        trim = TRIM not in frame.columns or bool(frame[TRIM].any())
        there = [cleaning for cleaning in self.cleanings if cleaning.column in frame.columns]
        return frame.with_columns(cleaning.cleaned(frame, changes, trim=trim) for cleaning in there)

    def no_changes(self) -> Changes:
        """A count of zero for each word of each field."""
        return Changes({(cleaning.field, word): 0 for cleaning in self.cleanings for word, _ in cleaning.steps if word})

    def _cast(self, frame: pl.DataFrame, changes: Changes | None = None) -> pl.LazyFrame:
        """The working frame: LINE, raw cells, values, KEY and the columns of `uniques`."""
        frame = self.cleaned(frame, changes)
        raw = [pl.col(LINE)]
        # Columns of one stage are computed side by side, stage after stage: everything as early as it can be.
        stages: defaultdict[int, dict[str, pl.Expr]] = defaultdict(dict)
        trim = TRIM not in frame.columns or bool(frame[TRIM].any())
        for source in self.sources:
            cell, kind = source.cell, TYPES[source.cell.field.type]
            expression, dtype = self._raw(source, frame, trim=trim)
            raw.append(expression.alias(cell.raw_name))
            before = kind.before(cell, dtype)
            for number, stage in enumerate(before):
                stages[number].update(stage)
            stages[0][cell.given_name] = cell.raw.is_not_null()
            if cell.raw_name != cell.name:
                stages[len(before)][cell.name] = kind.read(cell, dtype)
        working = frame.lazy().select(raw)
        for number in sorted(stages):
            working = working.with_columns(**stages[number])
        if self.geo_fill:
            working = self.geo_fill.fill(working)
        return working.with_columns(
            self.key.value.alias(KEY), *(comparable(unique.cell).alias(unique.name) for unique in self.uniques)
        )

    def _raw(self, source: SourceCell, frame: pl.DataFrame, *, trim: bool) -> tuple[pl.Expr, pl.DataType]:
        if source.column is None:
            return pl.lit(source.constant, dtype=pl.String), pl.String()
        given, declared = frame.schema[source.column], self.bound.spec.source.format
        is_clean = any(cleaning.column == source.column for cleaning in self.cleanings)
        raw, dtype = raw_cell(
            pl.col(source.column),
            given,
            TYPES[source.cell.field.type],
            trim=trim and not is_clean,
            composed=source.cell.name in self.key.has_null_word,
            null_values=() if is_clean else declared.null_values or (),
        )
        if given == pl.String and not is_clean and source.cell.field.type in NUMBERS and declared.has_number_signs:
            raw = with_point(raw, declared.number_signs)
        return raw, dtype

    @property
    def repeated_key(self) -> Rule:
        """The rule about rows of one key: rejected, or superseded by the one to keep."""
        reasons = {
            "reject": "the key occurs more than once in the item",
            "last": "the key occurs again further down: the last row is kept, the others are superseded",
            "first": "the key occurs further up: the first row is kept, the others are superseded",
        }
        return item_rule(self.key.cells[0], "duplicate_key", reasons[self.bound.spec.duplicates])

    def table(self) -> list[tuple[str, str, str]]:
        """(field, code, rule in words) of every rule, in the order of the import's columns."""
        all_rules = (*self.rules, self.repeated_key, *(unique.rule for unique in self.uniques))
        position = {source.cell.name: index for index, source in enumerate(self.sources)}
        return [(r.field, r.code, r.reason) for r in sorted(all_rules, key=lambda rule: position[rule.field])]


def compile_rules(bound: BoundImport) -> Rules:
    """The rules of an import.

    Raises:
        ConfigError: a bound, a format or a pattern that its field's type cannot use.
    """
    sources = tuple(source_cells(bound))
    cells = [source.cell for source in sources]
    key = match_key(bound, sources)
    rules = [key.missing, key.null_word]
    for cell in cells:
        rules += cell_rules(bound, cell, key)
    schema = build_schema(bound.name, cells, rules)
    uniques = tuple(_uniques(bound, cells))
    return Rules(
        bound, schema, sources, tuple(declared_rules(schema)), key, uniques, _geo_fill(bound, cells, key),
        tuple(column_cleanings(bound, frozenset(key.has_null_word))),
    )  # fmt: skip


def cell_rules(bound: BoundImport, cell: Cell, key: MatchKey) -> Iterator[Rule]:
    """All rules of one cell that a row can break by itself."""
    kind = TYPES[cell.field.type]
    in_key, identifies = cell in key.cells, cell.name in key.has_null_word
    if identifies and not in_key:
        yield key.null_word_in(cell)
    if cell.field.type != "string":
        accepted = kind.accepted(cell)
        # A key that says NULL is a missing one, and not a bad int besides.
        said = key.is_null_word if in_key else key.has_null_word.get(cell.name)
        yield accepted if said is None else replace(accepted, passes=accepted.passes | said)
    yield from kind.rules(cell)
    record = FIELD_TYPES[cell.field.type]
    if record.is_date:
        yield from date_rules(cell, bound.database.default_dates)
    if "characters" in record.takes and record.is_document:
        yield character_rule(cell, document_text(cell))
    elif "characters" in record.takes:
        yield character_rule(cell, cell.raw, identifies=identifies)
    if not is_column(cell):
        yield from length_rules(cell)
    yield from field_rules(bound, cell)


def item_rule(cell: Cell, code: str, reason: str) -> Rule:
    """A rule that a row can only break together with other rows, so that no single frame shows it."""
    return cell.rule(code, reason, pl.lit(True))


def _uniques(bound: BoundImport, cells: Sequence[Cell]) -> Iterator[Unique]:
    for cell in cells:
        if bound.match is not None and cell.name == bound.database.key:
            yield Unique(cell, item_rule(cell, "duplicate_key", "the database's key occurs more than once in the item"))
        elif cell.field.unique:
            yield Unique(cell, item_rule(cell, "not_unique", "the value occurs more than once in the item"))


def _geo_fill(bound: BoundImport, cells: Sequence[Cell], key: MatchKey) -> GeoFill | None:
    if bound.spec.geo is None:
        return None
    by_name = {cell.name: cell for cell in cells}
    filled = {part: by_name[name] for part, name in geo_fields(bound).items()}
    rules = {part: tuple(cell_rules(bound, cell, key)) for part, cell in filled.items()}
    return GeoFill(by_name[f"column:{bound.spec.geo.ip}"], filled, rules)
