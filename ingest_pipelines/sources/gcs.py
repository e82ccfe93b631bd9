"""Objects in a Google Cloud Storage bucket, seen as files in folders."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ingest_pipelines.config.connections import GcsConnection
from ingest_pipelines.errors import (
    IngestError,
    InternalError,
    ItemChanged,
    ItemGone,
    SourceDenied,
    SourceUnavailable,
    printable,
)
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import CHUNK, Client, Listing, Step
from ingest_pipelines.sources.files import address, archive_names, folder_prefix, listing_of, object_key
from ingest_pipelines.sources.http_headers import refuse_broken_headers
from ingest_pipelines.sources.network import retried

if TYPE_CHECKING:
    from google.cloud import storage

T = TypeVar("T")

STRETCH = 16 * CHUNK
"""Most bytes of one request. An answer is checked and tried again as a whole, so it must fit into memory."""

MAX_KEY_BYTES = 1024
"""Google's limit for an object's name."""

_FIELDS = "items(name,size,updated,generation),nextPageToken"

STEPS = ("resolve", "connect", "login", "permission", "folder", "listing")


class Gcs:
    """A bucket. A file's version is its generation; a bucket that keeps old ones still gives them by it."""

    def __init__(self, connection: GcsConnection, client: Client | None = None) -> None:
        self._connection = connection
        self._make_client = client or functools.partial(make_client, connection)
        self._place = f"gs://{connection.bucket}"
        self._client: storage.Client | None = None

    def __enter__(self) -> Self:
        refuse_broken_headers()
        with self._answering(""):
            self._client = self._make_client()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def uri(self, path: str) -> str:
        """`gs://bucket/prefix/path`."""
        return address("gs", self._connection.bucket, f"{self._connection.prefix.strip('/')}/{path}")

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`."""
        root = folder_prefix(self._connection.prefix, "")

        def whole() -> Listing:
            found = self._connected().list_blobs(
                self._connection.bucket,
                prefix=folder_prefix(self._connection.prefix, folder),
                delimiter=None if nested else "/",
                fields=_FIELDS if nested else f"{_FIELDS},prefixes",
                **self._patience(),
            )
            return listing_of(_facts(blob.name.removeprefix(root), blob) for blob in found)

        return self._asked(folder, whole)

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now, or its generation of that number."""
        blob = self._look(path, version) or (self._look(path) if version else None)
        if blob is None:
            raise ItemGone(f"{self.uri(path)} does not exist")
        return _facts(path, blob)

    def _look(self, path: str, version: str = "") -> storage.Blob | None:
        generation = int(version) if version.isdecimal() else None
        return self._asked(path, lambda: self._find(self._key(path), generation))

    def _find(self, key: str, generation: int | None = None) -> storage.Blob | None:
        return self._bucket().get_blob(key, generation=generation, **self._patience())

    def _key(self, path: str) -> str:
        key = object_key(self._connection.prefix, path)
        if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
            raise ItemGone(f"there is no file '{printable(path)}': the name is too long")
        return key

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`, as they are stored; with a generation only of that one."""
        blob = self._look(path, version)
        with self._answering(path):
            if blob is None and version:
                raise ItemChanged(f"{self.uri(path)} changed while it was read")
            if blob is None:
                raise ItemGone(f"{self.uri(path)} does not exist")
            size = int(blob.size or 0)
            # a blob that Google described would be read from its mediaLink, past `endpoint_url`
            blob = self._bucket().blob(blob.name, generation=blob.generation)
            for stretch in self._stretches(blob, offset, size, path):
                view = memoryview(stretch)
                for at in range(0, len(view), CHUNK):
                    yield bytes(view[at : at + CHUNK])

    def _stretches(self, blob: storage.Blob, start: int, size: int, path: str) -> Iterator[bytes]:
        """The bytes in growing stretches; the next one is on its way while one is used."""
        bounds = _bounds(start, size)
        coming = next(bounds, None)
        asked: Future[bytes] | None = None
        pool = ThreadPoolExecutor(1, thread_name_prefix="gcs")
        try:
            while coming is not None:
                (first, end), coming = coming, next(bounds, None)
                stretch = asked.result() if asked else self._stretch(blob, first, end, path)
                # who wants only the head gets little more
                asked = pool.submit(self._stretch, blob, *coming, path) if coming and first > start else None
                yield stretch
                if len(stretch) < end - first:
                    return
        finally:
            pool.shutdown(cancel_futures=True)

    def _stretch(self, blob: storage.Blob, start: int, end: int, path: str) -> bytes:
        from google.api_core.exceptions import NotFound

        def content() -> bytes:
            try:
                stretch: bytes = blob.download_as_bytes(
                    start=start,
                    end=end - 1,
                    raw_download=True,
                    if_generation_match=blob.generation,
                    checksum=None,  # of the whole object: nothing to compare a part with
                    **self._patience(),
                )
            except NotFound:  # the generation, that is: it was there a moment ago
                raise ItemChanged(f"{self.uri(path)} changed while it was read") from None
            return stretch

        return self._asked(path, content)

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Copies the object into `folder`, compares the copy, deletes the object: each only if nothing changed."""
        self._asked(path, lambda: self._move(path, folder, expected))

    def _move(self, path: str, folder: str, expected: SourceFile | None) -> None:
        bucket, target = self._bucket(), folder_prefix(self._connection.prefix, folder)
        blob = self._find(self._key(path))
        if blob is None:
            if self._find(target + path.rpartition("/")[2]) is None:
                raise ItemGone(f"{self.uri(path)} does not exist")
            return
        found = _facts(path, blob)
        if expected is not None and (found.size, found.version) != (expected.size, expected.version):
            raise ItemChanged(f"{self.uri(path)} was replaced after it was loaded; it stays where it is")
        for name in archive_names(found):
            copy = self._find(target + name)
            if copy is None:
                copy = self._copied(blob, bucket.blob(target + name))
            if (copy.size, copy.crc32c) == (blob.size, blob.crc32c):
                blob.delete(if_generation_match=blob.generation, **self._patience())
                return
        raise ItemChanged(f"{self.uri(path)}: its name is taken in {printable(folder)}; it stays where it is")

    def _copied(self, blob: storage.Blob, copy: storage.Blob) -> storage.Blob:
        """The copy; Google makes large ones in several steps."""
        token: str | None = None
        while True:
            token, _, _ = copy.rewrite(
                blob,
                token=token,
                if_generation_match=0,
                if_source_generation_match=blob.generation,
                **self._patience(),
            )
            if token is None:
                copy.reload(**self._patience())
                return copy

    def probe(self) -> Iterator[Step]:
        """`resolve`, `connect`, `login`, `permission`, `folder` (the bucket), `listing`."""
        try:
            self._client = self._make_client()
            next(iter(self._connected().list_blobs(self._connection.bucket, max_results=1, **self._patience())), None)
            found = self.listing()
        except Exception as error:
            failed, told = _explained(error, self._place, self.uri(""))
            for name in STEPS[: STEPS.index(failed)]:
                yield Step(name, True)
            yield Step(failed, False, told.message, told.hint)
            return
        finally:
            self._close()
        for name in STEPS[:-1]:
            yield Step(name, True, self.uri("") if name == "folder" else "")
        yield Step("listing", True, found.counted())

    def _bucket(self) -> storage.Bucket:
        return self._connected().bucket(self._connection.bucket)

    def _connected(self) -> storage.Client:
        if self._client is None:
            raise InternalError("a GCS source that was not entered")
        return self._client

    def _patience(self) -> dict[str, Any]:
        """How long a request may take. Google's own retries are off: they end by the clock, a slow one is the last."""
        return {"timeout": self._connection.timeout_seconds, "retry": None}

    def _asked(self, path: str, work: Callable[[], T]) -> T:
        """What the work returns; it is done again where the server does not answer, as often as `retries` says."""

        def attempt() -> T:
            with self._answering(path):
                return work()

        return retried(attempt, self._connection.retries, time.sleep)

    @contextlib.contextmanager
    def _answering(self, path: str) -> Iterator[None]:
        """Turns what the client raises into our errors."""
        try:
            yield
        except Exception as error:
            raise _explained(error, self._place, self.uri(path))[1] from None


