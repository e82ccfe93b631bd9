"""A customer who is added must be found again by the same value: else every delivery would add the customer anew."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import

DATABASE = {
    "table": "crm.customers",
    "key": "id",
    "key_default": "uuid",
    "fields": {
        "id": {"type": "string"}, "email": {"type": "email"}, "phone": {"type": "phone"}, "tier": {"type": "string"},
    },
    "resources": {"news": {"channels": ["email", "sms", "push"]}},
}  # fmt: skip


def problems(match: dict[str, str], fields: str = "", told: dict[str, str] | None = None, **spec: Any) -> list[str]:
    """What is wrong with the import; `fields` are those that are mapped, from columns of the same name."""
    subscriptions = [
        {"resource": "news", "channel": c, "contact": f, "status": "subscribed"} for c, f in (told or {}).items()
    ]
    columns = {name: name for name in ("tier", *fields.split())}
    connection = TypeAdapter[Connection](Connection).validate_python({"type": "csv", "directory": "/tmp"})
    parsed = Import.model_validate(
        {"database": "people", "source": {"connection": "files"}, "columns": columns, "match": match,
         "subscriptions": subscriptions, **spec}
    )  # fmt: skip
    _, found = bind("feed", parsed, {"files": connection}, {"people": Database.model_validate(DATABASE)}, {})
    return [what for _, what in found]


@pytest.mark.parametrize(
    ("match", "fields", "told"),
    [
        ({"by": "email"}, "email", {}),
        ({"by": "email_profile"}, "email", {}),
        ({"by": "email_profile", "column": "email"}, "email", {}),
        ({"by": "email", "column": "Mail"}, "", {"email": "Mail"}),
        ({"by": "email_subscription", "column": "Mail"}, "", {"email": "Mail"}),
        ({"by": "email_subscription"}, "email", {"email": "email"}),
        ({"by": "phone_subscription", "column": "Mobile"}, "", {"sms": "Mobile"}),
        ({"by": "push", "column": "Token"}, "", {"push": "Token"}),
        ({"by": "channel", "channel": "sms", "column": "Mobile"}, "", {"sms": "Mobile"}),
        ({"by": "email_or_phone_profile"}, "email phone", {}),
        ({"by": "email_or_phone_subscription"}, "email phone", {"email": "email", "sms": "phone"}),
        ({"by": "field", "field": "phone"}, "phone", {}),
    ],
)  # fmt: skip
def test_a_value_that_the_load_keeps_may_add_customers(
    match: dict[str, str], fields: str, told: dict[str, str]
) -> None:
    assert problems(match, fields, told) == []


@pytest.mark.parametrize(
    ("match", "fields", "told", "ways"),
    [
        ({"by": "email_profile", "column": "Mail"}, "", {"email": "Mail"}, "map 'Mail' to a field of type email"),
        ({"by": "email_subscription"}, "email", {}, "add a subscription with contact: email"),
        ({"by": "email", "column": "Mail"}, "", {},
         "map 'Mail' to a field of type email, or add a subscription with contact: Mail"),
        ({"by": "push", "column": "Token"}, "", {"email": "Token"}, "add a subscription with contact: Token"),
        ({"by": "channel", "channel": "sms", "column": "Mobile"}, "", {"email": "Mobile"},
         "add a subscription with contact: Mobile"),
        ({"by": "email_or_phone_subscription"}, "email phone", {"email": "email"},
         "add a subscription with contact: phone"),
    ],
)  # fmt: skip
def test_a_value_that_the_load_forgets_may_not(
    match: dict[str, str], fields: str, told: dict[str, str], ways: str
) -> None:
    column = ways.rpartition(": ")[2] if "contact" in ways else "Mail"
    assert problems(match, fields, told) == [
        f"match: a customer added by '{column}' is not found by it next time, and would be added again; "
        f"{ways}, or use mode: update_only"
    ]
    assert problems(match, fields, told, mode="update_only") == []
