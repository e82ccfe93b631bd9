"""Mistakes in imports that delete or mark profiles are found before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import

DATABASE = Database.model_validate(
    {
        "table": "crm.customers", "key": "id",
        "fields": {
            "id": {"type": "string"}, "email": {"type": "email"}, "active": {"type": "bool"},
            "name": {"type": "string"},
            "tier": {"type": "enum", "options": ["Gold", "Silver"]}, "tags": {"type": "array"},
        },
        "resources": {"news": {"channels": ["email"]}},
    }
)  # fmt: skip
CONSENT = {"resource": "news", "channel": "email", "contact": "Mail", "status": "unsubscribed"}
CURSOR = {
    "connection": "shop", "query": "SELECT id, name FROM t WHERE id > {lastItem} ORDER BY id",
    "cursor": {"column": "id", "start": 0},
}  # fmt: skip
LIST = {"mode": "delete", "columns": {"ID": "id"}}
MARK = {"mode": "deactivate", "columns": {"ID": "id"}, "set": {"active": False}}
FULL = {"snapshot": True, "columns": {"ID": "id", "Name": "name"}}


def problems(**spec: Any) -> list[str]:
    vendor = {"type": "csv", "directory": "/tmp"}
    shop = {"type": "postgresql", "host": "h", "database": "d", "username": "u", "password": {"env": "HOME"}}
    adapter = TypeAdapter[Connection](Connection)
    connections = {"vendor": adapter.validate_python(vendor), "shop": adapter.validate_python(shop)}
    source = spec.pop("source", {"connection": "vendor", "file": "drop/Points"})
    parsed = Import.model_validate({"database": "customers", "source": source, **spec})
    return [said for _, said in bind("leavers", parsed, connections, {"customers": DATABASE}, {})[1]]


@pytest.mark.parametrize(
    "spec",
    [
        LIST, MARK, FULL, {**FULL, "set": {"active": False, "tier": "Gold"}},
        {**LIST, "match": "email", "columns": {"Mail": "email"}}, {**MARK, "deletes": {"max_percent": 50}},
    ],
)  # fmt: skip
def test_a_good_import_has_no_problem(spec: dict[str, Any]) -> None:
    assert problems(**spec) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({**LIST, "columns": {"ID": "id", "Name": "name"}}, "columns.Name: 'name' is no key: mode: delete reads which"),
        ({**MARK, "columns": {"ID": "id", "Name": "name"}}, "columns.Name: 'name' is no key: mode: deactivate"),
        ({**LIST, "columns": {"ID": "id", "x": {"field": "name", "constant": "x"}}}, "columns.x: mode: delete fills"),
        ({**LIST, "match": "email", "columns": {"Mail": "email", "ID": "id"}}, "columns.ID: 'id' is no key"),
        ({**LIST, "subscriptions": [CONSENT]}, "subscriptions: does not go with mode: delete"),
        ({**LIST, "version": "V"}, "version: does not go with mode: delete"),
        ({**LIST, "snapshot": True}, "snapshot: does not go with mode: delete"),
        ({**LIST, "set": {"active": False}}, "set: goes with mode: deactivate, or with snapshot: true"),
        ({**MARK, "set": {}}, "mode: deactivate needs the values that mark a profile"),
        ({**MARK, "set": {"activ": False}}, "set.activ: 'activ' is not a field of the database"),
        ({**MARK, "set": {"id": "x"}}, "set.id: is the key"),
        ({**MARK, "set": {"active": "perhaps"}}, "set.active: 'perhaps' is no bool"),
        ({**MARK, "set": {"tier": "Bronze"}}, "set.tier: 'Bronze' is no enum"),
        ({**MARK, "set": {"tags": "[]"}}, "set.tags: a field of type array cannot be set"),
        ({**FULL, "set": {"name": "gone"}}, "set.name: is filled from a column of the file"),
        ({**FULL, "mode": "update_only"}, "snapshot: goes with mode: add_and_update"),
        ({**FULL, "source": CURSOR}, "snapshot: needs items that have every customer"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(spec: dict[str, Any], said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(**spec)), problems(**spec)
