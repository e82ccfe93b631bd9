"""int, decimal, float, bool. Numbers are exact or rejected; nothing is rounded, nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

import polars as pl

from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.number_signs import MINUS_SIGNS, OTHER_SIDE, PERCENT, Negative, NumberSigns
from ingest_pipelines.config.spellings import NO, YES, decimal_pattern
from ingest_pipelines.rules.types.base import Cell, FieldKind

NUMBERS = frozenset({"int", "decimal", "float"})
"""The types whose cells may have signs of their own."""


def _signs(cell: Cell) -> str:
    """How the reasons say which signs a number has."""
    sign = "a point, not a comma" if cell.decimal == "." else f"'{cell.decimal}' as its decimal sign"
    groups = "groups as in 12,34,567" if cell.grouping == "indian" else "groups of three digits"
    return f"{sign}, and '{cell.thousands}' between {groups}" if cell.thousands else sign


def with_point(text: pl.Expr, signs: NumberSigns) -> pl.Expr:
    """Numbers that a file writes with other signs as the types read them: `€ 1.234,5` as `1234.5`, `(5)` as `-5`.

    A text that is no number in these signs becomes none: `1,234.5` where the decimal sign is a comma.
    """
    given, text = text, plain_amount(text, signs)
    sign = re.escape(signs.decimal)
    if signs.thousands:
        grouped = text.str.contains(rf"^[+-]?{signs.groups}(?:{sign}[0-9]*)?(?:[eE][+-]?[0-9]+)?$")
        text = pl.when(grouped).then(text.str.replace_all(signs.thousands, "", literal=True)).otherwise(text)
    if signs.decimal != ".":
        foreign = text.str.contains(".", literal=True) & text.str.contains("[0-9]")
        text = pl.when(foreign).then(pl.concat_str(pl.lit("?"), text)).otherwise(text)
        text = text.str.replace_all(signs.decimal, ".", literal=True)
    if signs.percent == "fraction":
        return pl.when(given.str.contains(PERCENT, literal=True)).then(_hundredth(text)).otherwise(text)
    return text


def plain_amount(text: pl.Expr, signs: NumberSigns) -> pl.Expr:
    """The texts with a minus before negative ones and without their currency, as far as `signs` declares it."""
    # A currency is inside of the parentheses, or around them: `($5)`, `$(5)`. So is a percent sign.
    given, text = text, _minus_first(text, signs.negative)
    amount = text
    if signs.currency:
        amount = _minus_first(_without_sign(text, signs.currency), signs.negative)
    if signs.percent:
        share = _minus_first(_without_sign(text, (PERCENT,)), signs.negative)
        amount = pl.when(given.str.contains(PERCENT, literal=True)).then(share).otherwise(amount)
    return amount


def _hundredth(text: pl.Expr) -> pl.Expr:
    """Numbers with a point, their point two digits further left; other texts, with an exponent too, are no numbers."""
    plain = text.str.contains(r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$")
    wide = text.str.replace(r"^([+-]?)", "${1}000")
    moved = wide.str.replace(r"^([+-]?[0-9]*)([0-9]{2})(?:\.([0-9]*))?$", "${1}.${2}${3}")
    moved = moved.str.replace(r"^([+-]?)0+([0-9])", "${1}${2}")
    return pl.when(plain).then(moved).otherwise(pl.concat_str(pl.lit("?"), text))


_BLANKS = r"[\t\p{Zs}]*"
_FORMS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "parentheses": ((rf"^\({_BLANKS}([^()+-]*[0-9][^()+-]*?){_BLANKS}\)$", "-${1}"),),
    "trailing": ((rf"^([^()+-]*[0-9][^()+-]*?){_BLANKS}[-{MINUS_SIGNS}]$", "-${1}"),),
    "minus": ((rf"^[{MINUS_SIGNS}-]{_BLANKS}([^()+{MINUS_SIGNS}-]*[0-9][^()+{MINUS_SIGNS}-]*)$", "-${1}"),),
    **{
        side: tuple(
            replaced
            for mark, minus in ((side, "-"), (OTHER_SIDE[side], ""))
            for replaced in (
                # What is between the number and its side, such as a currency, is a word of its own.
                (rf"^([^()+-]*[0-9]){_BLANKS}(?i:{mark})$", f"{minus}${{1}}"),
                (rf"^([^()+-]*[0-9][\t\p{{Zs}}]+[^()+\t\p{{Zs}}-]+)[\t\p{{Zs}}]+(?i:{mark})$", f"{minus}${{1}}"),
                (
                    rf"^(?i:{mark})(?:([0-9][^()+-]*)|[\t\p{{Zs}}]+([^()+\w-]*[0-9][^()+-]*))$",
                    f"{minus}${{1}}${{2}}",
                ),
            )
        )
        for side in OTHER_SIDE
    },
}
"""Form of negative numbers -> patterns, and what becomes of a number of each."""


def _minus_first(text: pl.Expr, negative: Negative | None) -> pl.Expr:
    for pattern, replaced in _FORMS[negative] if negative else ():
        text = text.str.replace(pattern, replaced)
    return text


def _without_sign(text: pl.Expr, spellings: Sequence[str]) -> pl.Expr:
    """The texts without one sign, such as a currency's, at their beginning, behind a minus perhaps, or at their end."""
    signs = "|".join(re.escape(sign) for sign in sorted(spellings, key=len, reverse=True))
    blanks = r"[\t\p{Zs}]*"
    before, after = rf"^([+-]?){blanks}(?:{signs}){blanks}([^\s].*)$", rf"^(.*[0-9.,)-]){blanks}(?:{signs})$"
    begins = text.str.contains(before)
    return pl.when(begins).then(text.str.replace(before, "${1}${2}")).otherwise(text.str.replace(after, "${1}"))


