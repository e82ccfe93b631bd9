"""What a source promises. Every type of connection has one, and keeps this, and the contract tests hold it to that."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ingest_pipelines.cursor.values import CursorValue
from ingest_pipelines.model import SourceFile

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 1 << 20
"""Most bytes of one chunk that a file source reads."""

Client = Callable[[], Any]
"""Makes the client that a source uses instead of its own: a boto3 or Google client, or a context manager of a Snowflake
connection. It comes from a Dagster resource, for example."""


@dataclass(frozen=True)
class Listing:
    """What a file source shows.

    Attributes:
        files: visible files, at most two folders deep, hidden and partial names left out, sorted by path.
        too_deep: number of files left out because they lie deeper.
        links: paths of symbolic links, to files or folders. No source follows one below its root.
    """

    files: tuple[SourceFile, ...]
    too_deep: int = 0
    links: tuple[str, ...] = ()

    def counted(self) -> str:
        """`3 files`, and how many lie too deep."""
        count = f"{len(self.files):,} file{'' if len(self.files) == 1 else 's'}"
        if not self.too_deep:
            return count
        lie = "1 more lies" if self.too_deep == 1 else f"{self.too_deep:,} more lie"
        return f"{count}; {lie} too deep, below two folders"


@dataclass(frozen=True)
class Step:
    """One step of a connection test: `resolve`, `connect`, `host key`, `login`, `folder`, `listing` ..."""

    name: str
    ok: bool
    detail: str = ""
    hint: str = ""


class FileSource(Protocol):
    """Files by name. A context manager: entering connects, leaving disconnects.

    Obligations:
      * Names from the server are data: they never become local paths.
      * `read` yields the file's bytes from `offset` in order, and nothing else.
      * Errors are SourceUnavailable (retryable), SourceDenied or ItemGone; no secret in any message.
    """

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def uri(self, path: str) -> str:
        """The file's address for people: no credentials, control characters escaped."""
        ...

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`; not `nested`: in that folder only, which costs less."""
        ...

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now, or as it was in `version` where the source still has that. Raises ItemGone."""
        ...

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """Chunks of at most CHUNK bytes. With a `version`, of that one or none: raises ItemChanged."""
        ...

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Moves the file into `folder` (made if missing), overwriting nothing there; done twice is safe.

        Args:
            expected: the file as it was loaded. Raises ItemChanged, and moves nothing, if it is another by now.
        """
        ...

    def write(self, path: str, content: Path) -> None:
        """The file has the content of a local one, all of it or none; folders are made, an older file is replaced.

        Raises:
            SourceUnavailable, SourceDenied: what is there is as it was.
        """
        ...

    def probe(self) -> Iterator[Step]:
        """Tests the connection step by step; stops after the first failed step. Raises nothing."""
        ...


class QuerySource(Protocol):
    """Rows by query. A context manager like FileSource.

    Obligations:
      * One statement, read-only; values are bound, never pasted into the text.
      * `batches` streams: memory does not grow with the result. Values keep their type and precision; what Arrow has no
        exact type for is text. The first batch has the result's columns, also where there are no rows.
      * Every session's time zone is UTC: timestamps with a zone come in UTC, those without as they are.
      * Every wait is bounded: by `timeout_seconds` for network and login, by `query_timeout_seconds` for rows. A
        dropped connection is tried again until the first batch is handed over, never after.
      * A caller that stops reading, or is interrupted, leaves no query running on the server.
      * Errors are SourceUnavailable (retryable), SourceDenied, ConfigError (the query is none) or MissingDriver; no
        secret and no row's value in any message.
    """

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the database's SQL."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def uri(self) -> str:
        """The database's address for people: no credentials."""
        ...

    def tables(self) -> Iterator[str]:
        """Qualified names of readable tables and views, sorted; the server's own left out."""
        ...

    def select(self, table: str, columns: Sequence[str], limit: int | None = None) -> str:
        """A query for those of the columns that the table has, however they are capitalised; for all if it has none.

        Args:
            limit: of so many rows only.
        """
        ...

    def batches(
        self,
        query: str,
        parameters: Mapping[str, CursorValue],
        *,
        batch_rows: int = 50_000,
        limit: int | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """The result, at least one batch. Close the iterator if you stop early.

        Args:
            parameters: values of the query's `{lastItem}`, `{windowStart}` and `{windowEnd}`.
            limit: a sample of so many rows. The query is sent as it is, and cancelled once they are read.
        """
        ...

    def largest(self, query: str, column: str, initial: CursorValue) -> pa.Array:
        """The largest cursor value after the initial one, in an array of one; of none if there is none."""
        ...

    def behind(self, query: str, column: str, initial: CursorValue, committed: CursorValue) -> bool:
        """Whether there are rows after the initial value, all of them with cursor values below the committed one."""
        ...

    def comes_after(self, query: str, column: str, value: str, after: str) -> bool:
        """Whether the query, its LIMIT left out, has a row with the very cursor value when it starts after another.

        The database compares, as the query's own WHERE says: two texts that its collation takes for equal never come
        one after the other.
        """
        ...

    def lacks_values(self, query: str, column: str) -> bool:
        """Whether there are rows whose cursor is NULL, so that no chunk will ever have them."""
        ...

    def cannot_compare(self, query: str, column: str, value: CursorValue) -> bool:
        """Whether there are rows of which none comes after the value, and none up to it: no chunk ever has them.

        Asked where no row has come after the value.
        """
        ...

    def probe(self) -> Iterator[Step]:
        """Tests the connection step by step; stops after the first failed step. Raises nothing."""
        ...
