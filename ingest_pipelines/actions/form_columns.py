"""The columns of a sample as a form maps them: what the sample suggests, and what a person has answered.

Answers are texts by the names of the form's fields; one that is missing takes what the sample suggests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.draft import field_name
from ingest_pipelines.actions.form_rules import LIMITS, limits_for, limits_of
from ingest_pipelines.actions.mapping import (
    KnownRules,
    cells_of,
    key_column,
    known_elsewhere,
    rules_known,
    wrong_field,
    wrong_options,
    wrong_type,
    yaml_rules,
)
from ingest_pipelines.model import LIST_MODES

if TYPE_CHECKING:
    from ingest_pipelines.config import Project
    from ingest_pipelines.config.databases import Database
    from ingest_pipelines.detection import Reading, Suggestion

Answers = Mapping[str, Any]

VALUES_SHOWN = 3
"""First values of a column."""


@dataclass(frozen=True)
class Column:
    """A column of the sample, and what the form says of it.

    Attributes:
        place: its number, from 0; names of its answers end in it.
        loads: whether it fills a field.
        known: whether the field is there already, and its type with it.
        ways: how the cells can be read; one of several has to be chosen.
        way: the one that was chosen, by number.
        limits: of a new field, each with its words and its answer.
        note: what the person should know, and no mistake.
        personal: whether its values may be seen by people who see personal values only.
    """

    place: int
    name: str
    values: tuple[str, ...]
    loads: bool
    is_key: bool
    field: str
    known: bool
    type: str
    ways: tuple[str, ...] = ()
    way: int | None = None
    asks_region: bool = False
    region: str = ""
    options: str = ""
    limits: tuple[tuple[str, str, str], ...] = ()
    personal: bool = True
    mistake: str = ""
    note: str = ""
    rules: Mapping[str, object] | None = None


def elsewhere_in(project: Project, database: str) -> dict[str, dict[str, object]]:
    """Fields that the database's imports fill, with their rules."""
    others = (other.spec for other in project.imports.values() if other.database_name == database)
    return known_elsewhere(target for spec in others for target in spec.columns.values() if not isinstance(target, str))


def columns_of(reading: Reading, target: Database, elsewhere: KnownRules, answers: Answers) -> list[Column]:
    """Each column with the form's answers, or with what the sample suggests where there is none yet."""
    from ingest_pipelines.detection import match_fields

    names = list(reading.columns)
    known = match_fields(names, [*target.fields, *(field for field in elsewhere if field not in target.fields)])
    answered = answers.get("columns") == signature(reading)
    suggested_key = key_column(reading, target, known)
    key = str(answers.get("key", "")) if answered else str(names.index(suggested_key)) if suggested_key else ""
    order = sorted(range(len(names)), key=lambda place: (names[place] not in known, place))
    first_loaded = {place for place in order if names[place] and str(place) != key}
    lists_keys = answers.get("mode") in LIST_MODES
    taken = {target.key, *target.reserved, *known.values()}
    columns: list[Column] = []
    loaded = 0
    for place in order:
        name, is_key = names[place], str(place) == key
        suggested = known.get(name, "")
        if suggested in {"", target.key}:
            suggested = field_name(name, taken)
        taken.add(suggested)
        field = (
            target.key if is_key else str(answers.get(f"field:{place}", suggested)).strip() if answered else suggested
        )
        wanted = answers.get(f"on:{place}") == "on" if answered else place in first_loaded
        loads = is_key or (bool(name) and wanted and not lists_keys)
        if not answered and loads and not is_key:
            loaded += 1
            loads = loaded <= target.max_fields_per_import
        columns.append(_column(place, name, field, reading, target, elsewhere, answers, loads=loads, is_key=is_key))
    columns.sort(key=lambda column: column.place)
    fields = [column.field for column in columns if column.loads]
    return [
        replace(column, mistake=f"the field {column.field} is filled by two columns")
        if column.loads and not column.is_key and fields.count(column.field) > 1 and not column.mistake
        else column
        for column in columns
    ]


