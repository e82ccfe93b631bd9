"""The types of fields: one record each, which config, rules and merge read; design 4.1. Pure, and quick to import."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_address
from math import isfinite
from typing import LiteralString, Protocol

from ingest_pipelines.config.spellings import (
    DATE_PATTERN,
    DATETIME_PATTERN,
    EMAIL_PATTERN,
    FLOAT_PATTERN,
    LONGEST_EMAIL,
    LONGEST_LOCAL_PART,
    NO,
    YES,
    decimal_pattern,
)


class TypedRules(Protocol):
    """What a field's rules say about its type."""

    @property
    def type(self) -> str | None:
        """The type's name."""
        ...

    @property
    def precision(self) -> int | None:
        """Digits of a decimal."""
        ...

    @property
    def scale(self) -> int | None:
        """Digits of a decimal after its point."""
        ...

    @property
    def options(self) -> tuple[str, ...] | None:
        """What an enum may be."""
        ...

    @property
    def format(self) -> str | None:
        """A date's or datetime's strptime pattern."""
        ...


def _always(rules: TypedRules, text: str) -> bool:
    """Only the rules that read cells can tell: what a `format` reads, phone numbers, documents, local times."""
    return True


@dataclass(frozen=True)
class TypeRecord:
    """A type of field.

    Attributes:
        reader: `module:NAME` below `rules.types`: the FieldKind that reads its cells.
        column: the Postgres type of a column made for it. Of decimals: before digits are added.
        sized_column: the Postgres type where `max_length` is set; "": the same.
        also_in: Postgres types, without their length, of existing columns that hold it too; empty: only `column`.
        takes: keys in YAML that only some types take.
        spells: whether a text is a value of it; True where only the rules can tell.
        longest: characters of the longest value, of a list's longest member.
        may_be_key: whether it may be a database's key.
        key_defaults: the `key_default`s that make values of it.
        is_date: its values are days or moments: so are `min` and `max`, and default dates are refused.
        ignores_case: values that differ in case only are equal.
        stored_as_spelled: Postgres reads a text of it as the value that a load of that text stores.
    """

    reader: str
    column: LiteralString
    sized_column: LiteralString = ""
    also_in: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    spells: Callable[[TypedRules, str], bool] = _always
    longest: int = 8000
    may_be_key: bool = False
    key_defaults: frozenset[str] = frozenset()
    is_date: bool = False
    ignores_case: bool = False
    stored_as_spelled: bool = False

    @property
    def is_document(self) -> bool:
        """Whether its values are JSON."""
        return self.column == "jsonb"

    @property
    def is_list(self) -> bool:
        """Whether its values are lists of texts."""
        return self.column == "text[]"


def spells(rules: TypedRules, text: str) -> bool:
    """Whether the text is a value of the field's type; True where only the rules that read cells can tell."""
    return rules.type is None or FIELD_TYPES[rules.type].spells(rules, text)


