"""Our side: the project that the benchmark's imports stand in, and the command that runs one of them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ingest_pipelines_tests.benchmarks.server import Cluster

TWENTY = tuple(f"customers_{number:02}" for number in range(20))

_DATABASES = """\
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields:
      customer_id: {type: string, max_length: 64}
      full_name: {type: string, max_length: 100}
      email: {type: string, max_length: 120}
      address: {type: string, max_length: 200}
      age: {type: int}
      points: {type: int}
      balance: {type: "decimal(12,2)"}
      lifetime_value: {type: "decimal(14,4)"}
      birth_date: {type: date}
      last_purchase_at: {type: datetime}
      is_active: {type: bool}
"""

_HISTORY = "    history: true\n"

_IMPORT = """\
database: customers
source: {connection: uploads}
shrink: {min_percent: 0}
columns:
  customer_id: customer_id
  full_name: full_name
  email: email
  address: address
  age: age
  points: points
  balance: balance
  lifetime_value: lifetime_value
  birth_date: birth_date
  last_purchase_at: last_purchase_at
  is_active: is_active
"""

_OPTIONS = {
    "customers": "",
    "customers_update_only": "mode: update_only\n",
    "customers_with_rejects": "rejects: {unlimited: true}\n",
} | dict.fromkeys(TWENTY, "")


def write_project(home: Path, uploads: Path, *, history: bool = False) -> None:
    """The project folder, anew; with `history` its database keeps old values."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "imports").mkdir(parents=True)
    (home / "connections.yaml").write_text(f"connections:\n  uploads: {{type: csv, directory: {uploads}}}\n")
    (home / "databases.yaml").write_text(_DATABASES + (_HISTORY if history else ""))
    for name, options in _OPTIONS.items():
        (home / "imports" / f"{name}.yaml").write_text(_IMPORT + options)


def command(import_name: str, file: Path, *, lists: bool = True) -> list[str]:
    """`ingest run`, as a person types it; without `lists` it does not ask who is kept out, and which rows wait."""
    ingest = [str(Path(sys.executable).parent / "ingest")] if lists else [sys.executable, "-c", WITHOUT_LISTS_PROGRAM]
    return [*ingest, "run", import_name, "--file", str(file)]


WITHOUT_LISTS_PROGRAM = """\
from importlib import import_module
from ingest_pipelines import ledger
from ingest_pipelines.cli import main
from ingest_pipelines.suppression import NOBODY
ledger.find_suppressed = lambda *_: NOBODY
ledger.newest_suppressed = lambda *_: 0
for name in ("load_transaction", "early_load"):
    module = import_module(f"ingest_pipelines.merge.{name}")
    assert module.find_waiting
    module.find_waiting = lambda *_: None
main()
"""
"""The load as it was before there were such lists."""


def environment(home: Path, state: Path, cluster: Cluster, database: str) -> dict[str, str]:
    """Everything durable is on the measured server: the target, the ledger and Dagster's own storage."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "INGEST_HOME": str(home),
        "INGEST_STATE": str(state),
        "INGEST_DATABASE_URL": cluster.url(database),
        "INGEST_DAGSTER_URL": cluster.url("dagster"),
    }
