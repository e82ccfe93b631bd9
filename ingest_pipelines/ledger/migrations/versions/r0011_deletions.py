"""Profiles that loads delete: rows of lists of keys, and profiles that a full file had no longer."""

import sqlalchemy as sa
from alembic import op

from ingest_pipelines.ledger.migrations.versions.r0007_metrics import METRICS
from ingest_pipelines.ledger.migrations.versions.r0008_quiet_cursors import LOADS_AND_LOOKS, LOADS_ONLY

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BEFORE = METRICS.replace(LOADS_ONLY, LOADS_AND_LOOKS)
_LAST_TOTAL = "AS rows_rejected\n    FROM ingest.loads"
_LAST_COLUMN = "AS items_counted_at\n"
_TOTAL = "sum(deleted) FILTER (WHERE status = 'committed')::bigint AS rows_deleted"

DELETED = (
    _BEFORE.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
    .replace(_LAST_TOTAL, _LAST_TOTAL.replace("rejected", f"rejected,\n           {_TOTAL}"), 1)
    .replace(_LAST_COLUMN, "AS items_counted_at,\n       coalesce(t.rows_deleted, 0) AS rows_deleted\n", 1)
)
"""The view `metrics` with one column more, its last."""


def upgrade() -> None:
    """Adds the columns."""
    assert DELETED.count("rows_deleted") == 3
    for name in ("deleted", "absent"):
        op.add_column("loads", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"), schema="ingest")
    op.execute(DELETED)


def downgrade() -> None:
    """Drops them."""
    op.execute("DROP VIEW ingest.metrics")
    op.execute(_BEFORE)
    for name in ("absent", "deleted"):
        op.drop_column("loads", name, schema="ingest")
