"""date and datetime: ISO and RFC 3339, or the field's `format`; only days and times that exist."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from ingest_pipelines.config.spellings import DATE_PATTERN, DATETIME_PATTERN
from ingest_pipelines.config.time_patterns import contradicts_iso, directives
from ingest_pipelines.rules.types.base import Cell, FieldKind, Rule, Stages
from ingest_pipelines.rules.types.strptime import by_pattern


def _read_date(cell: Cell, source: pl.DataType) -> pl.Expr:
    raw = cell.raw
    if source == pl.Date:
        return _in_calendar(raw, raw.cast(pl.Datetime("us")))
    if isinstance(source, pl.Datetime):
        local = _wall_clock(raw, source, cell.zone)
        return _in_calendar(local.dt.date(), local)
    iso = pl.when(raw.str.contains(DATE_PATTERN) & pl.lit(_reads_iso(cell))).then(raw.str.slice(0, 10))
    day = iso.str.to_date("%Y-%m-%d", strict=False, cache=False)
    if cell.field.format is None:
        return day
    other = pl.when(day.is_null()).then(raw)
    return pl.coalesce(day, by_pattern(other, cell.field.format).struct.field("local").dt.date())


DATE = FieldKind(
    code="bad_date",
    dtype=lambda _: pl.Date(),
    reason=lambda cell: "not a calendar date such as 2001-12-31" + _or_format(cell),
    read=_read_date,
    takes=lambda source: source == pl.Date or isinstance(source, pl.Datetime),
)


def _reads_iso(cell: Cell) -> bool:
    """Whether ISO spellings are read in addition to the field's format: not if that reads the same text differently."""
    return cell.field.format is None or not contradicts_iso(cell.field.format)


def _or_format(cell: Cell) -> str:
    if cell.field.format is None:
        return ""
    zone = ", where %Z is UTC, GMT or Z" if "Z" in directives(cell.field.format) else ""
    return f", nor {cell.field.format}{zone}"


def _local(cell: Cell, source: pl.DataType) -> Stages:
    """The local time as the source wrote it, and its offset from UTC if the source has one."""
    raw = cell.raw
    if isinstance(source, pl.Datetime):
        local = _wall_clock(raw, source, cell.zone)
        return ({cell.local_name: _in_calendar(local, local)},)
    iso, tail, zone, spaced, joined, offset, by_format = (
        _part(cell, part) for part in ("iso", "tail", "zone", "spaced", "joined", "offset", "by_format")
    )
    micros = tail.str.extract(r"^\.([0-9]{1,6})", 1).str.pad_end(6, "0").cast(pl.Int64)
    hours, minutes = (zone.str.slice(start, 2).cast(pl.Int64, strict=False) for start in (1, 4))
    minutes += hours * 60
    # Parsing a text that does not fit costs four times as much: each parser gets only what the last one left.
    stages: list[dict[str, pl.Expr]] = [
        {"iso": pl.when(raw.str.contains(DATETIME_PATTERN) & pl.lit(_reads_iso(cell))).then(raw)},
        {
            "spaced": _clock(pl.when(iso.str.contains(" ", literal=True)).then(iso), " "),
            "tail": pl.when(iso.str.len_bytes() > 19).then(iso.str.slice(19)),
        },
        {
            "joined": _clock(pl.when(spaced.is_null()).then(iso), "T"),
            "zone": tail.str.extract(r"([Zz]|[+-][0-9:]+)$", 1),
        },
        {
            "offset": pl.duration(
                minutes=pl.when(zone.str.len_bytes() == 1)
                .then(0)
                .when(zone.str.starts_with("-"))
                .then(-minutes)
                .otherwise(minutes)
            ),
            "local": pl.coalesce(spaced, joined, _clock(pl.when(spaced.is_null() & joined.is_null()).then(iso), "t"))
            + pl.duration(microseconds=micros.fill_null(0)),
        },
    ]
    if cell.field.format is not None:
        other = pl.when(cell.local.is_null()).then(raw)
        stages.append({"by_format": by_pattern(other, cell.field.format)})
        stages.append(
            {part: pl.coalesce(_part(cell, part), by_format.struct.field(part)) for part in ("local", "offset")}
        )
    utc = cell.local - offset.fill_null(timedelta(0))
    stages.append({"local": _in_calendar(cell.local, utc)})
    return [{f"{part}:{cell.name}": column for part, column in stage.items()} for stage in stages]


