"""The types that a column's cells may have: those that read all of them, by the code that imports read with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.number_signs import PERCENT, NumberSigns
from ingest_pipelines.config.spellings import DATE_PATTERN, DATETIME_PATTERN, NO, YES
from ingest_pipelines.detection.dates import alike_by_pattern, day_patterns, moment_patterns
from ingest_pipelines.detection.fields import words_of
from ingest_pipelines.detection.reading import Keys
from ingest_pipelines.rules.field_rules import constants
from ingest_pipelines.rules.types import Cell
from ingest_pipelines.rules.types.numbers import NUMBERS, plain_amount, with_point
from ingest_pipelines.rules.types.text import UNSUPPORTED

MOST_OPTIONS = 8
LEAST_ROWS = 20
"""An enum is proposed for a column of so many rows that has a few words, each of them more than once."""

LEAST_PLACES = 2
"""Decimal places of a proposed decimal: a sample of 1.5 and 2 may be followed by 1.25."""

LOCAL_BOOLS: Mapping[str, str] = {
    **dict.fromkeys(
        ("ja", "oui", "si", "sí", "sim", "tak", "ano", "da", "evet", "wahr", "vrai", "on", "checked"), "yes"
    ),
    **dict.fromkeys(("nein", "non", "não", "nao", "nie", "ne", "hayır", "falsch", "faux", "off", "unchecked"), "no"),
}
"""Words in small letters that mean yes or no besides those that a bool reads."""

LEAST_GOOD, GOOD_PER_BAD = 20, 19
"""A number or a date is proposed also where a few cells are none: at least so many are, for each one that is not."""

_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_PHONE = re.compile(r"(?:tel:)?\+?[0-9(][0-9 ().\-/\u00a0]{4,24}")
_NO_NUMBERS = frozenset({"zip", "postal", "code", "phone", "fax", "sku", "account", "iban", "vat", "barcode", "ean"})
"""Words of names whose digits are no number: their zeros in front matter."""

_PHONES = frozenset({"phone", "fax", "whatsapp", "sms", "viber", "handy", "telefon", "telefono", "telefone"})


@dataclass(frozen=True)
class Suggestion:
    """A type that reads all cells of the sample, or a number or a date that reads nearly all.

    Attributes:
        rules: a field's rules as YAML has them, the type first.
        cleaning: how cells are changed before.
        cell, first: the cell that shows the difference to other suggestions, and what it is read as; of one
            suggestion the first cell.
        asks_region: the numbers are of a country that the cells do not say.
        unread: how many cells it does not read: an import would reject their rows.
    """

    rules: Mapping[str, Any]
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    cell: str = ""
    first: str = ""
    asks_region: bool = False
    unread: int = 0

    @property
    def type_name(self) -> str:
        """`date`, `decimal(12,2)`."""
        return str(self.rules["type"])

    @property
    def more(self) -> dict[str, Any]:
        """What the YAML says besides the type."""
        return {**{key: value for key, value in self.rules.items() if key != "type"}, **self.cleaning}


def suggestions(name: str, cells: Sequence[str], reading_keys: Keys) -> list[Suggestion]:
    """Types of the cells; several where they read the cells differently, and no cell tells which is right.

    Args:
        name: the column's name; it tells a phone number from a number.
        cells: without empty ones; none: the type is text.
        reading_keys: the format's keys: signs of numbers, words that are empty cells.
    """
    texts = _texts(cells, reading_keys)
    if not texts:
        return [Suggestion({"type": "string"})]
    for propose in _PROPOSALS:
        if found := _shown_apart(texts, propose(name, texts, reading_keys), reading_keys):
            return found
    if found := _of_most(texts, lambda most: _numbers_and_dates(name, most, reading_keys), reading_keys):
        return found
    rules: dict[str, Any] = {"type": "string"}
    if any(map(_unsupported, texts)):
        rules["characters"] = "any"
    return _shown_apart(texts, [Suggestion(rules)], reading_keys)


def rules_of_type(
    kind: str, name: str, cells: Sequence[str], reading_keys: Keys, rules: Mapping[str, Any] | None = None
) -> list[Suggestion]:
    """What a field of a given type needs besides it, so that all cells are read: a date's format, a bool's words.

    Args:
        rules: the field's own rules, where it exists already.

    Returns:
        Each way to read all cells; empty: the type reads them in none.
    """
    given = dict(rules or {"type": kind})
    texts = _texts(cells, reading_keys)
    if not texts:
        return [Suggestion(given)]
    of_type = [Suggestion(given)]

    def with_pattern(texts: Sequence[str]) -> list[Suggestion]:
        return [Suggestion({**given, "format": each.rules["format"]}) for each in _by_pattern(texts, kind)]

    if FIELD_TYPES[kind].is_date:
        of_type = with_pattern(texts)
        iso = _iso_kind(texts)
        of_type = [Suggestion(given)] if iso and kind in {iso, "date"} else of_type
    elif kind == "bool":
        of_type = [Suggestion(given), *(Suggestion(given, each.cleaning) for each in _local_bool(name, texts, {}))]
    read = _shown_apart(texts, of_type, reading_keys) or _of_most(texts, lambda _: [Suggestion(given)], reading_keys)
    if FIELD_TYPES[kind].is_date:
        read = read or _of_most(texts, with_pattern, reading_keys)
    if kind == "phone" and not read:
        return [Suggestion(given, asks_region=True)] if all(map(_PHONE.fullmatch, texts)) else []
    return read[:1] if kind == "bool" else read


def _shown_apart(
    texts: Sequence[str], proposed: Iterable[Suggestion], reading_keys: Keys, most_unread: int = 0
) -> list[Suggestion]:
    """The suggestions that read most texts, each with a cell that they read differently, or the first one.

    Args:
        most_unread: how many texts may not be read.
    """
    cast_by = [(each, values) for each in proposed if (values := _cast(texts, each, reading_keys)) is not None]
    least = min((values.count(None) for _, values in cast_by), default=0)
    read = [(each, values) for each, values in cast_by if values.count(None) == least]
    if not read or least > most_unread:
        return []
    rows = list(zip(*([None if v is None else shown(v) for v in values] for _, values in read), strict=True))
    readable = [place for place, row in enumerate(rows) if None not in row]
    if not readable:
        return []
    place = next((place for place in readable if len(set(rows[place])) > 1), readable[0])
    return [replace(each, cell=texts[place], first=shown(values[place]), unread=least) for each, values in read]


def are_nearly_all(good: int, cells: int) -> bool:
    """Whether so many good cells say what all of them should be."""
    return good >= LEAST_GOOD and good >= GOOD_PER_BAD * (cells - good)


def _of_most(
    texts: Sequence[str], propose: Callable[[Sequence[str]], Iterable[Suggestion]], reading_keys: Keys
) -> list[Suggestion]:
    """Suggestions that read nearly all texts, those that read most of them."""
    proposed: dict[tuple[str, ...], Suggestion] = {}
    for most in _written_alike(texts, reading_keys):
        if are_nearly_all(len(most), len(texts)):
            for each in propose(most):
                proposed.setdefault(tuple(map(str, each.rules.values())), each)
    read = _shown_apart(texts, proposed.values(), reading_keys, len(texts) // (GOOD_PER_BAD + 1))
    return read if read and are_nearly_all(len(texts) - read[0].unread, len(texts)) else []


def _written_alike(texts: Sequence[str], reading_keys: Keys) -> Iterator[list[str]]:
    """The texts that are numbers, those that are dates as ISO 8601 says, and those of each pattern of dates."""
    sign = re.escape(reading_keys.get("decimal", "."))
    number = re.compile(rf"-?(?:0|[1-9][0-9]*)(?:{sign}[0-9]+)?(?:[eE][+-]?[0-9]+)?")
    numbers = [text for text, plain in zip(texts, _bare(texts, reading_keys), strict=True) if number.fullmatch(plain)]
    # `12a` among whole numbers is no bad number: the column is of house numbers, or of codes.
    are_codes = all(text.isdecimal() for text in numbers) and any(
        re.search("[0-9]", text) for text in texts if not number.fullmatch(text)
    )
    if not are_codes:
        yield numbers
    yield [text for text in texts if len(text) == 10 and re.match(DATE_PATTERN, text)]
    yield [text for text in texts if re.match(DATETIME_PATTERN, text)]
    yield from alike_by_pattern(texts)


def _numbers_and_dates(name: str, most: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    for propose in (_int, _decimal, _float, _iso, _patterns):
        if found := list(propose(name, most, reading_keys)):
            yield from found
            return


def cast(cells: Sequence[str], suggestion: Suggestion, reading_keys: Keys) -> list[Any] | None:
    """The cells' values as an import reads them; None if it does not read all of them."""
    values = _cast(cells, suggestion, reading_keys)
    return None if values is None or None in values else values


