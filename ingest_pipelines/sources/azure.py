"""Blobs in an Azure Blob Storage container, seen as files in folders."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ingest_pipelines.config.connections.azure import AzureConnection
from ingest_pipelines.errors import IngestError, ItemChanged, ItemGone, SourceDenied, SourceUnavailable, printable
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import Client
from ingest_pipelines.sources.network import silence
from ingest_pipelines.sources.object_store import ObjectStore, no_answer
from ingest_pipelines.sources.ranges import in_ranges

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient

MAX_NAME = 1024
"""Azure's limit for a blob's name, in characters."""

COPIED_FROM = "ingest_etag"
"""Metadata of an archived blob: the etag of the blob that it is a copy of. Azure gives a copy another one."""

_GONE = frozenset({"BlobNotFound", "ResourceNotFound"})
_NO_CONTAINER = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})
_LOGIN = frozenset(
    {"AuthenticationFailed", "InvalidAuthenticationInfo", "AccountIsDisabled", "NoAuthenticationInformation"}
)
_DENIED = frozenset(
    {
        "AuthorizationFailure", "AuthorizationPermissionMismatch", "AuthorizationProtocolMismatch",
        "AuthorizationServiceMismatch", "AuthorizationResourceTypeMismatch", "AuthorizationSourceIPMismatch",
        "InsufficientAccountPermissions", "PublicAccessNotPermitted", "CannotVerifyCopySource",
    }
)  # fmt: skip
_NAMES = frozenset({"InvalidResourceName", "OutOfRangeInput", "InvalidUri"})
_KNOWN = _GONE | _NO_CONTAINER | _LOGIN | _DENIED | _NAMES
"""Codes that mean something here. Any other one is a server's own word: its status decides."""


