"""The ledger: items, imports, fields, loads, rejects, cursors, events, audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
COUNT_COLUMNS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")

EVENTS = """
CREATE VIEW ingest.events AS
SELECT b.id * 10000 + e.position - 1 AS id, b.load, b.kind, e.profile_id, e.key, b.fields
FROM ingest.event_batches b
CROSS JOIN LATERAL unnest(b.profiles, b.keys) WITH ORDINALITY AS e (profile_id, key, position)
"""
"""One event per profile. Profiles that changed alike share a batch of at most 10,000; see `merge.events`."""


def upgrade() -> None:
    """Creates every table. No foreign keys: rejects and events are written a million at a time."""
    op.create_table(
        "items",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False, server_default=""),
        sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
        sa.Column("size", sa.BigInteger),
        sa.Column("modified_at", TIME),
        sa.Column("serial", sa.BigInteger),
        sa.Column("version", sa.Text, nullable=False, server_default=""),
        sa.Column("cursor_from", sa.Text),
        sa.Column("window_start", TIME),
        sa.Column("window_end", TIME),
        sa.Column("status", sa.Text, nullable=False, server_default="new"),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        schema="ingest",
    )
    op.create_index("items_by_age", "items", ["import", "created_at"], schema="ingest")
    op.create_index(
        "items_waiting", "items", ["created_at"], schema="ingest", postgresql_where=sa.text("status = 'new'")
    )
    op.create_table(
        "imports",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("mapping", JSONB),
        sa.Column("status", sa.Text),
        sa.Column("activated_at", TIME),
        schema="ingest",
    )
    op.create_table(
        "fields",
        sa.Column("database", sa.Text, primary_key=True),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        schema="ingest",
    )
    op.create_table(
        "loads",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("import", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("by", sa.Text, nullable=False, server_default=""),
        sa.Column("forced", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
        sa.Column("content_sha256", sa.Text, nullable=False, server_default=""),
        sa.Column("status", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in COUNT_COLUMNS),
        sa.Column("codes", JSONB, nullable=False, server_default="{}"),
        sa.Column("ddl", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("warnings", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("seconds", JSONB, nullable=False, server_default="{}"),
        sa.Column("cursor_from", sa.Text),
        sa.Column("cursor_to", sa.Text),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint(
            "import", "item", "run_id", "cursor_from", name="loads_run_key", postgresql_nulls_not_distinct=True
        ),
        schema="ingest",
    )
    op.create_index("loads_by_import", "loads", ["import", "id"], schema="ingest")
    op.create_index(
        "loads_committed", "loads", ["import", "id"], schema="ingest", postgresql_where=sa.text("status = 'committed'")
    )
    op.create_table(
        "rejects",
        sa.Column("load", sa.BigInteger, nullable=False),
        sa.Column("line", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("row", sa.JSON),  # not jsonb: keeps the columns' order, and takes the NUL that a row was rejected for
        sa.Column("resolved_at", TIME),
        schema="ingest",
    )
    op.create_index("rejects_by_load", "rejects", ["load", "line"], schema="ingest")
    op.create_table(
        "cursors",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("value", sa.Text),
        sa.Column("load", sa.BigInteger),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        schema="ingest",
    )
    op.create_table(
        "event_batches",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("load", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("fields", ARRAY(sa.Text), nullable=False),
        sa.Column("profiles", ARRAY(sa.BigInteger), nullable=False),
        sa.Column("keys", ARRAY(sa.Text), nullable=False),
        schema="ingest",
    )
    op.create_index("event_batches_by_load", "event_batches", ["load"], schema="ingest")
    # Uncompressed: pglz would take 1.4 s per million events, four times as long as writing them.
    op.execute("ALTER TABLE ingest.event_batches ALTER profiles SET STORAGE EXTERNAL, ALTER keys SET STORAGE EXTERNAL")
    op.execute(EVENTS)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("import", sa.Text),
        sa.Column("item", sa.Text),
        sa.Column("detail", JSONB, nullable=False, server_default="{}"),
        schema="ingest",
    )


def downgrade() -> None:
    """Drops every table of the ledger."""
    op.execute("DROP VIEW ingest.events")
    for table in ("audit", "event_batches", "cursors", "rejects", "loads", "fields", "imports", "items"):
        op.drop_table(table, schema="ingest")
