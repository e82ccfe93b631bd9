"""An import's rules, compiled: from its config to expressions over whole frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.imports import SubscriptionStatus
from ingest_pipelines.model import LINE
from ingest_pipelines.rules.field_rules import field_rules
from ingest_pipelines.rules.keys import MatchKey, comparable, is_column, match_key
from ingest_pipelines.rules.schema import build_schema, declared_rules
from ingest_pipelines.rules.source_cells import raw_cell
from ingest_pipelines.rules.types import TYPES, Cell, Rule
from ingest_pipelines.rules.types.documents import document_text
from ingest_pipelines.rules.types.text import character_rule, length_rules
from ingest_pipelines.rules.types.times import date_rules

if TYPE_CHECKING:
    import pandera.polars as pa

KEY, BAD = "_key", "_bad"
"""Columns of a judged frame: the match key in its comparable form; whether the row breaks a rule."""

_CONTACTS = {"email": "email", "sms": "phone", "whatsapp": "phone", "viber": "phone"}


@dataclass(frozen=True)
class Unique:
    """A value that may stand only once in an item, besides the match key."""

    cell: Cell
    rule: Rule

    @property
    def name(self) -> str:
        """Its column in a judged frame."""
        return f"unique:{self.cell.name}"


@dataclass(frozen=True)
class Rules:
    """What an import's rows are held to.

    Attributes:
        schema: the declaration; its checks are the rules.
        columns: the source column of each cell, in the same order.
        cells: mapped fields, then `column:NAME` for the source columns that fill none.
        rules: the schema's own, in its order; the masks of a judged frame are `broken:0`, `broken:1` ...
        key: what identifies a row's profile.
        uniques: what else may not repeat within the item.
    """

    bound: BoundImport
    schema: pa.DataFrameSchema
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    rules: tuple[Rule, ...]
    key: MatchKey
    uniques: tuple[Unique, ...]

    @property
    def masks(self) -> list[str]:
        """Names of the masks of a judged frame, one per rule."""
        return [f"broken:{index}" for index in range(len(self.rules))]

    @property
    def accepted(self) -> list[pl.Expr]:
        """The columns of an accepted file."""
        return [pl.col(LINE), *(cell.value.cast(pl.String) if is_column(cell) else cell.value for cell in self.cells)]

    def judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame cast and judged in one pass: values, raw cells, KEY, uniques, masks and BAD."""
        raw, before, values = [pl.col(LINE)], [], []
        for cell, column in zip(self.cells, self.columns, strict=True):
            kind = TYPES[cell.field.type]
            expression, dtype = raw_cell(pl.col(column), frame.schema[column], kind)
            raw.append(expression.alias(f"raw:{cell.name}"))
            before += [one.alias(name) for name, one in kind.before(cell, dtype).items()]
            values.append(kind.read(cell, dtype).alias(cell.name))
        masks = self.masks
        return (
            frame.lazy()
            .select(raw)
            .with_columns(before)
            .with_columns(values)
            .with_columns(
                self.key.value.alias(KEY),
                *(comparable(unique.cell).alias(unique.name) for unique in self.uniques),
                *((~rule.passes).alias(mask) for rule, mask in zip(self.rules, masks, strict=True)),
            )
            .with_columns(pl.any_horizontal(masks).alias(BAD))
            .collect()
        )

    @property
    def repeated_key(self) -> Rule:
        """The rule about rows of one key: rejected, or superseded by the one to keep."""
        what = {
            "reject": "the key stands more than once in the item",
            "last": "the key stands again further down: the last row is kept, the others are superseded",
            "first": "the key stands further up: the first row is kept, the others are superseded",
        }
        return item_rule(self.key.cells[0], "duplicate_key", what[self.bound.spec.duplicates])

    def table(self) -> list[tuple[str, str, str]]:
        """(field, code, rule in words) of every rule, in the order of the import's columns."""
        rows = [(rule.field, rule.code, rule.reason) for rule in self.rules]
        where = {name: index for index, name in enumerate(cell.name for cell in self.cells)}
        rows += [(rule.field, rule.code, rule.reason) for rule in (self.repeated_key, *(u.rule for u in self.uniques))]
        return sorted(rows, key=lambda row: where[row[0]])


def compile_rules(bound: BoundImport) -> Rules:
    """The rules of an import.

    Raises:
        ConfigError: a bound, a format or a pattern that its field's type cannot use.
    """
    fields = [(mapped.column, Cell(mapped.name, mapped.field, bound.spec.timezone)) for mapped in bound.fields]
    extras = [
        (column, Cell(f"column:{column}", _extra_field(bound, column), bound.spec.timezone))
        for column in bound.extra_columns
    ]
    columns, cells = zip(*fields, *extras, strict=True)
    key = match_key(bound, cells)
    rules = [key.missing]
    for cell in cells:
        rules += _cell_rules(bound, cell)
    schema = build_schema(bound.name, cells, rules)
    return Rules(bound, schema, columns, cells, tuple(declared_rules(schema)), key, tuple(_uniques(bound, cells)))


def _cell_rules(bound: BoundImport, cell: Cell) -> Iterator[Rule]:
    kind = TYPES[cell.field.type]
    if cell.field.type != "string":
        yield kind.accepted(cell)
    yield from kind.rules(cell)
    if cell.field.type in {"date", "datetime"}:
        yield from date_rules(cell, bound.database.default_dates)
    if cell.field.type in {"string", "email", "enum"}:
        yield character_rule(cell, cell.raw)
    if cell.field.type in {"object", "objects", "array"}:
        yield character_rule(cell, document_text(cell))
    if not is_column(cell):
        yield from length_rules(cell)
    yield from field_rules(bound, cell)


def item_rule(cell: Cell, code: str, reason: str) -> Rule:
    """A rule that a row can only break together with other rows; no frame shows it."""
    return cell.rule(code, reason, pl.lit(True))


def _uniques(bound: BoundImport, cells: Sequence[Cell]) -> Iterator[Unique]:
    for cell in cells:
        if bound.match is not None and cell.name == bound.database.key:
            yield Unique(cell, item_rule(cell, "duplicate_key", "the database's key stands more than once in the item"))
        elif cell.field.unique:
            yield Unique(cell, item_rule(cell, "not_unique", "the value stands more than once in the item"))


def _extra_field(bound: BoundImport, column: str) -> Field:
    """How a source column that fills no field is read: as text, as a contact, as a profile id."""
    match = bound.match
    region = next((m.field.region for m in bound.fields if m.column == column), None)
    wanted = "string"
    if match is not None and match.column == column:
        if match.by == "profile_id":
            wanted = "int"
        elif match.by == "channel":
            wanted = _CONTACTS.get(match.channel or "", "string")
        elif match.by.startswith(("email", "phone")) and not match.by.startswith("email_or_phone"):
            wanted = match.by.split("_")[0]
    else:
        contacts = {s.channel for s in bound.spec.subscriptions if s.contact == column}
        wanted = next((_CONTACTS[channel] for channel in sorted(contacts) if channel in _CONTACTS), "string")
    rules: dict[str, object] = {"type": wanted}
    if wanted == "string":
        rules["characters"] = "any"
        if any(s.status_column == column for s in bound.spec.subscriptions):
            rules["one_of"] = get_args(SubscriptionStatus)
    if wanted == "phone":
        rules["region"] = region
    return Field.model_validate(rules)
