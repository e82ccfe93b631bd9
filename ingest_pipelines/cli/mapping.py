"""Which field each column of a sample fills, and by which rules: asked, with what the sample shows as suggestions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.draft import MappedColumn, field_name
from ingest_pipelines.config.time_patterns import directives
from ingest_pipelines.detection import Option, Reading, Suggestion, match_fields, rules_of_type, suggestions
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.model import LIST_MODES, Mode

if TYPE_CHECKING:
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config.databases import Database
    from ingest_pipelines.config.imports import ColumnMapping

KnownRules = Mapping[str, Mapping[str, object]]
"""Field -> its rules as YAML has them, the type first."""

_IDS = frozenset({"id", "key", "uuid", "guid"})
_NUMBERS = frozenset({"number", "no", "nr", "code"})
_OF_CUSTOMERS = frozenset(
    "customer client member membership loyalty card account profile contact record user subscriber person".split()
)
"""Words that end the names of keys; of numbers only those of customers, not of phones."""


def map_columns(
    reading: Reading, target: Database, elsewhere: KnownRules, ask: Questions
) -> tuple[Mode, dict[str, str], list[MappedColumn]]:
    """The mode, what it sets, and the columns: one for the key, then a field for each other column, up to the limit.

    A list of customers has the key's column only. Columns that mean an existing field come first.

    Args:
        elsewhere: fields of other imports and their rules: a field has the same type everywhere.
    """
    names = list(reading.columns)
    known = match_fields(names, [*target.fields, *(field for field in elsewhere if field not in target.fields)])
    key = ask.one_of(f"the column with {target.key}", names, key_column(reading, target, known))
    mapped = [MappedColumn(key, target.key, _more(target.fields[target.key].type_name, {}, key, reading, ask))]
    mode: Mode = ask.one_of("mode", get_args(Mode))  # type: ignore[assignment]  # one of them
    if mode in LIST_MODES:
        return mode, _set_of(target, ask) if mode == "deactivate" else {}, mapped
    known = {column: field for column, field in known.items() if column != key and field != target.key}
    for column in sorted(set(names) - {key, ""}, key=lambda name: (name not in known, names.index(name))):
        if len(mapped) > target.max_fields_per_import:
            left = len(names) - len(mapped)
            screen.note(
                f"  {target.max_fields_per_import} fields are mapped; an import cannot have more, so "
                f"{screen.plural(left, 'column')} of the file fill none"
            )
            break
        taken = {already.field for already in mapped} | set(target.reserved)
        suggested = known.get(column, "")
        if suggested in {"", *taken}:
            suggested = field_name(column, {*taken, *known.values()})
        question = f"{printable(column)} fills field (- skips it)"
        field = ask.text(question, suggested, wrong=partial(_wrong_field, taken=taken))
        if field != "-":
            mapped.append(MappedColumn(column, field, _rules_of(field, column, target, elsewhere, reading, ask)))
    return mode, {}, sorted(mapped, key=lambda each: names.index(each.column))


def _set_of(target: Database, ask: Questions) -> dict[str, str]:
    """The field that marks a customer, and its value.

    Raises:
        UsageError: the database has no field that can be set.
    """
    from ingest_pipelines.config.deletion_problems import likely_mark, settable_fields, wrong_value

    fields = settable_fields(target)
    if not fields:
        raise UsageError(
            "mode deactivate marks a field, and the database has none that can be set",
            hint="nothing was written; add one to databases.yaml, such as active: {type: bool}",
        )
    name = ask.one_of("the field that marks them", fields)
    value = ask.text(
        f"  the value of {name}", likely_mark(target.fields[name]), wrong=partial(wrong_value, target.fields[name])
    )
    return {name: value}


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


def _wrong_field(answer: str, taken: Collection[str]) -> str | None:
    from ingest_pipelines.config.base import NAME_PATTERN

    if answer == "-":
        return None
    if re.fullmatch(NAME_PATTERN, answer) is None:
        return "a field's name is a letter, then letters, digits and _, at most 63 characters"
    return f"'{answer}' is taken; choose another, or - to skip the column" if answer in taken else None


def _rules_of(
    field: str, column: str, target: Database, elsewhere: KnownRules, reading: Reading, ask: Questions
) -> dict[str, object]:
    if field in target.fields:
        known = target.fields[field]
        given = {"type": known.type_name, **{key: getattr(known, key) for key in ("format", "region", "options")}}
        return _more(known.type_name, {k: v for k, v in given.items() if v is not None}, column, reading, ask)
    if field in elsewhere:
        rules = dict(elsewhere[field])
        return {**rules, **_more(str(rules["type"]), rules, column, reading, ask)}
    return _new_field(field, column, reading, ask)


def _cells(column: str, reading: Reading) -> tuple[str, ...]:
    return reading.cells[reading.columns.index(column)]


def _more(type_name: str, rules: Mapping[str, Any], column: str, reading: Reading, ask: Questions) -> dict[str, object]:
    """What the column says besides its existing field's rules, so that its cells are read."""
    cells = _cells(column, reading)
    given = dict(rules) or {"type": type_name}
    ways = rules_of_type(type_name.partition("(")[0], column, cells, reading.keys, given)
    if not ways:
        screen.note(f"  {screen.painted('note', 'warn')}: {printable(column)} has cells that are no {type_name}")
        return {}
    chosen = _region(_one(column, ways, ask), column, reading, ask)
    return {key: value for key, value in chosen.more.items() if given.get(key) != value}


