"""Whether an item's last load failed for a reason that may go away by itself, so that a run is requested again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds `ingest.items.retryable`."""
    column = sa.Column("retryable", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("items", column, schema="ingest")


def downgrade() -> None:
    """Drops the column."""
    op.drop_column("items", "retryable", schema="ingest")
