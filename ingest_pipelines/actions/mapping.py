"""What the columns of a sample may mean: the key, fields that are known, names that are taken."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ingest_pipelines.actions.draft import MappedColumn, field_name, yaml_value
from ingest_pipelines.config.time_patterns import directives
from ingest_pipelines.errors import printable

if TYPE_CHECKING:
    from ingest_pipelines.config.databases import Database, Field
    from ingest_pipelines.config.imports import ColumnMapping
    from ingest_pipelines.detection import Reading, Suggestion

KnownRules = Mapping[str, Mapping[str, object]]
"""Field -> its rules as YAML has them, the type first."""

_IDS = frozenset({"id", "key", "uuid", "guid"})
_NUMBERS = frozenset({"number", "no", "nr", "code"})
_OF_CUSTOMERS = frozenset(
    "customer client member membership loyalty card account profile contact record user subscriber person".split()
)
"""Words that end the names of keys; of numbers only those of customers, not of phones."""


def key_column(reading: Reading, target: Database, known: Mapping[str, str]) -> str:
    """The column to suggest for the key; "" if unclear: a wrong suggestion would be worse than none.

    Args:
        known: column -> the field that it means. Only the key's own column is ever suggested among these.
    """
    meant = [column for column, field in known.items() if field == target.key]
    *first, last = target.key.split("_")
    short = "".join(word[0] for word in first) + last  # `cid` of customer_id
    exact = [name for name in reading.columns if field_name(name) in {target.key, short}]
    likely = [
        name
        for name, cells in zip(reading.columns, reading.cells, strict=True)
        if name not in known
        and field_name(name) not in target.fields
        and _may_be_key(field_name(name).split("_"))
        and len(set(cells)) == len(cells)
    ]
    return next(iter([*exact, *meant, *likely]), "")


def _may_be_key(words: Sequence[str]) -> bool:
    return words[-1] in _IDS or (words[-1] in _NUMBERS and (len(words) == 1 or not _OF_CUSTOMERS.isdisjoint(words)))


def rules_in_yaml(column: ColumnMapping) -> dict[str, object]:
    """The rules of the column's field as in its YAML, the type first; not how that import's cells are written."""
    settings = {key: getattr(column, key) for key in type(column).model_fields if key in column.model_fields_set}
    own = {"field", "type", "precision", "scale", "also", "clean", "map", "default", "constant", "hash", "format"}
    return {"type": column.type_name, **{key: value for key, value in settings.items() if key not in own}}


def rules_known(field: Field) -> dict[str, object]:
    """The rules of a field in databases.yaml that say how its cells are written, the type first."""
    given = {"type": field.type_name, **{key: getattr(field, key) for key in ("format", "region", "options")}}
    return {key: value for key, value in given.items() if value is not None}


def known_elsewhere(columns: Iterator[ColumnMapping]) -> dict[str, dict[str, object]]:
    """Fields that other imports fill, with their rules."""
    return {column.field: rules_in_yaml(column) for column in columns if column.type is not None}


def wrong_field(answer: str, taken: Collection[str]) -> str | None:
    """What is wrong with a field's name, or None; `-` skips the column."""
    from ingest_pipelines.config.base import NAME_PATTERN

    if answer == "-":
        return None
    if re.fullmatch(NAME_PATTERN, answer) is None:
        return "a field's name is a letter, then letters, digits and _, at most 63 characters"
    return f"'{answer}' is taken; choose another, or - to skip the column" if answer in taken else None


def wrong_type(answer: str) -> str | None:
    """What is wrong with a new field's type, or None."""
    from ingest_pipelines.config.field_types import FIELD_TYPES, type_elsewhere
    from ingest_pipelines.config.nearest import nearest

    types = [kind for kind in FIELD_TYPES if kind != "decimal"]
    decimal = re.fullmatch(r"decimal\((\d{1,2}), ?(\d{1,2})\)", answer)
    if answer in types or (decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1])):
        return None
    ours = type_elsewhere(answer)
    meant = f"did you mean '{ours}'?" if ours else nearest(answer, [*types, "decimal(12,2)"], shown=None)
    return f"'{printable(answer, 40)}' is not a type; {meant}"


def wrong_options(answer: str) -> str | None:
    """What is wrong with an enum's options, separated by commas, or None."""
    options = [option.strip() for option in answer.split(",")]
    if "" in options or len(set(options)) < len(options):
        return "name each option once, separated by commas: Bronze, Silver, Gold"
    return (
        "an option must not consist of digits only: it would be read as an index"
        if any(map(str.isdecimal, options))
        else None
    )


def yaml_rules(suggestion: Suggestion) -> str:
    """`date, format: "%d/%m/%Y"`."""
    return ", ".join([suggestion.type_name, *(f"{key}: {yaml_value(value)}" for key, value in suggestion.more.items())])


def has_local_times(columns: Sequence[MappedColumn], reading: Reading) -> bool:
    """Whether a mapped column holds moments without an offset: the import's time zone says when they were."""
    from ingest_pipelines.detection import suggestions

    return any(
        way.type_name == "datetime" and not {"z", "Z"} & directives(str(way.more.get("format", ""))) and _local(cells)
        for column in columns
        for cells in [cells_of(column.column, reading)]
        for way in suggestions(column.column, cells, reading.keys)
    )


def _local(cells: Sequence[str]) -> bool:
    return any(re.search(r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$", cell) is None for cell in cells)


def cells_of(column: str, reading: Reading) -> tuple[str, ...]:
    """The sample's cells of the column that are not empty."""
    return reading.cells[reading.columns.index(column)]
