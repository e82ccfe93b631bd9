"""What an import does with its rows, and when it runs, as a form's or a person's answers say: keys of its YAML.

Answers are texts by the names of the form's fields; `ingest new` asks for the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ingest_pipelines.config.field_types import FIELD_TYPES

if TYPE_CHECKING:
    from ingest_pipelines.actions.form_columns import Answers

MATCH_WAYS: Mapping[str, str] = {
    "": "its key", "field": "another field", "email": "its e-mail address", "phone": "its phone number",
    "email_profile": "the e-mail address of a profile", "phone_profile": "the phone number of a profile",
    "email_subscription": "a subscribed e-mail address", "phone_subscription": "a subscribed phone number",
    "email_or_phone_profile": "e-mail address or phone number of a profile",
}  # fmt: skip
"""How a row finds its customer."""

IN_A_COLUMN = "column"
"""The answer for a consent whose status is in a column of the source."""

PLACES = ("country", "region", "city")
"""What `geo` finds out of an IP address."""

LIMITS: Mapping[str, str] = {"max_length": "at most so many characters", "min": "at least", "max": "at most"}
"""Limits of a new field that a form asks for, each where the field's type takes it."""


def rejects_of(answers: Answers) -> dict[str, object]:
    """How many rows may be rejected."""
    kind, amount = answers.get("rejects", "none"), _text(answers, "rejects_amount") or "0"
    if kind == "any":
        return {"unlimited": True}
    if kind == "percent":
        return {"max_percent": _number(amount)}
    return {"max_rows": 0 if kind != "rows" else int(amount) if amount.isdecimal() else amount}


def _text(answers: Answers, name: str) -> str:
    return str(answers.get(name, "")).strip()


def _number(text: str) -> int | float | str:
    number = float(text) if re.fullmatch(r"-?\d{1,12}(\.\d{1,6})?", text) else None
    return text if number is None else int(number) if number.is_integer() else number


def more_of(answers: Answers) -> dict[str, object]:
    """Matching, rows and cells that need a rule, who may see the import, consents, places."""
    more: dict[str, object] = {}
    if by := str(answers.get("match", "")):
        more["match"] = {"by": by, "field": str(answers.get("match_field", ""))} if by == "field" else by
    if answers.get("duplicates") in {"last", "first"}:
        more["duplicates"] = answers["duplicates"]
    if answers.get("empty") == "keep":
        more["empty"] = "keep"
    if groups := [name.strip() for name in str(answers.get("groups", "")).split(",") if name.strip()]:
        more["groups"] = groups
    if answers.get("sub_resource"):
        more["subscriptions"] = [_consent(answers)]
    if ip := str(answers.get("geo_ip", "")):
        places = {place: field for place in PLACES if (field := _text(answers, f"geo_{place}"))}
        more["geo"] = {"ip": ip, **places}
    return more


def _consent(answers: Answers) -> dict[str, object]:
    """What each row says of a consent."""
    status = str(answers.get("sub_status", "")) or "subscribed"
    said = {"status_column": str(answers.get("sub_column", ""))} if status == IN_A_COLUMN else {"status": status}
    changes = {key: True for key in ("update_status", "resubscribe") if answers.get(f"sub_{key}") == "on"}
    return {"resource": answers.get("sub_resource", ""), "channel": answers.get("sub_channel", ""),
            "contact": answers.get("sub_contact", ""), **said, **changes}  # fmt: skip


def schedule_of(answers: Answers) -> dict[str, object]:
    """The schedule as YAML has it; empty: none."""
    when = answers.get("when", "")
    times = [time.strip() for time in str(answers.get("at", "")).split(",") if time.strip()]
    plan: dict[str, object] = {}
    if when == "every":
        plan = {"every": _text(answers, "every") or "1d"}
    elif when == "cron":
        plan = {"cron": _text(answers, "cron")}
    elif when in {"daily", "weekdays", "days"}:
        plan = {"at": times or ["06:00"]}
        if when == "weekdays":
            plan["weekdays"] = _listed(answers.get("weekdays")) or ["mon"]
        if when == "days":
            days = [day.strip() for day in str(answers.get("days", "")).split(",") if day.strip()] or ["1"]
            plan["days"] = [int(day) if day.isdecimal() and len(day) < 3 else day for day in days]
    if not plan:
        return {}
    for key in ("start", "until"):
        if given := _text(answers, key):
            plan[key] = given
    zone = _text(answers, "schedule_timezone")
    return {**plan, **({"timezone": zone} if zone and zone != "UTC" else {})}


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value else []


def limits_for(kind: str) -> tuple[str, ...]:
    """The limits that a field of the type can have."""
    record = FIELD_TYPES.get(kind.partition("(")[0])
    return tuple(key for key in LIMITS if record is not None and key in record.takes)


def limits_of(answers: Answers, place: int, kind: str) -> dict[str, object]:
    """The limits of the new field that the column fills."""
    given = {key: _text(answers, f"{key}:{place}") for key in limits_for(kind)}
    record = FIELD_TYPES.get(kind.partition("(")[0])
    is_date = record is not None and record.is_date
    return {key: text if is_date else _number(text) for key, text in given.items() if text}
