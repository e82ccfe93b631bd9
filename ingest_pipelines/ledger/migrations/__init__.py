"""Alembic migrations of the `ingest` schema; `ledger.migrate` runs them."""
