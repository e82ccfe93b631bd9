"""Debian's PostgreSQL 15, the oldest version that the product promises to load into; also ones of other languages."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown
from ingest_pipelines_tests.servers.postgres import PostgresServer, accepts_login, hash_passwords_once

LANGUAGES = {"de": "de_DE.UTF-8", "fr": "fr_FR.UTF-8", "ja": "ja_JP.UTF-8", "ru": "ru_RU.UTF-8"}
"""Locales of messages, by language."""


@dataclass(frozen=True)
class GermanPostgres:
    """A superuser's URL, and the server's log, which names every login."""

    url: str
    log: str


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections."""
    url, process = _start(fleet, folder, {})
    return Launched(PostgresServer(url), process.pid, group=False, stop=signal.SIGINT)


def launch_german(fleet: Fleet, folder: Path) -> Launched:
    """A server whose messages are German, from the first answer to a login on, and that offers TLS."""
    settings = {
        "lc_messages": LANGUAGES["de"], "log_connections": "on", "ssl": "on",
        "ssl_cert_file": str(folder / "server.crt"), "ssl_key_file": str(folder / "server.key"),
    }  # fmt: skip
    certify = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    subprocess.run(
        [*certify, "-out", folder / "server.crt", "-keyout", folder / "server.key"], check=True, capture_output=True
    )
    if os.geteuid() == 0:
        os.chown(folder / "server.key", pwd.getpwnam("nobody").pw_uid, -1)
    url, process = _start(fleet, folder, settings, {"LOCPATH": str(_compiled(folder, ["de"]))})
    german = GermanPostgres(url, str(folder / "server.log"))
    return Launched(german, process.pid, group=False, stop=signal.SIGINT)


def launch_polyglot(fleet: Fleet, folder: Path) -> Launched:
    """A server that has all of LANGUAGES: each database sets its own `lc_messages`."""
    url, process = _start(fleet, folder, {}, {"LOCPATH": str(_compiled(folder, LANGUAGES))})
    return Launched(PostgresServer(url), process.pid, group=False, stop=signal.SIGINT)


def _compiled(folder: Path, languages: Iterable[str]) -> Path:
    """The languages' locales, compiled into the server's own folder: the system's stay as they are."""
    locales = folder / "locales"
    locales.mkdir()
    for language in languages:
        locale = LANGUAGES[language]
        words = ["localedef", "-i", locale.partition(".")[0], "-f", "UTF-8", str(locales / locale)]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if not (locales / locale).exists():
            raise ServerDown(
                f"there is no locale {locale}; on Debian: apt-get install locales; it said:\n{made.stderr}"
            )
        translation = Path(f"/usr/share/locale/{language}/LC_MESSAGES/postgres-15.mo")
        if not translation.exists():
            raise ServerDown(f"PostgreSQL 15 was installed without its translations: there is no {translation}")
    return locales


def _start(
    fleet: Fleet, folder: Path, extra: Mapping[str, str], env: Mapping[str, str] | None = None
) -> tuple[str, subprocess.Popen[bytes]]:
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
    url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    settings = {
        "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "",
        "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "jit": "off",
        **extra,
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = fleet.spawn(
        [*prefix, binaries / "postgres", "-D", data, *options], folder, lambda: accepts_login(url), env
    )
    hash_passwords_once(url)
    return url, process


def _binaries() -> Path:
    """Debian keeps them off the PATH."""
    for candidate in ("/usr/lib/postgresql/15/bin/postgres", shutil.which("postgres")):
        if candidate is not None and Path(candidate).exists():
            said = subprocess.run([candidate, "--version"], check=True, capture_output=True, text=True).stdout
            if " 15." in said:
                return Path(candidate).parent
    raise ServerDown("there is no PostgreSQL 15; on Debian: apt-get install postgresql-15")
