"""A shop whose names and cells come from an enemy: scripts, characters that turn or hide words, 4 KB names."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines_tests.studio.conftest import Client, Shop
from ingest_pipelines_tests.studio.form import fields_of_form

TURNED = "\u202egnp.exe\u2066\u200b"
"""Characters that turn the words beside them, and one that nobody sees."""

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
LONG = f"{SCRIPT}\"' onmouseover=alert(1) {TURNED} {{{{7*7}}}} {'long' * 1000}"
"""4 KB."""

FILE = f"{SCRIPT[:40].replace('/', '')} {TURNED}.csv"
QUOTED = LONG.replace('"', '""')
DRAFT = "ab" * 12

IMPORT = f"""\
description: {json.dumps(LONG)}
labels: [{json.dumps(LONG)}]
database: customers
source: {{connection: uploads, file: Hostile}}
columns: {{CID: customer_id, Email: email, ? {json.dumps(LONG)} : {{field: nick, type: string, max_length: 9}}}}
rejects: {{unlimited: true}}
"""
BROKEN = f"database: {json.dumps(LONG)}\n"

ADDRESSES = {
    "/": ("/", "/?group=database", f"/?q={SCRIPT}"),
    "/rows": ("/rows",),
    "/imports/{name}": ("/imports/hostile", "/imports/points", "/imports/wrong", "/imports/broken", "/imports/orders"),
    "/imports/{name}/edit": ("/imports/hostile/edit", "/imports/broken/edit"),
    "/imports/{name}/rejects": ("/imports/hostile/rejects", "/imports/hostile/rejects?personal=1"),
    "/imports/{name}/upload": ("/imports/hostile/upload",),
    "/new/{draft}": (f"/new/{DRAFT}",),
    "/connections": ("/connections",),
    "/connections/new": ("/connections/new", "/connections/new?type=snowflake"),
    "/connections/{name}": ("/connections/uploads", "/connections/shop_db"),
    "/alerts": ("/alerts",),
    "": (f"/nothing/{SCRIPT}", "/imports/<script>"),
}
"""Each page of the studio, and addresses of it that show hostile names."""


def fill_with_hostile_names(shop: Shop, client: Client) -> None:
    """Gives each page something hostile to show."""
    shop.write("imports/hostile.yaml", IMPORT)
    shop.write("imports/broken.yaml", BROKEN)
    shop.write("notify.yaml", "people: {env: PEOPLE_MAIL}\n")
    rows = f'CID,Email,"{QUOTED}"\nH-1,"{QUOTED}","{QUOTED}"\nH-2,ann@example.com,ann\n'
    shop.write("hostile.csv", rows)
    shop.write(f"uploads/{FILE}", rows)
    loaded = shop.terminal.ingest("run", "hostile", "--file", shop.settings.home / "hostile.csv")
    assert loaded.code == 0, loaded.err
    shop.write("short.csv", "CID\nH-1\n")
    assert shop.terminal.ingest("run", "hostile", "--file", shop.settings.home / "short.csv").code != 0
    assert "Not in the table yet" in client.page("/imports/hostile").text
    with psycopg.connect(shop.settings.database_url or "") as connection:
        at = datetime.now(UTC)
        ledger.record_audit(connection, LONG, "edited", at, import_name="hostile", detail={"reason": LONG})
        alert = ledger.AlertRecord("", "source", LONG[:200], at, words=LONG, next_step=LONG, imports=["hostile"])
        ledger.save_alerts(connection, [alert])
    page = client.page(f"/new/{DRAFT}").text
    fields = {
        **fields_of_form(page),
        "name": LONG,
        "description": LONG,
        "connection": "uploads",
        "database": "customers",
    }
    answer = client.send(f"/new/{DRAFT}", fields)
    assert answer.status_code == 200
    answer = client.send(f"/new/{DRAFT}", {**fields_of_form(answer.text), "path": FILE})
    assert "s-columns" in answer.text
