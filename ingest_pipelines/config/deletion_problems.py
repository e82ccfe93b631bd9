"""Mistakes in imports that delete profiles or mark them: `delete`, `deactivate`, `snapshot`, `set`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest_pipelines.config.cleaning import Cleaning
from ingest_pipelines.config.column_problems import Problem
from ingest_pipelines.config.databases import Database, Field
from ingest_pipelines.config.field_types import spells
from ingest_pipelines.config.imports import Import, Match
from ingest_pipelines.config.nearest import nearest

if TYPE_CHECKING:
    from ingest_pipelines.config.bound import BoundImport, MappedField

SETTABLE = ("bool", "int", "string", "enum", "date")
"""Types of fields whose values can be written in YAML as Postgres reads them."""


def set_column(field: str) -> str:
    """The name under which a field of `set` stands among the import's columns; no source has it."""
    return f"set.{field}"


def set_cleanings(spec: Import, database: Database) -> Iterator[tuple[str, str, Cleaning]]:
    """(column, field, cleaning) of each field that `deactivate` sets in every row."""
    if spec.mode == "deactivate":
        for name, text in spec.set.items():
            if name in database.fields:
                yield set_column(name), name, Cleaning(constant=text)


def settable_fields(database: Database) -> list[str]:
    """The fields that mark a profile, as far as `set` can: those of type `bool` first."""
    fields = {
        name: field.type for name, field in database.fields.items() if name != database.key and field.type in SETTABLE
    }
    return sorted(fields, key=lambda name: SETTABLE.index(fields[name]))


def likely_mark(field: Field) -> str | None:
    """The value that most likely marks a profile; None where only the team knows."""
    return "false" if field.type == "bool" else None


def wrong_value(field: Field, text: str) -> str | None:
    """What is wrong with a value of `set`; None: nothing."""
    if not spells(field, text) or (field.type == "enum" and text not in (field.options or ())):
        return f"'{text}' is no {field.type_name}"
    return None


def deletion_problems(bound: BoundImport) -> Iterator[Problem]:
    """What does not go with deleting or marking profiles."""
    spec = bound.spec
    yield from _set_problems(bound)
    if spec.lists_keys:
        yield from _list_problems(bound)
    if spec.snapshot:
        yield from _snapshot_problems(bound)


def _set_problems(bound: BoundImport) -> Iterator[Problem]:
    spec, database = bound.spec, bound.database
    if spec.mode == "deactivate" and not spec.set:
        yield ("mode",), "mode: deactivate needs the values that mark a profile, such as set: {active: false}"
    if spec.set and spec.mode != "deactivate" and not spec.snapshot:
        yield ("set",), "set: goes with mode: deactivate, or with snapshot: true"
    for name, text in spec.set.items():
        where, field = ("set", name), database.fields.get(name)
        if field is None:
            yield where, f"set.{name}: '{name}' is not a field of the database; {nearest(name, database.fields)}"
        elif name == database.key:
            yield where, f"set.{name}: is the key"
        elif field.type not in SETTABLE:
            yield where, f"set.{name}: a field of type {field.type_name} cannot be set; {', '.join(SETTABLE)} can"
        elif wrong := wrong_value(field, text):
            yield where, f"set.{name}: {wrong}"
        elif spec.snapshot and any(mapped.name == name and mapped.cleaning.constant is None for mapped in bound.fields):
            yield where, f"set.{name}: is filled from a column of the file; mark profiles by a field of their own"


def _list_problems(bound: BoundImport) -> Iterator[Problem]:
    spec = bound.spec
    for mapped in bound.fields:
        if mapped.cleaning.constant is None and not _finds_profiles(mapped, bound):
            yield (
                ("columns", mapped.column),
                f"columns.{mapped.column}: '{mapped.name}' is no key: mode: {spec.mode} reads which customers, and "
                "changes nothing else; take the column out",
            )
        elif mapped.cleaning.constant is not None and mapped.column in spec.columns:
            yield ("columns", mapped.column), f"columns.{mapped.column}: mode: {spec.mode} fills no field from columns"
    for key, given in (
        ("subscriptions", bool(spec.subscriptions)), ("geo", spec.geo is not None),
        ("version", spec.version is not None), ("snapshot", spec.snapshot),
    ):  # fmt: skip
        if given:
            yield (key,), f"{key}: does not go with mode: {spec.mode}"


def _finds_profiles(mapped: MappedField, bound: BoundImport) -> bool:
    """Whether rows find their profiles by the field."""
    match: Match | None = bound.match
    if match is None:
        return mapped.name == bound.database.key
    return mapped.name == match.field or any(kind in match.by and mapped.field.type == kind for kind in _CONTACTS)


_CONTACTS = ("email", "phone")


def _snapshot_problems(bound: BoundImport) -> Iterator[Problem]:
    spec = bound.spec
    if spec.mode != "add_and_update" and not spec.lists_keys:
        yield ("snapshot",), "snapshot: goes with mode: add_and_update"
    if spec.source.cursor is not None or spec.source.window is not None:
        yield ("snapshot",), "snapshot: needs items that have every customer; a cursor and a window bring some of them"
