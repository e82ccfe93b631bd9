"""Debian's PostgreSQL 15, the oldest version that the product promises to load into."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown
from ingest_pipelines_tests.servers.postgres import PostgresServer, accepts_login


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections."""
    binaries = _binaries()
    prefix: list[str] = []
    data, secret = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    password = secrets.token_hex(16)
    secret.write_text(password)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        prefix = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        for path in (data, secret):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    made = subprocess.run(
        [
            *prefix, binaries / "initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}",
            "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        ],
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise ServerDown(f"initdb of PostgreSQL 15 failed; it said:\n{made.stderr}")
    port = fleet.free_port()
    server = PostgresServer(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres")
    settings = {
        "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "",
        "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = fleet.spawn(
        [*prefix, binaries / "postgres", "-D", data, *options], folder, lambda: accepts_login(server.url)
    )
    return Launched(server, process.pid, group=False, stop=signal.SIGINT)


def _binaries() -> Path:
    """Debian keeps them off the PATH."""
    for candidate in ("/usr/lib/postgresql/15/bin/postgres", shutil.which("postgres")):
        if candidate is not None and Path(candidate).exists():
            said = subprocess.run([candidate, "--version"], check=True, capture_output=True, text=True).stdout
            if " 15." in said:
                return Path(candidate).parent
    raise ServerDown("there is no PostgreSQL 15; on Debian: apt-get install postgresql-15")
