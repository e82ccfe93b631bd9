"""SeaweedFS: an S3 server that checks signatures, permissions and conditions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, answers

if TYPE_CHECKING:
    from botocore.client import BaseClient


@dataclass(frozen=True)
class S3Server:
    """Where it is, and two users: one may do everything, the `outsider` nothing with the tests' buckets."""

    endpoint_url: str
    port: int
    filer_port: int
    access_key_id: str = "tests"
    secret_access_key: str = "tests-secret"
    outsider_access_key_id: str = "outsider"
    outsider_secret_access_key: str = "outsider-secret"

    def client(self) -> BaseClient:
        """A boto3 client of the user who may do everything."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.endpoint_url, region_name="us-east-1",
            aws_access_key_id=self.access_key_id, aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip


@dataclass(frozen=True)
class Bucket:
    """An empty bucket that one test uses."""

    server: S3Server
    name: str

    def put(self, key: str, content: bytes) -> None:
        """The object is there."""
        self.server.client().put_object(Bucket=self.name, Key=key, Body=content)

    def put_many(self, keys: Iterable[str], content: bytes) -> None:
        """All the objects are there: through the server's own back door, five times as fast."""
        connection = HTTPConnection("127.0.0.1", self.server.filer_port)
        with closing(connection):
            for key in keys:
                connection.request("PUT", f"/buckets/{self.name}/{key}", content)
                answer = connection.getresponse()
                answer.read()
                if answer.status >= 300:
                    raise ServerDown(f"the filer answers {answer.status} to a PUT")


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server takes requests."""
    weed = Path(sys.executable).parent / "weed"
    ports = {
        name: fleet.free_port()
        for role in ("s3", "master", "volume", "filer", "admin")
        for name in (f"{role}.port", f"{role}.port.grpc")
    }
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", ports["s3.port"], ports["filer.port"])
    users = [
        _user(server.access_key_id, server.secret_access_key, ["Admin", "Read", "Write", "List", "Tagging"]),
        _user(server.outsider_access_key_id, server.outsider_secret_access_key, ["Read:elsewhere", "List:elsewhere"]),
    ]
    (folder / "users.json").write_text(json.dumps({"identities": users}))
    data = folder / "data"
    data.mkdir()
    command: list[str | Path] = [
        weed, f"-logdir={folder}", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.config={folder / 'users.json'}", "-master.telemetry=false", "-admin.ui=false", "-webdav=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    process = fleet.spawn(command, folder, lambda: answers(server.endpoint_url) and _takes_objects(server))
    return Launched(server, process.pid)


@contextmanager
def fresh_bucket(server: S3Server) -> Iterator[Bucket]:
    """An empty bucket; it is gone after the block."""
    client = server.client()
    name = f"test-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    yield Bucket(server, name)
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if found:
            objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            client.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})
    client.delete_bucket(Bucket=name)


def _user(key: str, secret: str, actions: list[str]) -> dict[str, object]:
    return {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def _takes_objects(server: S3Server) -> bool:
    """The gateway answers before the volumes behind it do."""
    from botocore.exceptions import ClientError

    client = server.client()
    try:
        client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"1")
    except ClientError:
        return False
    return True
