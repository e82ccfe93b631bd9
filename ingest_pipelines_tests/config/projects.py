"""A small right project, to be broken one mistake at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONNECTIONS = """\
connections:
  uploads:
    type: csv
    directory: uploads
  vendor:
    type: sftp
    host: sftp.vendor.example
    username: shop
    password: {env: VENDOR_PW}
    host_key: ssh-ed25519 AAAA
  shop_db:
    type: postgresql
    host: db.example
    database: shop
    username: reader
    password: {env: VENDOR_PW}
"""

DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    max_fields_per_import: 3
    reserved: [segment]
    fields:
      customer_id: {type: string, max_length: 12}
      email: {type: email}
      tier: {type: enum, options: [Bronze, Silver]}
      points: {type: int}
    resources:
      newsletter: {channels: [email]}
"""

IMPORT = """\
database: customers
source:
  connection: vendor
  file: loyalty/Customers
columns:
  CID: customer_id
  Tier: tier
  Spent: {field: spent, type: "decimal(12,2)"}
rejects: {max_rows: 10}
"""

RIGHT: Mapping[str, str] = {
    "connections.yaml": CONNECTIONS,
    "databases.yaml": DATABASES,
    "imports/loyalty.yaml": IMPORT,
}


def write_project(home: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """The files in `home`; None leaves one out."""
    for name, content in files.items():
        if content is None:
            continue
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return home


def with_line(text: str, old: str, new: str) -> str:
    """The text with one line replaced; the test fails if the line is not there exactly once."""
    lines = text.split("\n")
    assert lines.count(old) == 1, f"{old!r} stands {lines.count(old)} times"
    return "\n".join(new if line == old else line for line in lines)
