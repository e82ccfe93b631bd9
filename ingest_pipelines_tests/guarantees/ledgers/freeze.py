r"""Freezes a ledger of the version that is on the Python path: `python freeze.py SOURCE_URL TARGET_URL FOLDER`.

It uses nothing but the command line of that version, the way a team does for a few days. Afterwards the target holds
what this version leaves in a ledger. From the root of the repository, with two empty databases of PostgreSQL 15:

    git worktree add /tmp/old COMMIT
    PYTHONPATH=/tmp/old .venv/bin/python ingest_pipelines_tests/guarantees/ledgers/freeze.py SOURCE TARGET /tmp/project
    pg_dump --inserts --no-owner --schema=ingest --schema=crm TARGET | grep -v '^\' \
        | sed 's#/tmp/project#/srv/project#g' > ingest_pipelines_tests/guarantees/ledgers/REVISION.sql

COMMIT is the last one before the next revision: `git log -- ingest_pipelines/ledger/migrations/versions`.
"""

from __future__ import annotations

import csv
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = """
connections:
  uploads: {{type: csv, directory: {folder}/uploads}}
  shop:
    {{type: postgresql, host: {host}, port: {port}, database: {database}, username: {user}, password: {{env: SHOP_PW}}}}
"""
DATABASES = """
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields:
      customer_id: {type: string, max_length: 64}
      email: {type: email}
      tier: {type: string}
    resources:
      newsletter: {channels: [email]}
"""
IMPORTS = {
    "points": """
database: customers
source: {connection: uploads, file: points/Points, settle: 1s}
columns: {CID: customer_id, Email: email, Tier: tier, Points: {field: points, type: int}}
rejects: {max_rows: 5}
subscriptions:
  - {resource: newsletter, channel: email, contact: Email, status: subscribed}
""",
    "refunds": """
database: customers
source: {connection: uploads, file: refunds/Refunds, settle: 1s}
columns: {CID: customer_id, Refunds: {field: refunds, type: int}}
""",
    "orders": """
database: customers
source:
  connection: shop
  query: SELECT id, seq, amount FROM orders WHERE seq > {lastItem} ORDER BY seq LIMIT 3
  cursor: {column: seq, start: 0}
columns: {id: customer_id, amount: {field: amount, type: int}}
duplicates: last
""",
    "visits": """
database: customers
source:
  connection: shop
  query: SELECT id, n FROM visits WHERE at >= {windowStart} AND at < {windowEnd}
  window: {every: day, start: 2026-01-01}
columns: {id: customer_id, n: {field: visits, type: int}}
""",
}
FILES = {
    "points/Points_1.csv": (
        "CID,Email,Tier,Points\nc1,c1@example.com,Gold,10\nc2,,Silver,20\nc3,,Gold,many\nc4,,Gold,few\n"
    ),
    "points/Points_2.csv": "CID,Email,Tier,Points\nc1,c1@example.com,Gold,10\nc2,c2@example.com,Silver,25\n",
    "refunds/Refunds_1.csv": "CID,Refunds\nc1,none\n",
}


def write_project(folder: Path, source_url: str) -> None:
    """The project, with no file in its folder of uploads."""
    home, parts = folder / "project", urlsplit(source_url)
    (home / "imports").mkdir(parents=True)
    connections = CONNECTIONS.format(
        folder=folder, host=parts.hostname, port=parts.port, database=parts.path[1:], user=parts.username
    )
    (home / "connections.yaml").write_text(connections)
    (home / "databases.yaml").write_text(DATABASES)
    for name, text in IMPORTS.items():
        (home / "imports" / f"{name}.yaml").write_text(text)
    for name in FILES:
        (folder / "uploads" / name).parent.mkdir(parents=True, exist_ok=True)


def fill_source(source_url: str, orders: range) -> None:
    """Orders with those numbers, and visits of two days."""
    import psycopg

    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("CREATE TABLE IF NOT EXISTS orders (id text, seq int, amount int)")
        source.execute("CREATE TABLE IF NOT EXISTS visits (id text, n int, at timestamptz)")
        for number in orders:
            source.execute("INSERT INTO orders VALUES (%s, %s, %s)", (f"o{number}", number, number * 100))
        source.execute("INSERT INTO visits VALUES ('v1', 1, '2026-01-01 12:00Z'), ('v2', 2, '2026-01-02 12:00Z')")


def deliver(folder: Path, name: str, modified_at: datetime) -> None:
    """The file, written at that time."""
    path = folder / "uploads" / name
    path.write_text(FILES[name])
    os.utime(path, (modified_at.timestamp(),) * 2)


def main(source_url: str, target_url: str, folder: Path) -> None:
    """A few days of a team."""
    from typer.testing import CliRunner

    write_project(folder, source_url)
    fill_source(source_url, range(1, 6))
    os.environ |= {
        "INGEST_HOME": str(folder / "project"), "INGEST_STATE": str(folder / "state"),
        "INGEST_DATABASE_URL": target_url, "SHOP_PW": str(urlsplit(source_url).password),
    }  # fmt: skip
    from ingest_pipelines.cli.app import app

    def ingest(*words: str, code: int = 0) -> None:
        result = CliRunner().invoke(app, words, prog_name="ingest")
        assert result.exit_code == code, (words, result.exit_code, result.output, result.exception)

    now = datetime.now(UTC)
    deliver(folder, "points/Points_1.csv", now - timedelta(hours=3))
    ingest("run", "points")
    deliver(folder, "points/Points_2.csv", now - timedelta(hours=2))
    ingest("run", "points")
    deliver(folder, "refunds/Refunds_1.csv", now - timedelta(hours=2))
    ingest("run", "refunds", code=4)
    ingest("run", "orders")
    ingest("run", "visits")
    export, corrected = folder / "export.csv", folder / "corrected.csv"
    ingest("rejects", "export", "points", "--output", str(export))
    with export.open(newline="") as rows:
        reader = csv.reader(rows)
        header, *rejects = reader
    first = next(row for row in rejects if row[header.index("CID")] == "c3")
    first[header.index("Points")] = "30"
    with corrected.open("w", newline="") as rows:
        csv.writer(rows).writerows([header, first])
    ingest("rejects", "replay", "points", str(corrected))
    ingest("pause", "visits")
    ingest("cursor", "set", "orders", "4", "--yes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
