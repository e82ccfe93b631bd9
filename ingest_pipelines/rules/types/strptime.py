"""Columns read by a strptime pattern: what Python's `datetime.strptime` reads, except days that do not exist.

Python reads day 366 of a common year as the next year's first day, and accepts a weekday that contradicts the date;
here both are rejected. Names of months and weekdays are English, whatever the machine's locale. A zone's name counts as
an offset only if it means UTC.
"""

from __future__ import annotations

import re
from functools import lru_cache

import polars as pl

from ingest_pipelines.config.time_patterns import MONTHS, WEEKDAYS, directives, expression, tokens

READING = pl.Struct({"local": pl.Datetime("us"), "offset": pl.Duration("us")})
"""The local time in the cell, and its offset from UTC if the cell has one. NULL where the pattern does not fit."""

_SECOND = 1_000_000
_OFFSET = (
    r"^([+-])([01][0-9]|2[0-3])(?:"
    r":([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,6}))?)?"
    r"|([0-5][0-9])(?:([0-5][0-9])(?:\.([0-9]{1,6}))?)?"
    r")$"
)
"""Sign, hours; minutes, seconds and a fraction with colons; the same three without."""
_FULL_WIDTH = {
    "Y": "[1-9][0-9]{3}", "m": "[0-9]{2}", "d": "[0-9]{2}", "H": "[0-9]{2}", "M": "[0-9]{2}", "S": "[0-5][0-9]",
}  # fmt: skip
"""Directives that Polars and Python read alike if every digit is written."""


def by_pattern(text: pl.Expr, form: str) -> pl.Expr:
    """READING of every text, by a pattern in which `format_mistake` finds no fault."""
    return text.map_batches(lambda cells: read_cells(cells, form), return_dtype=READING)


def read_cells(cells: pl.Series, form: str) -> pl.Series:
    """READING of every cell: Polars' own parser reads what it cannot misread, `read_carefully` the rest."""
    if (full_width := _of_full_width(form)) is None:
        return read_carefully(cells, form)
    shape, polars_form, parse_day = full_width
    plain = cells.to_frame("cell").select(pl.when(pl.col("cell").str.contains(shape)).then(pl.col("cell")))
    if parse_day:
        local = plain.to_series().str.to_date(polars_form, strict=False, cache=False).cast(pl.Datetime("us"))
    else:
        local = plain.to_series().str.to_datetime(polars_form, time_unit="us", strict=False, cache=False)
    offset = pl.repeat(None, len(cells), dtype=pl.Duration("us"), eager=True)
    left = (local.is_null() & cells.is_not_null()).arg_true()
    if len(left):
        careful = read_carefully(cells.gather(left), form).struct.field("local")
        local = local.scatter(left, careful)
    return pl.DataFrame({"local": local, "offset": offset}).to_struct(cells.name)


@lru_cache
def _of_full_width(form: str) -> tuple[str, str, bool] | None:
    """The shape of cells that Polars' parser reads as Python does, the parser's pattern, and whether it is of days.

    In such cells every number has all its digits, so that there is one way to read them and no room for signs and
    blanks.
    """
    named = directives(form)
    if not named <= _FULL_WIDTH.keys():
        return None
    shape = "".join(
        _FULL_WIDTH[token.directive] if token.directive else re.escape(token.text) for token in tokens(form)
    )
    polars_form = "".join(token.text if token.directive else token.text.replace("%", "%%") for token in tokens(form))
    return rf"\A{shape}\z", polars_form, not named & set("HMS")


def read_carefully(cells: pl.Series, form: str) -> pl.Series:
    """READING of every cell, directive by directive."""
    groups = cells.str.extract_groups(expression(form)).struct.unnest()
    named = directives(form)
    day = _day(named)
    values = groups.with_columns(day=pl.when(pl.col("rest") == "").then(day)).with_columns(
        local=pl.col("day").cast(pl.Datetime("us")) + pl.duration(microseconds=_since_midnight(named)),
        offset=_offset(named),
    )
    fits = pl.col("local").is_between(pl.datetime(1, 1, 1), pl.datetime(9999, 12, 31, 23, 59, 59, 999_999))
    if "z" in named:
        fits &= pl.col("offset").is_not_null()
    return values.select(
        pl.struct(pl.when(fits).then("local").alias("local"), pl.when(fits).then("offset").alias("offset"))
    ).to_series()


def _number(directive: str) -> pl.Expr:
    return pl.col(directive).str.strip_chars_start(" ").cast(pl.Int32, strict=False)


