"""phone, phones: numbers in E.164, however they are written.

phonenumbers decides what a number is, once per spelling: which country it belongs to, what its trunk prefix is, which
lengths it may have. It takes a tenth of a millisecond. Numbers that it would certainly give back as they stand are told
by the same tables in one look at all of them.
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
"""What people put between the digits. Letters and extensions are no part of an E.164 number."""
_SCHEME = "(?i)^tel:"
_COMPACT = r"^\+?[0-9]{3,20}$"


def read_numbers(cells: pl.Series, region: str | None) -> pl.Series:
    """Each text as E.164, of a country and a length that exist; NULL where it is none.

    Args:
        region: two letters of a country: where a number without `+` belongs.
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
    answers = compact.to_frame("compact").select(
        pl.when(pl.lit(in_e164)).then(pl.col("compact")).otherwise(pl.lit(others, pl.String)).alias("number")
    )
    table = answers.with_columns(spellings.alias("cell"))
    found = cells.alias("cell").to_frame().join(table, on="cell", how="left", maintain_order="left")
    return found.select(pl.when(pl.lit(ready)).then(pl.col("cell")).otherwise(pl.col("number"))).to_series()


def _in_e164(texts: pl.Series) -> pl.Series:
    """Which texts `_parsed` would give back as they are: a country's code, a length it has, no prefix to take off."""
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
    """The codes of countries that the beginnings of numbers name. No code is the beginning of another one."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    digits = (text for text in beginnings if text.isascii() and text.isdigit() and text[0] != "0")
    named = (int(text[:length]) for text in digits for length in (1, 2, 3))
    return frozenset(code for code in named if code in COUNTRY_CODE_TO_REGION_CODE)


@lru_cache
def _shapes(codes: frozenset[int]) -> tuple[str, str, str]:
    """Regular expressions over numbers of these countries.

    Returns:
        What has a possible length and does not begin with 0; what begins with a national prefix; the national prefix
        as a group, in countries where it may also be nothing. "" where no country has such.
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
    # Some countries' numbers begin with 0; in the others that is a trunk prefix too many, which nobody reaches.
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
    """The numbers of each JSON array, or of each text that separates them by `;` or `,`; each once, in order.

    NULL where one of them is no number, or where there is none but in an empty array.
    """
    is_json = cells.str.starts_with("[")
    parts = cells.to_frame("cell").select(
        pl.when(pl.lit(is_json))
        .then(by_distinct_value(pl.when(pl.lit(is_json)).then(pl.col("cell")), _json_texts, pl.List(pl.String)))
        .otherwise(pl.col("cell").str.replace_all(",", ";", literal=True).str.split(";"))
        .alias("part")
    )
    each = parts.with_row_index("row").explode("part").with_columns(pl.col("part").str.strip_chars(BLANKS))
    each = each.filter(pl.col("part") != "")
    read = each.with_columns(number=read_numbers(each["part"], region))
    lists = read.group_by("row").agg(
        pl.when(pl.col("number").is_not_null().all()).then(pl.col("number").unique(maintain_order=True).implode())
    )
    empty = parts.select((pl.col("part").list.len() == 0).fill_null(False)).to_series()
    rows = pl.DataFrame({"row": pl.int_range(len(cells), dtype=pl.UInt32, eager=True)})
    found = rows.join(lists, on="row", how="left", maintain_order="left")["number"]
    nothing = pl.Series([[]], dtype=pl.List(pl.String))
    return (
        found.to_frame("list")
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
