"""`source.format`: how a file is written. What is declared is read exactly, what is not is refused; design 14."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from ingest_pipelines.config.base import Strict
from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.number_signs import SIGN_KEYS, Grouping, Negative, NumberSigns, Percent

FileType = Literal["csv", "jsonl", "parquet", "xlsx"]

NONE = "none"
"""What `quote`, `header` and a trailer's `count` are where the file has none."""

_WORDS = {"tab": "\t", "space": " "}
"""Signs that are hard to see, by their names."""

_CSV_KEYS = (
    "delimiter", "quote", "escape", "encoding", "decimal", "thousands", "grouping", "currency", "percent", "negative",
    "trim", "skip_lines", "header", "footer", "comment",
)  # fmt: skip
_KEYS: Mapping[FileType, frozenset[str]] = {
    "csv": frozenset({*_CSV_KEYS, "null_values"}),
    "jsonl": frozenset({"null_values"}),
    "parquet": frozenset({"null_values"}),
    "xlsx": frozenset({"null_values", "sheet", "range", "header"}),
}
"""The keys that each type takes."""

_ENDINGS: Mapping[FileType, tuple[str, ...]] = {
    "csv": ("csv", "tsv", "tab", "psv", "txt", "dat"),
    "jsonl": ("jsonl", "ndjson", "json"),
    "parquet": ("parquet",),
    "xlsx": ("xlsx",),
}
"""How the names of files of a type end, besides `.gz` and `.zip`."""

_NO_TEXT = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "utf_7"})
"""Codecs of Python that are no encoding of a file."""


def _sign(value: Any) -> Any:
    """The one character that a key declares; `tab` and `space` are written as words."""
    if isinstance(value, str):
        value = _WORDS.get(value, value)
    if not isinstance(value, str) or len(value) != 1:
        raise ValueError('one character in quotes, such as ";" or "|", or the word tab')
    unseen = value > "\x9f" and not value.isprintable() and unicodedata.category(value) != "Zs"  # kinds of blanks
    if value in "\r\n\0\ufeff" or (value.isascii() and value.isalnum()) or unseen:
        raise ValueError("a character that is no letter, digit or line break")
    return value


def _quote(value: Any) -> Any:
    return value if value == NONE else _sign(value)


def _header(value: Any) -> Any:
    """`none`, or names that differ."""
    if value is None or value == NONE:
        return value
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value) or not value:
        raise ValueError("a list of the columns' names in order, or none for a file whose columns have no names")
    for name in value:
        if value.count(name) > 1 or not trimmed(name):
            raise ValueError(f"each column needs a name of its own, and '{name}' is not one")
    return tuple(value)


def _currency(value: Any) -> Any:
    """The signs of a currency: one, or several that mean the same."""
    signs = (value,) if isinstance(value, str) else value
    if not isinstance(signs, (list, tuple)) or not signs:
        raise ValueError('how amounts say their currency, such as "€", or several of its signs: ["€", EUR]')
    for sign in signs:
        if not isinstance(sign, str) or not 1 <= len(sign) <= 8 or re.search(r"[\s\d+,'\"\x00-\x1f-]", sign):
            raise ValueError(f"'{sign}' is no sign of a currency, such as \"€\", R$ or EUR")
        if not sign.strip(".") or sign.lower() in {"e", "inf", "nan", "infinity"}:
            raise ValueError(f"'{sign}' may be part of a number itself")
    return tuple(dict.fromkeys(signs))


Sign = Annotated[str, BeforeValidator(_sign)]
Currency = Annotated[
    tuple[str, ...] | None, BeforeValidator(lambda value: value if value is None else _currency(value))
]
OptionalQuote = Annotated[str, BeforeValidator(_quote)]
Names = Annotated[Literal["none"] | tuple[str, ...] | None, BeforeValidator(_header)]


def _count(value: Any) -> Any:
    if value is None or value == NONE or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("the place of a cell, from 1; or none for a trailer without a number of rows")


Count = Annotated[int | Literal["none"] | None, BeforeValidator(_count)]


class Trailer(Strict):
    """A last line that is no row: it says that the file is whole.

    Attributes:
        starts_with: the text that it begins with. A file whose last line begins otherwise is refused: it was cut off.
        count: which of its cells, from 1, is the number of rows; `none`: it has no such number. Not given: the only
            whole number in it, if it has one.
    """

    starts_with: StrictStr = Field(min_length=1)
    count: Count = None


def _footer_kind(value: Any) -> str:
    if isinstance(value, (dict, Strict)):
        return "trailer"
    return "text" if isinstance(value, str) else "lines"


Footer = Annotated[
    Annotated[StrictInt, Field(ge=1, le=1000), Tag("lines")]
    | Annotated[StrictStr, Field(min_length=1), Tag("text")]
    | Annotated[Trailer, Tag("trailer")],
    Discriminator(_footer_kind),
]


