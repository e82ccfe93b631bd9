"""A cursor's values, exact: text in the ledger, typed where a query binds them. Pure.

The initial value, the import's `cursor.start`, says what the column holds: a number, a moment (an ISO date or
timestamp), or any other text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation, localcontext
from typing import Literal

CursorKind = Literal["number", "moment", "text"]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANOS = 1_000_000_000
_DIGITS = 200
"""More than any database's numbers have; the default context would round."""


@dataclass(frozen=True)
class Moment:
    """A timestamp to the nanosecond, which is finer than datetime can hold.

    Attributes:
        nanoseconds: since 1970-01-01, of UTC where `zoned`, else of the wall clock that the column shows.
        zoned: whether it is a point in time; False: the column has no time zone.
    """

    nanoseconds: int
    zoned: bool

    @classmethod
    def of(cls, value: datetime) -> Moment:
        """The datetime, with or without its zone."""
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return cls(micros * 1_000, value.tzinfo is not None)

    @property
    def datetime(self) -> datetime:
        """In UTC, or without a zone; what is below a microsecond is cut off."""
        moment = _EPOCH + timedelta(microseconds=self.nanoseconds // 1_000)
        return moment if self.zoned else moment.replace(tzinfo=None)

    def text(self, separator: str = "T", zone: str = "+00:00", digits: int = 9) -> str:
        """`2026-01-02T03:04:05.678901+00:00`: as many digits of a second as it has, at most `digits`."""
        fraction = f"{self.nanoseconds % NANOS:09d}"[:digits].rstrip("0")
        day = self.datetime.replace(microsecond=0, tzinfo=None).isoformat(separator)
        return day + (f".{fraction}" if fraction else "") + (zone if self.zoned else "")

    def naive(self) -> Moment:
        """The same clock in UTC, for databases whose timestamps have no zone."""
        return Moment(self.nanoseconds, zoned=False)


CursorValue = int | Decimal | str | date | Moment
"""What a query's `{lastItem}`, `{windowStart}` and `{windowEnd}` are bound to. A datetime never is one of them."""


def cursor_kind(start: int | float | str) -> CursorKind:
    """What the cursor column holds, by the value it starts from."""
    if not isinstance(start, str):
        return "number"
    return "moment" if _DATE.fullmatch(start) or _TIMESTAMP.fullmatch(start) else "text"


def parse_cursor(text: str, kind: CursorKind) -> CursorValue:
    """The value that the text spells.

    Raises:
        ValueError: it spells none of that kind.
    """
    if kind == "text":
        return text
    if kind == "number":
        return _number(text)
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError("a cursor of dates or timestamps is spelled 2026-01-31 or 2026-01-31T23:59:59.5+00:00")
    day, clock, fraction, zone = match.groups()
    whole = Moment.of(datetime.fromisoformat(f"{day}T{clock}{zone or ''}"))
    return Moment(whole.nanoseconds + int((fraction or "0").ljust(9, "0")), whole.zoned)


def _number(text: str) -> int | Decimal:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError("a cursor of numbers is spelled in digits: 12345 or 12.5")
    return number


def cursor_text(value: CursorValue) -> str:
    """The value as the ledger keeps it; `parse_cursor` gives the same value back."""
    if isinstance(value, Moment):
        return value.text()
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, date) else str(value)


def less_lag(value: CursorValue, lag: timedelta | Decimal) -> CursorValue:
    """The value just before `value - lag`: the rows beyond it begin exactly one lag before `value`.

    Without a lag it is the value itself, whose rows have been read.
    """
    if not lag:
        return value
    if isinstance(value, Moment) and isinstance(lag, timedelta):
        micros = (lag.days * 86_400 + lag.seconds) * 1_000_000 + lag.microseconds
        return Moment(value.nanoseconds - (micros + 1) * 1_000, value.zoned)
    if isinstance(value, date) and isinstance(lag, timedelta):
        return value - timedelta(days=1 - (-lag // timedelta(days=1)))
    if isinstance(value, int | Decimal) and isinstance(lag, Decimal):
        with localcontext(prec=_DIGITS):
            less = value - lag
            digits = less.as_tuple().exponent
            assert isinstance(digits, int)
            return _number(format(less - Decimal((0, (1,), min(0, digits))), "f"))
    return value


def just_before(value: CursorValue) -> CursorValue:
    """A value from which the rows of `value` are read again: the nearest one before it; a text without its last letter.

    In nearly every collation a text comes after its own beginning; some rows before it are read again as well.
    """
    if isinstance(value, Moment):
        return Moment(value.nanoseconds - 1_000, value.zoned)
    if isinstance(value, date):
        return value - timedelta(days=1)
    if isinstance(value, str):
        return value[:-1]
    with localcontext(prec=_DIGITS):
        return value - 1


def not_after(value: CursorValue, other: CursorValue) -> bool:
    """Whether `value` <= `other`. Only the source's own order can say of texts; of them only equality counts."""
    if isinstance(value, int | Decimal) and isinstance(other, int | Decimal):
        return value <= other
    if isinstance(value, Moment | date) and isinstance(other, Moment | date):
        return _clock(value) <= _clock(other)
    return value == other


def in_future(value: CursorValue, now: datetime, zone: tzinfo) -> bool:
    """Whether a date or timestamp lies after `now`; one without a zone is read in `zone`.

    So does the date of today: rows of a day that is not over are still to come.
    """
    if isinstance(value, Moment):
        here = now if value.zoned else now.astimezone(zone).replace(tzinfo=None)
        return value.nanoseconds > Moment.of(here).nanoseconds
    return isinstance(value, date) and value >= now.astimezone(zone).date()


def _clock(value: Moment | date) -> int:
    if isinstance(value, Moment):
        return value.nanoseconds
    return Moment.of(datetime(value.year, value.month, value.day)).nanoseconds
