"""phone, phones: numbers in E.164, from any spelling.

The library phonenumbers parses each spelling once: its country, its trunk prefix, its length. That takes a tenth of a
millisecond. Numbers that it would return unchanged are recognised by regular expressions, made from the library's own
tables, in one pass over the column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache

import polars as pl

from ingest_pipelines.config.blanks import BLANKS, CLASS
from ingest_pipelines.rules.types.base import Cell, FieldKind
from ingest_pipelines.rules.types.by_value import by_distinct_value

_LONGEST = 15
"""Digits of an E.164 number, the country's included."""
_BETWEEN_DIGITS = rf"[{CLASS}().\[\]/\p{{Pd}}\x{{2212}}]"
"""Separators between digits. Letters and extensions are no part of an E.164 number."""
_SCHEME = "(?i)^tel:"
_COMPACT = r"^\+?[0-9]{3,20}$"


def read_numbers(cells: pl.Series, region: str | None) -> pl.Series:
    """Each text as E.164, of an existing country and a possible length; NULL where it is not a phone number.

    Args:
        region: the country of a number without `+`, as two letters.
    """
    ready = _in_e164(cells)
    spellings = cells.filter(~ready).unique()
    if spellings.is_empty():
        return cells
    compact = spellings.str.replace(_SCHEME, "").str.replace_all(_BETWEEN_DIGITS, "")
    in_e164 = _in_e164(compact)
    numbers = {
        text: _parsed(text, region) for text in compact.filter(~in_e164 & compact.str.contains(_COMPACT)).unique()
    }
    others = compact.replace_strict(numbers, default=None, return_dtype=pl.String) if numbers else None
    numbers_by_spelling = compact.to_frame("compact").select(
        pl.when(pl.lit(in_e164)).then(pl.col("compact")).otherwise(pl.lit(others, pl.String)).alias("number")
    )
    table = numbers_by_spelling.with_columns(spellings.alias("cell"))
    joined = cells.alias("cell").to_frame().join(table, on="cell", how="left", maintain_order="left")
    return joined.select(pl.when(pl.lit(ready)).then(pl.col("cell")).otherwise(pl.col("number"))).to_series()


def _in_e164(texts: pl.Series) -> pl.Series:
    """Which texts `_parsed` would return unchanged: a country's code, a length it has, no prefix to remove."""
    codes = _country_codes(texts.str.slice(1, 3).unique().drop_nulls())
    if not codes:
        return pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True)
    possible, prefixed, may_be_prefixed = _shapes(codes)
    text = pl.col("text")
    fits = text.str.contains(possible)
    if prefixed:
        fits &= ~text.str.contains(prefixed)
    if may_be_prefixed:
        fits &= text.str.extract(may_be_prefixed, 1).str.len_bytes().fill_null(0) == 0
    return texts.to_frame("text").select(fits.fill_null(False)).to_series()


def _country_codes(beginnings: Iterable[str]) -> frozenset[int]:
    """The country codes with which the numbers begin. No code is the beginning of another one."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    digits = (text for text in beginnings if text.isascii() and text.isdigit() and text[0] != "0")
    named = (int(text[:length]) for text in digits for length in (1, 2, 3))
    return frozenset(code for code in named if code in COUNTRY_CODE_TO_REGION_CODE)


@lru_cache
def _shapes(codes: frozenset[int]) -> tuple[str, str, str]:
    """Regular expressions over numbers of these countries.

    Returns:
        One for numbers that have a possible length and do not begin with 0, one for numbers that begin with a national
        prefix, and one with the national prefix as a group, for countries where it may be empty. "" where no country
        has such.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    possible, prefixed, may_be_prefixed = [], [], []
    for code in sorted(codes):
        region = COUNTRY_CODE_TO_REGION_CODE[code][0]
        country = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        if country is None or country.general_desc is None:
            continue
        local = country.general_desc.possible_length_local_only
        lengths = [
            n for n in country.general_desc.possible_length if n not in local and 2 <= n <= _LONGEST - len(str(code))
        ]
        possible += [rf"{code}[1-9][0-9]{{{length - 1}}}" for length in lengths]
        if prefix := country.national_prefix_for_parsing:
            whole = f"{code}(?:{prefix})" if not re.match(prefix, "") else ""
            prefixed += [whole] if whole else []
            may_be_prefixed += [f"{code}({re.sub(r'[(](?![?])', '(?:', prefix)})"] if not whole else []

    def any_of(shapes: list[str], end: str = "") -> str:
        return rf"^\+(?:{'|'.join(shapes)}){end}" if shapes else ""

    return any_of(possible, "$") or "^$", any_of(prefixed), any_of(may_be_prefixed)


