"""Azurite: Microsoft's own emulator of Azure Blob Storage, from npm; it checks signatures and conditions."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, answers

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

PROGRAM = Path(sys.prefix) / "npm" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
"""Where `.ci/npm-packages` installs it."""

ACCOUNT = "tests"


@dataclass(frozen=True)
class AzureServer:
    """Where it is, and the key of its account."""

    endpoint_url: str
    port: int
    account_key: str
    account: str = ACCOUNT

    def container(self, name: str) -> ContainerClient:
        """A client that may do everything."""
        from azure.storage.blob import ContainerClient

        credential = {"account_name": self.account, "account_key": self.account_key}
        return ContainerClient(self.endpoint_url, name, credential=credential)


@dataclass(frozen=True)
class Container:
    """An empty container that one test uses."""

    server: AzureServer
    name: str

    @property
    def client(self) -> ContainerClient:
        """Its client."""
        return self.server.container(self.name)

    def put(self, key: str, content: bytes) -> None:
        """The blob is there."""
        self.client.upload_blob(key, content, overwrite=True)

    def put_many(self, keys: Iterable[str], content: bytes) -> None:
        """All the blobs are there; without Microsoft's client in between, several times as fast."""
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        token = generate_container_sas(
            self.server.account, self.name, account_key=self.server.account_key,
            permission=ContainerSasPermissions(write=True), expiry=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
        connection = HTTPConnection("127.0.0.1", self.server.port)
        with closing(connection):
            for key in keys:
                path = f"/{self.server.account}/{self.name}/{quote(key)}?{token}"
                connection.request("PUT", path, content, {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"})
                answer = connection.getresponse()
                answer.read()
                if answer.status >= 300:
                    raise ServerDown(f"azurite answers {answer.status} to a PUT")


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server takes requests."""
    if not PROGRAM.exists():
        raise ServerDown("azurite is not installed; run: .ci/npm-packages")
    port = fleet.free_port()
    key = base64.b64encode(os.urandom(32)).decode()
    server = AzureServer(f"http://127.0.0.1:{port}/{ACCOUNT}", port, key)
    command: list[str | Path] = [
        "env", f"AZURITE_ACCOUNTS={ACCOUNT}:{key}", "node", PROGRAM, "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
    ]  # fmt: skip
    process = fleet.spawn(command, folder, lambda: answers(f"http://127.0.0.1:{port}/"))
    return Launched(server, process.pid)


@contextmanager
def fresh_container(server: AzureServer) -> Iterator[Container]:
    """An empty container; it is gone after the block."""
    container = Container(server, f"test-{uuid4().hex}")
    with container.client as client:
        client.create_container()
        yield container
        client.delete_container()
