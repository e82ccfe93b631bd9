"""MariaDB from Debian: the MySQL protocol, real."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown


@dataclass(frozen=True)
class MysqlServer:
    """How to log in; `username` may do everything with databases whose name starts with `test_`."""

    port: int
    host: str = "127.0.0.1"
    username: str = "etl"
    password: str = "etl-secret"
    reader_username: str = "reader"
    reader_password: str = "reader-secret"


@dataclass(frozen=True)
class MysqlDatabase:
    """An empty database that one test uses; the server's reader may not even see it."""

    server: MysqlServer
    name: str

    def execute(self, *statements: str) -> None:
        """The statements ran, and were committed."""
        import pymysql

        with (
            pymysql.connect(
                host=self.server.host, port=self.server.port, user=self.server.username,
                password=self.server.password, database=self.name, autocommit=True,
                ssl_disabled=True,  # or each login reads all certificates that the system trusts
            ) as connection,
            connection.cursor() as cursor,
        ):  # fmt: skip
            for statement in statements:
                cursor.execute(statement)


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections."""
    mariadbd = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if mariadbd is None:
        raise ServerDown("there is no mariadbd; on Debian: apt-get install mariadb-server-core")
    server = MysqlServer(fleet.free_port())
    data, temporary = folder / "data", folder / "tmp"
    data.mkdir()
    temporary.mkdir()
    common = [
        mariadbd, "--no-defaults", "--basedir=/usr", f"--datadir={data}", f"--tmpdir={temporary}",
        f"--user={pwd.getpwuid(os.geteuid()).pw_name}", "--innodb-flush-method=nosync", "--innodb-log-file-size=8M",
    ]  # fmt: skip
    made = subprocess.run(
        [*common, "--bootstrap", "--lc-messages-dir=/usr/share/mysql"],
        input=_bootstrap(server), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise ServerDown(f"mariadbd --bootstrap failed; it said:\n{made.stderr[-2000:]}")
    command = [
        *common, "--bind-address=127.0.0.1", f"--port={server.port}", f"--socket={folder / 'socket'}",
        "--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4",
    ]  # fmt: skip
    process = fleet.spawn(command, folder, lambda: _logs_in(server))
    return Launched(server, process.pid)


@contextmanager
def fresh_database(server: MysqlServer) -> Iterator[MysqlDatabase]:
    """An empty database; it is dropped after the block."""
    name = f"test_{uuid4().hex}"
    whole = MysqlDatabase(server, "test_ready")
    whole.execute(f"CREATE DATABASE {name}")
    try:
        yield MysqlDatabase(server, name)
    finally:
        whole.execute(f"DROP DATABASE {name}")


def _bootstrap(server: MysqlServer) -> str:
    """System tables and users. Bootstrapping wants one statement per line."""
    scripts = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
    return "\n".join(
        [
            "create database mysql;",
            "use mysql;",
            "set @auth_root_socket=null;",
            "set @skip_auth_anonymous=1;",
            *((Path("/usr/share/mysql") / script).read_text() for script in scripts),
            "flush privileges;",
            "create database test_ready;",
            f"create user '{server.username}'@'%' identified by '{server.password}';",
            f"grant all on `test\\_%`.* to '{server.username}'@'%';",
            f"create user '{server.reader_username}'@'%' identified by '{server.reader_password}';",
            "",
        ]
    )


def _logs_in(server: MysqlServer) -> bool:
    import pymysql

    try:
        MysqlDatabase(server, "test_ready").execute("SELECT 1")
    except pymysql.OperationalError:
        return False
    return True