def _wall_clock(column: pl.Expr, source: pl.Datetime, zone: str) -> pl.Expr:
    """Local time in `zone`; a column without a zone is taken to be local time already."""
    at = column.cast(pl.Datetime("us", source.time_zone))
    return at.dt.convert_time_zone(zone).dt.replace_time_zone(None) if source.time_zone else at


def _in_calendar(kept: pl.Expr, at: pl.Expr) -> pl.Expr:
    """NULL where `at` is in no year from 1 to 9999: Python's calendar, within Postgres's."""
    return pl.when(at.is_between(datetime.min, datetime.max)).then(kept)


def _part(cell: Cell, part: str) -> pl.Expr:
    return pl.col(f"{part}:{cell.name}")


def _clock(iso: pl.Expr, separator: str) -> pl.Expr:
    """Day, hour, minute and second of an ISO text."""
    return iso.str.head(19).str.to_datetime(f"%Y-%m-%d{separator}%H:%M:%S", time_unit="us", strict=False, cache=False)


def _read_datetime(cell: Cell, source: pl.DataType) -> pl.Expr:
    if isinstance(source, pl.Datetime) and source.time_zone:
        return cell.raw.cast(pl.Datetime("us", source.time_zone)).dt.convert_time_zone("UTC")
    if cell.zone == "UTC":
        here = cell.local.dt.replace_time_zone("UTC")
    else:
        here = cell.local.dt.replace_time_zone(cell.zone, ambiguous="null", non_existent="null")
        here = here.dt.convert_time_zone("UTC")
    if isinstance(source, pl.Datetime):
        return here
    offset = _part(cell, "offset")
    return pl.coalesce((cell.local - offset).dt.replace_time_zone("UTC"), here)


def _clock_changes(cell: Cell) -> Sequence[Rule]:
    """Rules against local times that the import's zone skips or repeats: they name no point in time, or two."""
    if cell.zone == "UTC":
        return ()
    unknown = pl.when(cell.value.is_null()).then(cell.local)
    exists = unknown.dt.replace_time_zone(cell.zone, ambiguous="earliest", non_existent="null").is_not_null()
    return (
        cell.rule(
            "bad_datetime",
            f"{cell.zone} skips this local time when its clocks go forward; write the offset",
            unknown.is_null() | exists,
        ),
        cell.rule(
            "bad_datetime",
            f"{cell.zone} has this local time twice when its clocks go back; write the offset",
            unknown.is_null() | ~exists,
        ),
    )


DATETIME = FieldKind(
    code="bad_datetime",
    dtype=lambda _: pl.Datetime("us", "UTC"),
    reason=lambda cell: "not a point in time such as 2001-12-31T23:59:59Z" + _or_format(cell),
    read=_read_datetime,
    takes=lambda source: isinstance(source, pl.Datetime),
    before=_local,
    accepts=lambda cell: cell.local.is_not_null() | ~cell.given,
    rules=_clock_changes,
)

EARLIEST = date(1753, 1, 1)
"""SQL Server's first `datetime`; vendors' systems accept none before it."""


def date_rules(cell: Cell, default_dates: Sequence[date]) -> Sequence[Rule]:
    """Rules of every date and datetime: none before EARLIEST, none that means "unknown"."""
    day = cell.value if cell.field.type == "date" else cell.local.dt.date()
    rules = [cell.rule("date_too_early", f"before {EARLIEST}", (day >= EARLIEST).fill_null(True))]
    if default_dates:
        named = ", ".join(map(str, default_dates))
        no_default = ~day.is_in(list(default_dates)).fill_null(False)
        rules.append(cell.rule("default_date", f"a default date ({named}): leave the cell empty instead", no_default))
    return rules