def make_client(connection: GcsConnection) -> storage.Client:
    """A storage client with everything that the connection says. It connects with its first request.

    Raises:
        SourceDenied: the credentials are none.
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


def _explained(error: Exception, place: str, uri: str) -> tuple[str, IngestError]:
    """The step of a connection test that fails so, and our error, without the client's text.

    Raises:
        Exception: what neither the client nor the network can mean is a bug.
    """
    from http.client import HTTPException

    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage import exceptions as media
    from requests import exceptions as http
    from urllib3.exceptions import HTTPError

    told: IngestError
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, media.InvalidResponse):
        error = api.from_http_status(error.response.status_code, "")  # type: ignore[no-untyped-call]  # as above
    if isinstance(error, SourceDenied):
        return "login", error
    if isinstance(error, IngestError):
        return "listing", error
    if isinstance(error, api.NotFound):
        return "folder", SourceDenied(f"{place} does not exist", hint="check `bucket` in connections.yaml")
    if isinstance(error, api.PreconditionFailed):
        return "listing", ItemChanged(f"{uri} changed while it was read")
    if isinstance(error, (api.Unauthorized, auth.DefaultCredentialsError, auth.RefreshError, auth.MalformedError)):
        told = SourceDenied(
            f"{place}: no credentials were found, or they are not accepted",
            hint="give `credentials` in connections.yaml, or run: gcloud auth application-default login",
        )
        return "login", told
    if isinstance(error, api.Forbidden):
        told = SourceDenied(
            f"{place}: no permission for {uri}",
            hint="the account needs the role Storage Object Viewer; for `archive` Storage Object User",
        )
        return "permission", told
    if isinstance(error, (http.InvalidURL, http.InvalidSchema, http.MissingSchema, ValueError)):
        told = SourceDenied(
            f"{place}: the bucket's name or `endpoint_url` can't be used", hint="check connections.yaml"
        )
        return "resolve", told
    if isinstance(error, http.ConnectionError) and "NameResolution" in repr(error):
        return "resolve", SourceUnavailable(f"{place}: the server's name can't be resolved", hint="check the DNS")
    if isinstance(error, (http.RequestException, HTTPError, HTTPException, auth.TransportError, OSError)):
        told = SourceUnavailable(
            f"{place} does not answer, or broke off the connection",
            hint="is the server up, and the way to it open? raise timeout_seconds if it is just slow",
        )
        return "connect", told
    if isinstance(error, (api.GoogleAPIError, media.DataCorruption)):
        code = getattr(error, "code", None) or type(error).__name__
        return "listing", SourceUnavailable(f"{place} answers with an error ({code})", hint="try again later")
    raise error


def _bounds(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Where stretches begin and end: each twice as long as the one before, up to STRETCH."""
    length = CHUNK
    while start < size:
        end = min(start + length, size)
        yield start, end
        start, length = end, min(2 * length, STRETCH)


def _facts(path: str, blob: storage.Blob) -> SourceFile:
    return SourceFile(path, int(blob.size or 0), blob.updated, str(blob.generation))