def _is_int(rules: TypedRules, text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", text) is not None and -(2**63) <= int(text) < 2**63


def _is_decimal(rules: TypedRules, text: str) -> bool:
    assert rules.precision is not None
    assert rules.scale is not None
    return re.fullmatch(decimal_pattern(rules.precision, rules.scale), text) is not None


def _is_float(rules: TypedRules, text: str) -> bool:
    """A number within a float's range, and not so small that a float would make it 0."""
    if re.fullmatch(FLOAT_PATTERN, text) is None or not isfinite(float(text)):
        return False
    return float(text) != 0 or re.match("[^eE]*[1-9]", text) is None


def _is_bool(rules: TypedRules, text: str) -> bool:
    return text.lower() in {*YES, *NO}


def _is_date(rules: TypedRules, text: str) -> bool:
    return bool(rules.format) or (re.fullmatch(DATE_PATTERN, text) is not None and _is_day(text[:10]))


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_datetime(rules: TypedRules, text: str) -> bool:
    """Whether there is such a day, and the moment lies in the years 1 to 9999 of UTC as well."""
    if rules.format:
        return True
    if re.fullmatch(DATETIME_PATTERN, text) is None or not _is_day(text[:10]):
        return False
    offset = re.search(r"[+-][0-9]{2}:[0-9]{2}$", text)
    try:
        datetime.fromisoformat(f"{text[:10]}T{text[11:19]}{offset[0] if offset else '+00:00'}").astimezone(UTC)
    except OverflowError:
        return False
    return True


def _is_option(rules: TypedRules, text: str) -> bool:
    options = rules.options or ()
    if text.isascii() and text.isdigit():
        return 1 <= int(text) <= len(options)
    return text in options


def _is_email(rules: TypedRules, text: str) -> bool:
    fits = len(text) <= LONGEST_EMAIL and len(text.partition("@")[0]) <= LONGEST_LOCAL_PART
    return fits and re.fullmatch(EMAIL_PATTERN, text) is not None


def _is_ip(rules: TypedRules, text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


_TEXTS = frozenset({"text", "character varying", "citext"})
_NUMBER = frozenset({"min", "max"})
_DATE = frozenset({"min", "max", "format"})
_DOCUMENT = frozenset({"characters"})
_LONGEST_PHONE = 16
"""Characters of the longest number in E.164 with its `+`."""

FIELD_TYPES: Mapping[str, TypeRecord] = {
    "string": TypeRecord(
        "text:STRING", "text", "character varying", _TEXTS, frozenset({"max_length", "pattern", "characters"}),
        may_be_key=True, key_defaults=frozenset({"uuid", "sequence"}), stored_as_spelled=True,
    ),
    "int": TypeRecord(
        "numbers:INT", "bigint", also_in=frozenset({"bigint", "integer", "smallint", "numeric"}), takes=_NUMBER,
        spells=_is_int, may_be_key=True, key_defaults=frozenset({"sequence"}), stored_as_spelled=True,
    ),
    "decimal": TypeRecord("numbers:DECIMAL", "numeric", takes=_NUMBER, spells=_is_decimal, stored_as_spelled=True),
    "float": TypeRecord(
        "numbers:FLOAT", "double precision", takes=_NUMBER, spells=_is_float, stored_as_spelled=True
    ),
    "bool": TypeRecord("numbers:BOOL", "boolean", spells=_is_bool),
    "date": TypeRecord("times:DATE", "date", takes=_DATE, spells=_is_date, is_date=True),
    "datetime": TypeRecord(
        "times:DATETIME", "timestamp with time zone", takes=_DATE, spells=_is_datetime, is_date=True
    ),
    "enum": TypeRecord(
        "text:ENUM", "text", also_in=_TEXTS, takes=frozenset({"options", "characters"}), spells=_is_option,
        stored_as_spelled=True,
    ),
    "object": TypeRecord("documents:OBJECT", "jsonb", takes=_DOCUMENT),
    "objects": TypeRecord("documents:OBJECTS", "jsonb", takes=_DOCUMENT),
    "array": TypeRecord("documents:ARRAY", "jsonb", takes=_DOCUMENT),
    "email": TypeRecord(
        "contacts:EMAIL", "text", also_in=_TEXTS, takes=frozenset({"max_length", "pattern", "characters"}),
        spells=_is_email, longest=LONGEST_EMAIL, may_be_key=True, ignores_case=True,
    ),
    "phone": TypeRecord(
        "phones:PHONE", "text", also_in=_TEXTS, takes=frozenset({"region"}), longest=_LONGEST_PHONE, may_be_key=True
    ),
    "phones": TypeRecord(
        "phones:PHONES", "text[]", also_in=frozenset({"text[]", "character varying[]"}), takes=frozenset({"region"}),
        longest=_LONGEST_PHONE,
    ),
    "ip": TypeRecord("contacts:IP", "inet", spells=_is_ip),
}  # fmt: skip
"""The registry: a type's name in YAML, and its record."""

_NAMES_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("text", "str", "char", "character", "character varying", "varchar", "varchar2", "nchar",
                     "nvarchar", "nvarchar2", "clob", "longtext", "uuid", "guid"), "string"),
    **dict.fromkeys(("integer", "bigint", "smallint", "tinyint", "mediumint", "long", "short", "serial", "bigserial",
                     "int2", "int4", "int8", "int16", "int32", "int64"), "int"),
    **dict.fromkeys(("number", "numeric", "money", "currency"), "decimal(p,s)"),
    **dict.fromkeys(("double", "double precision", "real", "float4", "float8", "float32", "float64"), "float"),
    **dict.fromkeys(("boolean", "bit", "logical"), "bool"),
    **dict.fromkeys(("day",), "date"),
    **dict.fromkeys(("timestamp", "timestamptz", "timestamp with time zone", "timestamp without time zone",
                     "datetime2", "smalldatetime", "datetimeoffset"), "datetime"),
    **dict.fromkeys(("choice", "category", "options"), "enum"),
    **dict.fromkeys(("json", "jsonb", "dict", "map", "struct", "record", "variant"), "object"),
    **dict.fromkeys(("list", "text[]"), "array"),
    **dict.fromkeys(("mail", "e-mail"), "email"),
    **dict.fromkeys(("tel", "telephone", "mobile"), "phone"),
    **dict.fromkeys(("inet", "ipv4", "ipv6", "ip_address"), "ip"),
}  # fmt: skip
"""What databases and programming languages call our types."""


def type_elsewhere(name: str) -> str | None:
    """Our type for what another system calls so: `string` for `VARCHAR(20)`; None if we know none."""
    called, _, digits = name.strip().lower().partition("(")
    ours = _NAMES_ELSEWHERE.get(called.strip())
    return f"decimal({digits}" if ours == "decimal(p,s)" and re.fullmatch(r"\d{1,2},\s*\d{1,2}\)", digits) else ours
