"""Which reject each row of a replay corrects, kept before the replay runs: its load resolves them as it commits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates `ingest.corrections`."""
    op.create_table(
        "corrections",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("line", sa.BigInteger, primary_key=True),
        sa.Column("reject_load", sa.BigInteger, nullable=False),
        sa.Column("reject_line", sa.BigInteger, nullable=False),
        schema="ingest",
    )


def downgrade() -> None:
    """Drops the table."""
    op.drop_table("corrections", schema="ingest")
