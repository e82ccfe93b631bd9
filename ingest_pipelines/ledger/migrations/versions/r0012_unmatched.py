"""Rows without a profile that wait for it, and how many of them each load kept and applied."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Creates `ingest.unmatched`, and `kept` and `healed` of `ingest.loads`."""
    op.create_table(
        "unmatched",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("import", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("load", sa.BigInteger, nullable=False),
        sa.Column("line", sa.BigInteger, nullable=False),
        sa.Column("match", JSONB, nullable=False),
        sa.Column("found_by", JSONB, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("fields", JSONB, nullable=False),
        sa.Column("kept_until", TIME, nullable=False),
        schema="ingest",
    )
    op.create_index("unmatched_by_target", "unmatched", ["target"], schema="ingest")
    op.create_index("unmatched_by_import", "unmatched", ["import"], schema="ingest")
    op.create_index("unmatched_by_value", "unmatched", ["found_by"], schema="ingest", postgresql_using="hash")
    for name in ("kept", "healed"):
        op.add_column("loads", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"), schema="ingest")


def downgrade() -> None:
    """Drops them."""
    op.drop_column("loads", "healed", schema="ingest")
    op.drop_column("loads", "kept", schema="ingest")
    op.drop_table("unmatched", schema="ingest")
