"""Alembic's entry: runs the revisions on the connection that `ledger.migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table_schema="ingest")
context.run_migrations()
