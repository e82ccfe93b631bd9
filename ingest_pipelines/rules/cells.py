"""The cells of an import's rows: mapped fields, fields that `geo` fills, and columns that fill no field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.imports import SubscriptionStatus
from ingest_pipelines.rules.geo import PARTS
from ingest_pipelines.rules.types import Cell

_CONTACTS = {"email": "email", "sms": "phone", "whatsapp": "phone", "viber": "phone"}


@dataclass(frozen=True)
class SourceCell:
    """A cell and its source column.

    Attributes:
        column: the source column, as the item at hand calls it; None for a field that only the geo database fills, or
            a constant.
        constant: the text of every row.
        names: all names that the column may have in an item.
    """

    column: str | None
    cell: Cell
    constant: str | None = None
    names: tuple[str, ...] = ()


def source_cells(bound: BoundImport) -> Iterator[SourceCell]:
    """The cells in the order of an accepted file's columns."""
    declared = bound.spec.source.format
    reading = (bound.spec.timezone, declared.decimal, declared.thousands or "", declared.grouping or "")
    for mapped in bound.fields:
        constant = mapped.cleaning.constant
        column = bound.in_item(mapped.column) if constant is None else None
        yield SourceCell(column, Cell(mapped.name, mapped.field, *reading), constant, (mapped.column, *mapped.also))
    mapped_names = {mapped.name for mapped in bound.fields}
    for name in geo_fields(bound).values():
        if name not in mapped_names:
            yield SourceCell(None, Cell(name, bound.database.fields[name], *reading))
    for column in bound.extra_columns:
        names = (column, *bound.spellings.get(column, ()))
        yield SourceCell(bound.in_item(column), Cell(f"column:{column}", _field(bound, column), *reading), names=names)


def geo_fields(bound: BoundImport) -> dict[str, str]:
    """Part of a place (`country`, `region`, `city`) -> the field it fills."""
    geo = bound.spec.geo
    return {} if geo is None else {part: name for part in PARTS if (name := getattr(geo, part)) is not None}


def _field(bound: BoundImport, column: str) -> Field:
    """How a source column that fills no field is read: as text, as a contact, as a profile's id."""
    wanted = _match_type(bound, column) or _contact_type(bound, column) or "string"
    rules: dict[str, object] = {"type": wanted}
    if wanted == "string":
        rules["characters"] = "any"
        if any(subscription.status_column == column for subscription in bound.spec.subscriptions):
            rules["one_of"] = get_args(SubscriptionStatus)
    if wanted == "phone":
        rules["region"] = next((m.field.region for m in bound.fields if m.column == column), None)
    return Field.model_validate(rules)


def _match_type(bound: BoundImport, column: str) -> str | None:
    match = bound.match
    if match is None or match.column != column:
        return None
    if match.by == "profile_id":
        return "int"
    if match.by == "channel":
        return _CONTACTS.get(match.channel or "", "string")
    kind = match.by.removesuffix("_profile").removesuffix("_subscription")
    return kind if kind in {"email", "phone"} else "string"


def _contact_type(bound: BoundImport, column: str) -> str | None:
    channels = {subscription.channel for subscription in bound.spec.subscriptions if subscription.contact == column}
    return next((_CONTACTS[channel] for channel in sorted(channels) if channel in _CONTACTS), None)
