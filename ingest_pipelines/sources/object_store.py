"""What all object stores share: a bucket seen as files in folders. Each store adds its requests and its errors."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar

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
from ingest_pipelines.sources.base import Client, Listing, Step
from ingest_pipelines.sources.files import address, archive_names, folder_prefix, listing_of, object_key
from ingest_pipelines.sources.http_headers import refuse_broken_headers
from ingest_pipelines.sources.network import UNTRUSTED, UNTRUSTED_HINT, at_step, is_timeout, is_untrusted, retried

STEPS = ("resolve", "connect", "login", "permission", "folder", "listing")
"""The steps of a connection test. A client makes them in few requests: an error says at which of them it failed."""


class StoreConnection(Protocol):
    """What every store's connection says."""

    @property
    def prefix(self) -> str:
        """How the keys of all its files begin."""
        ...


class StoreClient(Protocol):
    """What every store's client can do."""

    def close(self) -> None:
        """Closes the connections to the store."""
        ...


T = TypeVar("T")
ConnectionT = TypeVar("ConnectionT", bound=StoreConnection)
ClientT = TypeVar("ClientT", bound=StoreClient)
ObjectT = TypeVar("ObjectT")
"""What the store's client knows about one object: its key, size, time, version."""


class ObjectStore(ABC, Generic[ConnectionT, ClientT, ObjectT]):
    """A FileSource on top of a store's client.

    Subclasses override the methods below, and `read`. None of them translates errors: the callers here do, and `read`
    does it by `_translating_errors` or `_request`.
    """

    scheme: ClassVar[str]
    """How the addresses of files begin: `s3`, `gs` ..."""
    retries: int = 0
    """How often a request is made again if the store does not answer; 0 where the client itself does that."""

    def __init__(self, connection: ConnectionT, client: Client | None = None) -> None:
        self._connection = connection
        self._make_client: Callable[[], ClientT] = client or self.new_client
        self._client: ClientT | None = None

    @property
    @abstractmethod
    def bucket(self) -> str:
        """The bucket's name."""

    @abstractmethod
    def new_client(self) -> ClientT:
        """A client with everything that the connection says."""

    @abstractmethod
    def endpoint(self) -> str:
        """The address that the client connects to, if it is worth telling; else ""."""

    @abstractmethod
    def try_bucket(self) -> None:
        """Asks for one object: the cheapest request that needs the bucket and the permission to list it."""

    @abstractmethod
    def objects(self, prefix: str, *, nested: bool) -> Iterator[tuple[str, ObjectT]]:
        """The objects whose keys begin with the prefix, by key; not `nested`: without those in further folders."""

    @abstractmethod
    def find(self, key: str, version: str = "") -> ObjectT | None:
        """The object as it is now, or in the version where the bucket still has that; else None."""

    @abstractmethod
    def file(self, path: str, stored: ObjectT) -> SourceFile:
        """The object as a file of that path."""

    @abstractmethod
    def copy(self, original: ObjectT, key: str) -> ObjectT | None:
        """Copies the object, if it is still as it was found, to a key that has none; None: there is no copy."""

    @abstractmethod
    def is_copy(self, copy: ObjectT, original: ObjectT) -> bool:
        """Whether both objects have the same content."""

    @abstractmethod
    def upload(self, key: str, content: Path) -> None:
        """Stores the local file under the key; an object that has it is replaced."""

    @abstractmethod
    def delete(self, stored: ObjectT) -> None:
        """Deletes the object, if it is still as it was found."""

    @abstractmethod
    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`; with a `version` only of that one."""

    @abstractmethod
    def meaning_of(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        """The step of a connection test that fails so, and our error, without the client's text: it may hold keys.

        Raises:
            Exception: the error itself, where neither the client nor the network can mean it: it is a bug.
        """

    def _meaning(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        if is_untrusted(error):
            return "connect", SourceDenied(f"{self.place}: {UNTRUSTED}", hint=UNTRUSTED_HINT)
        return self.meaning_of(error, uri)

    def __enter__(self) -> Self:
        refuse_broken_headers()
        with self._translating_errors("", "connect"):
            self._client = self._make_client()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    @property
    def client(self) -> ClientT:
        """The client of a source that was entered."""
        if self._client is None:
            raise InternalError(f"an object store ({self.scheme}) that was not entered")
        return self._client

    @property
    def place(self) -> str:
        """`scheme://bucket`."""
        return f"{self.scheme}://{self.bucket}"

    def uri(self, path: str) -> str:
        """`scheme://bucket/prefix/path`."""
        return address(self.scheme, self.bucket, f"{self._connection.prefix.strip('/')}/{path}")

    def key(self, path: str) -> str:
        """The key of the object that is the file."""
        return object_key(self._connection.prefix, path)

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`."""
        root = folder_prefix(self._connection.prefix, "")
        start = folder_prefix(self._connection.prefix, folder)

        def whole_listing() -> Listing:
            return listing_of(
                self.file(key.removeprefix(root), stored) for key, stored in self.objects(start, nested=nested)
            )

        return self._request(folder, whole_listing, step="list")

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now, or as it was in `version` where the bucket keeps that."""
        stored = self._find(path, version) or (self._find(path) if version else None)
        if stored is None:
            raise ItemGone(f"{self.uri(path)} does not exist")
        return self.file(path, stored)

    def _find(self, path: str, version: str = "") -> ObjectT | None:
        return self._request(path, lambda: self.find(self.key(path), version))

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Copies the object into `folder`, compares the copy, deletes the object: each only if nothing changed."""
        self._request(path, lambda: self._move(path, folder, expected), step="archive")

    def _move(self, path: str, folder: str, expected: SourceFile | None) -> None:
        target = folder_prefix(self._connection.prefix, folder)
        original = self.find(self.key(path))
        if original is None:
            if self.find(target + path.rpartition("/")[2]) is None:
                raise ItemGone(f"{self.uri(path)} does not exist")
            return
        file = self.file(path, original)
        if expected is not None and (file.size, file.version) != (expected.size, expected.version):
            raise ItemChanged(f"{self.uri(path)} was replaced after it was loaded; it stays where it is")
        for name in archive_names(file):
            copy = self.find(target + name)
            if copy is None:
                copy = self.copy(original, target + name)
            if copy is not None and self.is_copy(copy, original):
                self.delete(original)
                return
        raise ItemChanged(f"{self.uri(path)}: its name is taken in {printable(folder)}; it stays where it is")

    def write(self, path: str, content: Path) -> None:
        """Uploads the file: a store shows an object once it is whole."""
        self._request(path, lambda: self.upload(self.key(path), content), step="write")

    def probe(self) -> Iterator[Step]:
        """`resolve`, `connect`, `login`, `permission`, `folder` (the bucket), `listing`."""
        try:
            self._client = self._make_client()
            self.try_bucket()
            details = {"connect": self.endpoint(), "folder": self.uri("")}
            listing = self.listing()
        except Exception as error:
            failed_step, explained = self._explained(error, self.uri(""))
            for name in STEPS[: STEPS.index(failed_step)]:
                yield Step(name, True)
            yield Step(failed_step, False, explained.message, explained.hint)
            return
        finally:
            self._close()
        for name in STEPS[:-1]:
            yield Step(name, True, details.get(name, ""))
        yield Step("listing", True, listing.counted())

    def _request(self, path: str, work: Callable[[], T], step: str = "read") -> T:
        """What the work returns; it is done again where the store does not answer, as often as `retries` says."""

        def attempt() -> T:
            with self._translating_errors(path, step):
                return work()

        return retried(attempt, self.retries, time.sleep)

    @contextlib.contextmanager
    def _translating_errors(self, path: str, step: str = "read") -> Iterator[None]:
        """Maps what the client raises to IngestError.

        Args:
            step: what the block does; an error names it, or the step of a connection test that failed instead.
        """
        try:
            yield
        except Exception as error:
            failed_step, explained = self._explained(error, self.uri(path))
            silent = isinstance(explained, SourceUnavailable) and explained.hung
            with at_step(step if failed_step == "listing" or (silent and step != "connect") else failed_step):
                raise explained from None

    def _explained(self, error: Exception, uri: str) -> tuple[str, IngestError]:
        if isinstance(error, IngestError):  # ours already; without a client, its making refused the credentials
            return "login" if self._client is None else "listing", error
        return self._meaning(error, uri)


def no_answer(place: str, error: Exception) -> SourceUnavailable:
    """Our error for a store that is silent, or breaks off."""
    hung = is_timeout(error)
    return SourceUnavailable(
        f"{place} {'does not answer in time' if hung else 'does not answer, or broke off the connection'}",
        hint="is the server up, and does the network let you reach it? raise timeout_seconds if it is just slow",
        hung=hung,
    )
