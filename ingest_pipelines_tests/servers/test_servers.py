"""Every server starts, answers its client, and tells right credentials from wrong ones where it has any."""

from __future__ import annotations

import psycopg
import pytest


def test_postgres_gives_every_test_an_empty_database(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        version = connection.info.server_version
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert version // 10000 == 18
    assert tables == (0,)


def test_postgres_refuses_a_wrong_password(database_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url, password="wrong")
