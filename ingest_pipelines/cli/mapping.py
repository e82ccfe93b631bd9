"""Which field each column of a sample fills, and by which rules: asked, with what the sample shows as suggestions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from ingest_pipelines.actions.draft import MappedColumn, field_name
from ingest_pipelines.actions.mapping import (
    KnownRules,
    cells_of,
    key_column,
    rules_known,
    wrong_field,
    wrong_options,
    wrong_type,
    yaml_rules,
)
from ingest_pipelines.cli import screen
from ingest_pipelines.detection import Option, Reading, Suggestion, match_fields, rules_of_type, suggestions
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.model import LIST_MODES, Mode

if TYPE_CHECKING:
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config.databases import Database


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
        field = ask.text(question, suggested, wrong=partial(wrong_field, taken=taken))
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


def _rules_of(
    field: str, column: str, target: Database, elsewhere: KnownRules, reading: Reading, ask: Questions
) -> dict[str, object]:
    if field in target.fields:
        return _more(target.fields[field].type_name, rules_known(target.fields[field]), column, reading, ask)
    if field in elsewhere:
        rules = dict(elsewhere[field])
        return {**rules, **_more(str(rules["type"]), rules, column, reading, ask)}
    return _new_field(field, column, reading, ask)


def _more(type_name: str, rules: Mapping[str, Any], column: str, reading: Reading, ask: Questions) -> dict[str, object]:
    """What the column says besides its existing field's rules, so that its cells are read."""
    cells = cells_of(column, reading)
    given = dict(rules) or {"type": type_name}
    ways = rules_of_type(type_name.partition("(")[0], column, cells, reading.keys, given)
    if not ways:
        screen.note(f"  {screen.painted('note', 'warn')}: {printable(column)} has cells that are no {type_name}")
        return {}
    chosen = _region(_one(column, ways, ask), column, reading, ask)
    _note_unread(chosen, column, cells)
    return {key: value for key, value in chosen.more.items() if given.get(key) != value}


def _one(column: str, ways: Sequence[Suggestion], ask: Questions) -> Suggestion:
    """The only suggestion; of several the one that a person chooses."""
    if len(ways) == 1:
        return ways[0]
    options = [Option(yaml_rules(way), f"{printable(way.cell, 30)} is {way.first}") for way in ways]
    return ways[ask.choose(f"how are the cells of {printable(column)} read", options)]


def _note_unread(way: Suggestion, column: str, cells: Sequence[str]) -> None:
    """Says how many cells of the sample the type does not read."""
    if way.unread:
        screen.note(
            f"  {screen.painted('note', 'warn')}: {way.unread:,} of {len(cells):,} cells of {printable(column)} are no "
            f"{way.type_name}: such rows would be rejected"
        )


def _region(way: Suggestion, column: str, reading: Reading, ask: Questions) -> Suggestion:
    """The phone numbers' country, where the cells do not say it."""
    if not way.asks_region:
        return way

    def wrong(answer: str) -> str | None:
        if re.fullmatch("[A-Z]{2}", answer) is None:
            return "two capital letters of a country, such as DE"
        region = {**way.rules, "region": answer}
        read = rules_of_type(way.type_name, column, cells_of(column, reading), reading.keys, region)
        good = [each for each in read if not each.asks_region]
        return None if good else f"not every number of the sample is one of {answer}"

    question = f"  country of the numbers in {printable(column)} that have no +"
    return replace(way, rules={**way.rules, "region": ask.text(question, wrong=wrong)}, asks_region=False)


def _new_field(field: str, column: str, reading: Reading, ask: Questions) -> dict[str, object]:
    """The rules of a new field: its type, and what the type needs."""
    cells = cells_of(column, reading)
    suggested = _one(column, suggestions(column, cells, reading.keys), ask)
    kind = ask.text(f"  {field} is new; its type", suggested.type_name, wrong=wrong_type)
    if kind != suggested.type_name:
        ways = (
            [] if kind == "enum" else rules_of_type(kind.partition("(")[0], column, cells, reading.keys, {"type": kind})
        )
        suggested = _one(column, ways, ask) if ways else Suggestion({"type": kind})
    if kind == "enum":
        proposed = ", ".join(map(str, suggested.rules.get("options", ()))) or None
        options = ask.text(f"  options of {field}, separated by commas", proposed, wrong=wrong_options)
        return {"type": kind, "options": [option.strip() for option in options.split(",")]}
    chosen = _region(suggested, column, reading, ask)
    _note_unread(chosen, column, cells)
    return {"type": kind, **chosen.more}
