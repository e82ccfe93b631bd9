"""Indexes with which every tick, run and command looks up a few rows of a ledger of any size.

Each one costs a load two entries at most, since its row is written twice. So one index serves several queries, and an
index of few rows is partial. The events of one import are found by their import, which their batches name from now on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


INDEXES = (
    ("audit", "audit_by_time"),
    ("audit", "audit_by_import"),
    ("corrections", "corrections_by_load"),
    ("event_batches", "event_batches_by_import"),
    ("items", "items_by_window"),
    ("items", "items_by_path"),
    ("items", "items_newest_committed"),
    ("items", "items_open"),
    ("loads", "loads_with_rejects"),
    ("loads", "loads_by_status"),
    ("loads", "loads_by_run"),
)
"""Table and name of each; the newest first."""


def upgrade() -> None:
    """Creates the indexes, and drops the two that they replace. Loads wait meanwhile: docs/performance.md."""
    op.create_index("loads_by_run", "loads", ["run_id"], schema="ingest")
    op.create_index("loads_by_status", "loads", ["import", "status", "id"], schema="ingest")
    op.drop_index("loads_committed", "loads", schema="ingest")
    op.create_index(
        "loads_with_rejects",
        "loads",
        ["import", "id"],
        schema="ingest",
        postgresql_where=sa.text("rejected > 0 OR unmatched > 0"),
    )
    op.create_index(
        "items_open",
        "items",
        ["status", "import", "created_at"],
        schema="ingest",
        postgresql_where=sa.text("status IN ('new', 'failed', 'refused')"),
    )
    op.drop_index("items_waiting", "items", schema="ingest")
    op.create_index(
        "items_newest_committed",
        "items",
        ["import", sa.text("modified_at DESC"), sa.text("serial DESC NULLS LAST")],
        schema="ingest",
        postgresql_where=sa.text("status = 'committed' AND modified_at IS NOT NULL"),
    )
    op.create_index(
        "items_by_path",
        "items",
        ["import", "path", "modified_at"],
        schema="ingest",
        postgresql_where=sa.text("kind = 'file'"),
    )
    op.create_index(
        "items_by_window",
        "items",
        ["import", "window_end"],
        schema="ingest",
        postgresql_where=sa.text("kind = 'window'"),
    )
    op.add_column("event_batches", sa.Column("import", sa.Text), schema="ingest")
    op.execute("UPDATE ingest.event_batches b SET import = l.import FROM ingest.loads l WHERE l.id = b.load")
    op.create_index("event_batches_by_import", "event_batches", ["import", "id"], schema="ingest")
    op.create_index("corrections_by_load", "corrections", ["reject_load"], schema="ingest")
    op.create_index("audit_by_import", "audit", ["import", "id"], schema="ingest")
    op.create_index("audit_by_time", "audit", ["at"], schema="ingest")


def downgrade() -> None:
    """Restores the indexes of before."""
    for table, index in INDEXES:
        op.drop_index(index, table, schema="ingest")
    op.drop_column("event_batches", "import", schema="ingest")
    op.create_index(
        "items_waiting", "items", ["created_at"], schema="ingest", postgresql_where=sa.text("status = 'new'")
    )
    op.create_index(
        "loads_committed", "loads", ["import", "id"], schema="ingest", postgresql_where=sa.text("status = 'committed'")
    )
