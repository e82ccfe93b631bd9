"""What a load's cells and columns were: how many cells each word of `clean` changed, and columns that are new."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns. `imports.columns`: all that committed items of the import had; NULL: not known.

    `cleaned` is json, not jsonb, to keep fields and words in their order.
    """
    op.add_column("imports", sa.Column("columns", ARRAY(sa.Text)), schema="ingest")
    op.add_column(
        "loads", sa.Column("new_columns", ARRAY(sa.Text), nullable=False, server_default="{}"), schema="ingest"
    )
    op.add_column("loads", sa.Column("cleaned", sa.JSON, nullable=False, server_default="{}"), schema="ingest")


def downgrade() -> None:
    """Drops them."""
    op.drop_column("loads", "cleaned", schema="ingest")
    op.drop_column("loads", "new_columns", schema="ingest")
    op.drop_column("imports", "columns", schema="ingest")
