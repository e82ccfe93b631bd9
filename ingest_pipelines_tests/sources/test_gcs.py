"""Google Cloud Storage: the contract against fake-gcs-server, generations, credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.config.connections.gcs import GcsConnection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.landing import land_file
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.servers.gcs import Bucket
from ingest_pipelines_tests.sources.contract import BucketPlace, NetworkContract, SourceContract, item_in


class GcsPlace(BucketPlace):
    """A prefix in a bucket."""

    secrets = ()
    unkept: frozenset[str] = frozenset()

    bucket: Bucket

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.client: Any = bucket.server.client()

    def connection(self, **changes: object) -> GcsConnection:
        """A connection of this place."""
        settings: dict[str, object] = {
            "type": "gcs", "bucket": self.bucket.name, "prefix": "/inbox/", "project": self.bucket.server.project,
            "endpoint_url": self.bucket.server.endpoint_url, **changes,
        }  # fmt: skip
        return GcsConnection.model_validate(settings)

    def put(self, path: str, content: bytes) -> None:
        self.client.bucket(self.bucket.name).blob(f"inbox/{path}").upload_from_string(content)

    def get(self, path: str) -> bytes | None:
        blob = self.client.bucket(self.bucket.name).get_blob(f"inbox/{path}")
        content: bytes | None = None if blob is None else blob.download_as_bytes()
        return content

    def denied(self) -> dict[str, FileSource]:
        return {
            "resolve": open_files(self.connection(endpoint_url="http://no-such-host.invalid", retries=0)),
            "connect": open_files(self.connection(endpoint_url="http://127.0.0.1:1", retries=0)),
            "folder": open_files(self.connection(bucket="no-such-bucket-here")),
        }


@pytest.fixture
def place(gcs_bucket: Bucket) -> GcsPlace:
    return GcsPlace(gcs_bucket)


class TestGcs(SourceContract, NetworkContract):
    """The contract."""


def test_objects_beside_the_prefix_are_not_seen(place: GcsPlace) -> None:
    place.bucket.put("inboxes/a.csv", b"1")
    place.bucket.put("a.csv", b"1")
    place.put("b.csv", b"1")
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["b.csv"]
        assert source.uri("b.csv") == f"gs://{place.bucket.name}/inbox/b.csv"


def test_a_replaced_object_is_still_the_item_that_was_listed_where_the_bucket_keeps_generations(
    place: GcsPlace, tmp_path: Path
) -> None:
    bucket = place.client.bucket(f"{place.bucket.name}-kept")
    bucket.versioning_enabled = True
    bucket.create()
    blob = bucket.blob("inbox/a.csv")
    blob.upload_from_string(b"id\n1\n")
    with open_files(place.connection(bucket=bucket.name)) as source:
        item = item_in(source, "a.csv")
        bucket.blob("inbox/a.csv").upload_from_string(b"id\n1\n2\n")
        assert land_file(item, source, tmp_path, Limits()).path.read_bytes() == b"id\n1\n"
        assert source.stat("a.csv").size == 7
        assert b"".join(source.read("a.csv", 3, item.version)) == b"1\n"
    for kept in bucket.list_blobs(versions=True):
        kept.delete()
    bucket.delete()


def test_an_archive_that_stopped_between_copy_and_delete_is_finished(place: GcsPlace) -> None:
    place.put("a.csv", b"1")
    place.put("archive/a.csv", b"1")
    with place.source() as source:
        source.move("a.csv", "archive")
        assert [file.path for file in source.listing().files] == ["archive/a.csv"]


def test_credentials_that_are_no_key_are_denied_without_showing_them(place: GcsPlace, tmp_path: Path) -> None:
    for number, text in enumerate(("s3cret-text", json.dumps({"private_key": "s3cret-text"}), "[]", "null")):
        path = tmp_path / f"key{number}.json"
        path.write_text(text)
        source = open_files(place.connection(credentials={"file": str(path)}, endpoint_url=None))
        steps = list(source.probe())
        assert (steps[-1].name, steps[-1].ok) == ("login", False)
        assert "s3cret" not in str(steps)
        with pytest.raises(SourceDenied, match="not the JSON of a service account") as refused, source:
            source.listing()
        assert "s3cret" not in f"{refused.value!r} {refused.value}"


def test_without_credentials_the_application_default_is_asked(
    place: GcsPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    steps = list(open_files(place.connection(endpoint_url=None)).probe())
    assert (steps[-1].name, steps[-1].ok) == ("login", False)
    assert "gcloud auth application-default login" in steps[-1].hint


def test_an_endpoint_without_tls_never_sees_a_token(place: GcsPlace, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("not looked at")
    place.put("a.csv", b"1")
    with open_files(place.connection(credentials={"file": str(path)})) as source:
        assert len(source.listing().files) == 1
