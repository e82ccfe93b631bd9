"""Objects in an S3 bucket, seen as files in folders."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from ingest_pipelines.config.connections import S3Connection
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

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader

_LOGIN = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "RequestExpired", "RequestTimeTooSkewed", "AuthFailure", "UnrecognizedClientException",
}  # fmt: skip
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_GONE = {"NoSuchKey", "NotFound", "404", "KeyTooLongError", "NoSuchVersion", "InvalidObjectState"}
_CHANGED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}

STEPS = ("resolve", "connect", "login", "permission", "folder", "listing")


class S3:
    """A bucket. A file's version is its etag; a bucket that keeps old versions still gives them by it."""

    def __init__(self, connection: S3Connection, client: Client | None = None) -> None:
        self._connection = connection
        self._make_client = client or functools.partial(make_client, connection)
        self._place = f"s3://{connection.bucket}"
        self._client: BaseClient | None = None

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
        """`s3://bucket/prefix/path`."""
        return address("s3", self._connection.bucket, f"{self._connection.prefix.strip('/')}/{path}")

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`."""
        start = folder_prefix(self._connection.prefix, folder)
        root = folder_prefix(self._connection.prefix, "")
        request = {"Bucket": self._connection.bucket, "Prefix": start, **({} if nested else {"Delimiter": "/"})}
        with self._answering(folder):
            pages = self._connected().get_paginator("list_objects_v2").paginate(**request)
            return listing_of(
                _facts(found["Key"].removeprefix(root), found["Size"], found)
                for page in pages
                for found in page.get("Contents", [])
            )

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now, or its version with that etag."""
        key = object_key(self._connection.prefix, path)
        with self._answering(path):
            found = self._connected().head_object(Bucket=self._connection.bucket, Key=key)
            now = _facts(path, found["ContentLength"], found)
            if version and now.version != version:
                return next((file for file, _ in self._versions(path, version)), now)
            return now

    def _versions(self, path: str, etag: str) -> Iterator[tuple[SourceFile, str]]:
        """The versions that the bucket keeps of the file, with their ids; none where it keeps only the last."""
        key = object_key(self._connection.prefix, path)
        pages = self._connected().get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._connection.bucket, Prefix=key):
            for found in page.get("Versions", []):
                file = _facts(path, found["Size"], found)
                if found["Key"] == key and file.version == etag and found.get("VersionId", "null") != "null":
                    yield file, found["VersionId"]

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`; with an etag only of the version that has it."""
        with self._answering(path):
            body = self._body(path, offset, version)
            if body is not None:
                with contextlib.closing(body):
                    yield from body.iter_chunks(CHUNK)

    def _body(self, path: str, offset: int, version: str) -> Any:
        """The open answer; None where nothing is left behind `offset`."""
        from botocore.exceptions import ClientError

        request: dict[str, str] = {
            "Bucket": self._connection.bucket,
            "Key": object_key(self._connection.prefix, path),
            **({"Range": f"bytes={offset}-"} if offset else {}),
        }
        try:
            return self._connected().get_object(**request, **({"IfMatch": f'"{version}"'} if version else {}))["Body"]
        except ClientError as error:
            code = _code(error)
            if code in {"InvalidRange", "416"}:
                return None
            kept = self._versions(path, version) if code in _CHANGED else iter(())
            found = next((version_id for _, version_id in kept), None)
            if found is None:
                raise
        return self._connected().get_object(**request, VersionId=found)["Body"]

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Copies the object into `folder`, compares the copy, deletes the object."""
        client, bucket = self._connected(), self._connection.bucket
        key, target = object_key(self._connection.prefix, path), folder_prefix(self._connection.prefix, folder)
        try:
            found = self.stat(path)
        except ItemGone:
            if self._head(target + path.rpartition("/")[2]) is None:
                raise
            return
        if expected is not None and (found.size, found.version) != (expected.size, expected.version):
            raise ItemChanged(f"{self.uri(path)} was replaced after it was loaded; it stays where it is")
        same = f'"{found.version}"'
        with self._answering(path):
            for name in archive_names(found):
                there = self._head(target + name)
                if there is None:
                    source = {"Bucket": bucket, "Key": key}
                    client.copy(source, bucket, target + name, ExtraArgs={"CopySourceIfMatch": same})
                    there = self._head(target + name)
                if there is not None and _same(there, found):
                    client.delete_object(Bucket=bucket, Key=key, IfMatch=same)
                    return
        raise ItemChanged(f"{self.uri(path)}: its name is taken in {printable(folder)}; it stays where it is")

    def _head(self, key: str) -> SourceFile | None:
        with self._answering(""):
            try:
                found = self._connected().head_object(Bucket=self._connection.bucket, Key=key)
            except Exception as error:
                if _code(error) in _GONE:
                    return None
                raise
        return _facts(key, found["ContentLength"], found)

    def probe(self) -> Iterator[Step]:
        """`resolve`, `connect`, `login`, `permission`, `folder` (the bucket), `listing`."""
        try:
            self._client = self._make_client()
            self._connected().list_objects_v2(Bucket=self._connection.bucket, MaxKeys=1)
            endpoint = str(self._connected().meta.endpoint_url)
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
            yield Step(name, True, {"connect": endpoint, "folder": self.uri("")}.get(name, ""))
        yield Step("listing", True, found.counted())

    def _connected(self) -> BaseClient:
        if self._client is None:
            raise InternalError("an S3 source that was not entered")
        return self._client

    @contextlib.contextmanager
    def _answering(self, path: str) -> Iterator[None]:
        """Turns what the client raises into our errors."""
        try:
            yield
        except Exception as error:
            raise _explained(error, self._place, self.uri(path))[1] from None


