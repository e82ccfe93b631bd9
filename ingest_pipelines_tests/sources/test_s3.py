"""S3: the contract against SeaweedFS, keys that are no paths, versions, permissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.config.connections.s3 import S3Connection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemGone, SourceDenied
from ingest_pipelines.landing import land_file
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.servers.s3 import Bucket
from ingest_pipelines_tests.sources.contract import BucketPlace, NetworkContract, SecretFiles, SourceContract, item_in


class S3Place(BucketPlace, SecretFiles):
    """A prefix in a bucket."""

    unkept = frozenset({"back\\slash.csv"})  # SeaweedFS makes a slash of it

    bucket: Bucket

    def __init__(self, bucket: Bucket, secrets_in: Path) -> None:
        SecretFiles.__init__(self, secrets_in)
        self.bucket = bucket
        self.client: Any = bucket.server.client()
        self.secrets = (bucket.server.secret_access_key, bucket.server.outsider_secret_access_key)

    def connection(self, **changes: object) -> S3Connection:
        """A connection of this place."""
        server = self.bucket.server
        settings: dict[str, object] = {
            "type": "s3", "bucket": self.bucket.name, "prefix": "inbox", "region": "us-east-1",
            "endpoint_url": server.endpoint_url, "path_style": True,
            "access_key_id": self.secret(server.access_key_id),
            "secret_access_key": self.secret(server.secret_access_key), **changes,
        }  # fmt: skip
        return S3Connection.model_validate(settings)

    def put(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket.name, Key=f"inbox/{path}", Body=content)

    def get(self, path: str) -> bytes | None:
        try:
            body = self.client.get_object(Bucket=self.bucket.name, Key=f"inbox/{path}")["Body"]
        except self.client.exceptions.NoSuchKey:
            return None
        content: bytes = body.read()
        return content

    def denied(self) -> dict[str, FileSource]:
        server = self.bucket.server
        outsider = self.connection(
            access_key_id=self.secret(server.outsider_access_key_id),
            secret_access_key=self.secret(server.outsider_secret_access_key),
        )
        return {
            "resolve": open_files(self.connection(endpoint_url="http://no-such-host.invalid", retries=0)),
            "connect": open_files(self.connection(endpoint_url="http://127.0.0.1:1", retries=0)),
            "login": open_files(self.connection(secret_access_key=self.secret("wr0ng-secret"))),
            "permission": open_files(outsider),
            "folder": open_files(self.connection(bucket="no-such-bucket-here")),
        }


@pytest.fixture
def place(s3_bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> S3Place:
    return S3Place(s3_bucket, tmp_path_factory.mktemp("secrets"))


class TestS3(SourceContract, NetworkContract):
    """The contract."""


def test_keys_that_are_no_paths_are_invisible(place: S3Place) -> None:
    for key in ("folder/", "folder/.hidden/c.csv", "d.csv"):
        place.put(key, b"1")
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["d.csv"]


def test_objects_beside_the_prefix_are_not_seen(place: S3Place) -> None:
    place.bucket.put("inboxes/a.csv", b"1")
    place.bucket.put("a.csv", b"1")
    place.put("b.csv", b"1")
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["b.csv"]
        assert source.uri("b.csv") == f"s3://{place.bucket.name}/inbox/b.csv"
    with open_files(place.connection(prefix="")) as source:
        assert [file.path for file in source.listing().files] == ["a.csv", "inbox/b.csv", "inboxes/a.csv"]


def test_a_replaced_object_is_still_the_item_that_was_listed_where_the_bucket_keeps_versions(
    place: S3Place, tmp_path: Path
) -> None:
    place.client.put_bucket_versioning(Bucket=place.bucket.name, VersioningConfiguration={"Status": "Enabled"})
    place.put("a.csv", b"id\n1\n")
    with place.source() as source:
        item = item_in(source, "a.csv")
        place.put("a.csv", b"id\n1\n2\n")
        assert land_file(item, source, tmp_path, Limits()).path.read_bytes() == b"id\n1\n"
        assert source.stat("a.csv").size == 7
        assert b"".join(source.read("a.csv", 3, item.version)) == b"1\n"


def test_a_bucket_without_versions_gives_only_what_is_there_now(place: S3Place, tmp_path: Path) -> None:
    place.put("a.csv", b"id\n1\n")
    with place.source() as source:
        item = item_in(source, "a.csv")
        place.put("a.csv", b"id\n1\n2\n")
        with pytest.raises(ItemGone, match="replaced since it was listed"):
            land_file(item, source, tmp_path, Limits())


def test_the_same_bytes_uploaded_again_are_still_the_item(place: S3Place, tmp_path: Path) -> None:
    place.put("a.csv", b"id\n1\n")
    with place.source() as source:
        item = item_in(source, "a.csv")
        place.put("a.csv", b"id\n1\n")
        assert land_file(item, source, tmp_path, Limits()).bytes == 5


def test_an_object_written_in_parts_is_read_and_archived_whole(place: S3Place, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 6
    upload = {"Bucket": place.bucket.name, "Key": "inbox/a.csv"}
    started = place.client.create_multipart_upload(**upload)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(content), 5 << 20), 1):
        body = content[start : start + (5 << 20)]
        tag = place.client.upload_part(**upload, UploadId=started, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    place.client.complete_multipart_upload(**upload, UploadId=started, MultipartUpload={"Parts": parts})
    with place.source() as source:
        assert land_file(item_in(source, "a.csv"), source, tmp_path, Limits()).path.read_bytes() == content
        source.move("a.csv", "archive")
    assert place.get("archive/a.csv") == content
    assert place.get("a.csv") is None


def test_an_archive_that_stopped_between_copy_and_delete_is_finished(place: S3Place) -> None:
    place.put("a.csv", b"1")
    place.put("archive/a.csv", b"1")
    with place.source() as source:
        source.move("a.csv", "archive")
        assert [file.path for file in source.listing().files] == ["archive/a.csv"]


def test_without_keys_and_without_a_chain_the_step_is_login(place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    source = open_files(place.connection(access_key_id=None, secret_access_key=None))
    steps = list(source.probe())
    assert (steps[-1].name, steps[-1].ok) == ("login", False)
    assert "AWS chain" in steps[-1].hint
    with pytest.raises(SourceDenied, match="no credentials"), source:
        source.listing()


def test_the_default_chain_is_used_without_keys(place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.bucket.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.bucket.server.secret_access_key)
    place.put("a.csv", b"1")
    with open_files(place.connection(access_key_id=None, secret_access_key=None)) as source:
        assert len(source.listing().files) == 1


@pytest.mark.parametrize("change", [{"endpoint_url": "not a url"}, {"bucket": "Not A Bucket!"}])
def test_settings_that_cannot_work_are_denied_with_what_to_check(place: S3Place, change: dict[str, str]) -> None:
    steps = list(open_files(place.connection(**change)).probe())
    assert (steps[-1].name, steps[-1].ok) == ("resolve", False)
    assert "connections.yaml" in steps[-1].hint
