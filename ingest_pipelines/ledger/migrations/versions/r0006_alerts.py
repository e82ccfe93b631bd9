"""What is wrong now, who was told of it and when, and to whom the alerts of each import go."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Creates `ingest.alerts`, `ingest.alert_routes` and `ingest.alert_addresses`."""
    op.create_table(
        "alerts",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("cause", sa.Text, primary_key=True),
        sa.Column("since", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("watched", sa.Boolean, nullable=False, server_default=sa.false()),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("reason", "words", "item", "next_step", "run_id", "grouped")
        ),
        sa.Column("broken", sa.Integer, nullable=False, server_default="0"),
        sa.Column("items", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("imports", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("told", JSONB, nullable=False, server_default="{}"),
        schema="ingest",
    )
    op.create_table(
        "alert_routes",
        sa.Column("import", sa.Text, primary_key=True),
        sa.Column("seen_load", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("recipients", JSONB, nullable=False, server_default="[]"),
        schema="ingest",
    )
    op.create_table(
        "alert_addresses",
        sa.Column("recipient", sa.Text, primary_key=True),
        sa.Column("failing_since", TIME, nullable=False),
        sa.Column("retry_at", TIME, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        schema="ingest",
    )


def downgrade() -> None:
    """Drops the tables."""
    for table in ("alert_addresses", "alert_routes", "alerts"):
        op.drop_table(table, schema="ingest")