def make_client(connection: S3Connection) -> BaseClient:
    """A boto3 client with everything that the connection says. It connects with its first request."""
    import boto3
    from botocore.config import Config
    from botocore.session import get_session

    keys: dict[str, str] = {}
    if connection.access_key_id is not None and connection.secret_access_key is not None:
        keys = {
            "aws_access_key_id": connection.access_key_id.reveal(),
            "aws_secret_access_key": connection.secret_access_key.reveal(),
        }
    settings = Config(
        connect_timeout=connection.timeout_seconds,
        read_timeout=connection.timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": connection.retries + 1},
        s3={"addressing_style": "path" if connection.path_style else "auto"},
        tcp_keepalive=True,
        request_checksum_calculation="when_required",  # other servers than Amazon's refuse the newer kinds
        response_checksum_validation="when_required",
    )
    session = get_session()
    session.register_component("data_loader", _api_models())
    return boto3.session.Session(botocore_session=session).client(
        "s3", endpoint_url=connection.endpoint_url, region_name=connection.region, config=settings, **keys
    )


@functools.cache
def _api_models() -> Loader:
    """What boto3 reads from disk to make a client: most of the time that it takes, and always the same."""
    from botocore.loaders import Loader

    return Loader()


def _explained(error: Exception, place: str, uri: str) -> tuple[str, IngestError]:
    """The step of a connection test that fails so, and our error, without the client's text: it may hold keys.

    Raises:
        Exception: what neither the client nor the network can mean is a bug.
    """
    from botocore import exceptions as aws

    told: IngestError
    if isinstance(error, IngestError):
        return "listing", error
    if isinstance(error, aws.ClientError):
        return _refused(_code(error), place, uri)
    if isinstance(
        error,
        (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError, aws.TokenRetrievalError),
    ):
        told = SourceDenied(
            f"{place}: no credentials were found",
            hint="give access_key_id and secret_access_key in connections.yaml, or set up the AWS chain",
        )
        return "login", told
    if isinstance(error, (aws.NoRegionError, aws.ParamValidationError, aws.ProfileNotFound, ValueError)):
        told = SourceDenied(
            f"{place}: the bucket's name, `region` or `endpoint_url` can't be used", hint="check connections.yaml"
        )
        return "resolve", told
    if isinstance(error, aws.EndpointConnectionError):
        unresolved = "NameResolution" in repr(error.kwargs.get("error"))
        what = "the server's name can't be resolved" if unresolved else "the server refuses the connection"
        told = SourceUnavailable(f"{place}: {what}", hint="check `region` and `endpoint_url`, and the DNS")
        return ("resolve" if unresolved else "connect"), told
    if isinstance(error, (aws.BotoCoreError, OSError)):
        told = SourceUnavailable(
            f"{place} does not answer, or broke off the connection",
            hint="is the server up, and the way to it open? raise timeout_seconds if it is just slow",
        )
        return "connect", told
    raise error


def _refused(code: str, place: str, uri: str) -> tuple[str, IngestError]:
    """The same for an answer that is an error."""
    if code in _GONE:
        return "listing", ItemGone(f"{uri} does not exist")
    if code in _CHANGED:
        return "listing", ItemChanged(f"{uri} changed while it was read")
    if code == "NoSuchBucket":
        return "folder", SourceDenied(f"{place} does not exist", hint="check `bucket` in connections.yaml")
    if code in _REGION:
        return "login", SourceDenied(f"{place} is in another region", hint="set `region` in connections.yaml")
    if code in _LOGIN:
        told = SourceDenied(
            f"{place} does not accept the keys ({printable(code)})", hint="check the keys, and the clock"
        )
        return "login", told
    if code in _DENIED:
        told = SourceDenied(
            f"{place}: no permission for {uri}",
            hint="the keys need s3:ListBucket and s3:GetObject; for `archive` also s3:PutObject and s3:DeleteObject",
        )
        return "permission", told
    return "listing", SourceUnavailable(f"{place} answers with an error ({printable(code)})", hint="try again later")


def _code(error: Exception) -> str:
    answer: dict[str, dict[str, object]] = getattr(error, "response", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return str(answer.get("Error", {}).get("Code") or status)


def _facts(path: str, size: int, found: dict[str, Any]) -> SourceFile:
    return SourceFile(path, size, found["LastModified"], found["ETag"].strip('"'))


def _same(copy: SourceFile, original: SourceFile) -> bool:
    """Whether a copy is whole. Objects written in parts get another etag with another part size."""
    parts = "-" in copy.version or "-" in original.version
    return copy.size == original.size and (parts or copy.version == original.version)