def _one(column: str, ways: Sequence[Suggestion], ask: Questions) -> Suggestion:
    """The only suggestion; of several the one that a person chooses."""
    if len(ways) == 1:
        return ways[0]
    options = [Option(yaml_rules(way), f"{printable(way.cell, 30)} is {way.first}") for way in ways]
    return ways[ask.choose(f"how are the cells of {printable(column)} read", options)]


def yaml_rules(suggestion: Suggestion) -> str:
    """`date, format: "%d/%m/%Y"`."""
    from ingest_pipelines.cli.draft import yaml_value

    return ", ".join([suggestion.type_name, *(f"{key}: {yaml_value(value)}" for key, value in suggestion.more.items())])


def _region(way: Suggestion, column: str, reading: Reading, ask: Questions) -> Suggestion:
    """The phone numbers' country, where the cells do not say it."""
    if not way.asks_region:
        return way

    def wrong(answer: str) -> str | None:
        if re.fullmatch("[A-Z]{2}", answer) is None:
            return "two capital letters of a country, such as DE"
        region = {**way.rules, "region": answer}
        read = rules_of_type(way.type_name, column, _cells(column, reading), reading.keys, region)
        good = [each for each in read if not each.asks_region]
        return None if good else f"not every number of the sample is one of {answer}"

    question = f"  country of the numbers in {printable(column)} that have no +"
    return replace(way, rules={**way.rules, "region": ask.text(question, wrong=wrong)}, asks_region=False)


def _new_field(field: str, column: str, reading: Reading, ask: Questions) -> dict[str, object]:
    """The rules of a new field: its type, and what the type needs."""
    cells = _cells(column, reading)
    suggested = _one(column, suggestions(column, cells, reading.keys), ask)
    kind = ask.text(f"  {field} is new; its type", suggested.type_name, wrong=_wrong_type)
    if kind != suggested.type_name:
        ways = (
            [] if kind == "enum" else rules_of_type(kind.partition("(")[0], column, cells, reading.keys, {"type": kind})
        )
        suggested = _one(column, ways, ask) if ways else Suggestion({"type": kind})
    if kind == "enum":
        proposed = ", ".join(map(str, suggested.rules.get("options", ()))) or None
        options = ask.text(f"  options of {field}, separated by commas", proposed, wrong=_wrong_options)
        return {"type": kind, "options": [option.strip() for option in options.split(",")]}
    chosen = _region(suggested, column, reading, ask)
    return {"type": kind, **chosen.more}


def _wrong_type(answer: str) -> str | None:
    from ingest_pipelines.config.field_types import FIELD_TYPES, type_elsewhere
    from ingest_pipelines.config.nearest import nearest

    types = [kind for kind in FIELD_TYPES if kind != "decimal"]
    decimal = re.fullmatch(r"decimal\((\d{1,2}), ?(\d{1,2})\)", answer)
    if answer in types or (decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1])):
        return None
    ours = type_elsewhere(answer)
    meant = f"did you mean '{ours}'?" if ours else nearest(answer, [*types, "decimal(12,2)"], shown=None)
    return f"'{printable(answer, 40)}' is not a type; {meant}"


def _wrong_options(answer: str) -> str | None:
    options = [option.strip() for option in answer.split(",")]
    if "" in options or len(set(options)) < len(options):
        return "name each option once, separated by commas: Bronze, Silver, Gold"
    return (
        "an option must not consist of digits only: it would be read as an index"
        if any(map(str.isdecimal, options))
        else None
    )


def has_local_times(columns: Sequence[MappedColumn], reading: Reading) -> bool:
    """Whether a mapped column holds moments without an offset: the import's time zone says when they were."""
    return any(
        way.type_name == "datetime" and not {"z", "Z"} & directives(str(way.more.get("format", ""))) and _local(cells)
        for column in columns
        for cells in [_cells(column.column, reading)]
        for way in suggestions(column.column, cells, reading.keys)
    )


def _local(cells: Sequence[str]) -> bool:
    return any(re.search(r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$", cell) is None for cell in cells)


def known_elsewhere(columns: Iterator[ColumnMapping]) -> dict[str, dict[str, object]]:
    """Fields that other imports fill, with their rules."""
    return {column.field: rules_in_yaml(column) for column in columns if column.type is not None}
