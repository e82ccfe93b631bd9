"""`ingest.metrics`: a look that finds no row after a cursor ends the lag, as a load that finds nothing new does.

The look does not count while an item of the import is open: the source answers, and its rows are not in the table.
"""

from alembic import op

from ingest_pipelines.ledger.migrations.versions.r0007_metrics import METRICS

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

REPLACED = METRICS.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)

LOADS_ONLY = "now() - s.finished_at)"
LOADS_AND_LOOKS = """now() - CASE
           WHEN s.finished_at IS NOT NULL
            AND EXISTS (SELECT FROM ingest.cursors u WHERE u.import = n.import)
            AND NOT EXISTS (SELECT FROM ingest.items o
                            WHERE o.import = n.import AND o.status IN ('new', 'failed', 'refused'))
           THEN greatest(s.finished_at, k.succeeded_at) ELSE s.finished_at END)"""


def upgrade() -> None:
    """Replaces the view."""
    assert LOADS_ONLY in REPLACED
    op.execute(REPLACED.replace(LOADS_ONLY, LOADS_AND_LOOKS))


def downgrade() -> None:
    """Takes the earlier view again."""
    op.execute(REPLACED)
