"""People who were forgotten: keyed hashes that keep them out, and how many rows of a load were theirs.

An event of a forgotten person becomes NULL in its batch, because the place in the batch is the event's number.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from ingest_pipelines.ledger.migrations.versions.r0001_ledger import EVENTS

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("suppressed", "suppression_secret")
"""Their owner alone reads them."""

REVOKE = """
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT c.oid::regclass AS name, a.grantee FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid IN ('ingest.suppressed'::regclass, 'ingest.suppression_secret'::regclass)
          AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', granted.name,
                       CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
END
$$
"""
"""Default privileges (deploy/sql/roles.sql) let viewers read every new table."""

EVENTS_LEFT = EVENTS.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1) + "WHERE e.profile_id IS NOT NULL\n"


def upgrade() -> None:
    """Creates the tables and the secret, 244 random bits."""
    op.create_table(
        "suppressed",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("entry", sa.LargeBinary, primary_key=True),
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("person", sa.LargeBinary, nullable=False),
        sa.Column("at", TIMESTAMP(timezone=True), nullable=False),
        schema="ingest",
    )
    op.create_index("suppressed_by_table", "suppressed", ["table_name", "id"], schema="ingest")
    op.create_table("suppression_secret", sa.Column("secret", sa.LargeBinary, nullable=False), schema="ingest")
    op.execute(
        "INSERT INTO ingest.suppression_secret"
        " SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"
    )
    op.execute(REVOKE)
    op.execute(EVENTS_LEFT)
    op.add_column("loads", sa.Column("suppressed", sa.BigInteger, nullable=False, server_default="0"), schema="ingest")


def downgrade() -> None:
    """Drops them."""
    op.drop_column("loads", "suppressed", schema="ingest")
    op.execute(EVENTS.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    for table in TABLES:
        op.drop_table(table, schema="ingest")
