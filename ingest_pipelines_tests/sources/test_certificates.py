"""A server whose certificate is wrong is told as that, at once: no retry makes it right."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import TypeAdapter

from ingest_pipelines.config.connections import Connection, FileConnection
from ingest_pipelines.errors import SourceDenied, TargetDenied
from ingest_pipelines.merge import Target
from ingest_pipelines.sources import open_files, open_query

_GREETING = (
    b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"abcdefgh\0" + struct.pack("<H", 0xFFFF) + b"\x21\x02\0"
    + struct.pack("<H", 0xFFFF) + b"\x15" + bytes(10) + b"ijklmnopqrst\0mysql_native_password\0"
)  # fmt: skip
"""MySQL's first packet, with TLS on offer."""


class Impostor:
    """Answers at a port of 127.0.0.1 with a certificate that somebody else was given.

    Attributes:
        first: the first bytes of each client's TLS, and of what came before it.
    """

    def __init__(self, folder: Path, speaks: str) -> None:
        authority = trustme.CA()
        self.root = folder / "root.pem"
        authority.cert_pem.write_to_path(str(self.root))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("somebody.else").configure_cert(self._context)
        self._speaks = speaks
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                client.settimeout(10)
                if self._speaks == "postgresql":
                    client.recv(8)
                    client.sendall(b"S")
                if self._speaks == "mysql":
                    client.sendall(struct.pack("<I", len(_GREETING))[:3] + b"\0" + _GREETING)
                    client.recv(36)
                with self._context.wrap_socket(client, server_side=True) as secure:
                    secure.recv(1)
            except OSError:
                pass


@pytest.fixture
def impostor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Impostor]:
    """The parameter is the protocol before TLS."""
    server = Impostor(tmp_path, request.param)
    yield server
    server.close()


_KINDS: dict[str, dict[str, Any]] = {
    "postgresql": {"options": {"sslmode": "verify-full"}},
    "mysql": {"options": {"ssl": {"ca": "ROOT", "check_hostname": True}}},
    "clickhouse": {"options": {"secure": True}},
    "snowflake": {},
    "s3": {},
    "gcs": {},
    "azure": {"account": "a", "container": "c"},
}


def _connection(kind: str, server: Impostor, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("SECRET_WORD", "sentinel")
    secret = {"env": "SECRET_WORD"}
    address = f"https://localhost:{server.port}"
    settings: dict[str, Any] = {"type": kind, "timeout_seconds": 5, "retries": 3, **_KINDS[kind]}
    if kind == "s3":
        settings |= {"bucket": "b", "endpoint_url": address, "region": "r", "path_style": True,
                     "access_key_id": secret, "secret_access_key": secret}  # fmt: skip
    elif kind == "gcs":
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {"type": "service_account", "client_email": "a@b", "private_key": key.decode(), "token_uri": address}
        monkeypatch.setenv("SECRET_WORD", json.dumps(account))
        settings |= {"bucket": "b", "project": "p", "credentials": secret}
    elif kind == "azure":
        monkeypatch.setenv("SECRET_WORD", "c2VudGluZWw=")
        settings |= {"endpoint_url": f"{address}/a", "account_key": secret}
    elif kind == "snowflake":
        settings |= {"account": "a", "user": "u", "password": secret,
                     "options": {"host": "localhost", "port": server.port, "protocol": "https"}}  # fmt: skip
    else:
        settings |= {"host": "localhost", "port": server.port, "username": "u", "password": secret, "database": "d"}
    if kind == "mysql":
        settings["options"] = {"ssl": {"ca": str(server.root), "check_hostname": True}}
    return TypeAdapter[Connection](Connection).validate_python(settings)


def _ask(connection: Connection) -> None:
    if isinstance(connection, FileConnection):
        with open_files(connection) as files:
            files.listing()
    else:
        with open_query(connection) as source:
            list(source.batches("SELECT 1", {}))


@pytest.mark.parametrize(
    ("impostor", "kind"),
    [pytest.param(kind, kind, marks=pytest.mark.slow if kind == "snowflake" else ()) for kind in _KINDS],
    indirect=["impostor"],
)
def test_a_source_with_a_wrong_certificate_is_denied_at_once(
    impostor: Impostor, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = _connection(kind, impostor, monkeypatch)
    with pytest.raises(SourceDenied, match="certificate") as refusal:
        _ask(connection)
    assert "sentinel" not in str(refusal.value)
    assert impostor.connections <= 8  # some drivers try again by themselves


@pytest.mark.parametrize("impostor", ["postgresql"], indirect=True)
@pytest.mark.parametrize("root", ["another", "missing", "another name"])
def test_a_target_with_a_wrong_certificate_is_denied_at_once(impostor: Impostor, tmp_path: Path, root: str) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    path = {"another": other, "missing": tmp_path / "none.pem", "another name": impostor.root}[root]
    target = Target(f"postgresql://u:sentinel@localhost:{impostor.port}/d?sslmode=verify-full&sslrootcert={path}")
    with pytest.raises(TargetDenied, match="its certificate is not what sslmode and sslrootcert demand") as refusal:
        target.connect()
    assert "sentinel" not in str(refusal.value)
    assert not refusal.value.retryable