class Format(Strict):
    r"""How a source writes its rows and cells. The default is CSV: comma, UTF-8, RFC 4180.

    Attributes:
        quote: encloses cells that hold a delimiter or a line break; `none`: no cell is enclosed, quotes are text.
        escape: the character after it is text: a delimiter, a quote, a line break. `\N` is an empty cell.
        decimal, thousands: the signs in numbers. Without `thousands` a number has none.
        grouping: `indian`: after the last three digits groups have two, as in 12,34,567.
        currency: signs of one currency. A number may have one of them at its beginning or its end.
        percent: what `5%` is: the `number` 5, or the `fraction` 0.05.
        negative: how negative numbers are written besides a hyphen before them: `(12.50)`, `12.50-`, `12.50 DR`.
        null_values: texts that are empty cells, as they stand. Not given: none but nothing, and in the match key
            words such as NULL and N/A.
        trim: blanks between delimiters and quotes, and around the header's names, are no part of them.
        skip_lines: lines before the header that are not read.
        header: names of the columns of a file that has no header; `none`: they are `column_1`, `column_2` ...
        footer: how many lines at the end are no rows, or the text that the last line begins with.
        comment: lines that begin with this text are no rows.
        sheet: the name or number of a workbook's sheet; default: the first.
        range: its cells, such as `B3:F`; the first row is the header. Default: all of them.
    """

    type: FileType = "csv"
    delimiter: Sign = ","
    quote: OptionalQuote = '"'
    escape: Sign | None = None
    encoding: str = "utf-8"
    decimal: Sign = "."
    thousands: Sign | None = None
    grouping: Grouping | None = None
    currency: Currency = None
    percent: Percent | None = None
    negative: Negative | None = None
    null_values: tuple[StrictStr, ...] | None = None
    trim: StrictBool = False
    skip_lines: Annotated[StrictInt, Field(ge=0, le=1000)] = 0
    header: Names = None
    footer: Footer | None = None
    comment: Annotated[StrictStr, Field(min_length=1, max_length=10)] | None = None
    sheet: Annotated[StrictInt, Field(ge=1)] | StrictStr | None = None
    range: StrictStr | None = None

    @property
    def is_default(self) -> bool:
        """Whether files are read as RFC 4180 says; what cells mean (`null_values`, numbers) is another matter."""
        return all(getattr(self, key) == _DEFAULTS[key] for key in _DEFAULTS)

    @property
    def has_number_signs(self) -> bool:
        """Whether numbers have more or other signs than a decimal point."""
        return self.number_signs != NumberSigns()

    @property
    def number_signs(self) -> NumberSigns:
        """How its numbers are written."""
        return NumberSigns(self.decimal, self.thousands, self.currency, self.negative, self.grouping, self.percent)

    def with_signs(self, signs: NumberSigns) -> Format:
        """The same format with numbers of other signs.

        Raises:
            pydantic.ValidationError: they do not go with it: a sign is the delimiter, for example.
        """
        kept = {key: value for key, value in self.given.items() if key not in SIGN_KEYS}
        return Format.model_validate({**kept, **signs.keys})

    def takes(self, key: str) -> bool:
        """Whether files of its type have such a key."""
        return key in _KEYS[self.type]

    @property
    def given(self) -> dict[str, Any]:
        """The keys that the YAML has, with their values."""
        values = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        if self.currency is not None and len(self.currency) == 1:
            values["currency"] = self.currency[0]
        return values

    @property
    def endings(self) -> tuple[str, ...]:
        """How the names of its files may end, besides `.gz` and `.zip`."""
        return _ENDINGS[self.type] if not self.is_default else ("csv",)

    @property
    def trailer(self) -> Trailer | None:
        """The last line that is no row, where the footer is one."""
        return Trailer(starts_with=self.footer) if isinstance(self.footer, str) else self._trailer

    @property
    def _trailer(self) -> Trailer | None:
        return self.footer if isinstance(self.footer, Trailer) else None

    @property
    def footer_lines(self) -> int:
        """How many last lines are no rows, whatever they hold."""
        return self.footer if isinstance(self.footer, int) else 0

    @field_validator("null_values")
    @classmethod
    def _can_occur(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if text != trimmed(text):
                raise ValueError(
                    f"'{text}' begins or ends with a blank, and a cell's own blanks there are no part of it"
                )
        return value

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        try:
            codec = codecs.lookup(value)
        except (LookupError, ValueError):
            raise ValueError(f"'{value}' is no encoding; usual ones are utf-8, cp1252, latin-1, utf-16") from None
        usable = getattr(codec, "_is_text_encoding", True) and codec.incrementaldecoder is not None
        if not usable or codec.name.replace("-", "_") in _NO_TEXT:
            raise ValueError(f"'{value}' is no encoding of a file; usual ones are utf-8, cp1252, latin-1, utf-16")
        return value

    @field_validator("comment")
    @classmethod
    def _is_text(cls, value: str | None) -> str | None:
        if value is not None and (trimmed(value) != value or re.search(r"[\r\n\0]", value)):
            raise ValueError("a text without blanks around it, such as # or //")
        return value

    @field_validator("range")
    @classmethod
    def _is_range(cls, value: str | None) -> str | None:
        if value is not None:
            range_of(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key in self.model_fields_set - _KEYS[self.type] - {"type"}:
            types = " and ".join(kind for kind, keys in _KEYS.items() if key in keys)
            raise ValueError(f"{key}: goes with type: {types}, and not with {self.type}")
        signs: dict[str, str] = {}
        for key in ("delimiter", "quote", "escape"):
            sign = getattr(self, key)
            if sign in signs:
                raise ValueError(
                    f"{key}: {_shown(sign)} is the {signs[sign]} already{_DOUBLED if key == 'escape' else ''}"
                )
            if sign is not None and sign != NONE:
                signs[sign] = key
        if self.decimal == self.thousands:
            raise ValueError(f"thousands: {_shown(self.decimal)} is the decimal sign already")
        if self.grouping is not None and self.thousands is None:
            raise ValueError('grouping: goes with thousands, the sign between the groups, such as thousands: ","')
        for key in ("decimal", "thousands"):
            sign = getattr(self, key)
            if sign is not None and sign in "+-%":
                raise ValueError(f"{key}: {_shown(sign)} is a number's sign")
            if self.quote == NONE and sign == self.delimiter and key in self.model_fields_set:
                raise ValueError(f"{key}: {_shown(sign)} is the delimiter, and without quotes no cell can hold it")
        if self.comment is not None and self.comment[0] in signs:
            raise ValueError(f"comment: it begins with the {signs[self.comment[0]]}, so a row may begin like it")
        if self.escape is not None and not (self.escape + self.delimiter).isascii():
            raise ValueError("escape: goes with signs of ASCII only")
        if self.trim and self.delimiter == " ":
            raise ValueError("trim: the delimiter is a blank itself")
        return self


_DEFAULTS = {key: Format.model_fields[key].default for key in ("type", *_CSV_KEYS) if key not in SIGN_KEYS}

_DOUBLED = '; a quote that is written twice inside a cell ("") needs no key'

_RANGE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})(?::([A-Z]{1,3})([1-9][0-9]{0,6})?)?")


