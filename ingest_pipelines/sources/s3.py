"""Objects in an S3 bucket, seen as files in folders."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ingest_pipelines.config.connections.s3 import S3Connection
from ingest_pipelines.errors import IngestError, ItemChanged, ItemGone, SourceDenied, SourceUnavailable
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import CHUNK
from ingest_pipelines.sources.object_store import ObjectStore, no_answer

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader

_LOGIN = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "RequestExpired", "RequestTimeTooSkewed", "AuthFailure", "UnrecognizedClientException", "401",
}  # fmt: skip
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_GONE = {"NoSuchKey", "NotFound", "404", "KeyTooLongError", "NoSuchVersion", "InvalidObjectState"}
_CHANGED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
_BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "NoSuchBucket"}
_KNOWN = frozenset[str]().union(_LOGIN, _REGION, _GONE, _CHANGED, _DENIED, _BUSY)
"""Codes that mean something here, or may be told. Any other one is a server's own word: its status decides."""


class S3(ObjectStore[S3Connection, "BaseClient", SourceFile]):
    """A bucket. A file's version is its etag; a bucket that keeps old versions still gives them by it."""

    scheme: ClassVar[str] = "s3"  # boto3 makes requests again by itself: no `retries`

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._connection.bucket

    def new_client(self) -> BaseClient:
        """A boto3 client."""
        return make_client(self._connection)

    def endpoint(self) -> str:
        """The address that boto3 chose by region and settings."""
        return str(self.client.meta.endpoint_url)

    def try_bucket(self) -> None:
        """Lists one object."""
        self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def objects(self, prefix: str, *, nested: bool) -> Iterator[tuple[str, SourceFile]]:
        """The bucket's objects, page by page."""
        request = {"Bucket": self.bucket, "Prefix": prefix, **({} if nested else {"Delimiter": "/"})}
        for page in self.client.get_paginator("list_objects_v2").paginate(**request):
            for entry in page.get("Contents", []):
                yield entry["Key"], _object(entry["Key"], entry["Size"], entry)

    def find(self, key: str, version: str = "") -> SourceFile | None:
        """The object, or its version with that etag; its `path` is its key."""
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=key)
        except Exception as error:
            if _code(error) in _GONE:
                return None
            raise
        now = _object(key, head["ContentLength"], head)
        if version and now.version != version:
            return next((kept for kept, _ in self._versions(key, version)), None)
        return now

    def _versions(self, key: str, etag: str) -> Iterator[tuple[SourceFile, str]]:
        """The versions that the bucket keeps of the object, with their ids; none where it keeps only the last."""
        pages = self.client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=key):
            for entry in page.get("Versions", []):
                kept = _object(entry["Key"], entry["Size"], entry)
                if kept.path == key and kept.version == etag and entry.get("VersionId", "null") != "null":
                    yield kept, entry["VersionId"]

    def file(self, path: str, stored: SourceFile) -> SourceFile:
        """The object under its path instead of its key."""
        return replace(stored, path=path)

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`; with an etag only of the version that has it."""
        with self._translating_errors(path):
            body = self._body(self.key(path), offset, version)
            if body is not None:
                with contextlib.closing(body):
                    yield from body.iter_chunks(CHUNK)

    def _body(self, key: str, offset: int, version: str) -> Any:
        """The open answer; None where nothing is left behind `offset`."""
        from botocore.exceptions import ClientError

        request: dict[str, str] = {
            "Bucket": self.bucket, "Key": key, **({"Range": f"bytes={offset}-"} if offset else {})
        }  # fmt: skip
        try:
            return self.client.get_object(**request, **({"IfMatch": f'"{version}"'} if version else {}))["Body"]
        except ClientError as error:
            code = _code(error)
            if code in {"InvalidRange", "416"}:
                return None
            kept = self._versions(key, version) if code in _CHANGED else iter(())
            version_id = next((version_id for _, version_id in kept), None)
            if version_id is None:
                raise
        return self.client.get_object(**request, VersionId=version_id)["Body"]

    def copy(self, original: SourceFile, key: str) -> SourceFile | None:
        """The copy; boto3 makes large ones in several parts."""
        source = {"Bucket": self.bucket, "Key": original.path}
        self.client.copy(source, self.bucket, key, ExtraArgs={"CopySourceIfMatch": f'"{original.version}"'})
        return self.find(key)

    def upload(self, key: str, content: Path) -> None:
        """Boto3 uploads large files in several parts."""
        self.client.upload_file(str(content), self.bucket, key)

    def is_copy(self, copy: SourceFile, original: SourceFile) -> bool:
        """By size and etag. Objects written in parts get another etag with another part size."""
        parts = "-" in copy.version or "-" in original.version
        return copy.size == original.size and (parts or copy.version == original.version)

    def delete(self, stored: SourceFile) -> None:
        """Deletes it if its etag is the same."""
        self.client.delete_object(Bucket=self.bucket, Key=stored.path, IfMatch=f'"{stored.version}"')

    def meaning_of(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        """By botocore's class, and by the code of an answer."""
        from botocore import exceptions as aws

        place = self.place
        if isinstance(error, aws.ClientError):
            return _refused(_code(error), place, uri)
        if isinstance(
            error,
            (
                aws.NoCredentialsError,
                aws.PartialCredentialsError,
                aws.CredentialRetrievalError,
                aws.TokenRetrievalError,
            ),
        ):
            return "login", SourceDenied(
                f"{place}: no credentials were found",
                hint="give access_key_id and secret_access_key in connections.yaml, or set up the AWS chain",
            )
        if isinstance(error, (aws.NoRegionError, aws.ParamValidationError, aws.ProfileNotFound, ValueError)):
            return "resolve", SourceDenied(
                f"{place}: the bucket's name, `region` or `endpoint_url` can't be used", hint="check connections.yaml"
            )
        if isinstance(error, aws.EndpointConnectionError):
            unresolved = "NameResolution" in repr(error.kwargs.get("error"))
            what = "the server's name can't be resolved" if unresolved else "the server refuses the connection"
            return "resolve" if unresolved else "connect", SourceUnavailable(
                f"{place}: {what}", hint="check `region` and `endpoint_url`, and the DNS"
            )
        if isinstance(error, (aws.BotoCoreError, OSError)):
            return "connect", no_answer(place, error)
        raise error


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


def _refused(code: str, place: str, uri: str) -> tuple[str, IngestError]:
    """The failed step and our error for an answer that is an error."""
    if code in _GONE:
        return "listing", ItemGone(f"{uri} does not exist")
    if code in _CHANGED:
        return "listing", ItemChanged(f"{uri} changed while it was read")
    if code == "NoSuchBucket":
        return "folder", SourceDenied(f"{place} does not exist", hint="check `bucket` in connections.yaml")
    if code in _REGION:
        return "login", SourceDenied(f"{place} is in another region", hint="set `region` in connections.yaml")
    if code in _LOGIN:
        return "login", SourceDenied(f"{place} does not accept the keys ({code})", hint="check the keys, and the clock")
    if code in _DENIED:
        return "permission", SourceDenied(
            f"{place}: no permission for {uri}",
            hint="the keys need s3:ListBucket and s3:GetObject; for `archive` also s3:PutObject and s3:DeleteObject",
        )
    return "listing", SourceUnavailable(f"{place} answers with an error ({code})", hint="try again later")


def _code(error: Exception) -> str:
    answer: dict[str, dict[str, object]] = getattr(error, "response", None) or {}  # None: a time-out's
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    code = str(answer.get("Error", {}).get("Code"))
    return code if code in _KNOWN else str(status)


def _object(key: str, size: int, entry: dict[str, Any]) -> SourceFile:
    return SourceFile(key, size, entry["LastModified"], entry["ETag"].strip('"'))