def _cast(cells: Sequence[str], suggestion: Suggestion, reading_keys: Keys) -> list[Any] | None:
    """The same, with None for each cell that it does not read; None if there is no such type."""
    import polars as pl

    words = suggestion.cleaning.get("map", {})
    texts = tuple(words.get(text, text) for text in cells)
    if suggestion.asks_region:
        return list(texts)
    try:
        rules = Field.model_validate(dict(suggestion.rules))
    except ValidationError:
        return None
    signs = Format.model_validate(dict(reading_keys)).number_signs
    if rules.type in NUMBERS and signs != NumberSigns():
        numbers = with_point(pl.col("text"), signs)
        texts = tuple(pl.DataFrame({"text": list(texts)}).select(numbers).to_series().to_list())
    read = constants(
        Cell("cell", rules, decimal=signs.decimal, thousands=signs.thousands or "", grouping=signs.grouping or ""),
        texts,
    )
    return list(read.to_list())


def is_marked(cells: Sequence[str]) -> str | None:
    """The kind of cells that no text has by chance: a number, a date, an address ...; None: they are text."""
    if all(re.fullmatch(r"[+-]?[0-9][0-9., '’]*%?", cell) for cell in cells):
        return "number"
    kind = suggestions("", cells, {})[0].type_name
    return None if kind in {"string", "enum"} else kind


