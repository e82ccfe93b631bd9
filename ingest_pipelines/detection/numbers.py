"""The signs in a file's numbers, and its words for empty cells, found over all its columns at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ingest_pipelines.config.file_format import written
from ingest_pipelines.config.number_signs import BETWEEN_DIGITS, SIGNS, currency_of
from ingest_pipelines.detection.columns import is_marked, suggestions, suspects_phones, ungrouped
from ingest_pipelines.detection.reading import Choose, Keys, Option, Reading

_NUMERIC = re.compile(rf"[+-]?[0-9][0-9{BETWEEN_DIGITS}]*(?<![{BETWEEN_DIGITS}])")
NULL_WORDS = frozenset(
    {"null", "(null)", "<null>", "\\n", "nil", "none", "nan", "n/a", "na", "n.a.", "#n/a", "-", "--"}
)
"""What may be written in place of an empty cell, in small letters."""


def choose_signs(reading: Reading, choose: Choose) -> Reading:
    """The reading with the signs that read most of its columns of numbers; of several the ones that are chosen."""
    reading = _with_currency(reading)
    columns = [
        tuple(ungrouped(cells, {"currency": reading.keys.get("currency")}))
        for name, cells in zip(reading.columns, reading.cells, strict=True)
        if _may_have_signs(cells, reading.keys) and not suspects_phones(name)
    ]
    by_signs = {signs: [_numbers(cells, *signs) for cells in columns] for signs in SIGNS}
    columns_read = {signs: sum(numbers is not None for numbers in found) for signs, found in by_signs.items()}
    most = max(columns_read.values())
    if not most:
        return reading
    different: dict[tuple[object, ...], tuple[str, str | None]] = {}
    for signs, count in columns_read.items():
        if count == most:
            different.setdefault(tuple(by_signs[signs]), signs)
    choices = list(different.values())
    options = [Option(_spelled(signs), _preview(columns, signs)) for signs in choices]
    decimal, thousands = choices[choose("which signs do the numbers have", options) if len(choices) > 1 else 0]
    return replace(reading, keys=_with_signs(reading.keys, decimal, thousands))


def _with_signs(keys: Keys, decimal: str, thousands: str | None) -> Keys:
    signs = {} if decimal == "." else {"decimal": decimal}
    return {**keys, **signs, **({} if thousands is None else {"thousands": thousands})}


def _spelled(signs: tuple[str, str | None]) -> str:
    decimal, thousands = signs
    return written({"decimal": decimal, **({} if thousands is None else {"thousands": thousands})})


def _with_currency(reading: Reading) -> Reading:
    """The reading with the sign of the one currency that its columns of amounts have."""
    signs: set[str] = set()
    for cells in reading.cells:
        found = {currency_of(cell) for cell in cells}
        amounts = bool(cells) and all(currency_of(cell) or _NUMERIC.fullmatch(cell) for cell in cells)
        if amounts and len(found - {""}) == 1:
            signs |= found - {""}
    return replace(reading, keys={**reading.keys, "currency": signs.pop()}) if len(signs) == 1 else reading


def _may_have_signs(cells: tuple[str, ...], keys: Keys) -> bool:
    numbers = ungrouped(cells, {"currency": keys.get("currency")})
    return bool(cells) and all(map(_NUMERIC.fullmatch, numbers)) and not all(map(str.isdecimal, numbers))


def _numbers(cells: tuple[str, ...], decimal: str, thousands: str | None) -> tuple[str, ...] | None:
    """The numbers with a point and without thousands; None if a cell is none in these signs."""
    sign = re.escape(decimal)
    plain = re.compile(rf"[+-]?(?:0|[1-9][0-9]*)(?:{sign}[0-9]+)?")
    grouped = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:{re.escape(thousands or '')}[0-9]{{3}})+(?:{sign}[0-9]+)?")
    numbers = []
    for cell in cells:
        if plain.fullmatch(cell):
            numbers.append(cell.replace(decimal, "."))
        elif thousands is not None and grouped.fullmatch(cell):
            numbers.append(cell.replace(thousands, "").replace(decimal, "."))
        else:
            return None
    return tuple(numbers)


def _preview(columns: list[tuple[str, ...]], signs: tuple[str, str | None]) -> str:
    """The first cell that has signs, and the number that it is."""
    for cells in columns:
        numbers = _numbers(cells, *signs)
        for cell, number in zip(cells, numbers or (), strict=False):
            if not cell.isdecimal():
                return f"{cell} is {number}"
    return ""


def choose_null_words(reading: Reading, choose: Choose) -> Reading:
    """The reading with words such as NULL as empty cells, where a column is of one type without them and if chosen."""
    words = sorted({word for cells in reading.cells for word in _null_words(cells)})
    if not words:
        return reading
    declared = {"null_values": words}
    options = [Option(written(declared), "these cells are empty"), Option("without null_values", "they are text")]
    if choose(f"some cells say {', '.join(words)} instead of a value", options):
        return reading
    return replace(reading, keys={**reading.keys, **declared})


def _null_words(cells: tuple[str, ...]) -> Iterator[str]:
    words = {cell for cell in set(cells) if cell.lower() in NULL_WORDS}
    others = [cell for cell in cells if cell not in words]
    if words and others and (is_marked(others) or len(suggestions("", others, reading_keys={})) > 1):
        yield from words
