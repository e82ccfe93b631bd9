"""Azure Blob Storage: the contract against Azurite, keys and tokens, archives, folders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContainerSasPermissions, generate_container_sas

from ingest_pipelines.config.connections.azure import AzureConnection
from ingest_pipelines.errors import SourceDenied, SourceUnavailable
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines.sources.object_store import STEPS
from ingest_pipelines_tests.servers.azure import Container
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.sources.contract import BucketPlace, NetworkContract, SecretFiles, SourceContract


class AzurePlace(BucketPlace, SecretFiles):
    """A prefix in a container."""

    unkept = frozenset({"line\nbreak.csv", "\x1b[31mred\x1b[0m.csv", "carriage\rreturn\ttab.csv", "back\\slash.csv"})

    bucket: Container

    def __init__(self, bucket: Container, secrets_folder: Path) -> None:
        SecretFiles.__init__(self, secrets_folder)
        self.bucket = bucket
        self.secrets = (bucket.server.account_key,)

    def connection(self, **changes: object) -> AzureConnection:
        """A connection of this place."""
        server = self.bucket.server
        settings: dict[str, object] = {
            "type": "azure", "account": server.account, "container": self.bucket.name, "prefix": "/inbox/",
            "account_key": self.secret(server.account_key), "endpoint_url": server.endpoint_url, **changes,
        }  # fmt: skip
        return AzureConnection.model_validate(settings)

    def through(self, proxy: CutProxy, *, timeout_seconds: float = 30, retries: int = 3) -> FileSource:
        endpoint = f"http://127.0.0.1:{proxy.port}/{self.bucket.server.account}"
        return open_files(self.connection(endpoint_url=endpoint, timeout_seconds=timeout_seconds, retries=retries))

    def put(self, path: str, content: bytes) -> None:
        self.bucket.put(f"inbox/{path}", content)

    def get(self, path: str) -> bytes | None:
        blob = self.bucket.client.get_blob_client(f"inbox/{path}")
        return blob.download_blob().readall() if blob.exists() else None

    def denied(self) -> dict[str, FileSource]:
        account = self.bucket.server.account
        return {
            "resolve": open_files(self.connection(endpoint_url=f"http://no-such-host.invalid/{account}", retries=0)),
            "connect": open_files(self.connection(endpoint_url=f"http://127.0.0.1:1/{account}", retries=0)),
            # Azurite says AuthorizationFailure of a wrong key; Azure, AuthenticationFailed: then it is `login`
            "permission": open_files(self.connection(account_key=self.secret("d3JvbmcK"))),
            "folder": open_files(self.connection(container="no-such-container-here")),
        }


@pytest.fixture
def place(azure_container: Container, tmp_path_factory: pytest.TempPathFactory) -> AzurePlace:
    return AzurePlace(azure_container, tmp_path_factory.mktemp("secrets"))


class TestAzure(SourceContract, NetworkContract):
    """The contract."""


def test_blobs_beside_the_prefix_and_markers_of_folders_are_not_seen(place: AzurePlace) -> None:
    place.bucket.put("inboxes/a.csv", b"1")
    place.bucket.put("a.csv", b"1")
    place.bucket.client.upload_blob("inbox/folder", b"", metadata={"hdi_isfolder": "true"})
    place.put("b.csv", b"1")
    with place.source() as source:
        assert [file.path for file in source.listing().files] == ["b.csv"]
        assert source.uri("b.csv") == f"azure://{place.bucket.server.account}/{place.bucket.name}/inbox/b.csv"


def test_an_archive_that_stopped_between_copy_and_delete_is_finished(place: AzurePlace) -> None:
    place.put("a.csv", b"1")
    place.put("archive/a.csv", b"1")
    with place.source() as source:
        source.move("a.csv", "archive")
        assert [file.path for file in source.listing().files] == ["archive/a.csv"]


def test_a_blob_without_a_checksum_is_archived_by_the_etag_that_it_was_copied_from(place: AzurePlace) -> None:
    """Blobs that are written in blocks have none; another blob of that size in the archive is not taken for it."""
    client = place.bucket.client.get_blob_client("inbox/a.csv")
    client.stage_block("MDA=", b"12")
    client.commit_block_list([BlobBlock("MDA=")], metadata={"sender": "x"})
    archived_before = place.bucket.client.get_blob_client("inbox/archive/a.csv")
    archived_before.stage_block("MDA=", b"34")
    archived_before.commit_block_list([BlobBlock("MDA=")])
    with place.source() as source:
        source.move("a.csv", "archive")
        archived = [file.path for file in source.listing("archive").files]
    assert place.get("a.csv") is None
    assert {place.get(path) for path in archived} == {b"12", b"34"}


def test_a_copy_that_stays_under_way_is_given_up_in_time_and_ended_by_the_next_attempt(
    place: AzurePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azurite copies at once, Azure perhaps not: only its answers are changed here."""
    answered, under_way = BlobClient.get_blob_properties, [True]

    def properties(blob: BlobClient, **options: Any) -> BlobProperties:
        answer = answered(blob, **options)
        if answer.copy.status == "success" and under_way:
            answer.copy.status = "pending"
        return answer

    monkeypatch.setattr(BlobClient, "get_blob_properties", properties)
    place.put("a.csv", b"1")
    with open_files(place.connection(timeout_seconds=0.3, retries=0)) as source:
        with pytest.raises(SourceUnavailable, match=r"copy in the archive is still under way after 0\.3 seconds"):
            source.move("a.csv", "archive")
        assert place.get("a.csv") == b"1"
        under_way.clear()
        source.move("a.csv", "archive")
    assert (place.get("a.csv"), place.get("archive/a.csv")) == (None, b"1")


def test_a_key_that_is_none_is_refused_before_anything_is_sent(place: AzurePlace) -> None:
    source = open_files(place.connection(account_key=place.secret("s3cret-text")))
    steps = list(source.probe())
    assert [step.ok for step in steps] == [True] * STEPS.index("login") + [False]
    assert "s3cret" not in str(steps)
    with pytest.raises(SourceDenied, match="no key of a storage account"), source:
        source.listing()


def test_a_token_is_never_sent_without_tls(place: AzurePlace) -> None:
    server = place.bucket.server
    token = generate_container_sas(
        server.account, place.bucket.name, account_key=server.account_key,
        permission=ContainerSasPermissions(read=True, list=True), expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    connection = place.connection(account_key=None, sas_token=place.secret(token))
    with pytest.raises(SourceDenied, match="not sent without TLS") as refused, open_files(connection):
        pass
    assert token not in str(refused.value)


def test_without_a_secret_only_a_public_container_is_read(place: AzurePlace) -> None:
    place.put("a.csv", b"1")
    steps = list(open_files(place.connection(account_key=None)).probe())
    assert (steps[-1].ok, steps[-1].name in {"login", "permission", "folder"}) == (False, True)
    place.bucket.client.set_container_access_policy(signed_identifiers={}, public_access="container")
    with open_files(place.connection(account_key=None)) as source:
        assert [file.path for file in source.listing().files] == ["a.csv"]