def _read_int(cell: Cell, source: pl.DataType) -> pl.Expr:
    # Polars reads [+-]?[0-9]+ within 64 bits and nothing else, as a table of the tests proves.
    return cell.raw.cast(pl.Int64, strict=False)


INT = FieldKind(
    code="bad_int",
    dtype=lambda _: pl.Int64(),
    reason=lambda _: "not a whole number: an optional sign and digits, within 64 bits",
    read=_read_int,
    takes=lambda source: source.is_integer(),
    drops_zeros=True,
)


def _precision_and_scale(field: Field) -> tuple[int, int]:
    assert field.precision is not None
    assert field.scale is not None
    return field.precision, field.scale


def _read_decimal(cell: Cell, source: pl.DataType) -> pl.Expr:
    precision, scale = _precision_and_scale(cell.field)
    fits = cell.raw.str.contains(decimal_pattern(precision, scale))
    return pl.when(fits).then(cell.raw).cast(pl.Decimal(precision, scale), strict=False)


def _decimal_reason(cell: Cell) -> str:
    precision, scale = _precision_and_scale(cell.field)
    digits = f"at most {precision - scale} digits before and {scale} after it"
    return f"not a decimal number with {_signs(cell)}: {digits}"


DECIMAL = FieldKind(
    code="bad_decimal",
    dtype=lambda field: pl.Decimal(*_precision_and_scale(field)),
    reason=_decimal_reason,
    read=_read_decimal,
)


def _read_float(cell: Cell, source: pl.DataType) -> pl.Expr:
    number = cell.raw.cast(pl.Float64, strict=False)
    kept = number.is_finite()
    if source == pl.String:
        # 1e-400 would silently become 0.
        kept &= ~pl.when(number == 0).then(cell.raw).str.contains("^[^eE]*[1-9]").fill_null(False)
    return pl.when(kept).then(number)


def _float_reason(cell: Cell) -> str:
    examples = "12.5 or 1.25e1".replace(".", cell.decimal)
    return f"not a finite number with {_signs(cell)}, such as {examples}"


FLOAT = FieldKind(
    code="bad_float",
    dtype=lambda _: pl.Float64(),
    reason=_float_reason,
    read=_read_float,
    takes=lambda source: source.is_float(),
)


def _spellings(words: tuple[str, ...], value: bool) -> dict[str, bool]:
    return {"".join(letters): value for word in words for letters in product(*({c.lower(), c.upper()} for c in word))}


_BOOLS = _spellings(YES, True) | _spellings(NO, False)


def _read_bool(cell: Cell, source: pl.DataType) -> pl.Expr:
    if source == pl.Boolean:
        return cell.raw
    return cell.raw.replace_strict(_BOOLS, default=None, return_dtype=pl.Boolean)


BOOL = FieldKind(
    code="bad_bool",
    dtype=lambda _: pl.Boolean(),
    reason=lambda _: "not one of true/false, t/f, yes/no, y/n, 1/0",
    read=_read_bool,
    takes=lambda source: source == pl.Boolean,
    drops_zeros=True,
)
