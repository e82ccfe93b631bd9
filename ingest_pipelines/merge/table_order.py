"""The order in which the rows of a target lie, and what another one would bring. Reads a few pages, changes nothing.

Rows of an item come sorted by key. Where neighbouring keys are neighbours in the table, too, a load reads and writes
each page once; where they are not, it goes to another page for each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge.names import table_name
from ingest_pipelines.merge.target import Target

SMALL = 100_000
"""Rows, as of the last ANALYZE: a smaller table is in memory, in any order."""

IN_ORDER = 0.9
"""Postgres's correlation from which on nothing is to be gained."""

PLACES = 2
NEIGHBOURS = 1_000
"""Places in the table that are looked at, and neighbouring keys that are looked up from each of them: enough to tell
sorted runs, of which a first load of 30 million rows leaves 230, from no order."""

SCATTERED = 0.5
"""Share of neighbouring keys on pages of their own. Sorted runs, as a load writes them, stay far below."""


@dataclass(frozen=True)
class TableOrder:
    """How the rows of a table lie.

    Attributes:
        table, key: their names.
        correlation: `pg_stats.correlation` of the key: 1 or -1 where the table is in its order, 0 where it is in none.
        pages: on how many pages the rows of `keys` neighbouring keys lie; 0 where they were not looked up.
        cluster: the statement that puts the table in the order of its key.
    """

    table: str
    key: str
    correlation: float
    pages: int = 0
    keys: int = 0
    cluster: str = ""

    @property
    def scattered(self) -> bool:
        """Whether a load goes to another page for most of its rows."""
        return self.pages > self.keys * SCATTERED

    @property
    def advice(self) -> str:
        """What the order costs a load, and how to change it; "" where nothing is to be gained."""
        if not self.scattered:
            return ""
        return (
            f"the rows of {self.table} do not lie in the order of {self.key} (correlation {self.correlation:.2f}: "
            f"{self.keys:,} neighbouring keys are on {self.pages:,} pages), which can double the server's work in a "
            f"load of a large file; {self.cluster} puts them in order, and locks the table until it is done"
        )


def read_table_order(target: Target, bound: BoundImport) -> TableOrder | None:
    """How the rows of the import's table lie; None for a small table, or one that Postgres has no statistics of."""
    with target.session(f"import {bound.name}") as connection:
        return find_order(connection, bound)


def find_order(connection: psycopg.Connection, bound: BoundImport) -> TableOrder | None:
    """`read_table_order`, in the caller's transaction."""
    schema, table = bound.database.schema_and_table
    key = bound.database.key
    row = connection.execute(_STATISTICS, {"schema": schema, "table": table, "key": key, "small": SMALL}).fetchone()
    if row is None:
        return None
    correlation, index, pages = float(row[0]), row[1], int(row[2])
    if abs(correlation) >= IN_ORDER:
        return TableOrder(bound.database.table, key, correlation)
    name, column = table_name(bound.database), sql.Identifier(key)
    percent = min(100.0, 100 * 10 * PLACES / pages)
    query = _NEIGHBOURS.format(
        key=column, table=name, percent=sql.Literal(percent), places=sql.Literal(PLACES), keys=sql.Literal(NEIGHBOURS)
    )
    looked_up = connection.execute(query).fetchone()
    assert looked_up is not None
    cluster = sql.SQL("CLUSTER {} USING {}").format(name, sql.Identifier(index)).as_string(connection)
    return TableOrder(bound.database.table, key, correlation, int(looked_up[0]), int(looked_up[1]), cluster)


_STATISTICS = """
    SELECT s.correlation, i.relname::text, c.relpages
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = %(key)s
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(key)s
    JOIN pg_index x ON x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indnkeyatts = 1 AND x.indisunique
         AND x.indisvalid AND x.indpred IS NULL
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind = 'r' AND c.reltuples >= %(small)s
      AND s.correlation IS NOT NULL
    ORDER BY x.indisprimary DESC LIMIT 1
"""

_NEIGHBOURS = sql.SQL(
    "SELECT count(DISTINCT (place::text::point)[0]), count(DISTINCT place)"
    " FROM (SELECT {key} AS first FROM {table} TABLESAMPLE SYSTEM ({percent}) LIMIT {places}) s"
    " CROSS JOIN LATERAL (SELECT ctid AS place FROM {table} WHERE {key} >= first ORDER BY {key} LIMIT {keys}) n"
)