def suspects_phones(name: str) -> bool:
    """Whether a column of that name holds phone numbers."""
    return not words_of(name).isdisjoint(_PHONES)


def _texts(cells: Sequence[str], reading_keys: Keys) -> list[str]:
    empty = set(reading_keys.get("null_values") or ())
    return [cell for cell in cells if cell not in empty]


def shown(value: object) -> str:
    """The value as text, for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _unsupported(text: str) -> bool:
    import polars as pl

    return bool(pl.Series([text]).str.contains(UNSUPPORTED)[0])


Propose = Callable[[str, Sequence[str], Keys], Iterator[Suggestion]]


def _bool(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if {text.lower() for text in texts} <= {*YES, *NO} - {"0", "1"}:
        yield Suggestion({"type": "bool"})


def _local_bool(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    words = dict.fromkeys(texts)
    meanings = {word: LOCAL_BOOLS.get(word.lower(), "") for word in words if word.lower() not in {*YES, *NO}}
    if meanings and all(meanings.values()) and len(words) <= 4:
        yield Suggestion({"type": "bool"}, {"map": meanings})


def bare(texts: Sequence[str], signs: NumberSigns) -> list[str]:
    """The texts with a minus before negative ones, without currency, percent sign and groups."""
    import polars as pl

    if signs.currency or signs.negative or signs.percent:
        amounts = pl.DataFrame({"text": list(texts)}).select(plain_amount(pl.col("text"), signs))
        texts = amounts.to_series().to_list()
    return [text.replace(signs.thousands, "") if signs.thousands else text for text in texts]


def _bare(texts: Sequence[str], reading_keys: Keys) -> list[str]:
    return bare(texts, Format.model_validate(dict(reading_keys)).number_signs)


def _are_fractions(texts: Sequence[str], reading_keys: Keys) -> bool:
    """Whether some of the texts are hundredths: `5%` as 0.05."""
    return reading_keys.get("percent") == "fraction" and any(PERCENT in text for text in texts)


def _int(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    plain = _bare(texts, reading_keys)
    if _are_fractions(texts, reading_keys):
        return
    if not all(map(_DIGITS.fullmatch, plain)) or not words_of(name).isdisjoint(_NO_NUMBERS):
        return
    yield Suggestion({"type": "int"})
    if set(texts) == {"0", "1"}:
        yield Suggestion({"type": "bool"})
    if all(re.fullmatch("(?:19|20)[0-9]{6}", text) for text in texts) and "%Y%m%d" in day_patterns(texts):
        yield Suggestion({"type": "date", "format": "%Y%m%d"})


def _decimal(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    sign = reading_keys.get("decimal", ".")
    plain = _bare(texts, reading_keys)
    if not all(re.fullmatch(rf"-?(0|[1-9][0-9]{{0,17}})({re.escape(sign)}[0-9]{{1,12}})?", text) for text in plain):
        return
    places = max(len(text.partition(sign)[2]) for text in plain)
    places += 2 * _are_fractions(texts, reading_keys)
    if places:
        places = max(places, LEAST_PLACES)
        yield Suggestion({"type": f"decimal({10 + places},{places})"})


def _float(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if any(re.fullmatch(r"[+-]?[0-9.,]+[eE][+-]?[0-9]+", text) for text in texts):
        yield Suggestion({"type": "float"})


def _iso_kind(texts: Sequence[str]) -> str | None:
    """`date` or `datetime` if all texts are written as ISO 8601 says; a date has no time then."""
    if all(len(text) == 10 and re.match(DATE_PATTERN, text) for text in texts):
        return "date"
    return "datetime" if all(re.match(DATETIME_PATTERN, text) for text in texts) else None


def _iso(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if kind := _iso_kind(texts):
        yield Suggestion({"type": kind})


def _patterns(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if not all(re.search("[0-9]", text) for text in texts):
        return
    yield from _by_pattern(texts, "date", whole=True)
    yield from _by_pattern(texts, "datetime", whole=True)


def _by_pattern(texts: Sequence[str], kind: str, *, whole: bool = False) -> Iterator[Suggestion]:
    """The type with each pattern that fits.

    Args:
        whole: the patterns have a time if the type has one, and none if it has none.
    """
    days, moments = day_patterns, moment_patterns
    first, second = (days, moments) if kind == "date" else (moments, days)
    forms = first(texts) or ([] if whole else second(texts))
    yield from (Suggestion({"type": kind, "format": form}) for form in forms)


def _email(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if all("@" in text for text in texts):
        yield Suggestion({"type": "email"})


def _phone(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if all(text.startswith(("+", "tel:+")) for text in texts):
        yield Suggestion({"type": "phone"})
        yield Suggestion({"type": "phones"})
    elif suspects_phones(name) and all(map(_PHONE.fullmatch, texts)):
        yield Suggestion({"type": "phone"}, asks_region=True)


def _ip(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if all(re.fullmatch(r"[0-9a-fA-F.:]{2,45}", text) and ("." in text or ":" in text) for text in texts):
        yield Suggestion({"type": "ip"})


def _documents(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    if all(text[:1] in "{[" for text in texts):
        yield from (Suggestion({"type": kind}) for kind in ("object", "objects", "array"))


def _enum(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
    options = dict.fromkeys(texts)
    few = len(options) <= MOST_OPTIONS and len(texts) >= max(LEAST_ROWS, 4 * len(options))
    words = all(len(option) <= 30 and not option.isdecimal() and "\n" not in option for option in options)
    if few and words and len(options) > 1 and all(texts.count(option) > 1 for option in options):
        yield Suggestion({"type": "enum", "options": list(options)})


def _first_only(propose: Propose) -> Propose:
    """Types that read the same values: the first one that reads all cells is proposed alone."""

    def first(name: str, texts: Sequence[str], reading_keys: Keys) -> Iterator[Suggestion]:
        for suggestion in propose(name, texts, reading_keys):
            if cast(texts, suggestion, reading_keys) is not None:
                yield suggestion
                return

    return first


_PROPOSALS: tuple[Propose, ...] = (
    _bool, _local_bool, _int, _decimal, _float, _iso, _patterns, _email, _first_only(_phone), _ip,
    _first_only(_documents), _enum,
)  # fmt: skip
