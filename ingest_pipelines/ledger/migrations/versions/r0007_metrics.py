"""`ingest.metrics`: what the ledger counts per import, as the watcher shows it at /metrics."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = TIMESTAMP(timezone=True)

METRICS = """
CREATE VIEW ingest.metrics AS
WITH totals AS (
    SELECT import,
           count(*) FILTER (WHERE status = 'committed') AS loads_committed,
           count(*) FILTER (WHERE status = 'skipped') AS loads_skipped,
           count(*) FILTER (WHERE status = 'refused') AS loads_refused,
           count(*) FILTER (WHERE status = 'failed') AS loads_failed,
           count(*) FILTER (WHERE status = 'running') AS loads_running,
           sum(read) FILTER (WHERE status = 'committed')::bigint AS rows_read,
           sum(inserted) FILTER (WHERE status = 'committed')::bigint AS rows_inserted,
           sum(updated) FILTER (WHERE status = 'committed')::bigint AS rows_updated,
           sum(unchanged) FILTER (WHERE status = 'committed')::bigint AS rows_unchanged,
           sum(unmatched) FILTER (WHERE status = 'committed')::bigint AS rows_unmatched,
           sum(skipped) FILTER (WHERE status = 'committed')::bigint AS rows_skipped,
           sum(rejected) FILTER (WHERE status = 'committed')::bigint AS rows_rejected
    FROM ingest.loads GROUP BY import
), rejects AS (
    SELECT l.import, count(*) AS rejects_open
    FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load
    WHERE r.resolved_at IS NULL AND r.code <> 'unmatched'
    GROUP BY l.import
), items AS (
    SELECT import, sum(items)::bigint AS items_open, min(oldest_at) AS oldest_item_at
    FROM ingest.open_item_counts GROUP BY import
), names AS (
    SELECT import FROM totals UNION SELECT name FROM ingest.imports
    UNION SELECT import FROM items UNION SELECT import FROM ingest.source_checks
)
SELECT n.import,
       coalesce(t.loads_committed, 0) AS loads_committed, coalesce(t.loads_skipped, 0) AS loads_skipped,
       coalesce(t.loads_refused, 0) AS loads_refused, coalesce(t.loads_failed, 0) AS loads_failed,
       coalesce(t.loads_running, 0) AS loads_running,
       coalesce(t.rows_read, 0) AS rows_read, coalesce(t.rows_inserted, 0) AS rows_inserted,
       coalesce(t.rows_updated, 0) AS rows_updated, coalesce(t.rows_unchanged, 0) AS rows_unchanged,
       coalesce(t.rows_unmatched, 0) AS rows_unmatched, coalesce(t.rows_skipped, 0) AS rows_skipped,
       coalesce(t.rows_rejected, 0) AS rows_rejected,
       coalesce(r.rejects_open, 0) AS rejects_open,
       c.finished_at AS last_committed_at,
       extract(epoch FROM now() - s.finished_at)::double precision AS lag_seconds,
       coalesce(i.items_open, 0) AS items_open, i.oldest_item_at,
       k.import IS NULL OR k.trouble IS NULL AS source_up,
       (SELECT max(counted_at) FROM ingest.watchers) AS items_counted_at
FROM names n
LEFT JOIN totals t USING (import)
LEFT JOIN rejects r USING (import)
LEFT JOIN items i USING (import)
LEFT JOIN ingest.source_checks k USING (import)
LEFT JOIN LATERAL (
    SELECT l.finished_at FROM ingest.loads l
    WHERE l.import = n.import AND l.status = 'committed' AND NOT EXISTS (
        SELECT FROM ingest.items o WHERE o.import = l.import AND o.key = l.item AND o.kind = 'replay')
    ORDER BY l.id DESC LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT l.finished_at FROM ingest.loads l
    WHERE l.import = n.import AND l.status IN ('committed', 'skipped') AND NOT EXISTS (
        SELECT FROM ingest.items o WHERE o.import = l.import AND o.key = l.item AND o.kind = 'replay')
    ORDER BY l.id DESC LIMIT 1
) s ON true
"""
"""One row per import."""


def upgrade() -> None:
    """Creates the view, and the two tables that the watcher fills."""
    op.create_table(
        "open_item_counts",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, primary_key=True),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("oldest_at", TIME, nullable=False),
        schema="ingest",
    )
    op.create_table(
        "watchers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("counted_at", TIME, nullable=False),
        schema="ingest",
    )
    op.execute(METRICS)


def downgrade() -> None:
    """Drops them."""
    op.execute("DROP VIEW ingest.metrics")
    op.drop_table("watchers", schema="ingest")
    op.drop_table("open_item_counts", schema="ingest")