class AzureBlobs(ObjectStore[AzureConnection, "ContainerClient", "BlobProperties"]):
    """A container. A file's version is its etag."""

    scheme: ClassVar[str] = "azure"

    def __init__(self, connection: AzureConnection, client: Client | None = None) -> None:
        super().__init__(connection, client)
        self.retries = connection.retries

    @property
    def bucket(self) -> str:
        """Account and container."""
        return f"{self._connection.account}/{self._connection.container}"

    def new_client(self) -> ContainerClient:
        """A client of the container."""
        return make_client(self._connection)

    def endpoint(self) -> str:
        """The account's address."""
        return str(self.client.primary_hostname)

    def try_bucket(self) -> None:
        """Lists one blob."""
        next(iter(self.client.list_blobs(results_per_page=1)), None)

    def objects(self, prefix: str, *, nested: bool) -> Iterator[tuple[str, BlobProperties]]:
        """The container's blobs, page by page; markers of folders are none."""
        from azure.storage.blob import BlobProperties

        found: Iterable[object] = (
            self.client.list_blobs(prefix, include=["metadata"])
            if nested
            else self.client.walk_blobs(prefix, include=["metadata"], delimiter="/")
        )
        for blob in found:
            if isinstance(blob, BlobProperties) and (blob.metadata or {}).get("hdi_isfolder") != "true":
                yield str(blob.name), blob

    def find(self, key: str, version: str = "") -> BlobProperties | None:
        """The blob, if its etag is the version."""
        from azure.core.exceptions import HttpResponseError

        try:
            blob = self.client.get_blob_client(key).get_blob_properties()
        except HttpResponseError as error:
            if _code(error) in {*_GONE, "404"}:
                return None
            raise
        return None if version and _etag(blob) != version else blob

    def file(self, path: str, stored: BlobProperties) -> SourceFile:
        """The blob as a file."""
        return SourceFile(path, int(stored.size or 0), stored.last_modified, _etag(stored))

    def key(self, path: str) -> str:
        """The blob's name.

        Raises:
            ItemGone: longer than Azure allows.
        """
        key = super().key(path)
        if len(key) > MAX_NAME:
            raise ItemGone(f"there is no file '{printable(path)}': the name is too long")
        return key

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`, as they are stored; with an etag only of that version."""
        blob = self._find(path)
        with self._translating_errors(path):
            if blob is None:
                raise ItemGone(f"{self.uri(path)} does not exist")
            if version and _etag(blob) != version:
                raise ItemChanged(f"{self.uri(path)} changed while it was read")
            etag, name = _etag(blob), str(blob.name)

            def fetch(first: int, end: int) -> bytes:
                return self._request(path, lambda: self._range(name, etag, first, end))

            yield from in_ranges(fetch, offset, int(blob.size or 0), "azure")

    def _range(self, name: str, etag: str, first: int, end: int) -> bytes:
        """One request. The public `download_blob` makes three, with pauses, where an answer breaks off."""
        from azure.storage.blob._generated.models import ModifiedAccessConditions

        stream: Iterator[bytes] = self.client.get_blob_client(name)._client.blob.download(
            range=f"bytes={first}-{end - 1}",
            modified_access_conditions=ModifiedAccessConditions(if_match=f'"{etag}"'),
            validate_content=False,
            data_stream_total=None,
            download_stream_current=0,
        )
        return b"".join(stream)

    def copy(self, original: BlobProperties, key: str) -> BlobProperties | None:
        """The copy, which the service may still be making in the background."""
        from azure.core import MatchConditions

        source, target = self.client.get_blob_client(str(original.name)), self.client.get_blob_client(key)
        target.start_copy_from_url(
            source.url,
            metadata={**(original.metadata or {}), COPIED_FROM: _etag(original)},
            source_etag=f'"{_etag(original)}"',
            source_match_condition=MatchConditions.IfNotModified,
            match_condition=MatchConditions.IfMissing,
        )
        copy: BlobProperties = target.get_blob_properties()
        return copy

    def upload(self, key: str, content: Path) -> None:
        """The service takes large files in several blocks."""
        with content.open("rb") as file:
            self.client.upload_blob(key, file, overwrite=True)

    def is_copy(self, copy: BlobProperties, original: BlobProperties) -> bool:
        """By size, and by the checksum or the etag that it was copied from; waits for a copy that is under way.

        Raises:
            SourceUnavailable: after `timeout_seconds` it still is. The original stays; the next attempt waits again.
        """
        copy = self._ended(copy)
        if copy.copy.status not in {None, "success"}:
            return False
        sums = [blob.content_settings.content_md5 for blob in (copy, original)]
        same = sums[0] == sums[1] if all(sums) else (copy.metadata or {}).get(COPIED_FROM) == _etag(original)
        return bool(copy.size == original.size and same)

    def _ended(self, copy: BlobProperties) -> BlobProperties:
        """The blob once no copy into it is under way."""
        deadline = time.monotonic() + self._connection.timeout_seconds
        while copy.copy.status == "pending":
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    f"{self.place}: the copy in the archive is still under way after "
                    f"{self._connection.timeout_seconds:g} seconds; the file stays where it is",
                    hint="the load is committed; run the item again to move its file, and raise timeout_seconds of the "
                    "connection if copies take longer",
                )
            time.sleep(PAUSE)
            copy = self.client.get_blob_client(str(copy.name)).get_blob_properties()
        return copy

    def delete(self, stored: BlobProperties) -> None:
        """Deletes it if its etag is the same."""
        self.client.get_blob_client(str(stored.name)).delete_blob(**_unchanged(_etag(stored)))

    def meaning_of(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        """By Azure's class, and by the code and the status of an answer."""
        from azure.core import exceptions as azure

        place = self.place
        if isinstance(error, azure.HttpResponseError) and error.status_code is not None:
            return _refused(_code(error), place, uri)
        inner = getattr(error, "inner_exception", None) or error
        if isinstance(error, azure.ServiceRequestError) and "NameResolution" in repr(inner):
            return "resolve", SourceUnavailable(
                f"{place}: the server's name can't be resolved", hint="check `account` and `endpoint_url`, and the DNS"
            )
        if (
            isinstance(error, ValueError)
            or "Invalid" in type(inner).__name__
            or "LocationParse" in type(inner).__name__
        ):
            return "resolve", SourceDenied(
                f"{place}: `account`, `container` or `endpoint_url` can't be used", hint="check connections.yaml"
            )
        if isinstance(error, (azure.AzureError, OSError)):
            return "connect", no_answer(place, error)
        raise error


PAUSE = 0.2
"""Seconds between two looks at a copy that is under way."""


def make_client(connection: AzureConnection) -> ContainerClient:
    """A client of the container. It connects with its first request; it makes no request again by itself.

    Raises:
        SourceDenied: the key is none, or the token would be sent without TLS.
    """
    from ingest_pipelines.sources.sql import driver

    blob = driver("azure.storage.blob", "azure")
    silence("azure.core.pipeline.policies.http_logging_policy")
    account = connection.account
    place = f"azure://{account}/{connection.container}"
    endpoint = connection.endpoint_url or f"https://{account}.blob.core.windows.net"
    credential: Any = None
    if connection.account_key is not None:
        key = connection.account_key.reveal()
        try:
            base64.b64decode(key, validate=True)
        except binascii.Error:
            raise SourceDenied(
                f"{place}: `account_key` is no key of a storage account",
                hint="take the whole key from the Azure portal",
            ) from None
        credential = {"account_name": account, "account_key": key}
    elif connection.sas_token is not None:
        if not endpoint.startswith("https://"):
            raise SourceDenied(
                f"{place}: `sas_token` is not sent without TLS", hint="let `endpoint_url` begin with https://"
            )
        credential = connection.sas_token.reveal().lstrip("?")
    client: ContainerClient = blob.ContainerClient(
        endpoint,
        connection.container,
        credential=credential,
        retry_total=0,
        connection_timeout=connection.timeout_seconds,
        read_timeout=connection.timeout_seconds,
    )
    return client


def _refused(code: str, place: str, uri: str) -> tuple[str, IngestError]:
    """The failed step and our error for an answer that is an error."""
    if code in _GONE:
        return "listing", ItemGone(f"{uri} does not exist")
    if code in {"412", "304", "409"}:
        return "listing", ItemChanged(f"{uri} changed while it was read")
    if code in _NO_CONTAINER or code == "404":
        return "folder", SourceDenied(f"{place} does not exist", hint="check `container` in connections.yaml")
    if code in _LOGIN or code == "401":
        return "login", SourceDenied(
            f"{place} does not accept the key or token", hint="check `account_key` or `sas_token`, and the clock"
        )
    if code in _DENIED or code == "403":
        return "permission", SourceDenied(
            f"{place}: no permission for {uri}",
            hint="the token needs Read and List of the container; for `archive` also Create, Write and Delete",
        )
    if code in _NAMES:
        return "resolve", SourceDenied(
            f"{place}: `account` or `container` can't be used", hint="check connections.yaml"
        )
    return "listing", SourceUnavailable(f"{place} answers with an error ({code})", hint="try again later")


def _code(error: Any) -> str:
    """The code of an answer if it is known here, else its status."""
    answer = getattr(error, "response", None)
    code = str(
        getattr(error, "error_code", "") or (answer.headers.get("x-ms-error-code") if answer is not None else "")
    )
    return code if code in _KNOWN else str(error.status_code)


def _etag(blob: Any) -> str:
    return str(blob.etag).strip('"')


def _unchanged(etag: str) -> dict[str, Any]:
    """The condition of a request that the blob is still of that etag."""
    from azure.core import MatchConditions

    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
