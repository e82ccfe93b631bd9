"""Type `sftp`: a folder on an SFTP server."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ingest_pipelines.config.base import LocalPath, Secret
from ingest_pipelines.config.connections.base import FileConnection, Port


class SftpConnection(FileConnection):
    """An SFTP server. Its host key must be known: unknown hosts are refused."""

    source: ClassVar[str] = "ingest_pipelines.sources.sftp:Sftp"
    asked: ClassVar[tuple[str, ...]] = ("host", "port", "username", "password", "host_key", "root")
    settle: ClassVar[timedelta] = timedelta(seconds=30)

    type: Literal["sftp"]
    host: str
    port: Port = 22
    username: str
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    host_key: str | None = None
    known_hosts: LocalPath | None = None
    root: str = "."

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give password or private_key, exactly one of them")
        if self.passphrase is not None and self.private_key is None:
            raise ValueError("passphrase belongs to private_key, which is not given")
        if (self.host_key is None) == (self.known_hosts is None):
            raise ValueError(
                "give host_key ('ssh-ed25519 AAAA...') or known_hosts (a file): unknown hosts are refused. "
                f"`ssh-keyscan -p {self.port} {self.host}` prints the server's keys"
            )
        return self
