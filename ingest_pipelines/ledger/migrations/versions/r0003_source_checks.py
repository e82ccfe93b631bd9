"""What the last look at each import's source showed: reachable or not, since when, and which files still change."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Creates `ingest.source_checks`."""
    op.create_table(
        "source_checks",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("checked_at", TIME, nullable=False),
        sa.Column("succeeded_at", TIME),
        sa.Column("failing_since", TIME),
        sa.Column("trouble", sa.Text),
        sa.Column("step", sa.Text, nullable=False, server_default=""),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("settling", JSONB, nullable=False, server_default="{}"),
        schema="ingest",
    )


def downgrade() -> None:
    """Drops the table."""
    op.drop_table("source_checks", schema="ingest")
