"""Brings the `ingest` schema up to date; safe for several processes at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeAlias

import psycopg

from ingest_pipelines.errors import TargetForbids, printable

Connect: TypeAlias = Callable[[], psycopg.Connection]
Prepare: TypeAlias = Callable[[psycopg.Connection], None]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
"""Those under `migrations/versions`, in order."""

HEAD = REVISIONS[-1]

LOCK = 7_308_604_758_122_394_672
"""Advisory lock of migrations: one process at a time per Postgres database."""


def migrate(connect: Connect | str, prepare: Prepare = lambda connection: None) -> bool:
    """Upgrades the `ingest` schema to HEAD; returns whether it had to change anything.

    If the schema is at HEAD already these are two small queries: Alembic and SQLAlchemy are not imported.

    Args:
        connect: opens a connection of its own, in a transaction with its settings, or a `postgresql://` URL.
        prepare: gives the next transaction of a connection its settings.

    Raises:
        TargetForbids: a later version of the product created the schema.
        psycopg.Error: nothing was done, or the connection broke after the commit; calling again tells which.
    """
    opened = psycopg.connect(connect) if isinstance(connect, str) else connect()
    with opened as connection:
        at = revision(connection)
        if at == HEAD:
            return False
        if at is not None and at not in REVISIONS:
            raise TargetForbids(
                f"target: the ledger was made by a later version of this product: its revision is {printable(at)}, and "
                f"this version knows {HEAD}",
                hint="nothing was changed; run the later version again",
            )
    _upgrade((lambda: psycopg.connect(connect)) if isinstance(connect, str) else connect, prepare)
    return True


def revision(connection: psycopg.Connection) -> str | None:
    """The database's revision; None if the schema does not exist.

    No statement of this fails: with the transaction its settings would end.
    """
    if connection.execute("SELECT to_regclass('ingest.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM ingest.alembic_version").fetchone()
    return str(row[0]) if row else None


class NoLedger(psycopg.Cursor[Any]):
    """A cursor for a ledger that does not exist: sends nothing, returns no rows."""

    def execute(self, *statement: Any, **options: Any) -> Self:
        """Sends nothing."""
        return self

    def fetchone(self) -> None:
        """There is no row."""

    def fetchall(self) -> list[Any]:
        """There are no rows."""
        return []

    def __iter__(self) -> Self:
        """There are no rows."""
        return self

    def __next__(self) -> Any:
        """There is no row."""
        raise StopIteration


def _upgrade(connect: Connect, prepare: Prepare) -> None:
    from sqlalchemy.exc import DBAPIError

    try:
        _run(connect, prepare)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from None
        raise


def _run(connect: Connect, prepare: Prepare) -> None:
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", (Path(__file__).parent / "migrations").as_posix().replace("%", "%%"))
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        session = connection.connection.driver_connection
        assert isinstance(session, psycopg.Connection)
        prepare(session)
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(LOCK)))
        if not sqlalchemy.inspect(connection).has_schema("ingest"):  # IF NOT EXISTS asks for the right to create it
            connection.execute(sqlalchemy.schema.CreateSchema("ingest"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
