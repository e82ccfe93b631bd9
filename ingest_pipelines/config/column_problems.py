"""Mistakes in an import's columns: names that mean two of them, and cleaning that a field cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest_pipelines.config.cleaning import HASH_LENGTH
from ingest_pipelines.config.field_types import spells
from ingest_pipelines.model import ITEM_COLUMNS, OWN_COLUMNS

if TYPE_CHECKING:
    from ingest_pipelines.config.bound import BoundImport, MappedField

Problem = tuple[tuple[str | int, ...], str]
"""Where in the import's file, and what is wrong there."""


def spelling_problems(bound: BoundImport) -> Iterator[Problem]:
    """Names that mean two columns, or the same one twice."""
    taken = {mapped.column: f"columns.{mapped.column}" for mapped in bound.fields}
    for mapped in bound.fields:
        where = ("columns", mapped.column, "also")
        if mapped.also and not bound.reads_files:
            yield where, f"columns.{mapped.column}.also: goes with files; a query names its columns: SELECT a AS b"
        for name in mapped.also:
            if name == "" or name in OWN_COLUMNS:
                yield where, f"columns.{mapped.column}.also: '{name}' cannot be a column's name"
            if name in taken:
                yield where, f"columns.{mapped.column}.also: '{name}' is already {taken[name]}"
            elif name in bound.extra_columns:
                yield (
                    where,
                    f"columns.{mapped.column}.also: '{name}' is also read as a column of its own; "
                    f"write {mapped.column} there",
                )
            taken.setdefault(name, f"another name of {mapped.column}")


def cleaning_problems(bound: BoundImport) -> Iterator[Problem]:
    """Cleaning that the column's field cannot take, or that would make one customer of two."""
    for mapped in bound.fields:
        cleaning, field = mapped.cleaning, mapped.field
        at, where = f"columns.{mapped.column}", ("columns", mapped.column)
        if mapped.also and (cleaning.constant is not None or mapped.column in ITEM_COLUMNS):
            yield where, f"{at}.also: the column is not read from the file, so it has no other names"
        if mapped.column in ITEM_COLUMNS and not bound.reads_files:
            yield where, f"{at}: '{mapped.column}' goes with files"
        if _identifies(mapped, bound):
            for key, given in (
                ("default", cleaning.default is not None), ("constant", cleaning.constant is not None),
                ("clean: cut", "cut" in cleaning.clean),
            ):  # fmt: skip
                if given:
                    yield where, f"{at}.{key}: customers are told apart by '{mapped.name}', and some would become one"
            if mapped.column in ITEM_COLUMNS:
                yield where, f"{at}: customers are told apart by '{mapped.name}', and all rows would have the same"
        if "cut" in cleaning.clean and field.type != "string":
            yield where, f"{at}.clean: cut goes with type string, not {field.type_name}"
        if cleaning.hash is not None:
            if field.type != "string" or (field.max_length is not None and field.max_length < HASH_LENGTH):
                yield where, f"{at}.hash: needs type string and room for {HASH_LENGTH} characters"
            continue
        texts = {key: text for key in ("default", "constant") if (text := getattr(cleaning, key)) is not None}
        for key, text in {**texts, **{f"map.{cell}": text for cell, text in cleaning.map.items() if text}}.items():
            if not spells(field, text):
                yield where, f"{at}.{key}: '{text}' is no {field.type_name}"


def _identifies(mapped: MappedField, bound: BoundImport) -> bool:
    """Whether customers or consents are told apart by the field."""
    match = bound.match
    by_column = {subscription.contact for subscription in bound.spec.subscriptions}
    by_type = [kind for kind in ("email", "phone") if match is not None and kind in match.by]
    if match is not None and match.column is not None:
        by_column.add(match.column)
    named = {bound.database.key, *([match.field] if match is not None and match.field else [])}
    return mapped.name in named or mapped.column in by_column or mapped.field.type in by_type