def range_of(text: str) -> tuple[int, int, int | None, int | None]:
    """First row, first column, last row, last column of `B3:F20`, from 0; None: to the sheet's end.

    Raises:
        ValueError: it is no range.
    """
    match = _RANGE.fullmatch(text.replace("$", "").upper())
    if match is None:
        raise ValueError("cells as a spreadsheet names them: B3, B3:F or B3:F200; the first row is the header")
    top, left = int(match[2]) - 1, _column_of(match[1])
    bottom = int(match[4]) - 1 if match[4] else None
    right = _column_of(match[3]) if match[3] else None
    if (bottom is not None and bottom < top) or (right is not None and right < left):
        raise ValueError("its last cell lies before its first one")
    return top, left, bottom, right


def _column_of(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def written(keys: Mapping[str, Any]) -> str:
    """`format: {delimiter: ";", encoding: cp1252}`: the line of YAML that declares these keys."""
    ordered = sorted(keys, key=list(Format.model_fields).index)
    return "format: {" + ", ".join(f"{key}: {_written(keys[key])}" for key in ordered) + "}"


def key_table(declared: Format) -> list[tuple[str, str]]:
    """(key, its value as YAML) of every key that files of the type have, also of those that are not declared."""
    keys = [key for key in type(declared).model_fields if key == "type" or key in _KEYS[declared.type]]
    values = [(key, getattr(declared, key)) for key in keys]
    return [(key, "" if value is None else _written(value)) for key, value in values]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, Trailer):
        value = {key: getattr(value, key) for key in type(value).model_fields if key in value.model_fields_set}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value) and value.lower() not in _YAML_WORDS:
        return value
    return _shown(value)


_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _shown(text: str) -> str:
    r"""The text in double quotes, as YAML reads it: ";", "\t"."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    plain = (letter if letter.isprintable() else _escape(letter) for letter in escaped)
    return '"' + "".join(plain) + '"'


def _escape(letter: str) -> str:
    return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(letter) or (
        f"\\x{ord(letter):02x}"
        if ord(letter) < 256
        else f"\\u{ord(letter):04x}"
        if ord(letter) < 65536
        else f"\\U{ord(letter):08x}"
    )
