"""Objects in a Google Cloud Storage bucket, seen as files in folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ingest_pipelines.config.connections.gcs import GcsConnection
from ingest_pipelines.errors import IngestError, ItemChanged, ItemGone, SourceDenied, SourceUnavailable, printable
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import Client
from ingest_pipelines.sources.object_store import ObjectStore, no_answer
from ingest_pipelines.sources.ranges import in_ranges

if TYPE_CHECKING:
    from google.cloud import storage

MAX_KEY_BYTES = 1024
"""Google's limit for an object's name."""

_FIELDS = "items(name,size,updated,generation),nextPageToken"


class Gcs(ObjectStore[GcsConnection, "storage.Client", "storage.Blob"]):
    """A bucket. A file's version is its generation; a bucket that keeps old ones still gives them by it."""

    scheme: ClassVar[str] = "gs"

    def __init__(self, connection: GcsConnection, client: Client | None = None) -> None:
        super().__init__(connection, client)
        self.retries = connection.retries
        # Google's own retries are off: they end by the clock, and a slow one is the last.
        self._limits: dict[str, Any] = {"timeout": connection.timeout_seconds, "retry": None}

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._connection.bucket

    def new_client(self) -> storage.Client:
        """A storage client."""
        return make_client(self._connection)

    def endpoint(self) -> str:
        """Google's, and so not worth telling."""
        return ""

    def try_bucket(self) -> None:
        """Lists one object."""
        next(iter(self.client.list_blobs(self.bucket, max_results=1, **self._limits)), None)

    def objects(self, prefix: str, *, nested: bool) -> Iterator[tuple[str, storage.Blob]]:
        """The bucket's blobs, page by page."""
        blobs = self.client.list_blobs(
            self.bucket,
            prefix=prefix,
            delimiter=None if nested else "/",
            fields=_FIELDS if nested else f"{_FIELDS},prefixes",
            **self._limits,
        )
        return ((blob.name, blob) for blob in blobs)

    def find(self, key: str, version: str = "") -> storage.Blob | None:
        """The blob, or its generation of that number."""
        generation = int(version) if version.isdecimal() else None
        return self.client.bucket(self.bucket).get_blob(key, generation=generation, **self._limits)

    def file(self, path: str, stored: storage.Blob) -> SourceFile:
        """The blob as a file."""
        return SourceFile(path, int(stored.size or 0), stored.updated, str(stored.generation))

    def key(self, path: str) -> str:
        """The blob's name.

        Raises:
            ItemGone: longer than Google allows.
        """
        key = super().key(path)
        if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
            raise ItemGone(f"there is no file '{printable(path)}': the name is too long")
        return key

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`, as they are stored; with a generation only of that one."""
        blob = self._find(path, version)
        with self._translating_errors(path):
            if blob is None and version:
                raise ItemChanged(f"{self.uri(path)} changed while it was read")
            if blob is None:
                raise ItemGone(f"{self.uri(path)} does not exist")
            size = int(blob.size or 0)
            # a blob that Google described would be read from its mediaLink, past `endpoint_url`
            blob = self.client.bucket(self.bucket).blob(blob.name, generation=blob.generation)
            yield from in_ranges(lambda first, end: self._range(blob, first, end, path), offset, size, "gcs")

    def _range(self, blob: storage.Blob, start: int, end: int, path: str) -> bytes:
        from google.api_core.exceptions import NotFound

        def download() -> bytes:
            try:
                content: bytes = blob.download_as_bytes(
                    start=start,
                    end=end - 1,
                    raw_download=True,
                    if_generation_match=blob.generation,
                    checksum=None,  # of the whole object: nothing to compare a part with
                    **self._limits,
                )
            except NotFound:  # the generation, that is: it was there a moment ago
                raise ItemChanged(f"{self.uri(path)} changed while it was read") from None
            return content

        return self._request(path, download)

    def copy(self, original: storage.Blob, key: str) -> storage.Blob | None:
        """The copy; Google makes large ones in several steps."""
        copy = self.client.bucket(self.bucket).blob(key)
        token: str | None = None
        while True:
            token, _, _ = copy.rewrite(
                original,
                token=token,
                if_generation_match=0,
                if_source_generation_match=original.generation,
                **self._limits,
            )
            if token is None:
                copy.reload(**self._limits)
                return copy

    def upload(self, key: str, content: Path) -> None:
        """Google takes large files in several steps."""
        self.client.bucket(self.bucket).blob(key).upload_from_filename(str(content), **self._limits)

    def is_copy(self, copy: storage.Blob, original: storage.Blob) -> bool:
        """By size and checksum."""
        return bool((copy.size, copy.crc32c) == (original.size, original.crc32c))

    def delete(self, stored: storage.Blob) -> None:
        """Deletes it if its generation is the same."""
        stored.delete(if_generation_match=stored.generation, **self._limits)

    def meaning_of(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        """By Google's class, and by that of the HTTP client below it."""
        from http.client import HTTPException

        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.cloud.storage import exceptions as media
        from requests import exceptions as http
        from urllib3.exceptions import HTTPError

        place = self.place
        if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
            error = error.cause
        if isinstance(error, media.InvalidResponse):
            error = api.from_http_status(error.response.status_code, "")  # type: ignore[no-untyped-call]  # as below
        if isinstance(error, api.NotFound):
            return "folder", SourceDenied(f"{place} does not exist", hint="check `bucket` in connections.yaml")
        if isinstance(error, api.PreconditionFailed):
            return "listing", ItemChanged(f"{uri} changed while it was read")
        if isinstance(error, (api.Unauthorized, auth.DefaultCredentialsError, auth.RefreshError, auth.MalformedError)):
            return "login", SourceDenied(
                f"{place}: no credentials were found, or they are not accepted",
                hint="give `credentials` in connections.yaml, or run: gcloud auth application-default login",
            )
        if isinstance(error, api.Forbidden):
            return "permission", SourceDenied(
                f"{place}: no permission for {uri}",
                hint="the account needs the role Storage Object Viewer; for `archive` Storage Object User",
            )
        if isinstance(error, (http.InvalidURL, http.InvalidSchema, http.MissingSchema, ValueError)):
            return "resolve", SourceDenied(
                f"{place}: the bucket's name or `endpoint_url` can't be used", hint="check connections.yaml"
            )
        if isinstance(error, http.ConnectionError) and "NameResolution" in repr(error):
            return "resolve", SourceUnavailable(f"{place}: the server's name can't be resolved", hint="check the DNS")
        if isinstance(error, (http.RequestException, HTTPError, HTTPException, auth.TransportError, OSError)):
            return "connect", no_answer(place, error)
        if isinstance(error, (api.GoogleAPIError, media.DataCorruption)):
            code = getattr(error, "code", None) or type(error).__name__
            return "listing", SourceUnavailable(f"{place} answers with an error ({code})", hint="try again later")
        raise error


def make_client(connection: GcsConnection) -> storage.Client:
    """A storage client with everything that the connection says. It connects with its first request.

    Raises:
        SourceDenied: `credentials` is not the JSON of a key.
    """
    from google.cloud import storage

    credentials, project = _credentials(connection)
    return storage.Client(
        project=connection.project or project or "none",
        credentials=credentials,
        client_options={"api_endpoint": connection.endpoint_url} if connection.endpoint_url else None,
    )


def _credentials(connection: GcsConnection) -> tuple[Any, str | None]:
    """Credentials and their project. An endpoint without TLS gets none: it is an emulator, or a trap."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2 import service_account

    if connection.endpoint_url is not None and connection.endpoint_url.startswith("http://"):
        return AnonymousCredentials(), None  # type: ignore[no-untyped-call]  # google-auth's own omission
    scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
    if connection.credentials is None:
        return google.auth.default(scopes=scopes)
    try:
        facts = json.loads(connection.credentials.reveal())
        account = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # as above
            facts, scopes=scopes
        )
        return account, facts.get("project_id")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise SourceDenied(
            f"gs://{connection.bucket}: `credentials` is not the JSON of a service account's key",
            hint="create a key in the Google Cloud console, and store the whole file as the secret",
        ) from None
