"""A schedule's plan: every so often, at times on chosen days, or by cron; in a time zone, from a start until a day."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, WithJsonSchema, model_validator

from ingest_pipelines.config.base import Duration, Strict, TimeZone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ORDINALS = {"1st": "1st", "first": "1st", "2nd": "2nd", "second": "2nd", "3rd": "3rd", "third": "3rd", "4th": "4th",
             "fourth": "4th", "last": "last"}  # fmt: skip
_ORDINAL_WORDS = ("1st", "2nd", "3rd", "4th", "last")


def _time_of_day(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value) is None:
        raise ValueError('a time of day is written "06:30", from "00:00" to "23:59"')
    return value


def _month(value: Any) -> int:
    name = str(value).lower()[:3]
    if name in MONTHS and str(value).lower() in calendar.month_name[MONTHS.index(name) + 1].lower():
        return MONTHS.index(name) + 1
    if isinstance(value, int) and 1 <= value <= 12:
        return value
    raise ValueError("a month is jan to dec, or 1 to 12")


def _weekday(value: Any) -> str:
    *which, day = str(value).lower().split() or [""]
    full = [calendar.day_name[index].lower() for index in range(7)]
    if len(which) <= 1 and all(word in _ORDINALS for word in which):
        for short, name in zip(WEEKDAYS, full, strict=True):
            if day in {short, name}:
                return " ".join([*(_ORDINALS[word] for word in which), short])
    raise ValueError("a weekday is mon to sun, or one of its month: 1st mon, 2nd tue, 3rd wed, 4th thu, last fri")


def _day(value: Any) -> int | str:
    if value == "last" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 31):
        return "last" if value == "last" else int(value)
    raise ValueError("a day of the month is 1 to 31, or last")


_CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


def _cron(value: str) -> str:
    fields = value.split()
    if len(fields) != 5:
        raise ValueError('a cron line has five fields: minute, hour, day, month, weekday, such as "30 6 * * 1-5"')
    for text, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        for part in text.lower().split(","):
            if not _cron_part(part, name, low, high):
                raise ValueError(f"cron: '{part}' is no {name}; it is {low} to {high}, a range 1-5, a step */15, or *")
    if _never(*(field.lower() for field in fields[2:])):
        raise ValueError("none of these months has such a day")
    return " ".join(fields)


def _never(days: str, months: str, weekdays: str) -> bool:
    """Whether no date has one of the days, as 30 February; Dagster takes no schedule without ticks."""
    firsts = [part.partition("-")[0].partition("/")[0] for part in days.split(",")]
    named = [MONTHS.index(part) + 1 if part in MONTHS else int(part) for part in months.split(",") if part.isalnum()]
    if weekdays != "*" or len(named) != months.count(",") + 1 or not all(first.isdigit() for first in firsts):
        return False  # a weekday is enough, or the fields hold more than numbers
    return not any(int(first) <= calendar.monthrange(2028, month)[1] for first in firsts for month in named)


def _cron_part(part: str, name: str, low: int, high: int) -> bool:
    if name == "day" and part == "l":
        return True
    names = {"month": MONTHS, "weekday": WEEKDAYS}.get(name, ())
    number = rf"(?:\d{{1,2}}{''.join('|' + each for each in names)})"
    if name == "weekday" and re.fullmatch(rf"{number}#[1-5]|l[0-7]", part):
        return True
    match = re.fullmatch(rf"(?:\*|({number})(?:-({number}))?)(?:/(\d{{1,2}}))?", part)
    if match is None or match[3] in {"0", "00"}:
        return False
    return all(not text.isdigit() or low <= int(text) <= high for text in (match[1], match[2]) if text)


TimeOfDay = Annotated[
    str, BeforeValidator(_time_of_day), WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$"})
]
Month = Annotated[
    int, BeforeValidator(_month), WithJsonSchema({"enum": [*MONTHS, *range(1, 13)]}),
]  # fmt: skip
Weekday = Annotated[
    str, BeforeValidator(_weekday),
    WithJsonSchema({"enum": [*WEEKDAYS, *(f"{nth} {day}" for nth in _ORDINAL_WORDS for day in WEEKDAYS)]}),
]  # fmt: skip
MonthDay = Annotated[
    int | str,
    BeforeValidator(_day),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 31}, {"const": "last"}]}),
]


class Schedule(Strict):
    """When an import runs by itself.

    Attributes:
        every: so often by the wall clock, counted from `start`, else from midnight.
        at: times of day; alone: daily. With `dates`, or with `months`, `weekdays` or `days`: only on those.
        weekdays: `mon`, or one of its month: `2nd tue`, `last fri`.
        days: days of the month, 1 to 31 or `last`.
        cron: five fields, for whatever the others cannot say.
        start: no tick before it, in `timezone` unless it has an offset of its own.
        until: the last day with a tick; after it the import is `ended`.
        run_now: the first run when the import becomes active, and not at its first tick.
    """

    every: Duration | None = None
    at: tuple[TimeOfDay, ...] = ()
    dates: tuple[date, ...] = ()
    months: tuple[Month, ...] = ()
    weekdays: tuple[Weekday, ...] = ()
    days: tuple[MonthDay, ...] = ()
    cron: Annotated[str, AfterValidator(_cron)] | None = Field(default=None)
    start: datetime | None = None
    until: date | None = None
    timezone: TimeZone = "UTC"
    run_now: StrictBool = False

    @model_validator(mode="after")
    def _one_plan(self) -> Self:
        if sum((self.every is not None, bool(self.at), self.cron is not None)) != 1:
            raise ValueError("a schedule has every, at or cron, exactly one of them")
        chosen = [key for key in ("dates", "months", "weekdays", "days") if getattr(self, key)]
        if chosen and not self.at:
            raise ValueError(f'{chosen[0]} goes with at: ["06:00"]')
        if self.dates and len(chosen) > 1:
            raise ValueError(f"dates are whole days of a calendar; they do not go with {chosen[1]}")
        if self.weekdays and self.days:
            raise ValueError("choose weekdays or days of the month, not both")
        if self.every is not None:
            minutes, seconds = divmod(int(self.every.total_seconds()), 60)
            if seconds or not ((minutes < 60 and 60 % minutes == 0) or (minutes % 60 == 0 and 1440 % minutes == 0)):
                raise ValueError("every must divide an hour or a day evenly: 5m, 15m, 1h, 6h, 12h, 24h ...")
        if self.start is not None and self.until is not None and self.start.date() > self.until:
            raise ValueError("the schedule starts after its last day")
        if self.days and not any(day == "last" or self._possible(int(day)) for day in self.days):
            raise ValueError("none of these months has such a day")
        return self

    def _possible(self, day: int) -> bool:
        return any(day <= calendar.monthrange(2028, month)[1] for month in self.months or range(1, 13))

    @property
    def ends_on(self) -> date | None:
        """The last day on which there can be a tick; None: it has no end."""
        ends = [day for day in (self.until, max(self.dates, default=None)) if day is not None]
        return min(ends, default=None)

    @property
    def words(self) -> str:
        """The plan for people: `every 6h from 06:30, Europe/London, until 2027-06-30`."""
        said = [self._when()]
        if self.timezone != "UTC" or self.every is None or self.every >= timedelta(days=1):
            said.append(self.timezone)
        if self.until is not None:
            said.append(f"until {self.until.isoformat()}")
        return ", ".join(said)

    def _when(self) -> str:
        if self.cron is not None:
            return f"cron {self.cron}"
        if self.every is not None:
            since = f" from {self.start:%H:%M}" if self.start is not None else ""
            return f"every {_short(self.every)}{since}"
        on = "daily"
        if self.dates:
            on = f"on {', '.join(day.isoformat() for day in sorted(self.dates))}"
        elif self.weekdays:
            on = f"every {', '.join(self.weekdays)}"
        elif self.days:
            on = f"on day {', '.join(map(str, self.days))}"
        months = f" of {', '.join(MONTHS[month - 1] for month in self.months)}" if self.months else ""
        return f"{on}{months} at {', '.join(sorted(self.at))}"


def _short(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
