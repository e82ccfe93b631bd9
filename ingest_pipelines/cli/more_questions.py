"""What `ingest new` asks besides: how an own SELECT is read, and with --more matching, consents, places, limits, times.

The answers have the names of the studio's form; `actions/` turns both into the same YAML.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from ingest_pipelines.actions.draft import MappedColumn
from ingest_pipelines.actions.form_rules import (
    IN_A_COLUMN,
    LIMITS,
    MATCH_WAYS,
    PLACES,
    limits_for,
    limits_of,
)
from ingest_pipelines.actions.form_source import READ_EACH_TIME
from ingest_pipelines.cli import screen
from ingest_pipelines.errors import printable

if TYPE_CHECKING:
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config.databases import Database
    from ingest_pipelines.detection import Reading

Answers = dict[str, str]


def ask_how_it_is_read(query: str, ask: Questions) -> Answers:
    """What each load of an own SELECT reads: all rows, new ones, or one window after the other."""
    answers = {"reads": "query", "query": query}
    marks = "window" if "{windowStart}" in query else "cursor" if "{lastItem}" in query else ""
    for name, what in READ_EACH_TIME.items():
        screen.note(f"  {name or 'all'}: {what}")
    answers["per"] = ask.one_of("each load reads", ["all", "cursor", "window"], marks or "all").replace("all", "")
    if answers["per"] == "cursor":
        answers["cursor_column"] = ask.text("cursor: the column by which rows are ordered")
        answers["cursor_start"] = ask.text("cursor: its first value, a number, a day or a time")
    if answers["per"] == "window":
        answers["window_every"] = ask.one_of("window: one item per", ["hour", "day", "week", "month"], "day")
        answers["window_start"] = ask.text("window: when the first one starts (2026-01-01)", wrong=_wrong_day)
        answers["window_timezone"] = ask.text("window: time zone", "UTC")
    return answers


def _wrong_day(answer: str) -> str | None:
    from datetime import datetime

    try:
        datetime.fromisoformat(answer)
    except ValueError:
        return "a day such as 2026-01-01"
    return None


def ask_for_more(reading: Reading, target: Database, ask: Questions) -> Answers:
    """Matching, rows and cells that need a rule, who may see the import, consents, places. Enter keeps a default."""
    answers: Answers = {}
    ways = [way or "key" for way in MATCH_WAYS]
    for way, (_, what) in zip(ways, MATCH_WAYS.items(), strict=True):
        screen.note(f"  {way}: {what}")
    answers["match"] = ask.one_of("a row finds its customer by", ways, "key").removeprefix("key")
    if answers["match"] == "field":
        answers["match_field"] = ask.one_of(
            "match: which field", [name for name in target.fields if name != target.key]
        )
    answers["duplicates"] = ask.one_of("a key twice in one file", ["reject", "last", "first"], "reject")
    answers["empty"] = ask.one_of("an empty cell", ["clear", "keep"], "clear")
    answers["groups"] = ask.text("groups of people who may see it (empty: as the database says)", "")
    if target.resources:
        answers |= _ask_for_a_consent(reading, target, ask)
    if target.geo_database is not None:
        answers |= _ask_for_places(reading, ask)
    return answers


def _ask_for_a_consent(reading: Reading, target: Database, ask: Questions) -> Answers:
    from ingest_pipelines.config.databases import Channel
    from ingest_pipelines.config.imports import SubscriptionStatus

    resource = ask.one_of("every row consents to", ["nothing", *target.resources], "nothing")
    if resource == "nothing":
        return {}
    answers = {"sub_resource": resource, "sub_channel": ask.one_of("consent: channel", get_args(Channel))}
    answers["sub_contact"] = ask.one_of("consent: the column with the contact", reading.columns)
    statuses = [*get_args(SubscriptionStatus), IN_A_COLUMN]
    answers["sub_status"] = ask.one_of("consent: status (column: as a column says)", statuses, "subscribed")
    if answers["sub_status"] == IN_A_COLUMN:
        answers["sub_column"] = ask.one_of("consent: the column with the status", reading.columns)
    return answers


def _ask_for_places(reading: Reading, ask: Questions) -> Answers:
    ip = ask.one_of("geo: the column with an IP address", ["none", *reading.columns], "none")
    if ip == "none":
        return {}
    return {
        "geo_ip": ip,
        **{f"geo_{place}": ask.text(f"geo: field for the {place} (empty: none)", "") for place in PLACES},
    }


def ask_for_limits(columns: Sequence[MappedColumn], known: Collection[str], ask: Questions) -> list[MappedColumn]:
    """The columns, with the limits of fields that no import fills yet."""
    limited = []
    for place, mapped in enumerate(columns):
        kind = "" if mapped.field in known else str((mapped.rules or {}).get("type", ""))
        answers = {
            f"{key}:{place}": ask.text(f"{printable(mapped.field)}: {LIMITS[key]} (empty: no limit)", "")
            for key in limits_for(kind)
        }
        rules = {**(mapped.rules or {}), **limits_of(answers, place, kind)}
        limited.append(replace(mapped, rules=rules or None))
    return limited


def ask_for_times(every: str, ask: Questions) -> Mapping[str, str]:
    """When it runs, where `every` does not say it: at times of a day, on days of a week, from a moment on."""
    if every:
        answers = {"when": "every", "every": every}
    else:
        answers = {"when": ask.one_of("it runs", ["by hand", "daily", "weekdays", "cron"], "by hand")}
        if answers["when"] == "by hand":
            return {}
    if answers["when"] == "cron":
        answers["cron"] = ask.text("cron line: minute, hour, day, month, weekday", wrong=_wrong_cron)
    elif answers["when"] != "every":
        answers["at"] = ask.text("at (06:00, 18:30)", "06:00")
    if answers["when"] == "weekdays":
        answers["weekdays"] = ask.text("day of the week (mon, or last fri)", "mon")
    answers["schedule_timezone"] = ask.text("time zone of the schedule", "UTC")
    answers["start"] = ask.text("no run before (2026-12-01T06:00; empty: none)", "")
    answers["until"] = ask.text("the last day (empty: none)", "")
    return answers


def _wrong_cron(answer: str) -> str | None:
    from ingest_pipelines.config.mistakes import first_mistake
    from ingest_pipelines.config.schedule import Schedule

    return first_mistake(Schedule, {"cron": answer})
