"""The signs in a file's numbers, and its words for empty cells, found over all its columns at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from ingest_pipelines.config.file_format import written
from ingest_pipelines.config.number_signs import BETWEEN_DIGITS, PERCENT, NumberSigns, currency_of, negatives_of
from ingest_pipelines.detection.columns import are_nearly_all, bare, is_marked, suggestions, suspects_phones
from ingest_pipelines.detection.reading import Choose, Option, Reading
from ingest_pipelines.rules.types.numbers import with_point

_NUMERIC = re.compile(rf"[+-]?[0-9][0-9{BETWEEN_DIGITS}]*(?<![{BETWEEN_DIGITS}])")
_PLAIN = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_WORD = re.compile(r"[^\W\d_]{3}|[/:@#?]")
"""What no number has, whatever its signs are; a side of a ledger, such as CR, is shorter."""
NULL_WORDS = frozenset(
    {"null", "(null)", "<null>", "\\n", "nil", "none", "nan", "n/a", "na", "n.a.", "#n/a", "-", "--"}
)
"""What may be written in place of an empty cell, in small letters."""


def choose_signs(reading: Reading, choose: Choose) -> Reading:
    """The reading with the signs that read most of its columns of numbers; of several the ones that are chosen."""
    columns = [
        amounts
        for name, cells in zip(reading.columns, reading.cells, strict=True)
        if not suspects_phones(name) and _may_have_signs(amounts := _without_few(cells))
    ]
    numbers = {
        signs: [_numbers(cells, signs) for cells in columns]
        for signs in NumberSigns().others(cell for cells in columns for cell in cells)
    }
    columns_read = {signs: sum(column is not None for column in read) for signs, read in numbers.items()}
    most = max(columns_read.values())
    if not most:
        return reading
    different: dict[tuple[object, ...], NumberSigns] = {}
    for signs, count in columns_read.items():
        if count == most:
            different.setdefault(tuple(numbers[signs]), signs)
    choices = list(different.values())
    options = [Option(_spelled(signs), _preview(columns, signs)) for signs in choices]
    signs = choices[choose("which signs do the numbers have", options) if len(choices) > 1 else 0]
    return replace(reading, keys={**reading.keys, **signs.keys})


def _spelled(signs: NumberSigns) -> str:
    return written({"decimal": signs.decimal, **signs.keys})


def _without_few(cells: tuple[str, ...]) -> tuple[str, ...]:
    """The cells without a few that are words, where nearly all are numbers."""
    amounts = tuple(cell for cell in cells if re.search("[0-9]", cell) and not _WORD.search(_without_currency(cell)))
    return amounts if are_nearly_all(len(amounts), len(cells)) else cells


def _without_currency(cell: str) -> str:
    return cell.replace(currency_of(cell) or "", "")


def _may_have_signs(cells: tuple[str, ...]) -> bool:
    """Whether all cells may be numbers of one currency, and some have signs; in parentheses are not all of them."""
    currencies = {sign for cell in cells if (sign := currency_of(cell))}
    if not cells or all(map(str.isdecimal, cells)) or len(currencies) > 1:
        return False
    forms = list(map(negatives_of, cells))
    if all(forms) and not any("CR" in form for form in forms):  # every amount of a ledger has its side
        return False
    has_percents = any(PERCENT in cell for cell in cells)
    signs = NumberSigns(currency=tuple(currencies) or None, percent="number" if has_percents else None)
    plain = (bare(cells, replace(signs, negative=form)) for form in (None, *{form for some in forms for form in some}))
    return any(all(map(_NUMERIC.fullmatch, numbers)) for numbers in plain)


def _numbers(cells: tuple[str, ...], signs: NumberSigns) -> tuple[str, ...] | None:
    """The numbers with a point and without thousands; None if a cell is none in these signs."""
    numbers = tuple(pl.DataFrame({"text": list(cells)}).select(with_point(pl.col("text"), signs)).to_series())
    return numbers if all(map(_PLAIN.fullmatch, numbers)) else None


def _preview(columns: list[tuple[str, ...]], signs: NumberSigns) -> str:
    """The first cell that has signs, and the number that it is."""
    for cells in columns:
        for cell, number in zip(cells, _numbers(cells, signs) or (), strict=False):
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