def _parsed(text: str, region: str | None) -> str | None:
    """The number of digits, perhaps after a `+`, in E.164."""
    import phonenumbers

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    # Numbers of some countries begin with 0; in all others a leading 0 is a trunk prefix too many.
    if number.italian_leading_zero and not phonenumbers.is_valid_number(number):
        return None
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return written if len(written) <= 1 + _LONGEST else None


def _read_phone(cell: Cell, source: pl.DataType) -> pl.Expr:
    return cell.raw.map_batches(lambda cells: read_numbers(cells, cell.field.region), return_dtype=pl.String)


def _national(cell: Cell) -> str:
    return f", or a number of {cell.field.region}" if cell.field.region else ""


PHONE = FieldKind(
    code="bad_phone",
    dtype=lambda _: pl.String(),
    reason=lambda cell: f"not a phone number such as +442079460018{_national(cell)}",
    read=_read_phone,
)


def read_lists(cells: pl.Series, region: str | None) -> pl.Series:
    """The phone numbers of each JSON array, or of each text with `;` or `,` between them; in order, without repeats.

    NULL where one of them is not a phone number, and where there is none, unless the array is empty.
    """
    is_json = cells.str.starts_with("[")
    parts = cells.to_frame("cell").select(
        pl.when(pl.lit(is_json))
        .then(by_distinct_value(pl.when(pl.lit(is_json)).then(pl.col("cell")), _json_texts, pl.List(pl.String)))
        .otherwise(pl.col("cell").str.replace_all(",", ";", literal=True).str.split(";"))
        .alias("part")
    )
    exploded = parts.with_row_index("row").explode("part").with_columns(pl.col("part").str.strip_chars(BLANKS))
    exploded = exploded.filter(pl.col("part") != "")
    numbered = exploded.with_columns(number=read_numbers(exploded["part"], region))
    lists = numbered.group_by("row").agg(
        pl.when(pl.col("number").is_not_null().all()).then(pl.col("number").unique(maintain_order=True).implode())
    )
    empty = parts.select((pl.col("part").list.len() == 0).fill_null(False)).to_series()
    rows = pl.DataFrame({"row": pl.int_range(len(cells), dtype=pl.UInt32, eager=True)})
    numbers = rows.join(lists, on="row", how="left", maintain_order="left")["number"]
    nothing = pl.Series([[]], dtype=pl.List(pl.String))
    return (
        numbers.to_frame("list")
        .select(pl.when(pl.lit(empty)).then(pl.lit(nothing)).otherwise(pl.col("list")))
        .to_series()
    )


def _json_texts(text: str) -> list[str] | None:
    """The texts of a JSON array; None if it holds anything else.

    Raises:
        ValueError: not JSON.
    """
    try:
        parts = json.loads(text)
    except RecursionError:
        return None
    return parts if all(isinstance(part, str) for part in parts) else None


def _read_phones(cell: Cell, source: pl.DataType) -> pl.Expr:
    return cell.raw.map_batches(lambda cells: read_lists(cells, cell.field.region), return_dtype=pl.List(pl.String))


PHONES = FieldKind(
    code="bad_phone",
    dtype=lambda _: pl.List(pl.String),
    reason=lambda cell: f"not phone numbers such as +442079460018;+442079460019{_national(cell)}, nor a JSON array",
    read=_read_phones,
)
