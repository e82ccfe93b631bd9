"""The key's index of a table that a load makes: built once, when all rows are there.

A row that is copied into a table enters its index, and each sorted chunk does so all over the index. To sort the keys
of all rows at the end takes the server less time, the more the larger the load is, and leaves an index in the order of
its pages. Nobody else sees the table before the commit, so nobody misses the key meanwhile. Only rows whose keys are
certainly new are copied into such a table; should two of them be the same, the index is not built, and the load begins
again with a MERGE.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.names import table_name


def drop_key(connection: psycopg.Connection, state: LoadState) -> bool:
    """Drops the key's constraint of a table that this load made and copies rows into; returns whether it did."""
    if not (state.made_table and state.stage.copies_profiles):
        return False
    table = table_name(state.bound.database)
    constraint = connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s AND contype = 'p'", (state.shape.oid,)
    ).fetchone()
    assert constraint is not None
    state.late_key = str(constraint[0])
    connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(state.late_key)))
    return True


def build_key(connection: psycopg.Connection, state: LoadState) -> bool:
    """Adds the constraint again, if it was dropped, with as much memory as a merge has; returns whether it was."""
    if not state.late_key:
        return False
    connection.execute(_MEMORY)
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
            table_name(state.bound.database), sql.Identifier(state.late_key), sql.Identifier(state.bound.database.key)
        )
    )
    state.late_key = ""
    return True


_MEMORY = """
    SELECT set_config('maintenance_work_mem', current_setting('work_mem'), true)
    WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(current_setting('work_mem'))
"""