def _day(named: frozenset[str]) -> pl.Expr:
    """The day, in whichever way the pattern names it; NULL where it does not exist."""
    if "G" in named:
        fourth = _first_of(_number("G")).dt.offset_by("3d")
        monday = fourth - pl.duration(days=fourth.dt.weekday() - 1)
        day = monday + pl.duration(days=(_number("V") - 1) * 7 + _weekday(named))
        return pl.when(day.dt.iso_year() == _number("G")).then(day)
    year = _year(named)
    if week := named & {"U", "W"}:
        # Weeks begin on Sunday (%U) or Monday (%W); the days before the year's first such day are week 0.
        shift = 1 if "U" in week else 0
        january = _first_of(year)
        first = (january.dt.weekday() - 1 + shift) % 7
        since = (_weekday(named) + shift) % 7 - first + _number(min(week)) * 7
        since -= pl.when(first == 0).then(7).otherwise(0)
        day = january + pl.duration(days=since)
        return pl.when(day.dt.year() == year).then(day)
    if "j" in named:
        day = _first_of(year) + pl.duration(days=_number("j") - 1)
        day = pl.when(day.dt.year() == year).then(day)
    else:
        month = _number("m") if "m" in named else _named("b" if "b" in named else "B", MONTHS)
        day = _date(year, month, _number("d"))
    if named & set("aAwu"):
        day = pl.when(day.dt.weekday() - 1 == _weekday(named)).then(day)
    return day


def _year(named: frozenset[str]) -> pl.Expr:
    """The year; of two digits as POSIX has it: 69 to 99 are of the last century."""
    if "Y" in named:
        return _number("Y")
    return _number("y") + pl.when(_number("y") >= 69).then(1900).otherwise(2000)


def _first_of(year: pl.Expr) -> pl.Expr:
    return _date(year, pl.lit(1), pl.lit(1))


def _date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    iso = pl.format("{}-{}-{}", *(number.cast(pl.String).str.zfill(width) for number, width in
                                  ((year, 4), (month, 2), (day, 2))))  # fmt: skip
    return pl.when(year >= 1).then(iso).str.to_date("%Y-%m-%d", strict=False, cache=False)


def _named(directive: str, numbers: dict[str, int]) -> pl.Expr:
    return pl.col(directive).str.to_lowercase().replace_strict(numbers, default=None, return_dtype=pl.Int32)


def _weekday(named: frozenset[str]) -> pl.Expr:
    """0 (Monday) to 6."""
    if "u" in named:
        return _number("u") - 1
    if "w" in named:
        return (_number("w") + 6) % 7
    return _named("a" if "a" in named else "A", WEEKDAYS)


def _since_midnight(named: frozenset[str]) -> pl.Expr:
    """Microseconds. NULL for a leap second: no clock that a database keeps has one."""
    hour = pl.lit(0)
    if "H" in named:
        hour = _number("H")
    elif "I" in named:
        hour = _number("I") % 12 + pl.when(pl.col("p").str.to_lowercase() == "pm").then(12).otherwise(0)
    minute = _number("M") if "M" in named else pl.lit(0)
    second = _number("S") if "S" in named else pl.lit(0)
    micros = pl.col("f").str.pad_end(6, "0").cast(pl.Int64) if "f" in named else pl.lit(0)
    whole = (hour.cast(pl.Int64) * 60 + minute) * 60 + second
    return pl.when(second < 60).then(whole * _SECOND + micros)


def _offset(named: frozenset[str]) -> pl.Expr:
    if "Z" in named:
        return pl.duration(microseconds=pl.when(pl.col("Z").is_not_null()).then(pl.lit(0, pl.Int64)))
    if "z" not in named:
        return pl.lit(None, pl.Duration("us"))
    parts = pl.col("z").str.extract_groups(_OFFSET).struct

    def number(*groups: int, digits: int = 2) -> pl.Expr:
        texts = pl.coalesce(*(parts.field(str(group)) for group in groups)).fill_null("0")
        return texts.str.pad_end(digits, "0").cast(pl.Int64)

    seconds = (number(2) * 60 + number(3, 6)) * 60 + number(4, 7)
    micros = seconds * _SECOND + number(5, 8, digits=6)
    signed = pl.when(parts.field("1") == "-").then(-micros).otherwise(micros)
    offset = pl.when(pl.col("z") == "Z").then(pl.lit(0, pl.Int64)).when(parts.field("1").is_not_null()).then(signed)
    return pl.duration(microseconds=offset)