def _column(
    place: int, name: str, field: str, reading: Reading, target: Database, elsewhere: KnownRules, answers: Answers,
    *, loads: bool, is_key: bool,
) -> Column:  # fmt: skip
    from ingest_pipelines.detection import rules_of_type, suggestions

    cells = cells_of(name, reading)
    known = target.fields.get(field)
    given = (
        {"type": target.fields[target.key].type_name} if is_key
        else rules_known(known) if known is not None
        else dict(elsewhere.get(field, {}))
    )  # fmt: skip
    mistake = "" if is_key or not loads else wrong_field(field, set(target.reserved) | {target.key, "-"}) or ""
    if field == "-":
        mistake = "a field's name is a letter, then letters, digits and _, at most 63 characters"
    answered_type = str(answers.get(f"type:{place}", "")) if answers.get(f"typed:{place}") == field else ""
    if given:
        kind = str(given["type"])
        ways = rules_of_type(kind.partition("(")[0], name, cells, reading.keys, given)
    else:
        ways = suggestions(name, cells, reading.keys)
        kind = answered_type.strip() or ways[0].type_name
        if loads and (wrong := wrong_type(kind)):
            mistake, ways = mistake or wrong, []
        elif kind not in {way.type_name for way in ways}:
            base = kind.partition("(")[0]
            ways = [] if kind == "enum" else rules_of_type(base, name, cells, reading.keys, {"type": kind})
        else:
            ways = [way for way in ways if way.type_name == kind]
    chosen = str(answers.get(f"way:{place}", "")) if answers.get(f"typed:{place}") == field else ""
    is_chosen = chosen.isdecimal() and int(chosen) < len(ways)
    way = int(chosen) if is_chosen else 0
    region = str(answers.get(f"region:{place}", "")).strip().upper()
    options = str(answers.get(f"options:{place}", "")).strip()
    column = Column(
        place, name, tuple(_values(reading, name)), loads, is_key, field, bool(given), kind,
        ways=tuple(map(_way_words, ways)) if len(ways) > 1 else (), way=way if is_chosen else None,
        personal=known is None or bool(known.pii),
    )  # fmt: skip
    more: dict[str, Any] = {}
    if len(ways) > 1 and not is_chosen:
        mistake = mistake or "choose how its cells are read: the sample does not say which way is right"
    if ways:
        suggestion = ways[way]
        if suggestion.asks_region:
            column = replace(column, asks_region=True, region=region)
            if re.fullmatch("[A-Z]{2}", region):
                suggestion = replace(suggestion, rules={**suggestion.rules, "region": region})
            elif loads and not mistake:
                mistake = "name the country of the numbers that have no +: two letters, such as DE"
        more = {key: value for key, value in suggestion.more.items() if given.get(key) != value}
        if suggestion.unread:
            note = f"{suggestion.unread:,} of {len(cells):,} cells of the sample are no {kind}"
            column = replace(column, note=f"{note}: such rows would be rejected")
    elif cells and given:
        column = replace(column, note=f"the sample has cells that are no {kind}: such rows would be rejected")
    if kind == "enum" and not given:
        options = options or ", ".join(map(str, more.get("options", ())))
        column = replace(column, options=options)
        mistake = mistake or (wrong_options(options) or "" if options else "name the options, separated by commas")
        more = {"options": [option.strip() for option in options.split(",") if option.strip()]}
    rules: Mapping[str, object] | None
    if is_key or known is not None:
        rules = more or None
    elif given:
        rules = {**given, **more}
    else:
        limits = tuple((key, LIMITS[key], str(answers.get(f"{key}:{place}", ""))) for key in limits_for(kind))
        column = replace(column, limits=limits)
        rules = {"type": kind, **more, **limits_of(answers, place, kind)}
    return replace(column, rules=rules, mistake=mistake if loads else "")


def _values(reading: Reading, name: str) -> list[str]:
    return list(dict.fromkeys(cells_of(name, reading)))[:VALUES_SHOWN]


def _way_words(way: Suggestion) -> str:
    return f"{yaml_rules(way)}: {way.cell} is {way.first}" if way.cell else yaml_rules(way)


def signature(reading: Reading) -> str:
    """Changes with the columns: answers about columns of another sample do not count."""
    from hashlib import sha256

    return sha256("\0".join(reading.columns).encode("utf-8", "surrogatepass")).hexdigest()[:16]
